"""Padding that suits CUDA: gradients that repeat bit for bit, and channels last where they are.

There PyTorch's own reflection adds its gradient up in any order and turns every map to channels first, and
its replication is taken apart into index lists where gradients must repeat.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.networks.convolution import convolve

#: Left, right, top, bottom, in pixels.
Sides = tuple[int, int, int, int]
#: Types that are only carried, widest first.
_WIDE = (torch.complex128, torch.complex64, torch.float32)


def reflection_pad(x: Tensor, sides: Sides) -> Tensor:
    """(B, C, H, W) with ``sides`` (left, right, top, bottom) more pixels, mirrored at the outermost ones."""
    return _ReflectionPad.apply(x, sides) if x.is_cuda else F.pad(x, sides, mode="reflect")


def replication_pad(x: Tensor, width: int) -> Tensor:
    """(B, C, H, W) with ``width`` more pixels on each side, equal to the outermost ones."""
    if not x.is_cuda:
        return F.pad(x, (width,) * 4, mode="replicate")
    for axis in (2, 3):
        first, last = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
        x = torch.cat([*[first] * width, x, *[last] * width], dim=axis)
    return x


class ReflectedConv2d(nn.Conv2d):
    """A convolution of odd side k whose input is reflected at its borders, so that the size is kept."""

    def __init__(self, in_channels: int, out_channels: int, side: int, *, groups: int = 1) -> None:
        half = side // 2
        super().__init__(in_channels, out_channels, side, groups=groups, padding=half, padding_mode="reflect")
        self._sides = (half, half, half, half)

    def forward(self, x: Tensor) -> Tensor:
        return self.with_weight(x, self.weight)

    def with_weight(self, x: Tensor, weight: Tensor) -> Tensor:
        """The same convolution, with the same bias, by another weight."""
        return convolve(reflection_pad(x, self._sides), weight, self.bias, groups=self.groups)


class _ReflectionPad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sides: Sides) -> Tensor:
        ctx.sides = sides
        left, right, top, bottom = sides
        rows = _mirrored(x.shape[2], top, bottom, x.device)
        columns = _mirrored(x.shape[3], left, right, x.device)
        pixels = x.permute(0, 2, 3, 1)
        padded = _wide(pixels)[:, rows[:, None], columns]
        return padded.view(x.dtype).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        left, right, top, bottom = ctx.sides
        height, width = gradient.shape[2] - top - bottom, gradient.shape[3] - left - right

        def without_rows(part: Tensor) -> Tensor:
            above, middle, below = part.split([top, height, bottom], dim=2)
            return _fold_in(middle.clone(), above, below, 2)

        # What lies beside is small, and the middle is copied once.
        before, middle, after = gradient.split([left, width, right], dim=3)
        return _fold_in(without_rows(middle), without_rows(before), without_rows(after), 3), None


@cache  # for good: a CUDA graph may read it
def _mirrored(size: int, before: int, after: int, device: torch.device) -> Tensor:
    """Where each pixel of a padded axis comes from, (before + size + after,)."""
    last = size - 1
    return last - (last - torch.arange(-before, size + after, device=device).abs()).abs()


def _wide(pixels: Tensor) -> Tensor:
    """The same bytes (B, H, W, C) in elements as large as they may be: there is a thread for each."""
    if torch.compiler.is_compiling():
        return pixels  # which does not look at where they lie
    steps = pixels.shape[3], *pixels.stride()[:3], pixels.storage_offset()
    if pixels.stride(3) == 1:
        for dtype in _WIDE:
            if all(step * pixels.element_size() % dtype.itemsize == 0 for step in steps):
                return pixels.view(dtype)
    return pixels


def _fold_in(inside: Tensor, before: Tensor, after: Tensor, axis: int) -> Tensor:
    """Add what lies outside to where it was mirrored from; along one axis every pixel has one image."""
    for outside, first in ((before, 1), (after, inside.shape[axis] - 1 - after.shape[axis])):
        count = outside.shape[axis]
        if outside.numel():
            image = inside.narrow(axis, first, count)
            image.add_(outside.flip(axis) if count > 1 else outside)
    return inside
