"""GIFNet's weights rewritten for inference: everything linear that follows something linear is merged.

What the merging is made of (all in float64, then cast once):

* Revised layer norm is affine once the image's statistics are known, so it joins the Q/K/V projection; its
  rescale and rebias join the projection after the attention; the attention scale joins the queries.
* Both embeddings read the same features, so they are one convolution.
* The 3x3 unembedding and the half of the 1x1 merge that reads it are one 3x3 convolution; so are the second
  1x1 of the merge and the first convolution of the global decoder. Reflection padding commutes with a 1x1.
* The position bias depends on nothing but weights. The other stream's queries are never read.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.head import Head
from model.network import GIFNet
from model.transformer import Statistics, Stream, Task, TransformerBlock


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


class FoldedNetwork:
    """Weights of one main task; those of a block are folded per image, with :meth:`stream`."""

    def __init__(self, network: GIFNet, *, main: Task, device: torch.device, dtype: torch.dtype) -> None:
        config, transformer, decoder = network.config, network.transformer, network.global_decoder
        self.main: Task = main
        self.other: Task = "dp" if main == "mm" else "mm"
        self.channels, self.heads, self.window = config.channels, config.heads, config.window
        self.alignment = config.alignment
        self.device, self.dtype = device, dtype
        blocks: list[TransformerBlock] = [transformer.cross_block, *transformer.refine_blocks]
        self.head: Head = copy.deepcopy(network.head).to(device)
        self.borrows_value = main == "mm" and transformer.cross_block.local_path_quirk

        self.encoder = [self._convolution(layer) for layer in network.encoder.convolutions]
        embed = [getattr(transformer, f"embed_{task}") for task in (self.main, self.other)]
        self.embed = self._affine(
            torch.cat([_precise(layer.weight) for layer in embed]),
            torch.cat([_precise(layer.bias) for layer in embed]),
        )
        self.gate = getattr(transformer, f"lambda_{main}").item()
        self.position_bias = [self._cast(block.position_bias().detach()) for block in blocks]
        # Folded for every image, where the statistics are.
        self.blocks = [copy.deepcopy(block).to(device) for block in blocks]

        first, _, second = decoder.merge
        assert isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d)
        of_features, of_refined = _precise(first.weight).flatten(1).split(self.channels, dim=1)
        self.merge_features = self._affine(of_features[..., None, None], None)
        self.merge_refined = self._affine(
            torch.einsum("om,mikl->oikl", of_refined, _precise(transformer.unembed.weight)),
            of_refined @ _precise(transformer.unembed.bias),
        )
        head, *rest = (layer for layer in decoder.decoder if isinstance(layer, nn.Conv2d))
        widen = _precise(second.weight).flatten(1)
        composed = torch.einsum("omkl,mi->oikl", _precise(head.weight), widen)
        self.decoder = [self._affine(composed, _precise(head.bias)), *map(self._convolution, rest)]

    def stream(self, index: int, task: Task, statistics: Statistics) -> StreamWeights:
        """Weights of block ``index`` for an image whose input to that block has these ``statistics``."""
        stream: Stream = getattr(self.blocks[index], task)
        mean, deviation = (value.double().flatten() for value in statistics)
        scale = _precise(stream.norm_weight).flatten() / deviation
        offset = _precise(stream.norm_bias).flatten() - mean * scale
        weight = _precise(stream.qkv.weight).flatten(1)
        bias = _precise(stream.qkv.bias) + weight @ offset
        weight = weight * scale
        channels, queries = self.channels, (self.channels // self.heads) ** -0.5
        weight[:channels] *= queries
        bias[:channels] *= queries
        start = channels if index == 0 and task == self.other else 0
        rescale, rebias = (
            _precise(layer.weight).flatten() * value + _precise(layer.bias)
            for layer, value in ((stream.rescale, deviation), (stream.rebias, mean))
        )
        project = _precise(stream.project.weight)
        return StreamWeights(
            query_key=self._pointwise(weight[start : 2 * channels], bias[start : 2 * channels]),
            value=self._pointwise(weight[2 * channels :], bias[2 * channels :]),
            local=self._convolution(stream.local),
            project=self._affine(
                project * rescale[:, None, None, None],
                _precise(stream.project.bias) * rescale + rebias,
            ),
            expand=self._convolution(stream.mlp[0]),
            contract=self._convolution(stream.mlp[2]),
        )

    def _pointwise(self, weight: Tensor, bias: Tensor) -> Affine:
        return self._affine(weight[..., None, None], bias)

    def _convolution(self, layer: nn.Module) -> Affine:
        assert isinstance(layer, nn.Conv2d)
        return self._affine(_precise(layer.weight), None if layer.bias is None else _precise(layer.bias))

    def _affine(self, weight: Tensor, bias: Tensor | None) -> Affine:
        return Affine(
            self._cast(weight).contiguous(memory_format=torch.channels_last),
            None if bias is None else self._cast(bias),
        )

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(device=self.device, dtype=self.dtype)


def _precise(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor.detach().double()
