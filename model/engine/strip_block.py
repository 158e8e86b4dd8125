"""One transformer block on a strip of whole windows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from model.blocks.attention import attend_heads, in_chunks
from model.engine import cpu_layers, gpu_layers
from model.engine.folded import Affine, StreamWeights
from model.engine.gpu_layers import copy_
from model.engine.row_stream import convolve

#: Rows and columns around a strip that the 5x5 local path reads.
HALO = 2
#: Bytes of a map that a core takes through the block at once: few enough to stay in its cache, enough to keep
#: it busy between two meetings with the others.
PART_BYTES = 1 << 20


def prepared(weights: StreamWeights) -> StreamWeights:
    """Weights of an image as its device reads them."""
    if weights.local.weight.is_cuda:
        return weights
    products = ("query_key", "value", "project", "expand", "contract")
    return replace(weights, **{name: cpu_layers.packed(getattr(weights, name)) for name in products})


class StreamStrip:
    """One stream's part of a strip: its rows and, computed for all of them at once, values and local path.

    Args:
        block: rows with their border, (1, C, h + 2 HALO, w + 2 HALO); h and w whole windows.
        weights: of this stream and image, :func:`prepared`.
        window: side of a window in pixels.
        local_value: values that the local path filters instead of the stream's own.
    """

    def __init__(
        self, block: Tensor, weights: StreamWeights, window: int, *, local_value: Tensor | None = None
    ) -> None:
        self.weights = weights
        self.padded_value = _pointwise(block.permute(0, 2, 3, 1), weights.value).permute(0, 3, 1, 2)
        source = self.padded_value if local_value is None else local_value
        local = convolve(source, weights.local, groups=block.shape[1])
        inside = slice(HALO, -HALO)
        self._x = window_grid(block[:, :, inside, inside], window)
        self._value = window_grid(self.padded_value[:, :, inside, inside], window)
        self._local = window_grid(local, window)

    def run(
        self, part: tuple[slice, slice], position_bias: Tensor, query: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Some windows of the strip through the block.

        Args:
            part: rows and columns of windows.
            position_bias: (heads, N, N), N = window**2.
            query: main stream's queries (windows, N, C) for cross attention; else the stream's own.

        Returns:
            new values of the windows and their queries, (windows, N, C) each.
        """
        x, value = (_gather(grid[part]) for grid in (self._x, self._value))
        key = _pointwise(x, self.weights.query_key)
        if query is None:
            query, key = key.split(x.shape[2], dim=2)
        mixed = in_chunks(attend_heads, query, key, value, position_bias, scale=1.0)
        return _finish(x, _plus(mixed, self._local[part]), self.weights), query


def parts(grid: Tensor) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of windows that go through the block at once: on a GPU the whole strip."""
    rows, columns = grid.shape[:2]
    if grid.device.type != "cpu":
        yield slice(rows), slice(columns)
        return
    at_once = max(1, torch.get_num_threads() * PART_BYTES // (grid[0, 0].numel() * grid.itemsize))
    count = -(-columns // at_once)
    edges = [index * columns // count for index in range(count + 1)]
    for row in range(rows):
        for start, stop in itertools.pairwise(edges):
            yield slice(row, row + 1), slice(start, stop)


def window_grid(x: Tensor, window: int) -> Tensor:
    """View (1, C, h, w), channels last, as windows: (h / window, w / window, window, window, C)."""
    split = x[0].permute(1, 2, 0).unflatten(1, (-1, window)).unflatten(0, (-1, window))
    return split.transpose(1, 2)


def put(windows: Tensor, grid: Tensor) -> None:
    """Windows (windows, N, C) to their places, (rows, columns, window, window, C)."""
    windows = windows.view(grid.shape)
    if grid.is_cuda:
        copy_(grid, windows)
    else:
        grid.copy_(windows)


def _gather(windows: Tensor) -> Tensor:
    """(rows, columns, window, window, C), strided -> (windows, N, C), a copy."""
    if windows.is_cuda:
        gathered = torch.empty(windows.shape, dtype=windows.dtype, device=windows.device)
        copy_(gathered, windows)
    else:
        gathered = windows.clone(memory_format=torch.contiguous_format)
    return gathered.flatten(2, 3).flatten(0, 1)


def _plus(windows: Tensor, grid: Tensor) -> Tensor:
    """Windows (windows, N, C) plus those of a grid, (rows, columns, window, window, C), in place."""
    if windows.is_cuda:
        return windows.add_(_gather(grid))
    windows.view(grid.shape).add_(grid)
    return windows


def _pointwise(x: Tensor, affine: Affine) -> Tensor:
    """1x1 convolution, (..., C) -> (..., C')."""
    return (gpu_layers if x.is_cuda else cpu_layers).pointwise(x, affine)


def _finish(x: Tensor, mixed: Tensor, weights: StreamWeights) -> Tensor:
    """Projection and MLP, each beside what it was given: (windows, N, C) each, into x."""
    layers = gpu_layers if x.is_cuda else cpu_layers
    layers.add_pointwise_(x, mixed, weights.project)
    return layers.add_pointwise_(x, layers.pointwise_relu(x, weights.expand), weights.contract)
