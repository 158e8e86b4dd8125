"""GIFNet in training as a GPU likes it: channels in pieces of 16 bytes, half precision, no bias by itself.

Tensor cores want channels by the eight, and neither 98 nor heads of 49 are; cuDNN would copy every map into a
wider one. Here maps are that wide from the start (:mod:`model.engine.layout`). The weights of each layer are
spread into that form by one gather, so what learns, is saved and counted are the network's own parameters.
One of the channels that fill up is 1 everywhere, and the weights that read it are the biases.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.blocks.transformer import Task, precise
from model.engine.layout import Layout
from model.network import Decoder, GIFNet
from model.training.padded_block import BlockLayouts, PaddedBlock
from model.training.spread import Spreader
from pipeline.networks.padding import ReflectedConv2d, reflection_pad

#: Channels of a piece of 16 bytes in half precision.
MULTIPLE = 8


def _without_autocast(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """What is small stays float32, and maps have the type that they were given."""

    @wraps(method)
    def run(self: PaddedNetwork, *args: Any, **options: Any) -> Tensor:
        with torch.autocast(args[0].device.type, enabled=False):
            return method(self, *args, **options)

    return run


class PaddedNetwork:
    """What objectives call of a :class:`GIFNet`, on its parameters. Features have more channels than its own.

    Args:
        network: whose parameters are used, as they are at each call.
        dtype: of maps and of the weights that meet them.
    """

    def __init__(self, network: GIFNet, dtype: torch.dtype) -> None:
        config, transformer = network.config, network.transformer
        self._network, self._spread = network, Spreader(dtype)
        growths = [2] + [config.feature_growth] * 3
        self._features = [Layout.of(growths[: 1 + count], MULTIPLE, one=True) for count in range(4)]
        self._grown = Layout.of([config.feature_growth], MULTIPLE)
        self._merged = Layout.of([config.channels], MULTIPLE, one=True)
        layouts = BlockLayouts(channels=config.channels, heads=config.heads, multiple=MULTIPLE)
        self._map = layouts.map
        own = self._map.spread(torch.ones(config.channels), 0)
        self._own = own.to(next(network.parameters()).device)
        self._cross_block, *self._refine_blocks = (
            PaddedBlock(block, layouts, self._own, self._spread, f"block {number}")
            for number, block in enumerate([transformer.cross_block, *transformer.refine_blocks])
        )

    @_without_autocast
    def encode(self, a: Tensor, b: Tensor) -> Tensor:
        """:meth:`GIFNet.encode`: two planes (B, 1, H, W) -> features (B, C, H, W)."""
        filling = a.new_zeros(1).expand(len(a), self._features[0].channels - 3, *a.shape[2:])
        planes = torch.cat([a, b, torch.ones_like(a), filling], dim=1)
        features = planes.to(self._spread.dtype, memory_format=torch.channels_last)
        for number, layer in enumerate(self._network.encoder.convolutions):
            grown = self._convolve(f"encoder {number}", layer, features, self._features[number], self._grown)
            features = torch.cat([features, F.relu(grown)], dim=1)
        return features

    @_without_autocast
    def reconstruct(self, features: Tensor) -> Tensor:
        """:meth:`GIFNet.reconstruct`: features -> plane (B, 1, H, W) in [-1, 1]."""
        decoder = self._network.reconstruction_decoder
        return torch.tanh(precise(self._decode("reconstruction", decoder, features, self._features[3])))

    @_without_autocast
    def fuse_features(self, mm: Tensor, dp: Tensor, *, main: Task) -> Tensor:
        """:meth:`GIFNet.fuse_features`: features of the streams -> (B, 1, H, W) in [0, 1]."""
        features = mm if main == "mm" else dp
        merged = self._merge(features, self._transform(mm, dp, main).permute(0, 3, 1, 2))
        decoder, head = self._network.global_decoder, self._network.head
        widen, first = decoder.merge[2], decoder.decoder[0]
        assert isinstance(widen, nn.Conv2d) and isinstance(first, nn.Conv2d)
        weight = torch.einsum("omkl,mi->oikl", first.weight, widen.weight.flatten(1))
        maps = self._decode("fused", decoder.decoder, merged, self._merged, first=weight)
        return head(head.pooled(precise(maps)), precise(features[:, :2]))

    def _transform(self, mm: Tensor, dp: Tensor, main: Task) -> Tensor:
        """The cross-task transformer but for its last layer: features -> main stream (B, H, W, C)."""
        transformer = self._network.transformer
        height, width = mm.shape[-2:]
        sides = (0, -width % transformer.alignment, 0, -height % transformer.alignment)

        def embed(task: Task, features: Tensor) -> Tensor:
            layer = transformer.embed_mm if task == "mm" else transformer.embed_dp
            features = reflection_pad(features, sides) if any(sides) else features
            embedded = self._convolve(f"embed {task}", layer, features, self._features[3], self._map)
            return embedded.permute(0, 2, 3, 1)

        x, y = embed("mm", mm), embed("dp", dp)
        gate = transformer.lambda_mm if main == "mm" else transformer.lambda_dp
        other: Task = "dp" if main == "mm" else "mm"
        if main == "dp":
            x, y = y, x
        x, query, value = self._cross_block.main(x, task=main)
        borrows = main == "mm" and transformer.cross_block.local_path_quirk
        y = self._cross_block.other(y, task=other, query=query, local_value=value if borrows else None)
        x = torch.addcmul(x, y, (gate * self._own).to(x.dtype))  # and its ones stay ones
        for block in self._refine_blocks:
            x = block.main(x, task=main)[0]
        return x

    def _merge(self, features: Tensor, refined: Tensor) -> Tensor:
        """Features and refined ones in one map: the unembedding and the weights that read it are one."""
        unembed, first = self._network.transformer.unembed, self._network.global_decoder.merge[0]
        assert isinstance(first, nn.Conv2d) and unembed.bias is not None
        of_features, of_refined = first.weight.flatten(1).chunk(2, dim=1)
        weight = torch.einsum("om,mikl->oikl", of_refined, unembed.weight)
        added = Layout(self._merged.channels, self._merged.places)
        refined = self._spread.convolve("unembed", refined, weight, None, self._map, added)
        height, width = features.shape[-2:]
        if refined.shape[-2:] != features.shape[-2:]:
            refined = refined[..., :height, :width]
        bias = of_refined @ unembed.bias
        (wide,) = self._spread("merge", of_features[None], bias[None], self._features[3], self._merged)
        merged = (features.permute(0, 2, 3, 1) @ wide.t()).permute(0, 3, 1, 2)
        return F.relu(merged + refined)

    def _decode(
        self, name: str, decoder: Decoder, x: Tensor, source: Layout, *, first: Tensor | None = None
    ) -> Tensor:
        """A decoder, by another ``first`` weight if given: (B, C, H, W) -> (B, channels, H, W)."""
        *_, last = decoder
        for place, layer in enumerate(decoder):
            if not isinstance(layer, nn.Conv2d):
                x = layer(x)
                continue
            target = Layout.of([layer.out_channels], MULTIPLE, one=layer is not last)
            weight = layer.weight if place or first is None else first
            x = self._spread.convolve(f"{name} {place}", x, weight, layer.bias, source, target)
            source = target
        assert isinstance(last, nn.Conv2d)
        return x[:, : last.out_channels]

    def _convolve(self, name: str, layer: nn.Module, x: Tensor, source: Layout, target: Layout) -> Tensor:
        assert isinstance(layer, ReflectedConv2d)
        return self._spread.convolve(name, x, layer.weight, layer.bias, source, target)


#: What objectives take: the network itself, or as a GPU computes it.
Form = GIFNet | PaddedNetwork
