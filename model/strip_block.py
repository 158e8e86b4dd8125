"""One transformer block on a strip of whole windows."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from model.attention import MAX_ATTENTION_BATCH
from model.folded import Affine, StreamWeights

#: Rows and columns around a strip that the 5x5 local path reads.
HALO = 2
#: Windows whose scores are held at once on a CPU: they should stay in its second-level cache.
WINDOWS_AT_ONCE = 40


def run_stream(
    block: Tensor,
    weights: StreamWeights,
    position_bias: Tensor,
    *,
    window: int,
    crop: tuple[slice, slice],
    query: Tensor | None = None,
    local_value: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """One stream through one block.

    Args:
        block: the stream's rows with their border, (1, C, h + 2 HALO, w + 2 HALO); h, w whole windows.
        weights: of this stream and image.
        position_bias: (heads, N, N), N = window**2.
        crop: rows and columns of (h, w) that lie inside the map.
        query: main stream's queries (windows, N, C) for cross attention; else the stream's own.
        local_value: values that the local path filters instead of the stream's own.

    Returns:
        the stream's new rows (1, C, h', w') after the crop; its queries; its values, padded like ``block``.
    """
    channels = block.shape[1]
    inner = block[:, :, HALO:-HALO, HALO:-HALO]
    query_key = pointwise(to_windows(inner, window), weights.query_key)
    if query is None:
        query, key = query_key.split(channels, dim=2)
    else:
        key = query_key
    value = torch.conv2d(block, *weights.value)
    attended = attend(query, key, to_windows(value[:, :, HALO:-HALO, HALO:-HALO], window), position_bias)
    mixed = torch.conv2d(value if local_value is None else local_value, *weights.local, groups=channels)
    _add_windows(mixed, attended, window)
    rows, columns = crop
    x = torch.conv2d(mixed[:, :, rows, columns], *weights.project).add_(inner[:, :, rows, columns])
    x.add_(torch.conv2d(torch.conv2d(x, *weights.expand).relu_(), *weights.contract))
    return x, query, value


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Softmax(Q K^T + bias) V per window and head; (windows, N, C) each -> (heads, windows, N, C / heads)."""
    if query.is_cuda:
        return _attend_cuda(query, key, value, bias)
    heads, size = bias.shape[0], query.shape[2] // bias.shape[0]
    out = query.new_empty((heads, *query.shape[:2], size))
    for start in range(0, query.shape[0], WINDOWS_AT_ONCE):
        part = slice(start, start + WINDOWS_AT_ONCE)
        for head in range(heads):
            channels = slice(head * size, (head + 1) * size)
            scores = torch.baddbmm(
                bias[head], query[part, :, channels], key[part, :, channels].transpose(1, 2)
            )
            torch.bmm(scores.softmax(-1), value[part, :, channels], out=out[head, part])
    return out


def to_windows(x: Tensor, window: int) -> Tensor:
    """(1, C, h, w) -> (windows, N, C), windows row by row."""
    _, channels, height, width = x.shape
    split = x.permute(0, 2, 3, 1).unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return split.transpose(2, 3).reshape(-1, window * window, channels)


def pointwise(windows: Tensor, affine: Affine) -> Tensor:
    """1x1 convolution of (windows, N, C) -> (windows, N, C')."""
    # As a convolution of small images: for these shapes up to twice as fast as the matrix product.
    side = math.isqrt(windows.shape[1])
    images = windows.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return torch.conv2d(images, *affine).permute(0, 2, 3, 1).flatten(1, 2)


def _add_windows(x: Tensor, attended: Tensor, window: int) -> None:
    """Add (heads, windows, N, D) to (1, heads * D, h, w) in place."""
    heads, _, _, size = attended.shape
    _, _, height, width = x.shape
    grid = attended.view(heads, height // window, width // window, window, window, size)
    image = x.permute(0, 2, 3, 1).view(height // window, window, width // window, window, heads, size)
    image.add_(grid.permute(1, 3, 2, 4, 0, 5))


def _attend_cuda(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    heads = bias.shape[0]
    size = query.shape[2] // heads
    # Fused kernels want a head size that is a multiple of 8; zeros change no score and no output.
    split = [
        F.pad(t.unflatten(2, (heads, size)), (0, -size % 8)).transpose(1, 2) for t in (query, key, value)
    ]
    limit = MAX_ATTENTION_BATCH // heads
    parts = [
        F.scaled_dot_product_attention(*(t[start : start + limit] for t in split), attn_mask=bias, scale=1.0)
        for start in range(0, query.shape[0], limit)
    ]
    return torch.cat(parts).transpose(0, 1)[..., :size].contiguous()
