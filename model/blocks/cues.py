"""Cues: what planes show of themselves that steers the blend of their pyramids.

How alike they are around a pixel and over the image, how far apart their bases, how strong their details. The
strength of details around a pixel: Burt and Kolczynski, "Enhanced image capture through fusion", ICCV 1993.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from model.blocks.pyramid import FLAT, block_means, plane_means

#: Weights of the cues are multiplied by it: they are few, and have far to go.
CUE_SCALE = 20.0
#: How many there are of a band.
DETAIL_CUES = 6
#: Strength of a detail that counts as 0 where it steers; e times as strong counts as 1/2.
MIDDLE_STRENGTH = 8 / 255
#: Side of the window, in pixels of the band, in which the strength of a detail is measured.
WINDOW = 3


def weighted(weights: Tensor, cues: Tensor) -> Tensor:
    """Sums of cues (B, C, h, w), each times its weight of (N, C) and :data:`CUE_SCALE` -> (B, N, h, w)."""
    return torch.einsum("nc,bchw->bnhw", CUE_SCALE * weights, cues)


def base_cues(alike: Tensor, bases: Tensor) -> Tensor:
    """Likeness and distance of the bases in [0, 1]: (B, 1, h, w) and (B, 2, h, w) -> (B, 2, h, w)."""
    return torch.cat([alike, (bases[:, :1] - bases[:, 1:]).abs()], dim=1)


def detail_cues(cues: Tensor, around: Tensor) -> Tensor:
    """The cues of a band: a constant, likeness, distance, strength, and both of the former times strength.

    Args:
        cues: of :func:`base_cues` at the size of the band, (B, 2, h, w).
        around: of :func:`strengths`, (B, 2, h, w).

    Returns:
        (B, DETAIL_CUES, h, w).
    """
    strength = (around.amax(dim=1, keepdim=True) - math.log(MIDDLE_STRENGTH)) / 2
    return torch.cat([torch.ones_like(strength), cues, strength, cues * strength], dim=1)


def strengths(details: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of the magnitude of details and of its root mean square in a 3x3 window, shaped alike."""
    power = details.square()
    around = F.avg_pool2d(power, WINDOW, 1, WINDOW // 2, count_include_pad=False)
    return (power + FLAT**2).log() / 2, (around + FLAT**2).log() / 2


def likeness(planes: Tensor) -> Tensor:
    """How alike two planes are around each pixel of the base: (B, 2, H, W) -> (B, 1, h, w) in [-1, 1].

    Their correlation in 3x3 blocks of 16x16 pixels, 0 where one of them is flat.
    """
    a, b = planes.split(1, dim=1)
    moments = block_means(torch.cat([a, b, a.square(), b.square(), a * b], dim=1))[-1]
    around = F.avg_pool2d(moments, 3, 1, 1, count_include_pad=False)
    mean_a, mean_b, square_a, square_b, cross = around.split(1, dim=1)
    variances = [(square_a - mean_a.square()), (square_b - mean_b.square())]
    power_a, power_b = (variance.clamp_min(0) + FLAT**2 for variance in variances)
    return ((cross - mean_a * mean_b) / (power_a * power_b).sqrt()).clamp(-1, 1)


def unlikeness(bases: Tensor) -> Tensor:
    """How little two bases agree over the image: (B, 2, h, w) -> (B, 1, 1, 1) in [0, 2].

    One minus their correlation: next to nothing for a focus pair, about a tenth for two exposures of a scene,
    most for two kinds of camera.
    """
    a, b = (bases - plane_means(bases)).split(1, dim=1)
    powers = (plane_means(a.square()) + FLAT**2) * (plane_means(b.square()) + FLAT**2)
    return 1 - (plane_means(a * b) + FLAT**2) / powers.sqrt()
