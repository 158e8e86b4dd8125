"""Panels: columns of an image that pass through the network by themselves, in strips of rows.

A strip of a wide image would leave the last-level cache between two layers, so wide images are cut into
panels. A panel reads more columns on both sides than it answers for, and is computed as if the image ended
there: the wrong border that grows inwards from each cut stays within them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from model.engine.arena import Arena
from model.engine.folded import FoldedNetwork, StreamWeights
from model.engine.row_stream import RowReader, rows_of
from model.engine.strip_block import HALO
from model.engine.strip_layers import StripLayers

#: Rows, and columns, that the encoder's three convolutions and the embedding see beyond their own.
EMBED_REACH = 4


@dataclass(frozen=True)
class Columns:
    """Which columns of an image a panel answers for, and which it reads."""

    own: range
    read: range

    @property
    def inside(self) -> slice:
        """The panel's own columns among those that it reads."""
        return slice(self.own.start - self.read.start, self.own.stop - self.read.start)


def cut(width: int, most: int, network: FoldedNetwork) -> list[Columns]:
    """Panels side by side, of about the same width of ``most`` columns at most."""
    step = math.lcm(network.window, network.head.block)
    # The first block contaminates its first window, or what its local path sees, each further one half a
    # window more, the convolutions of the decoder, of which the first one holds the unembedding, a pixel
    # each.
    first_block = max(-(-EMBED_REACH // network.window) * network.window, EMBED_REACH + HALO)
    blocks = first_block + (network.depth - 1) * network.window // 2
    halo = -(-(blocks + 1 + len(network.decoder)) // step) * step
    count = -(-width // most)
    edges = [*(index * width // count // step * step for index in range(count)), width]
    return [
        Columns(range(first, stop), range(max(0, first - halo), min(width, stop + halo)))
        for first, stop in itertools.pairwise(edges)
        if first < stop
    ]


class Panel:
    """Some columns of a pair of planes on their way through the network.

    Map 0 is both embedded streams, map i the output of block i - 1.

    Args:
        planes: both inputs, the whole image, (1, 2, H, W) float32 on the network's device.
        columns: this panel's.
        rows: of a strip.
        memory_bytes: for rows of maps that are kept for the next pass; the others are computed again.
        weights: of the blocks whose input has been measured; grows with the passes.
        arena: where kept rows lie; None leaves them where they were made.
        keeps_features: whether the encoder's output is kept for the decoder, beside that memory.
    """

    def __init__(
        self,
        network: FoldedNetwork,
        planes: Tensor,
        columns: Columns,
        *,
        rows: int,
        memory_bytes: int,
        weights: list[tuple[StreamWeights, ...]],
        arena: Arena | None,
        keeps_features: bool,
    ) -> None:
        self.network, self.columns, self.rows, self.weights = network, columns, rows, weights
        self._planes = planes[..., columns.read.start : columns.read.stop]
        self.layers = StripLayers(network, *self._planes.shape[2:])
        self.height = self.layers.map_height
        # Of map 0, with twice the channels, the first rows are kept, of the others the last rows: so the
        # next map grows where this one has been used up, and no two of them together exceed the budget.
        fit = memory_bytes // (self.layers.map_width * network.channels * network.dtype.itemsize)
        last = range(max(0, self.height - fit), self.height)
        ranges = [range(min(fit // 2, self.height)), *(last for _ in range(1, network.depth))]
        self._kept = [_Kept(rows, arena) for rows in ranges]
        self._features = _Kept(range(self.layers.height if keeps_features else 0), None)

    def measured(self, index: int) -> Iterator[Tensor]:
        """Compute map ``index``, keep what fits of it and hand out the panel's own columns."""
        inside, kept = self.columns.inside, self._kept[index]
        for strip in self._compute(index):
            kept.add(strip)
            # Of the last panel also the columns that fill the map up beyond the image.
            yield strip[..., inside.start : None if inside.stop == self.layers.width else inside.stop]
            del strip

    def decoded(self) -> Iterator[Tensor]:
        """The decoder's maps of the panel's own columns, in strips of whole blocks of the head."""
        height, block = self.layers.height, self.network.head.block
        reader = RowReader(self.layers.decode(self._compute(len(self._kept)), self._encode()))
        rows = -(-self.rows // block) * block
        return (
            reader.take(min(rows, height - row))[..., self.columns.inside] for row in range(0, height, rows)
        )

    def _compute(self, index: int) -> Iterator[Tensor]:
        """Strips of map ``index``, from what is kept of the map before it."""
        if index == 0:
            return self.layers.embed(map(self._features.passing, self.layers.encode(self._strips())))
        before = self._map(index - 1)
        if index == 1:
            return self.layers.cross(before, *self.weights[0])
        return self.layers.refine(index - 1, before, *self.weights[index - 1])

    def _map(self, index: int) -> Iterator[Tensor]:
        """Strips of map ``index``: kept ones where there are any, the others computed again."""
        kept, self._kept[index] = self._kept[index], _Kept(range(self.height, self.height), None)
        if kept.rows.start:
            yield from rows_of(self._compute(index), range(kept.rows.start))
        yield from kept.drain()
        if kept.rows.stop < self.height:
            assert index == 0, "of later maps the last rows are kept"
            # Begun a few rows earlier, as if the image did, the wrong border has left the map by then.
            step = self.network.alignment
            start = max(0, min(kept.rows.stop, self.layers.height - step) - EMBED_REACH) // step * step
            yield from rows_of(self._embed(start), range(kept.rows.stop - start, self.height - start))

    def _encode(self) -> Iterator[Tensor]:
        """The encoder's output, kept or computed again."""
        return self._features.drain() if self._features.rows else self.layers.encode(self._strips())

    def _embed(self, start: int) -> Iterator[Tensor]:
        """Map 0 of the image that begins at row ``start``, computed again."""
        return self.layers.embed(self.layers.encode(self._strips(start), start), start)

    def _strips(self, start: int = 0) -> Iterator[Tensor]:
        """What the encoder takes, as strips (1, ., rows, W)."""
        height = self.layers.height
        # The last strip is never a thin one: it is reflected within itself.
        rows = range(start, max(height - 8, start + 1), self.rows)
        for first, stop in itertools.pairwise([*rows, height]):
            yield self.network.input(self._planes[:, :, first:stop])


class _Kept:
    """Some rows of a map, kept for the next pass."""

    def __init__(self, rows: range, arena: Arena | None) -> None:
        self.rows, self._arena = rows, arena
        self._received = 0
        self._strips: list[Tensor] = []

    def add(self, strip: Tensor) -> None:
        """Take the next strip of the map; rows outside the range are not held."""
        start, self._received = self._received, self._received + strip.shape[2]
        low, high = max(start, self.rows.start), min(self._received, self.rows.stop)
        if low >= high:
            return
        part = strip[:, :, low - start : high - start]
        if self._arena is not None:
            part = self._arena.keep(part)
        elif high - low < strip.shape[2]:
            part = part.clone(memory_format=torch.channels_last)
        self._strips.append(part)

    def passing(self, strip: Tensor) -> Tensor:
        """:meth:`add` a strip on its way to the next layer."""
        self.add(strip)
        return strip

    def drain(self) -> Iterator[Tensor]:
        """Hand the strips out, once, and forget them."""
        while self._strips:
            yield self._strips.pop(0)
