"""One transformer block on a strip of whole windows."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from model.blocks.attention import attend_heads, in_chunks
from model.engine.folded import Affine, StreamWeights
from model.engine.gpu_layers import add_pointwise_, copy_, pointwise, pointwise_relu
from model.engine.row_stream import convolve

#: Rows and columns around a strip that the 5x5 local path reads.
HALO = 2
#: Windows that a core takes through the block at once: what they need stays in its second-level cache.
WINDOWS_PER_CORE = 32


class StreamStrip:
    """One stream's part of a strip: its rows and, computed for all of them at once, values and local path.

    Args:
        block: rows with their border, (1, C, h + 2 HALO, w + 2 HALO); h and w whole windows.
        weights: of this stream and image.
        window: side of a window in pixels.
        local_value: values that the local path filters instead of the stream's own.
    """

    def __init__(
        self, block: Tensor, weights: StreamWeights, window: int, *, local_value: Tensor | None = None
    ) -> None:
        self.weights = weights
        self.padded_value = convolve(block, weights.value)
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
        x, value, mixed = (_gather(grid[part]) for grid in (self._x, self._value, self._local))
        key = _pointwise(x, self.weights.query_key)
        if query is None:
            query, key = key.split(x.shape[2], dim=2)
        mixed.add_(attend(query, key, value, position_bias))
        return _finish(x, mixed, self.weights), query


def parts(grid: Tensor) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of windows that go through the block at once: on a GPU the whole strip."""
    rows, columns = grid.shape[:2]
    if grid.device.type != "cpu":
        yield slice(rows), slice(columns)
        return
    at_once = WINDOWS_PER_CORE * torch.get_num_threads()
    for row in range(rows):
        for start in range(0, columns, at_once):
            yield slice(row, row + 1), slice(start, start + at_once)


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


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Softmax(Q K^T + bias) V per window and head; (windows, N, C) each -> (windows, N, C)."""
    if query.is_cuda:
        return in_chunks(attend_heads, query, key, value, bias, scale=1.0)
    size = query.shape[2] // bias.shape[0]
    out = torch.empty_like(value)
    for head, position_bias in enumerate(bias):
        channels = slice(head * size, (head + 1) * size)
        q, k, v = (tensor[:, :, channels] for tensor in (query, key, value))
        if q.dtype != torch.float32:
            q, k = q.contiguous(), k.contiguous()  # oneDNN's matrix product is slow on rows with gaps
        scores = torch.baddbmm(position_bias, q, k.transpose(1, 2))
        torch.bmm(scores.softmax(-1), v, out=out[:, :, channels])
    return out


def relu_(x: Tensor, slope: float = 0.0) -> Tensor:
    """ReLU in place; leaky with a slope."""
    if slope:
        return F.leaky_relu_(x, slope)
    if x.dtype == torch.bfloat16 and x.device.type == "cpu":
        # The sign is the same bit in an integer, and for those the comparison is five times as fast.
        x.view(torch.int16).clamp_(min=0)
        return x
    return x.relu_()


def _gather(windows: Tensor) -> Tensor:
    """(rows, columns, window, window, C), strided -> (windows, N, C), a copy."""
    if windows.is_cuda:
        gathered = torch.empty(windows.shape, dtype=windows.dtype, device=windows.device)
        copy_(gathered, windows)
    else:
        gathered = windows.clone(memory_format=torch.contiguous_format)
    return gathered.flatten(2, 3).flatten(0, 1)


def _finish(x: Tensor, mixed: Tensor, weights: StreamWeights) -> Tensor:
    """Projection and MLP, each beside what it was given: (windows, N, C) each, into x."""
    if x.is_cuda:
        add_pointwise_(x, mixed, weights.project)
        return add_pointwise_(x, pointwise_relu(x, weights.expand), weights.contract)
    x.add_(_pointwise(mixed, weights.project))
    return x.add_(_pointwise(relu_(_pointwise(x, weights.expand)), weights.contract))


def _pointwise(windows: Tensor, affine: Affine) -> Tensor:
    """1x1 convolution of (windows, N, C) -> (windows, N, C')."""
    if windows.is_cuda:
        return pointwise(windows, affine)
    # As a convolution of small images: for these shapes up to twice as fast as the matrix product.
    side = math.isqrt(windows.shape[1])
    images = windows.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return convolve(images, affine).permute(0, 2, 3, 1).flatten(1, 2)
