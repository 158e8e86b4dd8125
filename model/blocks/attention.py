"""Window attention of the cross-task transformer: windows, relative position bias, scaled dot product."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from pipeline.networks.padding import reflection_pad

#: Fused attention kernels count (window, head) pairs in a 16-bit grid dimension; more windows go in chunks.
MAX_ATTENTION_BATCH = 65_535
#: The kernel for windows on a CPU and on a GPU, and the reserve where neither can be. cuDNN's, which PyTorch
#: prefers, takes 128 keys at a time, of which windows of 64 fill a half.
FUSED_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
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


def window_attention(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, heads: int, window: int, shifted: bool
) -> Tensor:
    """Attention inside windows, without a mask.

    Args:
        query, key, value: (B, C, H, W) each; channels are split into heads.
        bias: (heads, N, N), N = window**2, added to the scaled scores.
        heads: divides C.
        window: side of a window in pixels; H and W must exceed window / 2.
        shifted: whether the windows are displaced by half a window to the left and upwards.

    Returns:
        (B, C, H, W). Windows that reach over the image are filled by reflection and cropped again.
    """
    height, width = query.shape[-2:]
    before = window // 2 if shifted else 0
    right, bottom = -(width + before) % window, -(height + before) % window
    tensors = [query, key, value]
    if before or right or bottom:
        tensors = [reflection_pad(t, (before, right, before, bottom)) for t in tensors]
    size_hw = tensors[0].shape[-2:]
    q, k, v = (to_windows(t, window) for t in tensors)
    scale = (query.shape[1] // heads) ** -0.5
    attend = attend_cuda if query.is_cuda else _attend
    attended = from_windows(in_chunks(attend, q, k, v, bias, scale=scale), size_hw, window)
    if size_hw != (height, width):
        attended = attended[:, before : before + height, before : before + width]
    return attended.permute(0, 3, 1, 2)


def in_chunks(
    attend: Callable[..., Tensor], query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, scale: float
) -> Tensor:
    """``attend`` for any number of windows; (windows, N, C) each -> (windows, N, C)."""
    limit = MAX_ATTENTION_BATCH // bias.shape[0]
    windows = (tensor.split(limit) for tensor in (query, key, value))
    parts = [attend(*part, bias, scale=scale) for part in zip(*windows, strict=True)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def to_windows(x: Tensor, window: int) -> Tensor:
    """(B, C, H, W) -> (B * windows, N, C)."""
    split = x.permute(0, 2, 3, 1).unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return split.transpose(2, 3).reshape(-1, window * window, x.shape[1])


def from_windows(windows: Tensor, size_hw: torch.Size, window: int) -> Tensor:
    """(B * windows, N, C) -> (B, H, W, C)."""
    rows, columns = size_hw[0] // window, size_hw[1] // window
    pixels = windows.reshape(-1, rows, columns, window, window, windows.shape[2])
    return pixels.transpose(2, 3).reshape(-1, *size_hw, windows.shape[2])


def _attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, scale: float) -> Tensor:
    """Softmax(scale Q K^T + bias) V per head; (windows, N, C) each -> (windows, N, C)."""
    size = query.shape[2] // bias.shape[0]
    # Heads as they lie: the products take rows with gaps, the fused kernel would have them copied first.
    heads = zip(bias, *(t.split(size, dim=2) for t in (query, key, value)), strict=True)
    attended = [
        torch.bmm(torch.baddbmm(b, q, k.transpose(1, 2), alpha=scale).softmax(-1), v) for b, q, k, v in heads
    ]
    return torch.cat(attended, dim=2)


def attend_heads(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, scale: float) -> Tensor:
    """:func:`attend_cuda` on any device, on a GPU of heads that fill pieces of 16 bytes; nothing is copied.

    Args:
        query, key, value: (windows, N, C) each.
        bias: (heads, N, N), contiguous, of the same type.
    """
    heads = bias.shape[0]
    q, k, v = (t.unflatten(2, (heads, -1)).transpose(1, 2) for t in (query, key, value))
    with sdpa_kernel(FUSED_KERNELS):
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None], scale=scale)
    return attended.transpose(1, 2).flatten(2)


def attend_cuda(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, scale: float) -> Tensor:
    """Softmax(scale Q K^T + bias) V per head, fused; (windows, N, C) each -> (windows, N, C)."""
    heads = bias.shape[0]
    size = query.shape[2] // heads
    # Fused CUDA kernels want a head size that is a multiple of 8; zeros change no score and no output.
    q, k, v = (
        F.pad(t.unflatten(2, (heads, size)), (0, -size % 8)).transpose(1, 2) for t in (query, key, value)
    )
    # And a mask whose last dimension is contiguous; any other goes to the unfused path.
    mask = bias.to(q.dtype).contiguous()[None]
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    return attended[..., :size].transpose(1, 2).flatten(2)
