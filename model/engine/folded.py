"""GIFNet's weights rewritten for inference: everything linear that follows something linear is merged.

What the merging is made of (all in float64, then cast once):

* Revised layer norm is affine once the image's statistics are known, so it joins the Q/K/V projection; its
  rescale and rebias join the projection after the attention; the attention scale joins the queries.
* Both embeddings read the same features, so they are one convolution.
* The 3x3 unembedding and the half of the 1x1 merge that reads it are one 3x3 convolution; so are the second
  1x1 of the merge and the first convolution of the global decoder. Reflection padding commutes with a 1x1.
* The position bias depends on nothing but weights. The other stream's queries are never read.

On a GPU maps have more channels than the network, see :mod:`model.engine.layout`, and biases move to where
they cost nothing: those of the local path and of the projection through what follows, and those of layers
whose input has a channel of ones into its weights.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.blocks.head import Head
from model.blocks.transformer import Statistics, Stream, Task, TransformerBlock
from model.engine.layout import Layout
from model.network import GIFNet


class Affine(NamedTuple):
    """A convolution's weight (out, in, kh, kw) and its bias (out,), if it has one."""

    weight: Tensor
    bias: Tensor | None


@dataclass(frozen=True, kw_only=True)
class StreamWeights:
    """One stream of one block, for one image."""

    query_key: Affine  # only the keys where the queries are the other stream's
    value: Affine
    local: Affine
    project: Affine
    expand: Affine
    contract: Affine


@dataclass(frozen=True, kw_only=True)
class _Unfolded:
    """The same before an image's statistics are known: matrices and vectors in float64, and what stays."""

    norm: tuple[Tensor, Tensor]
    qkv: tuple[Tensor, Tensor]
    rescale: tuple[Tensor, Tensor]
    rebias: tuple[Tensor, Tensor]
    project: tuple[Tensor, Tensor]
    expand: tuple[Tensor, Tensor]
    contract: tuple[Tensor, Tensor]
    local: Affine


