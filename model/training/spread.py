"""Weights and statistics between a network's own channels and maps that have more of them.

Functions with a gradient of their own: the general ones would add up by sorting, or pass over whole maps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from model.blocks.transformer import EPSILON
from model.engine.layout import Layout
from pipeline.networks.padding import reflection_pad


@dataclass(frozen=True)
class Table:
    """Where the weights and biases of a layer lie in the spread ones."""

    shape: tuple[int, ...]  # of the spread ones of one sample: (out, [side, side,] in)
    index: Tensor  # of each of them among [0, weights, biases, 1]
    inverse: Tensor  # of each weight and bias among them
    constants: Tensor  # [0, 1]

    @classmethod
    def of(
        cls, shape: torch.Size, has_bias: bool, source: Layout, target: Layout, device: torch.device
    ) -> Table:
        """For weights (out, in[, side, side]) that read a map in ``source`` and write one in ``target``.

        Biases become the weights of the channel of ones in ``source``, which therefore must have one; and so
        it must where ``target`` has one, for that is made from it.
        """
        count = shape.numel()
        numbers = torch.arange(1, 1 + count).view(*shape[:2], *(shape[2:] or (1, 1)))
        wide = target.spread(source.spread(numbers, 1), 0)
        centre = wide[:, :, wide.shape[2] // 2, wide.shape[3] // 2]
        if has_bias:
            centre[:, source.one] = target.spread(torch.arange(1 + count, 1 + count + shape[0]), 0)
            count += shape[0]
        if target.one is not None:
            centre[target.one, source.one] = count + 1
        wide = wide.permute(0, 2, 3, 1)
        index = wide.flatten()
        # In order of what they are: fillings, own ones, and the 1.
        inverse = index.argsort()[-count - (target.one is not None) :][:count]
        wide_shape = wide.shape if shape[2:] else (wide.shape[0], wide.shape[3])
        constants = torch.tensor([0.0, 1.0])
        return cls(tuple(wide_shape), index.to(device), inverse.to(device), constants.to(device))


class Spreader:
    """Spreads the weights of layers, each under a name of its own; their gradients come back.

    Args:
        dtype: of the spread ones.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._tables: dict[str, Table] = {}

    def __call__(
        self, name: str, weight: Tensor, bias: Tensor | None, source: Layout, target: Layout
    ) -> Tensor:
        """Weights and biases of S samples as the maps want them.

        Args:
            weight, bias: (S, out, in[, side, side]) and (S, out).
            source, target: of the maps that the layer reads and writes; see :meth:`Table.of`.

        Returns:
            (S, out', [side, side,] in'), input channels last.
        """
        if name not in self._tables:
            self._tables[name] = Table.of(weight.shape[1:], bias is not None, source, target, weight.device)
        return _Spread.apply(weight, bias, self._tables[name]).to(self.dtype)

    def convolve(
        self,
        name: str,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        source: Layout,
        target: Layout,
        *,
        groups: int = 1,
    ) -> Tensor:
        """Convolve by a weight (out, in, side, side), and keep the size: (B, C, H, W), channels last."""
        half = weight.shape[-1] // 2
        (wide,) = self(name, weight[None], None if bias is None else bias[None], source, target)
        return F.conv2d(reflection_pad(x, (half,) * 4), wide.permute(0, 3, 1, 2), groups=groups)


def map_statistics(x: Tensor, own: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the revised layer norm: (B, pixels, C) -> two (B,), at least float32.

    Args:
        own: 1 for channels that count and 0 for others, (C,); there are ``count``.
    """
    return _Statistics.apply(x, own, count)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor | None, table: Table) -> Tensor:
        ctx.table, ctx.shape = table, weight.shape
        zero, one = table.constants.to(weight.dtype).expand(len(weight), 2).split(1, dim=1)
        parts = [zero, weight.flatten(1), one]
        if bias is not None:
            parts.insert(2, bias)
        return torch.cat(parts, dim=1).index_select(1, table.index).view(-1, *table.shape)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        found = gradient.flatten(1).index_select(1, ctx.table.inverse)
        count = ctx.shape[1:].numel()
        bias = found[:, count:] if ctx.needs_input_grad[1] else None
        return found[:, :count].reshape(ctx.shape), bias, None


class _Statistics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, own: Tensor, count: int) -> tuple[Tensor, Tensor]:
        precise = torch.float64 if x.dtype == torch.float64 else torch.float32
        own, number = own.to(precise), x.shape[1] * count
        mean = x.sum(dim=1, dtype=precise) @ own / number
        power = torch.linalg.vector_norm(x, dim=1, dtype=precise).square() @ own / number
        deviation = ((power - mean.square()).clamp_min(0) + EPSILON).sqrt()
        ctx.number = number
        ctx.save_for_backward(x, own, mean, deviation)
        return mean, deviation

    @staticmethod
    def backward(ctx: Any, of_mean: Tensor, of_deviation: Tensor) -> tuple[Tensor, None, None]:
        x, own, mean, deviation = ctx.saved_tensors
        slope = of_deviation / (ctx.number * deviation)
        offset = of_mean / ctx.number - slope * mean
        slope, offset = ((value[:, None, None] * own).to(x.dtype) for value in (slope, offset))
        return torch.addcmul(offset, x, slope), None, None
