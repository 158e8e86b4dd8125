"""Layers in the form that suits a CPU: convolutions that add and clip their output while it is in the cache.

They are oneDNN's. Where there is none, PyTorch's own take their place.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from model.engine.folded import Affine

_GEOMETRY = (0, 0), (1, 1), (1, 1)  # no padding, stride and dilation of one


def convolve(x: Tensor, affine: Affine, *, groups: int = 1, slope: float | None = None) -> Tensor:
    """Convolution without padding, (1, C, h, w) -> (1, C', h', w'); ReLU with a ``slope``, leaky unless 0."""
    if not torch.backends.mkldnn.is_available():
        out = torch.conv2d(x, *affine, groups=groups)
        return out if slope is None else F.leaky_relu_(out, slope)
    # Not torch.conv2d, which avoids oneDNN for a 1x1 on a single thread, at half the speed.
    after = ("none", [], "") if slope is None else ("leaky_relu", [slope], "") if slope else ("relu", [], "")
    out = torch.ops.mkldnn._convolution_pointwise(x, *affine, *_GEOMETRY, groups, *after)
    assert isinstance(out, Tensor)
    return out


def add_convolved_(x: Tensor, inputs: Tensor, affine: Affine) -> Tensor:
    """x plus the 1x1 convolution of ``inputs``, in place; (1, C, h, w) and (1, C', h, w)."""
    if not torch.backends.mkldnn.is_available():
        return x.add_(torch.conv2d(inputs, *affine))
    torch.ops.mkldnn._convolution_pointwise_.binary(
        x, inputs, *affine, *_GEOMETRY, 1, "add", 1.0, None, [], None
    )
    return x


def pointwise(windows: Tensor, affine: Affine, *, slope: float | None = None) -> Tensor:
    """1x1 convolution of (windows, N, C) -> (windows, N, C'), and ReLU as in :func:`convolve`."""
    # As a convolution of small images: for these shapes up to twice as fast as the matrix product.
    return convolve(_images(windows), affine, slope=slope).permute(0, 2, 3, 1).flatten(1, 2)


def add_pointwise_(windows: Tensor, inputs: Tensor, affine: Affine) -> Tensor:
    """windows plus the 1x1 convolution of ``inputs``, in place; (windows, N, C) and (windows, N, C')."""
    add_convolved_(_images(windows), _images(inputs), affine)
    return windows


def add_attended_(mixed: Tensor, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """mixed + Softmax(Q K^T + bias) V per window and head, in place; (windows, N, C) each."""
    size = query.shape[2] // bias.shape[0]
    attended = []
    for position_bias, *parts in zip(bias, *(t.split(size, 2) for t in (query, key, value)), strict=True):
        q, k, v = parts
        if q.dtype != torch.float32:
            q, k = q.contiguous(), k.contiguous()  # oneDNN's matrix product is slow on rows with gaps
        scores = torch.baddbmm(position_bias, q, k.transpose(1, 2))
        attended.append(torch.bmm(torch.softmax(scores, -1, out=scores), v))
    # Side by side first: products and, in bfloat16, sums that write rows with gaps take twice the time.
    return mixed.add_(torch.cat(attended, 2))


def relu_(x: Tensor) -> Tensor:
    """ReLU in place."""
    if x.dtype == torch.bfloat16:
        # The sign is the same bit in an integer, and for those the comparison is five times as fast.
        x.view(torch.int16).clamp_(min=0)
        return x
    return x.relu_()


def _images(windows: Tensor) -> Tensor:
    side = math.isqrt(windows.shape[1])
    return windows.unflatten(1, (side, side)).permute(0, 3, 1, 2)
