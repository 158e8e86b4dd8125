"""Reflection padding whose gradient repeats bit for bit on CUDA, where PyTorch's adds up in any order."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Left, right, top, bottom, in pixels.
Sides = tuple[int, int, int, int]


def reflection_pad(x: Tensor, sides: Sides) -> Tensor:
    """(B, C, H, W) with ``sides`` (left, right, top, bottom) more pixels, mirrored at the outermost ones."""
    return _ReflectionPad.apply(x, sides) if x.is_cuda else F.pad(x, sides, mode="reflect")


class ReflectedConv2d(nn.Conv2d):
    """A convolution of odd side k whose input is reflected at its borders, so that the size is kept."""

    def __init__(self, in_channels: int, out_channels: int, side: int, *, groups: int = 1) -> None:
        half = side // 2
        super().__init__(in_channels, out_channels, side, groups=groups, padding=half, padding_mode="reflect")
        self._sides = (half, half, half, half)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(reflection_pad(x, self._sides), self.weight, self.bias, groups=self.groups)


class _ReflectionPad(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, sides: Sides) -> Tensor:
        ctx.sides = sides
        return F.pad(x, sides, mode="reflect")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        left, right, top, bottom = ctx.sides
        return _folded(_folded(gradient, 2, top, bottom), 3, left, right), None


def _folded(padded: Tensor, axis: int, before: int, after: int) -> Tensor:
    """What lies outside added to where it was mirrored from; along one axis every pixel has one image."""
    size = padded.shape[axis] - before - after
    inside = padded.narrow(axis, before, size)
    if before or after:
        inside = inside.clone()
    if before:
        inside.narrow(axis, 1, before).add_(padded.narrow(axis, 0, before).flip(axis))
    if after:
        image = inside.narrow(axis, size - 1 - after, after)
        image.add_(padded.narrow(axis, before + size, after).flip(axis))
    return inside
