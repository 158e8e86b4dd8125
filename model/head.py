"""Heads: what the global decoder's last maps mean, and how they become the fused plane.

``plane``    the fused plane itself, as published.
``pyramid``  for every band of the inputs' Laplacian pyramids a share and a gain, and a correction. Untrained,
             it fuses about as a pyramid that takes the stronger detail does, and learns where to do better.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.pyramid import BLOCK, LEVELS, blend, pooled

#: Of the choice of the stronger detail, at first: of two details a factor 1.5 apart the stronger one gets
#: sigmoid(8 log 1.5) = 96 %.
SHARPNESS = 8.0
#: Logit of a map of 1: it decides.
DECISION = 5.0


class PlaneHead(nn.Module):
    """One map x: the plane is tanh(x) / 2 + 1/2."""

    channels = 1
    #: Of the decoder's ReLU below 0.
    slope = 0.0
    #: Strips for :meth:`pooled` begin at multiples of this many rows.
    block = 1

    def pooled(self, decoded: Tensor) -> list[Tensor]:
        """Maps (B, channels, h, W) of a strip of rows -> what is to be kept of them."""
        return [decoded]

    def forward(self, maps: list[Tensor], planes: Tensor) -> Tensor:
        """What :meth:`pooled` keeps of all rows, and the inputs (B, 2, H, W) -> (B, 1, H, W) in [0, 1]."""
        return torch.tanh(maps[0]) / 2 + 0.5


class PyramidHead(nn.Module):
    """Of every band the first input's share, as a logit, and a gain; and a correction of the whole."""

    channels = 2 * (LEVELS + 1) + 1
    #: A decoder that learns from weights of 0 must not die of its first steps.
    slope = 0.1
    block = BLOCK

    def __init__(self) -> None:
        super().__init__()
        # As a logarithm: it moves by factors, as fast as the weights do.
        self.log_sharpness = nn.Parameter(torch.full((LEVELS,), math.log(SHARPNESS)))

    def pooled(self, decoded: Tensor) -> list[Tensor]:
        """Maps (B, channels, h, W) of a strip of rows -> what is to be kept of them."""
        shares, gains, correction = decoded.split((LEVELS + 1, LEVELS + 1, 1), dim=1)
        return [*pooled(shares * DECISION), *pooled(gains), correction]

    def forward(self, maps: list[Tensor], planes: Tensor) -> Tensor:
        """What :meth:`pooled` keeps of all rows, and the inputs (B, 2, H, W) -> (B, 1, H, W) in [0, 1]."""
        logits, gains, correction = maps[: LEVELS + 1], maps[LEVELS + 1 : -1], maps[-1]
        return (blend(planes, logits, gains, self.log_sharpness.exp()) + correction).clamp(0, 1)


Head = PlaneHead | PyramidHead

#: By the name that the configuration knows.
HEADS: dict[str, type[PlaneHead | PyramidHead]] = {"plane": PlaneHead, "pyramid": PyramidHead}
