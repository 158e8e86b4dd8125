"""Layers in the form that suits a GPU, where each pass over a map costs about as much as a product with it.

Products add what is to be added as they write, and copies move 16 bytes at a time. Channels come last and
fill whole pieces of 16 bytes, see :mod:`model.engine.layout`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from model.engine.folded import Affine


def pointwise(x: Tensor, affine: Affine) -> Tensor:
    """1x1 convolution, (..., C) -> (..., C')."""
    flat, weight = x.flatten(0, -2), affine.weight.flatten(1).t()
    product = flat @ weight if affine.bias is None else torch.addmm(affine.bias, flat, weight)
    return product.view(*x.shape[:-1], -1)


def pointwise_relu(x: Tensor, affine: Affine) -> Tensor:
    """1x1 convolution and ReLU, (..., C) -> (..., C')."""
    assert affine.bias is not None
    flat = x.flatten(0, -2)
    return torch._addmm_activation(affine.bias, flat, affine.weight.flatten(1).t()).view(*x.shape[:-1], -1)


def add_pointwise_(x: Tensor, inputs: Tensor, affine: Affine) -> Tensor:
    """x, contiguous, plus the 1x1 convolution of ``inputs``, in place; (..., C) and (..., C') -> (..., C)."""
    assert affine.bias is None, "it would take a pass of its own"
    x.view(-1, x.shape[-1]).addmm_(inputs.flatten(0, -2), affine.weight.flatten(1).t())
    return x


def copy_(target: Tensor, source: Tensor) -> None:
    """target = source, (..., C) each; channels lie side by side, and there may be gaps between pixels."""
    _pieces(target).copy_(_pieces(source))


def _pieces(x: Tensor) -> Tensor:
    # The only type of 16 bytes; a copy does not look into it.
    return x.view(torch.complex128)
