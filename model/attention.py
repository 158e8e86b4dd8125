"""Window attention of the cross-task transformer: windows, relative position bias, scaled dot product."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Fused attention kernels count (window, head) pairs in a 16-bit grid dimension; more windows go in chunks.
MAX_ATTENTION_BATCH = 65_535
#: Hidden width of the position-bias MLP, as published.
POSITION_HIDDEN = 256


class PositionBias(nn.Module):
    """Relative position bias of one block, shared by its two streams.

    A 2 -> 256 -> heads MLP of sign(d) * log(1 + |d|), where d is the (row, column) offset from key to
    query inside a window. Output: (heads, N, N) with N = window**2, indexed [head, query, key].
    """

    offsets: Tensor

    def __init__(self, window: int, heads: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2, POSITION_HIDDEN), nn.ReLU(), nn.Linear(POSITION_HIDDEN, heads))
        # Follows from the window size, so it is not part of the weights.
        self.register_buffer("offsets", log_offsets(window), persistent=False)

    def forward(self) -> Tensor:
        return self.mlp(self.offsets).permute(2, 0, 1)


def log_offsets(window: int) -> Tensor:
    """(N, N, 2) float32: sign(d) * log(1 + |d|) of the offsets between all positions of a window."""
    axis = torch.arange(window)
    positions = torch.cartesian_prod(axis, axis)
    offsets = (positions[:, None] - positions[None, :]).float()
    return offsets.sign() * offsets.abs().log1p()


def window_attention(qkv: Tensor, bias: Tensor, *, heads: int, window: int, shifted: bool) -> Tensor:
    """Attention inside windows, without a mask.

    Args:
        qkv: queries, keys and values, (B, 3C, H, W); channels are [Q | K | V], each split into heads.
        bias: (heads, N, N), N = window**2, added to the scaled scores.
        heads: divides C.
        window: side of a window in pixels; H and W must exceed window / 2.
        shifted: whether the windows are displaced by half a window to the left and upwards.

    Returns:
        (B, C, H, W). Windows that reach over the image are filled by reflection and cropped again.
    """
    height, width = qkv.shape[-2:]
    before = window // 2 if shifted else 0
    right, bottom = -(width + before) % window, -(height + before) % window
    if before or right or bottom:
        qkv = F.pad(qkv, (before, right, before, bottom), mode="reflect")
    attended = _attend(_to_windows(qkv, heads, window), bias)
    merged = _from_windows(attended, qkv.shape[-2:], window)
    return merged[..., before : before + height, before : before + width]


def _to_windows(qkv: Tensor, heads: int, window: int) -> Tensor:
    """(B, 3C, H, W) -> (3, B * windows, heads, N, C / heads), a view of pixels that lie window by window."""
    batch, channels, height, width = qkv.shape
    rows, columns = height // window, width // window
    split = qkv.permute(0, 2, 3, 1).reshape(batch, rows, window, columns, window, channels)
    pixels = split.transpose(2, 3).reshape(batch * rows * columns, window * window, 3, heads, -1)
    return pixels.permute(2, 0, 3, 1, 4)


def _from_windows(attended: Tensor, size_hw: torch.Size, window: int) -> Tensor:
    """(B * windows, heads, N, D) -> (B, heads * D, H, W), channels last in memory."""
    rows, columns = size_hw[0] // window, size_hw[1] // window
    pixels = attended.transpose(1, 2).reshape(-1, rows, columns, window, window, attended[0, :, 0].numel())
    return pixels.transpose(2, 3).reshape(-1, *size_hw, pixels.shape[-1]).permute(0, 3, 1, 2)


def _attend(qkv: Tensor, bias: Tensor) -> Tensor:
    """(3, W, heads, N, D) and (heads, N, N) -> (W, heads, N, D)."""
    head_size = qkv.shape[-1]
    scale = head_size**-0.5
    if qkv.is_cuda and head_size % 8:
        # Fused CUDA kernels want a head size that is a multiple of 8; zeros change no score and no output.
        qkv = F.pad(qkv, (0, -head_size % 8))
    mask = bias.to(qkv.dtype)[None]
    limit = MAX_ATTENTION_BATCH // bias.shape[0]
    parts = [
        F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        for query, key, value in qkv.split(limit, dim=1)
    ]
    attended = parts[0] if len(parts) == 1 else torch.cat(parts)
    return attended[..., :head_size]
