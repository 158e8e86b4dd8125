"""Layers in the form that suits a CPU: products that clip their output while it is in the cache.

They are oneDNN's. Where there is none, PyTorch's own take their place.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from model.engine.folded import Affine

#: Pixels that a product takes at once, about: the order of its weight depends on that.
_PIXELS = 4096
_GEOMETRY = (0, 0), (1, 1), (1, 1)  # no padding, stride and dilation of one


def packed(affine: Affine) -> Affine:
    """A 1x1 convolution, (out, in, 1, 1), as :func:`pointwise` takes it, its weight in reading order."""
    weight = affine.weight.flatten(1).contiguous()
    if _by_onednn(weight.dtype):
        weight = torch.ops.mkldnn._reorder_linear_weight(weight, _PIXELS)
    return Affine(weight, affine.bias)


def convolve(x: Tensor, affine: Affine, *, groups: int = 1, slope: float | None = None) -> Tensor:
    """Convolution without padding, (1, C, h, w) -> (1, C', h', w'); ReLU with a ``slope``, leaky unless 0."""
    if not _by_onednn(x.dtype):
        out = torch.conv2d(x, *affine, groups=groups)
        return out if slope is None else F.leaky_relu_(out, slope)
    after = ("none", [], "") if slope is None else ("leaky_relu", [slope], "") if slope else ("relu", [], "")
    out = torch.ops.mkldnn._convolution_pointwise(x, *affine, *_GEOMETRY, groups, *after)
    assert isinstance(out, Tensor)
    return out


def pointwise(x: Tensor, affine: Affine) -> Tensor:
    """1x1 convolution, (..., C) -> (..., C'); the weight is that of :func:`packed`."""
    return _product(x, affine, "none") if _by_onednn(x.dtype) else F.linear(x, *affine)


def pointwise_relu(x: Tensor, affine: Affine) -> Tensor:
    """:func:`pointwise` and ReLU."""
    return _product(x, affine, "relu") if _by_onednn(x.dtype) else F.linear(x, *affine).relu_()


def add_pointwise_(x: Tensor, inputs: Tensor, affine: Affine) -> Tensor:
    """x plus :func:`pointwise` of ``inputs``, in place; (..., C) and (..., C') -> (..., C)."""
    # The product could add as it writes, but only into new memory.
    return x.add_(pointwise(inputs, affine))


def relu_(x: Tensor) -> Tensor:
    """ReLU in place."""
    if x.dtype == torch.bfloat16:
        # The sign is the same bit in an integer, and for those the comparison is five times as fast.
        x.view(torch.int16).clamp_(min=0)
        return x
    return x.relu_()


def _product(x: Tensor, affine: Affine, after: str) -> Tensor:
    out = torch.ops.mkldnn._linear_pointwise(x, *affine, after, [], "")
    assert isinstance(out, Tensor)
    return out


def _by_onednn(dtype: torch.dtype) -> bool:
    return dtype != torch.float64 and torch.backends.mkldnn.is_available()
