"""Triton kernels of the network on whole maps: a convolution and a transformer block, one launch each.

PyTorch's operators pass over a map once for each thing that is done to it, and some of cuDNN's kernels for few
channels do not use the tensor cores. Here reflection at borders is a matter of indices, and bias, ReLU,
residual and statistics are done while a result is still in registers.

A map is (H, W, C) with its channels side by side; there may be gaps between pixels. Products take half
precision and add in float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

#: Side of an attention window that the block is written for.
WINDOW = 8
#: Taps of the local path, 5x5.
_LOCAL_SIDE = tl.constexpr(5)
_SIDE = tl.constexpr(WINDOW)
_PIXELS = tl.constexpr(WINDOW * WINDOW)


@triton.jit
def _mirrored(index, size):
    return size - 1 - tl.abs(size - 1 - tl.abs(index))


@triton.jit
def _measure(partials, values, used, pixels, channels):
    """Count, mean and squared distances from it of the values that are used, as row program_id."""
    count = pixels * channels
    mean = tl.sum(tl.where(used, values, 0.0)) / tl.maximum(count, 1)
    distance = tl.where(used, values - mean, 0.0)
    place = partials + 3 * tl.program_id(0)
    tl.store(place, count.to(tl.float32))
    tl.store(place + 1, mean)
    tl.store(place + 2, tl.sum(distance * distance))


@triton.jit
def convolve(
    x, x_pixel, x_channels, height, width, whole_height, whole_width, weight, bias,
    extra, extra_pixel, extra_channels, extra_weight,
    out, out_pixel, out_channel, out_channels, out_width, pixels, partials, slope,
    SIDE: tl.constexpr, BIASED: tl.constexpr, EXTRA: tl.constexpr, ACTIVE: tl.constexpr,
    MEASURED: tl.constexpr, HEAD: tl.constexpr, HEAD_USED: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    """Convolution of a map reflected at its borders, plus a 1x1 convolution of another, ReLU, statistics.

    A map that is smaller than the whole that is convolved is reflected to it first.

    Weights lie (out, row, column, in). ``*_pixel`` are elements from pixel to pixel, ``out_channel`` from
    channel to channel.
    """
    place = tl.program_id(0) * M + tl.arange(0, M)
    pixel = tl.minimum(place, pixels - 1)
    row, column = pixel // out_width, pixel % out_width
    n, ks = tl.arange(0, N), tl.arange(0, K)
    total = tl.zeros((M, N), tl.float32)
    steps = tl.cdiv(x_channels, K)
    for step in range(SIDE * SIDE * steps):
        tap = step // steps
        k = (step % steps) * K + ks
        above = _mirrored(_mirrored(row + tap // SIDE - SIDE // 2, whole_height), height)
        left = _mirrored(_mirrored(column + tap % SIDE - SIDE // 2, whole_width), width)
        start = (above * width + left).to(tl.int64) * x_pixel
        given = tl.load(x + start[:, None] + k[None, :], mask=(k < x_channels)[None, :], other=0.0)
        there = (k < x_channels)[:, None] & (n < out_channels)[None, :]
        by = tl.load(weight + (n[None, :] * (SIDE * SIDE) + tap) * x_channels + k[:, None], mask=there, other=0.0)
        total = tl.dot(given, by, total)
    if EXTRA:
        # Of the same size as the result, which may be smaller than the map that is convolved.
        start = pixel.to(tl.int64) * extra_pixel
        for step in range(tl.cdiv(extra_channels, K)):
            k = step * K + ks
            given = tl.load(extra + start[:, None] + k[None, :], mask=(k < extra_channels)[None, :], other=0.0)
            there = (k < extra_channels)[:, None] & (n < out_channels)[None, :]
            by = tl.load(extra_weight + n[None, :] * extra_channels + k[:, None], mask=there, other=0.0)
            total = tl.dot(given, by, total)
    if BIASED:
        total += tl.load(bias + n, mask=n < out_channels, other=0.0).to(tl.float32)[None, :]
    if ACTIVE:
        total = tl.where(total > 0, total, total * slope)
    result = total.to(out.dtype.element_ty)
    if MEASURED:
        used = (place < pixels)[:, None] & ((n < out_channels) & (n % HEAD < HEAD_USED))[None, :]
        own = tl.minimum(M, pixels - tl.program_id(0) * M)
        _measure(partials, result.to(tl.float32), used, own, out_channels // HEAD * HEAD_USED)
    target = pixel.to(tl.int64)[:, None] * out_pixel + n[None, :] * out_channel
    tl.store(out + target, result, mask=(place < pixels)[:, None] & (n < out_channels)[None, :])


@triton.jit
def _pointwise(x, weight, bias, rows, first, CHANNELS: tl.constexpr, C: tl.constexpr, N: tl.constexpr):
    """Some of the outputs of a 1x1 convolution: x (M, C) -> (M, N), those from ``first``, 0 from ``rows``."""
    c, n = tl.arange(0, C), tl.arange(0, N)
    there = (c < CHANNELS)[:, None] & (n < rows)[None, :]
    by = tl.load(weight + (first + n)[None, :] * CHANNELS + c[:, None], mask=there, other=0.0)
    return tl.dot(x, by) + tl.load(bias + first + n, mask=n < rows, other=0.0).to(tl.float32)[None, :]


@triton.jit
def _mixed(
    query, key, value_map, local_map, local, position_bias, row, column, height, width,
    HEAD: tl.constexpr, CHANNELS: tl.constexpr, SIZE: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
):  # fmt: skip
    """Attention inside the windows and the local path of one head: (M, N)."""
    place, n = tl.arange(0, M), tl.arange(0, N)
    there = (n < SIZE)[None, :]
    pixel = (_mirrored(row, height) * width + _mirrored(column, width)).to(tl.int64) * CHANNELS
    value = tl.load(value_map + pixel[:, None] + (HEAD * SIZE + n)[None, :], mask=there, other=0.0)
    inside = place % _PIXELS
    by_place = inside[:, None] * _PIXELS + inside[None, :]
    scores = tl.dot(query, tl.trans(key))
    scores += tl.load(position_bias + HEAD * _PIXELS * _PIXELS + by_place).to(tl.float32)
    if M > _PIXELS:
        scores = tl.where((place // _PIXELS)[:, None] == (place // _PIXELS)[None, :], scores, -1e30)
    shares = tl.exp(scores - tl.max(scores, 1)[:, None])
    total = tl.dot(shares.to(value.dtype), value) / tl.sum(shares, 1)[:, None]
    for down in range(_LOCAL_SIDE):
        above = _mirrored(row + down - _LOCAL_SIDE // 2, height) * width
        for right in tl.static_range(_LOCAL_SIDE):
            beside = above + _mirrored(column + right - _LOCAL_SIDE // 2, width)
            start = beside.to(tl.int64) * CHANNELS
            near = tl.load(local_map + start[:, None] + (HEAD * SIZE + n)[None, :], mask=there, other=0.0)
            tap = local + (down * _LOCAL_SIDE + right) * CHANNELS + HEAD * SIZE + n
            total += near.to(tl.float32) * tl.load(tap, mask=n < SIZE, other=0.0).to(tl.float32)[None, :]
    return total.to(value.dtype)


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
    x, value, query_weight, query_bias, key_weight, key_bias,
    local, project, expand, expand_bias, contract,
    other, other_value, other_local_value, other_key_weight, other_key_bias,
    other_local, other_project, other_expand, other_expand_bias, other_contract, gate,
    position_bias, out, partials, height, width, columns, origin,
    CROSS: tl.constexpr, CHANNELS: tl.constexpr, HEADS: tl.constexpr, HEAD_USED: tl.constexpr,
    HIDDEN: tl.constexpr, WINDOWS: tl.constexpr, C: tl.constexpr, N: tl.constexpr, H: tl.constexpr,
):  # fmt: skip
    """A transformer block on ``WINDOWS`` windows side by side, of one stream, or of both and the gate.

    Args:
        x, value: main stream's map and its values (height, width, CHANNELS).
        other, ...: the other stream's, of whose queries none are needed.
        columns: programs beside each other.
        origin: row and column of the first window.
    """
    SIZE: tl.constexpr = CHANNELS // HEADS
    M: tl.constexpr = WINDOWS * _PIXELS
    place, c = tl.arange(0, M), tl.arange(0, C)
    down, right = tl.program_id(0) // columns, tl.program_id(0) % columns
    row = origin + down * _SIDE + place % _PIXELS // _SIDE
    column = origin + (right * WINDOWS + place // _PIXELS) * _SIDE + place % _SIDE
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    # Of windows beyond the right border nothing is kept, but what they read must exist.
    column = tl.minimum(column, width + _SIDE - 1)
    pixel = (_mirrored(row, height) * width + _mirrored(column, width)).to(tl.int64) * CHANNELS
    there = (c < CHANNELS)[None, :]
    mine = tl.load(x + pixel[:, None] + c[None, :], mask=there, other=0.0)
    dtype: tl.constexpr = x.dtype.element_ty
    total = mine.to(tl.float32)
    if CROSS:
        theirs = tl.load(other + pixel[:, None] + c[None, :], mask=there, other=0.0)
        helper = theirs.to(tl.float32)
    for head in tl.static_range(HEADS):
        query = _pointwise(mine, query_weight, query_bias, SIZE, head * SIZE, CHANNELS, C, N).to(dtype)
        key = _pointwise(mine, key_weight, key_bias, SIZE, head * SIZE, CHANNELS, C, N).to(dtype)
        mixed = _mixed(
            query, key, value, value, local, position_bias, row, column, height, width,
            head, CHANNELS, SIZE, N, M,
        )  # fmt: skip
        total = _projected(total, mixed, project, head, CHANNELS, SIZE, C, N)
        if CROSS:
            key = _pointwise(theirs, other_key_weight, other_key_bias, SIZE, head * SIZE, CHANNELS, C, N)
            mixed = _mixed(
                query, key.to(dtype), other_value, other_local_value, other_local, position_bias,
                row, column, height, width, head, CHANNELS, SIZE, N, M,
            )  # fmt: skip
            helper = _projected(helper, mixed, other_project, head, CHANNELS, SIZE, C, N)
    total = _expanded(total, expand, expand_bias, contract, HIDDEN, dtype, CHANNELS, C, H)
    if CROSS:
        helper = _expanded(
            helper, other_expand, other_expand_bias, other_contract, HIDDEN, dtype, CHANNELS, C, H
        )
        total += gate * helper
    result = total.to(dtype)
    used = inside[:, None] & ((c < CHANNELS) & (c % SIZE < HEAD_USED))[None, :]
    _measure(partials, result.to(tl.float32), used, tl.sum(inside.to(tl.int32)), HEADS * HEAD_USED)
    tl.store(out + pixel[:, None] + c[None, :], result, mask=inside[:, None] & there)
