"""Triton kernels of the network on whole maps: a convolution and a transformer block, one launch each.

PyTorch's operators pass over a map once for each thing that is done to it, and some of cuDNN's kernels for
few channels do not use the tensor cores. Here reflection at borders is a matter of indices, and bias, ReLU,
residual and statistics are done while a result is still in registers.

A map is (H, W, C) with its channels side by side; there may be gaps between pixels. Products take half
precision and add in float32.
"""

from __future__ import annotations

from subprocess import CalledProcessError

import triton
import triton.language as tl
from triton.errors import TritonError

#: Raised for what cannot be compiled, on a host without a C compiler or a place to keep what it makes too, or
#: asks a GPU for more than it has.
FAILURES = (TritonError, RuntimeError, CalledProcessError, OSError, ImportError)
#: Side of an attention window that the block is written for.
WINDOW = 8
#: Channels of a piece of 16 bytes in half precision: what maps and weights have, fills whole ones.
PIECE = 8
_PIECE = tl.constexpr(PIECE)
#: Side of the local path's filters.
_LOCAL_SIDE = tl.constexpr(5)
_SIDE = tl.constexpr(WINDOW)
_PIXELS = tl.constexpr(WINDOW * WINDOW)


@triton.jit
def _mirrored(index, size):
    return size - 1 - tl.abs(size - 1 - tl.abs(index))


@triton.jit
def _measure(part, values, used, count):
    """Count, mean, and squared distances from it, of the values that are used."""
    mean = tl.sum(tl.where(used, values, 0.0)) / tl.maximum(count, 1)
    distance = tl.where(used, values - mean, 0.0)
    tl.store(part, count.to(tl.float32))
    tl.store(part + 1, mean)
    tl.store(part + 2, tl.sum(distance * distance))