class FoldedNetwork:
    """Weights of one main task; those of a block are folded per image, with :meth:`stream`.

    Args:
        network: left as it is.
        main: the task.
        device, dtype: of the weights.
        multiple: channels of heads and maps are padded to multiples of it; 1 leaves them as they are.
    """

    def __init__(
        self, network: GIFNet, *, main: Task, device: torch.device, dtype: torch.dtype, multiple: int = 1
    ) -> None:
        config, transformer, decoder = network.config, network.transformer, network.global_decoder
        self.main: Task = main
        self.other: Task = "dp" if main == "mm" else "mm"
        self.heads, self.window = config.heads, config.window
        self.alignment = config.alignment
        self.device, self.dtype = device, dtype
        self.padded = multiple > 1
        blocks: list[TransformerBlock] = [transformer.cross_block, *transformer.refine_blocks]
        self.head: Head = copy.deepcopy(network.head).to(device)
        self.borrows_value = main == "mm" and transformer.cross_block.local_path_quirk

        heads = [config.channels // config.heads] * config.heads
        growths = [2] + [config.feature_growth] * 3
        features = [Layout.of(growths[: 1 + count], multiple, one=True) for count in range(4)]
        self._input = features[0]
        self._map, both_maps = Layout.of(heads, multiple), Layout.of(2 * heads, multiple)
        self._hidden = Layout.of([2 * config.channels], multiple, one=True)
        merged = Layout.of([config.channels], multiple, one=True)
        #: Channels of one stream, those that fill up included, and where the network's own are.
        self.channels, self.places = self._map.channels, self._map.places.to(device)
        self.feature_channels = features[3].channels
        self._query_scale = heads[0] ** -0.5

        self.encoder = [
            self._convolution(layer, source, Layout.of([config.feature_growth], multiple))
            for layer, source in zip(network.encoder.convolutions, features[:3], strict=True)
        ]
        embed = [getattr(transformer, f"embed_{task}") for task in (self.main, self.other)]
        self.embed = self._affine(
            torch.cat([_precise(layer.weight) for layer in embed]),
            torch.cat([_precise(layer.bias) for layer in embed]),
            features[3],
            both_maps,
        )
        self.gate = getattr(transformer, f"lambda_{main}").item()
        self.position_bias = [self._cast(block.position_bias().detach()).contiguous() for block in blocks]
        # Folded for every image, where the statistics are.
        self._blocks = [
            {task: self._unfolded(getattr(block, task)) for task in ("mm", "dp")} for block in blocks
        ]

        first, _, second = decoder.merge
        assert isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d)
        of_features, of_refined = _precise(first.weight).flatten(1).split(config.channels, dim=1)
        unembed = torch.einsum("om,mikl->oikl", of_refined, _precise(transformer.unembed.weight))
        bias = of_refined @ _precise(transformer.unembed.bias)
        # The sum of both has it once; where there is a channel of ones, the features have that.
        on_features, on_refined = (bias, None) if self.padded else (None, bias)
        self.merge_features = self._affine(of_features[..., None, None], on_features, features[3], merged)
        self.merge_refined = self._affine(unembed, on_refined, self._map, merged)
        head, *rest = (layer for layer in decoder.decoder if isinstance(layer, nn.Conv2d))
        widen = _precise(second.weight).flatten(1)
        composed = torch.einsum("omkl,mi->oikl", _precise(head.weight), widen)
        maps = [Layout.of([layer.out_channels], multiple) for layer in (head, *rest)]
        self.decoder = [
            self._affine(composed, _precise(head.bias), merged, maps[0]),
            *(self._convolution(*each) for each in zip(rest, maps[:-1], maps[1:], strict=True)),
        ]

    @property
    def depth(self) -> int:
        """How many blocks there are."""
        return len(self._blocks)

    def input(self, planes: Tensor) -> Tensor:
        """Rows of both planes, (1, 2, rows, W) float32 -> what the encoder takes, channels last."""
        if not self.padded:
            return planes.contiguous(memory_format=torch.channels_last).to(self.dtype)
        _, count, *size_hw = planes.shape
        shape = (1, self._input.channels, *size_hw)
        given = torch.empty(
            shape, dtype=self.dtype, device=planes.device, memory_format=torch.channels_last
        ).zero_()
        given[:, :count] = planes
        given[:, self._input.one] = 1
        return given

    def stream(self, index: int, task: Task, statistics: Statistics) -> StreamWeights:
        """Weights of block ``index`` for an image whose input to that block has these ``statistics``."""
        stream = self._blocks[index][task]
        mean, deviation = (value.double().flatten() for value in statistics)
        scale = stream.norm[0] / deviation
        offset = stream.norm[1] - mean * scale
        weight, bias = stream.qkv
        bias = bias + weight @ offset
        weight = weight * scale
        weight[: self.channels] *= self._query_scale
        bias[: self.channels] *= self._query_scale
        values = 2 * self.channels
        keys = slice(self.channels if index == 0 and task == self.other else 0, values)
        rescale, rebias = (
            weight * value + bias
            for (weight, bias), value in ((stream.rescale, deviation), (stream.rebias, mean))
        )
        project, shift = stream.project[0] * rescale[:, None], stream.project[1] * rescale + rebias
        expand, contract = stream.expand, stream.contract
        if self.padded:  # what the projection would add comes with the biases of the layers behind it
            expand = expand[0], expand[1] + expand[0] @ shift
            ones = contract[0].clone()
            ones[:, self._hidden.one] = contract[1] + shift
        return StreamWeights(
            query_key=self._pointwise(weight[keys], bias[keys]),
            value=self._pointwise(weight[values:], bias[values:]),
            local=stream.local,
            project=self._pointwise(project, None if self.padded else shift),
            expand=self._pointwise(*expand),
            contract=self._pointwise(ones, None) if self.padded else self._pointwise(*contract),
        )

    def _unfolded(self, stream: Stream) -> _Unfolded:
        def vector(tensor: Tensor | None) -> Tensor:
            return self._map.spread(_precise(tensor).flatten(), 0)

        def matrix(layer: nn.Module, source: Layout, target: Layout) -> tuple[Tensor, Tensor]:
            assert isinstance(layer, nn.Conv2d)
            weight = source.spread(_precise(layer.weight).flatten(1), 1)
            return target.spread(weight, 0), target.spread(_precise(layer.bias), 0)

        qkv, qkv_bias = (
            self._map.spread(part.unflatten(0, (3, -1)), 1).flatten(0, 1)
            for part in (_precise(stream.qkv.weight).flatten(1), _precise(stream.qkv.bias))
        )
        project, project_bias = matrix(stream.project, self._map, self._map)
        expand, expand_bias = matrix(stream.mlp[0], self._map, self._hidden)
        local = self._map.spread(_precise(stream.local.weight), 0)
        local_bias = vector(stream.local.bias)
        if self.padded:
            project_bias = project_bias + project @ local_bias
            expand_bias[self._hidden.one] = 1
        parts = {
            "norm": (vector(stream.norm_weight), vector(stream.norm_bias)),
            "qkv": (self._map.spread(qkv, 1), qkv_bias),
            "rescale": (vector(stream.rescale.weight), vector(stream.rescale.bias)),
            "rebias": (vector(stream.rebias.weight), vector(stream.rebias.bias)),
            "project": (project, project_bias),
            "expand": (expand, expand_bias),
            "contract": matrix(stream.mlp[2], self._hidden, self._map),
        }
        there = {name: (a.to(self.device), b.to(self.device)) for name, (a, b) in parts.items()}
        return _Unfolded(**there, local=self._cast_affine(local, None if self.padded else local_bias))

    def _pointwise(self, weight: Tensor, bias: Tensor | None) -> Affine:
        return self._cast_affine(weight[..., None, None], bias)

    def _convolution(self, layer: nn.Module, source: Layout, target: Layout) -> Affine:
        assert isinstance(layer, nn.Conv2d)
        return self._affine(_precise(layer.weight), _precise(layer.bias), source, target)

    def _affine(self, weight: Tensor, bias: Tensor | None, source: Layout, target: Layout) -> Affine:
        weight = target.spread(source.spread(weight, 1), 0)
        if bias is not None:
            bias = target.spread(bias, 0)
            if target.one is not None:
                bias[target.one] = 1
            if source.one is not None:
                weight[:, source.one, weight.shape[2] // 2, weight.shape[3] // 2] = bias
                bias = None
        return self._cast_affine(weight, bias)

    def _cast_affine(self, weight: Tensor, bias: Tensor | None) -> Affine:
        return Affine(
            self._cast(weight).contiguous(memory_format=torch.channels_last),
            None if bias is None else self._cast(bias),
        )

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self.device, dtype=self.dtype)


def _precise(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor.detach().double()
