"""Convolution whose weights learn faster on x86 processors without AVX-512.

There oneDNN's gradient of a 3x3 convolution's weights takes two to four times as long as its other gradient
where channels are last, and the bias's a fifth of that again. Here the first is a matrix product of the
output's gradient with the patches that were read (https://arxiv.org/abs/1410.0759, Section 3), a few rows at
a time, and the second is a sum.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

#: Values of the patches that lie in memory at once, 32 MB of float32. Smaller products are as fast on idle
#: cores, but where others work on them, each costs a wait.
_PATCH_VALUES = 1 << 23
#: Parts of a product, which are added up: each is small enough for the cache of the core that computes it.
_PARTS = 8
#: Fewer channels make thin matrices, for which oneDNN is the faster one.
_FEWEST_CHANNELS = 8


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, groups: int = 1) -> Tensor:
    """Convolution without padding, as ``torch.nn.functional.conv2d``.

    Args:
        x: (B, C, H, W).
        weight: (C', C / groups, kH, kW).
        bias: (C',).

    Returns:
        (B, C', H - kH + 1, W - kW + 1).
    """
    if groups == 1 and bias is not None and weight.requires_grad and _gains(x):
        convolved: Tensor = Convolution.apply(x, weight, bias)
        return convolved
    return F.conv2d(x, weight, bias, groups=groups)


class Convolution(torch.autograd.Function):
    """The convolution of ``x``, ``weight`` and ``bias`` with gradients as above, on any device."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            conv2d_input(x.shape, weight, gradient) if for_x else None,
            _weight_gradient(x, weight, gradient) if for_weight else None,
            gradient.sum((0, 2, 3)) if for_bias else None,
        )


def _weight_gradient(x: Tensor, weight: Tensor, gradient: Tensor) -> Tensor:
    outputs, channels, *sides = weight.shape
    found = x.new_zeros(outputs, weight[0].numel())
    rows = max(1, _PATCH_VALUES // (gradient.shape[3] * found.shape[1]))
    for image, image_gradient in zip(x, gradient, strict=True):
        # (H, W, kH, kW, C): what each pixel of the output was made of.
        patches = image.unfold(1, sides[0], 1).unfold(2, sides[1], 1).permute(1, 2, 3, 4, 0)
        pixels = image_gradient.permute(1, 2, 0)
        for patch, part in zip(patches.split(rows), pixels.split(rows), strict=True):
            found += _product(part.flatten(0, 1), patch.reshape(-1, found.shape[1]))
    return found.view(outputs, *sides, channels).permute(0, 3, 1, 2)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """``a.T @ b`` of tall matrices, (N, A) and (N, B) -> (A, B)."""
    parts = math.gcd(len(a), _PARTS)
    a, b = (matrix.view(parts, -1, matrix.shape[1]) for matrix in (a, b))
    return torch.bmm(a.transpose(1, 2), b).sum(0)


def _gains(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and x.shape[1] >= _FEWEST_CHANNELS
        and x.is_contiguous(memory_format=torch.channels_last)
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and _lacks_avx512()
    )


@cache
def _lacks_avx512() -> bool:
    return torch.backends.cpu.get_cpu_capability() == "AVX2"