@triton.jit
def convolve(
    x, x_pixel, x_pieces, height, width, whole_height, whole_width, weight, bias,
    extra, extra_pieces, extra_weight,
    out, out_pixel, out_channels, out_width, pixels, partials, slope,
    SIDE: tl.constexpr, BIASED: tl.constexpr, EXTRA: tl.constexpr, ACTIVE: tl.constexpr, PLANAR: tl.constexpr,
    MAPS: tl.constexpr, HEADS: tl.constexpr, HEAD: tl.constexpr, HEAD_USED: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Convolution of a map reflected at its borders, plus a 1x1 convolution of another, ReLU, statistics.

    A map that is smaller than the whole that is convolved is reflected to it first. Weights lie (out, row,
    column, in). Channels that are read, and what lies from pixel to pixel, are counted in pieces of 8. The
    result is a map, or its channels are planes. ``MAPS`` maps side by side in it are measured, each by
    itself; of each of their ``HEADS`` heads of ``HEAD`` channels the first ``HEAD_USED`` count.
    """
    place = tl.program_id(0) * M + tl.arange(0, M)
    pixel = tl.minimum(place, pixels - 1)
    row, column = pixel // out_width, pixel % out_width
    n, ks = tl.arange(0, N), tl.arange(0, K)
    channels = x_pieces * _PIECE
    total = tl.zeros((M, N), tl.float32)
    steps = tl.cdiv(channels, K)
    for step in range(SIDE * SIDE * steps):
        tap = step // steps
        k = (step % steps) * K + ks
        above = _mirrored(_mirrored(row + tap // SIDE - SIDE // 2, whole_height), height)
        left = _mirrored(_mirrored(column + tap % SIDE - SIDE // 2, whole_width), width)
        start = (above * width + left).to(tl.int64) * (x_pixel * _PIECE)
        given = tl.load(x + start[:, None] + k[None, :], mask=(k < channels)[None, :], other=0.0)
        by = weight + (n * (SIDE * SIDE) + tap)[None, :] * channels + k[:, None]
        there = (k < channels)[:, None] & (n < out_channels)[None, :]
        total = tl.dot(given, tl.load(by, mask=there, other=0.0), total)
    if EXTRA:
        # Of the same size as the result, which may be smaller than the map that is convolved.
        channels = extra_pieces * _PIECE
        start = pixel.to(tl.int64) * channels
        for step in range(tl.cdiv(channels, K)):
            k = step * K + ks
            given = tl.load(extra + start[:, None] + k[None, :], mask=(k < channels)[None, :], other=0.0)
            by = extra_weight + n[None, :] * channels + k[:, None]
            there = (k < channels)[:, None] & (n < out_channels)[None, :]
            total = tl.dot(given, tl.load(by, mask=there, other=0.0), total)
    if BIASED:
        total += tl.load(bias + n, mask=n < out_channels, other=0.0).to(tl.float32)[None, :]
    if ACTIVE:
        total = tl.where(total > 0, total, total * slope)
    result = total.to(out.dtype.element_ty)
    own = tl.minimum(M, pixels - tl.program_id(0) * M)
    for number in tl.static_range(MAPS):
        chosen = (n // (HEADS * HEAD) == number) & (n % HEAD < HEAD_USED)
        used = (place < pixels)[:, None] & chosen[None, :]
        part = partials + 3 * (tl.program_id(0) * MAPS + number)
        _measure(part, result.to(tl.float32), used, own * (HEADS * HEAD_USED))
    there = (place < pixels)[:, None] & (n < out_channels)[None, :]
    if PLANAR:
        target = out + n.to(tl.int64)[None, :] * pixels + pixel[:, None]
    else:
        target = out + pixel.to(tl.int64)[:, None] * (out_pixel * _PIECE) + n[None, :]
    tl.store(target, result, mask=there)


@triton.jit
def _pointwise(x, weight, bias, rows, first, CHANNELS: tl.constexpr, C: tl.constexpr, N: tl.constexpr):
    """Outputs of a 1x1 convolution, x (M, C) -> (M, N): ``rows`` of them from ``first`` on, and zeros."""
    c, n = tl.arange(0, C), tl.arange(0, N)
    there = (c < CHANNELS)[:, None] & (n < rows)[None, :]
    by = tl.load(weight + (first + n)[None, :] * CHANNELS + c[:, None], mask=there, other=0.0)
    return tl.dot(x, by) + tl.load(bias + first + n, mask=n < rows, other=0.0).to(tl.float32)[None, :]


@triton.jit
def filter_local(
    value, weight, out, height, width, pixels,
    CHANNELS: tl.constexpr, C: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """The local path: each channel of a map, reflected at its borders, by a 5x5 filter.

    Weights lie (tap, channel).
    """
    place, c = tl.program_id(0) * M + tl.arange(0, M), tl.arange(0, C)
    pixel = tl.minimum(place, pixels - 1)
    row, column = pixel // width, pixel % width
    there = c < CHANNELS
    total = tl.zeros((M, C), tl.float32)
    for down in range(_LOCAL_SIDE):
        above = _mirrored(row + down - _LOCAL_SIDE // 2, height) * width
        for right in tl.static_range(_LOCAL_SIDE):
            beside = above + _mirrored(column + right - _LOCAL_SIDE // 2, width)
            place_of = value + beside.to(tl.int64)[:, None] * CHANNELS + c[None, :]
            near = tl.load(place_of, mask=there[None, :], other=0.0).to(tl.float32)
            tap = tl.load(weight + (down * _LOCAL_SIDE + right) * CHANNELS + c, mask=there, other=0.0)
            total += near * tap.to(tl.float32)[None, :]
    target = out + pixel.to(tl.int64)[:, None] * CHANNELS + c[None, :]
    tl.store(target, total.to(out.dtype.element_ty), mask=(place < pixels)[:, None] & there[None, :])


@triton.jit
def _attended(query, key, value, position_bias, HEAD: tl.constexpr):
    """Attention of one head inside a window, (64, N) each."""
    place = tl.arange(0, _PIXELS)
    by_place = (place + HEAD * _PIXELS)[:, None] * _PIXELS + place[None, :]
    scores = tl.dot(query, tl.trans(key)) + tl.load(position_bias + by_place).to(tl.float32)
    shares = tl.exp(scores - tl.max(scores, 1)[:, None])
    return tl.dot(shares.to(value.dtype), value) / tl.sum(shares, 1)[:, None]


@triton.jit
def _projected(
    total, mixed, project,
    HEAD: tl.constexpr, CHANNELS: tl.constexpr, SIZE: tl.constexpr, C: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """``total`` plus one head's part of the projection."""
    c, n = tl.arange(0, C), tl.arange(0, N)
    there = (n < SIZE)[:, None] & (c < CHANNELS)[None, :]
    by = tl.load(project + c[None, :] * CHANNELS + (HEAD * SIZE + n)[:, None], mask=there, other=0.0)
    return tl.dot(mixed, by, total)


@triton.jit
def _expanded(
    total, expand, expand_bias, contract, HIDDEN: tl.constexpr, dtype: tl.constexpr,
    CHANNELS: tl.constexpr, C: tl.constexpr, N: tl.constexpr,
):  # fmt: skip
    """``total`` plus the MLP of it, N hidden channels at a time."""
    c, ns = tl.arange(0, C), tl.arange(0, N)
    given = total.to(dtype)
    for first in range(0, HIDDEN, N):
        hidden = _pointwise(given, expand, expand_bias, HIDDEN - first, first, CHANNELS, C, N)
        n = first + ns
        there = (n < HIDDEN)[:, None] & (c < CHANNELS)[None, :]
        by = tl.load(contract + c[None, :] * HIDDEN + n[:, None], mask=there, other=0.0)
        total = tl.dot(tl.maximum(hidden, 0.0).to(dtype), by, total)
    return total


@triton.jit
def block(
    x, x_pieces, value, local, asking, query_weight, query_bias, key_weight, key_bias,
    project, expand, expand_bias, contract, position_bias, before, gate,
    out, partials, height, width, columns, origin,
    CROSS: tl.constexpr, CHANNELS: tl.constexpr, HEADS: tl.constexpr, HEAD_USED: tl.constexpr,
    HIDDEN: tl.constexpr, C: tl.constexpr, N: tl.constexpr, H: tl.constexpr,
):  # fmt: skip
    """A transformer block of one stream on one window.

    Args:
        x, asking: the stream's map, and the one that queries are projected from, another stream's where
            CROSS; (height, width, CHANNELS), ``x_pieces`` pieces of 8 from pixel to pixel.
        value, local: the stream's values and its local path, (height, width, CHANNELS).
        before, gate: where CROSS the result is ``before`` plus the gate times the block's.
        columns: windows beside each other.
        origin: row and column of the first window.
    """
    SIZE: tl.constexpr = CHANNELS // HEADS
    dtype: tl.constexpr = x.dtype.element_ty
    place, c, n = tl.arange(0, _PIXELS), tl.arange(0, C), tl.arange(0, N)
    row = origin + tl.program_id(0) // columns * _SIDE + place // _SIDE
    column = origin + tl.program_id(0) % columns * _SIDE + place % _SIDE
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    pixel = (_mirrored(row, height) * width + _mirrored(column, width)).to(tl.int64)[:, None]
    there = (c < CHANNELS)[None, :]
    given = pixel * (x_pieces * _PIECE) + c[None, :]
    mine = tl.load(x + given, mask=there, other=0.0)
    theirs = tl.load(asking + given, mask=there, other=0.0) if CROSS else mine
    total = mine.to(tl.float32)
    for head in tl.static_range(HEADS):
        query = _pointwise(theirs, query_weight, query_bias, SIZE, head * SIZE, CHANNELS, C, N).to(dtype)
        key = _pointwise(mine, key_weight, key_bias, SIZE, head * SIZE, CHANNELS, C, N).to(dtype)
        of_head = pixel * CHANNELS + (head * SIZE + n)[None, :]
        values = tl.load(value + of_head, mask=(n < SIZE)[None, :], other=0.0)
        mixed = _attended(query, key, values, position_bias, head)
        mixed += tl.load(local + of_head, mask=(n < SIZE)[None, :], other=0.0).to(tl.float32)
        total = _projected(total, mixed.to(dtype), project, head, CHANNELS, SIZE, C, N)
    total = _expanded(total, expand, expand_bias, contract, HIDDEN, dtype, CHANNELS, C, H)
    at = pixel * CHANNELS + c[None, :]
    if CROSS:
        total = tl.load(before + at, mask=there, other=0.0).to(tl.float32) + gate * total
    result = total.to(dtype)
    used = inside[:, None] & ((c < CHANNELS) & (c % SIZE < HEAD_USED))[None, :]
    count = tl.sum(inside.to(tl.int32)) * (HEADS * HEAD_USED)
    _measure(partials + 3 * tl.program_id(0), result.to(tl.float32), used, count)
    tl.store(out + at, result, mask=inside[:, None] & there)
