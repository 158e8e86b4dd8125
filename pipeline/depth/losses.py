"""MegaDepth's training loss (Li and Snavely, CVPR 2018, Section 4) and measures of depth order."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

#: Resolutions of the gradient term: full, 1/2, 1/4 and 1/8.
GRADIENT_SCALES = 4
#: tau of the ordinal term: beyond it a wrong pair costs the root of its difference.
ORDINAL_TAU = 0.25


def data_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant mean squared log difference (Eq. 2), (B, 1, H, W) each -> scalar."""
    return (predicted - target).flatten(1).var(dim=1, correction=0).mean()


def gradient_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Multi-scale difference of the gradients of log depth (Eq. 3): sharp edges, smooth surfaces."""
    difference = predicted - target
    total = predicted.new_zeros(())
    for scale in range(GRADIENT_SCALES):
        level = difference[..., :: 1 << scale, :: 1 << scale]
        total = total + level.diff(dim=-1).abs().mean() + level.diff(dim=-2).abs().mean()
    return total / GRADIENT_SCALES


def ordinal_loss(predicted: Tensor, target: Tensor, pairs: Tensor, *, margin: float) -> Tensor:
    """Robust ordinal loss (Eq. 4) over point pairs, (B, 1, H, W) log inverse depths -> scalar.

    Args:
        pairs: (B, 2, P) int64 indices into H * W.
        margin: only pairs whose target differs by more than this count.
    """
    first, second = pairs.unbind(dim=1)
    truth = target.flatten(1).gather(1, first) - target.flatten(1).gather(1, second)
    guess = predicted.flatten(1).gather(1, first) - predicted.flatten(1).gather(1, second)
    wrong_by = -torch.sign(truth) * guess
    # Below tau only the other case is used; the clamp keeps the gradient of the root finite there.
    root = torch.sqrt(wrong_by.clamp(min=ORDINAL_TAU))
    # Constant that makes the two cases meet at tau.
    step = float(np.logaddexp(0, ORDINAL_TAU) - np.logaddexp(0, np.sqrt(ORDINAL_TAU)))
    cost = torch.where(wrong_by <= ORDINAL_TAU, F.softplus(wrong_by), F.softplus(root) + step)
    counts = truth.abs() > margin
    return (cost * counts).sum() / counts.sum().clamp(min=1)


def draw_pairs(
    rng: np.random.Generator, size_hw: tuple[int, int], count: int, row_share: float
) -> np.ndarray:
    """Draw point pairs, (2, count) int64 indices into H * W; ``row_share`` of them lie in one row each.

    Pairs in one row cannot be ordered by "lower is nearer", so they make a network look at something else.
    """
    height, width = size_hw
    rows = rng.integers(0, height, (2, count))
    in_one_row = round(row_share * count)
    rows[1, :in_one_row] = rows[0, :in_one_row]
    return rows * width + rng.integers(0, width, (2, count))


def ordinal_error(
    predicted: np.ndarray, truth: np.ndarray, rng: np.random.Generator, *, row_share: float = 0.0
) -> float:
    """Share of random point pairs that two inverse-depth maps (H, W) order differently.

    Only pairs that differ by more than a tenth of the true range count; a tie in the prediction counts as
    half. ``row_share=1`` gives one minus the same-row order.
    """
    first, second = draw_pairs(rng, (truth.shape[0], truth.shape[1]), 20_000, row_share)
    true_step = truth.ravel()[first] - truth.ravel()[second]
    step = predicted.ravel()[first] - predicted.ravel()[second]
    counts = np.abs(true_step) > 0.1 * (truth.max() - truth.min())
    if not counts.any():
        return 0.0
    agreement = np.sign(true_step[counts]) * np.sign(step[counts])
    return float((1 - agreement).mean() / 2)
