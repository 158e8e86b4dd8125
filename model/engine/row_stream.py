"""Feature maps as streams of strips: every layer keeps only the rows that it still needs.

A map (1, C, H, W) is passed on as an iterator of strips (1, C, rows, W), top to bottom, of any heights that
add up to H. A layer takes an iterator and returns one. Nothing is computed twice, however far a layer sees.
While a chain of layers waits for its first one, each of them holds a few rows: hence ``map`` instead of loops
over strips, whose variables would hold the last ones. Strips are channels last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from model.engine import cpu_layers
from model.engine.folded import Affine
from model.engine.gpu_layers import copy_

Strips = Iterable[Tensor]


def padded_blocks(
    strips: Strips, height: int, *, halo: int, step: int = 1, origin: int = 0
) -> Iterator[Tensor]:
    """Regroup a map's rows into blocks with a border, filled by reflection outside the map.

    Blocks follow each other on the grid origin + k * step, from ``origin`` until the map is covered, in rows
    and in columns alike. Each has ``halo`` more rows and columns on every side.

    Args:
        strips: the map, (1, C, rows, W) each.
        height: H of the map, the sum of all rows.
        halo: border around each block; step and origin are those of the grid, ``origin`` <= 0.

    Yields:
        (1, C, rows + 2 * halo, columns + 2 * halo), a new tensor each time.
    """
    held: list[tuple[int, Tensor]] = []  # first row and rows, in order
    received, start = 0, origin
    for strip in strips:
        held.append((received, strip))
        received += strip.shape[2]
        if received < height:
            # The first and the last block take two steps at least: they are reflected within themselves.
            last = origin + (height - 1 - origin) // step * step
            stop = min(origin + (received - halo - origin) // step * step, last - step)
            if stop <= start + (step if start == origin else 0):
                continue
        else:
            stop = origin + -(-(height - origin) // step) * step
        right = -(strip.shape[3] - origin) % step
        del strip
        yield _cut(held, height, (start - halo, stop + halo), (halo - origin, halo + right))
        start = stop
        held = [(max(row, start - halo), _from_row(rows, start - halo - row)) for row, rows in held]
        held = [(row, rows) for row, rows in held if rows.shape[2]]
    assert received == height, f"{received} rows of {height}"


def convolve(x: Tensor, affine: Affine, *, groups: int = 1, slope: float | None = None) -> Tensor:
    """Convolution without padding, (1, C, h, w) -> (1, C', h', w'); ReLU with a ``slope``, leaky unless 0."""
    if x.device.type == "cpu":
        return cpu_layers.convolve(x, affine, groups=groups, slope=slope)
    out = torch.conv2d(x, *affine, groups=groups)
    return out if slope is None else F.leaky_relu_(out, slope) if slope else out.relu_()


def convolved(strips: Strips, height: int, affine: Affine, *, slope: float | None = None) -> Iterator[Tensor]:
    """3x3 convolution with reflection padding, and ReLU as in :func:`convolve`."""
    return map(partial(convolve, affine=affine, slope=slope), padded_blocks(strips, height, halo=1))


def copy_rows(target: Tensor, source: Tensor) -> None:
    """target = source; (1, C, rows, W) each, channels last."""
    if target.device.type == "cpu":
        target.copy_(source)
    else:
        copy_(target.permute(0, 2, 3, 1), source.permute(0, 2, 3, 1))


def split_channels(strips: Strips, channels: int) -> list[Iterator[Tensor]]:
    """A stream of (1, 2 * channels, rows, W) as two streams, of the first and of the last channels."""
    # Not itertools.tee, which holds up to 57 strips that both have read.
    source, queues = iter(strips), (deque[Tensor](), deque[Tensor]())

    def read(queue: deque[Tensor]) -> Iterator[Tensor]:
        while True:
            if not queue:
                strip = next(source, None)
                if strip is None:
                    return
                queues[0].append(strip[:, :channels])
                queues[1].append(strip[:, channels:])
                del strip
            yield queue.popleft()

    return [read(queue) for queue in queues]


class RowReader:
    """Reads a stream in heights of the caller's choice."""

    def __init__(self, strips: Strips) -> None:
        self._strips = iter(strips)
        self._rest: Tensor | None = None

    def take(self, rows: int) -> Tensor:
        """The next ``rows`` rows, (1, C, rows, W)."""
        parts = [] if self._rest is None else [self._rest]
        have = sum(part.shape[2] for part in parts)
        while have < rows:
            parts.append(next(self._strips))
            have += parts[-1].shape[2]
        joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
        self._rest = joined[:, :, rows:] if have > rows else None
        return joined[:, :, :rows]


def rows_of(strips: Strips, rows: range) -> Iterator[Tensor]:
    """Those rows of a stream, without asking for a strip more than they need."""
    source, first, parts = iter(strips), 0, []
    while first < rows.stop:
        strip = next(source)
        parts.append(strip[:, :, max(0, rows.start - first) : rows.stop - first])
        first += strip.shape[2]
        del strip
        if parts[0].shape[2]:
            yield parts.pop()
        parts.clear()


def reflected(index: int, size: int) -> int:
    """Where reflection padding takes element ``index`` from: -1 -> 1, size -> size - 2."""
    return size - 1 - abs(size - 1 - abs(index))


def _from_row(strip: Tensor, row: int) -> Tensor:
    """Rows from ``row`` on, without holding on to the memory of many others."""
    if row <= strip.shape[2] // 2:
        return strip[:, :, max(0, row) :]
    return strip[:, :, row:].clone(memory_format=torch.channels_last)


def _cut(
    held: list[tuple[int, Tensor]], height: int, span: tuple[int, int], sides: tuple[int, int]
) -> Tensor:
    """Copy the rows of ``span`` and reflect: rows outside the map, and ``sides`` columns left and right."""
    (first, end), (left, right) = span, sides
    _, channels, _, width = held[0][1].shape
    block = torch.empty(
        (1, channels, end - first, left + width + right),
        dtype=held[0][1].dtype,
        device=held[0][1].device,
        memory_format=torch.channels_last,
    )
    inner = block[:, :, :, left : left + width]
    for row, rows in held:
        low, high = max(first, row), min(end, row + rows.shape[2])
        if low < high:
            copy_rows(inner[:, :, low - first : high - first], rows[:, :, low - row : high - row])
    for outside in (*range(first, 0), *range(height, end)):
        inner[:, :, outside - first] = inner[:, :, reflected(outside, height) - first]
    if left:
        block[..., :left] = _mirrored(inner[..., 1 : left + 1])
    if right:
        block[..., left + width :] = _mirrored(inner[..., -right - 1 : -1])
    return block


def _mirrored(columns: Tensor) -> Tensor:
    return columns.flip(3) if columns.shape[3] > 1 else columns
