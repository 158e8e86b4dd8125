"""The network's layers on streams of strips."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from operator import itemgetter

import torch
from torch import Tensor

from model.engine import cpu_layers
from model.engine.folded import Affine, FoldedNetwork, StreamWeights
from model.engine.gpu_layers import add_pointwise_
from model.engine.row_stream import (
    RowReader,
    Strips,
    convolve,
    convolved,
    copy_rows,
    padded_blocks,
    split_channels,
)
from model.engine.strip_block import HALO, StreamStrip, parts, put, window_grid


class StripLayers:
    """Layers of a folded network for maps of one width.

    ``map_height`` and ``map_width`` are those of an image after its reflection to whole multiples of the
    network's alignment, on which the transformer works.
    """

    def __init__(self, network: FoldedNetwork, height: int, width: int) -> None:
        self.network, self.height, self.width = network, height, width
        self.map_height = height + -height % network.alignment
        self.map_width = width + -width % network.alignment
        merge = network.merge_features
        self._merge_features = merge if merge.weight.is_cuda else cpu_layers.packed(merge)

    def encode(self, planes: Strips, start: int = 0) -> Iterator[Tensor]:
        """The network's input (1, ., rows, W) of an image from row ``start`` -> features (1, C, rows, W)."""
        strips = iter(planes)
        for affine in self.network.encoder:
            strips = map(partial(_grow, affine=affine), padded_blocks(strips, self.height - start, halo=1))
        return strips

    def embed(self, features: Strips, start: int = 0) -> Iterator[Tensor]:
        """Features -> both embedded streams (1, 2C, rows, W'), main first."""
        if (self.map_height, self.map_width) != (self.height, self.width):
            features = padded_blocks(features, self.height - start, halo=0, step=self.network.alignment)
        return convolved(features, self.map_height - start, self.network.embed)

    def cross(self, embedded: Strips, main: StreamWeights, other: StreamWeights) -> Iterator[Tensor]:
        """First block and gate: both embedded streams (1, 2C, rows, W') -> main stream (1, C, rows, W')."""
        network, channels, bias = self.network, self.network.channels, self.network.position_bias[0]
        inside = _Inside(self.map_height, self.map_width)

        def step(main_block: Tensor, other_block: Tensor) -> Tensor:
            stream = StreamStrip(main_block, main, network.window)
            borrowed = stream.padded_value if network.borrows_value else None
            helper = StreamStrip(other_block, other, network.window, local_value=borrowed)
            out = torch.empty_like(main_block[:, :, HALO:-HALO, HALO:-HALO])
            grid = window_grid(out, network.window)
            for part in parts(grid):
                x, query = stream.run(part, bias)
                x.add_(helper.run(part, bias, query)[0], alpha=network.gate)
                put(x, grid[part])
            return inside.crop(out)

        mains, others = (self._blocks(strips, 0) for strips in split_channels(embedded, channels))
        return map(step, mains, others)

    def refine(self, index: int, strips: Strips, weights: StreamWeights) -> Iterator[Tensor]:
        """Block ``index`` of the main stream, (1, C, rows, W')."""
        window, bias = self.network.window, self.network.position_bias[index]
        origin = -(window // 2) if index % 2 else 0
        inside = _Inside(self.map_height, self.map_width, origin)

        def step(block: Tensor) -> Tensor:
            stream = StreamStrip(block, weights, window)
            out = torch.empty_like(block[:, :, HALO:-HALO, HALO:-HALO])
            grid = window_grid(out, window)
            for part in parts(grid):
                put(stream.run(part, bias)[0], grid[part])
            return inside.crop(out)

        return map(step, self._blocks(strips, origin))

    def decode(self, refined: Strips, features: Strips) -> Iterator[Tensor]:
        """Last block's output (1, C, rows, W') and features -> maps for the head."""
        strips = self._merge(refined, RowReader(features))
        *hidden, last = self.network.decoder
        for affine in hidden:
            strips = convolved(strips, self.height, affine, slope=self.network.head.slope)
        maps = itemgetter((slice(None), slice(self.network.head.channels)))
        return map(maps, convolved(strips, self.height, last))

    def _merge(self, refined: Strips, features: RowReader) -> Iterator[Tensor]:
        left = self.height

        def step(merged: Tensor) -> Tensor:
            nonlocal left
            merged = merged[:, :, :left, : self.width]
            left -= merged.shape[2]
            return _add_features(merged, features.take(merged.shape[2]), self._merge_features)

        # The rows that were reflected below the image come last, and may be strips of their own.
        whole = convolved(refined, self.map_height, self.network.merge_refined)
        return map(step, itertools.takewhile(lambda _: left > 0, whole))

    def _blocks(self, strips: Strips, origin: int) -> Iterator[Tensor]:
        return padded_blocks(strips, self.map_height, halo=HALO, step=self.network.window, origin=origin)


class _Inside:
    """Crops blocks of whole windows, which come top to bottom, to the map that they cover."""

    def __init__(self, height: int, width: int, origin: int = 0) -> None:
        self._height, self._row = height, origin
        self._columns = slice(-origin, width - origin)

    def crop(self, block: Tensor) -> Tensor:
        start, self._row = self._row, self._row + block.shape[2]
        return block[:, :, max(0, -start) : min(self._row, self._height) - start, self._columns]


def _grow(block: Tensor, affine: Affine) -> Tensor:
    """A densely connected convolution: its input beside its output."""
    before, grown = block[:, :, 1:-1, 1:-1], convolve(block, affine, slope=0.0)
    if block.device.type == "cpu":
        return torch.cat([before, grown], dim=1)
    channels = before.shape[1]
    both = torch.empty(
        (1, channels + grown.shape[1], *grown.shape[2:]),
        dtype=block.dtype,
        device=block.device,
        memory_format=torch.channels_last,
    )
    copy_rows(both[:, :channels], before)
    copy_rows(both[:, channels:], grown)
    return both


def _add_features(merged: Tensor, features: Tensor, affine: Affine) -> Tensor:
    """``merged`` plus the 1x1 convolution of the features, (1, C, rows, W) each, and ReLU."""
    pixels, others = (x.permute(0, 2, 3, 1) for x in (merged, features))
    pixels = pixels.contiguous()  # a copy only where the map was cropped
    if pixels.is_cuda:
        added = add_pointwise_(pixels, others, affine).relu_()
    else:
        added = cpu_layers.relu_(cpu_layers.add_pointwise_(pixels, others, affine))
    return added.permute(0, 3, 1, 2)
