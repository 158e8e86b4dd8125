"""The published loss of the REC branch computed plainly, in the precision of its planes.

In float32 it gives the published numbers, whose 1 - MS-SSIM has the digits that a difference from 1 leaves;
in float64 it is the definition that the product's own form is held against.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
C1, C2 = 0.01**2, 0.03**2


def published_public_loss(reconstruction: Tensor, visible: Tensor) -> Tensor:
    """1 - MS-SSIM + mean squared error of planes (B, 1, H, W) in [0, 1]."""
    return 1 - published_ms_ssim(reconstruction, visible) + F.mse_loss(reconstruction, visible)


def published_ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Five scales of moments under an 11x11 window; each contrast times the coarsest scale's SSIM."""
    similarities, contrasts = [], []
    for scale in range(len(SCALE_WEIGHTS)):
        if scale:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        similarity, contrast = _moments_compared(x, y)
        similarities.append((similarity + 1) / 2)
        contrasts.append((contrast + 1) / 2)
    weights = x.new_tensor(SCALE_WEIGHTS)
    powers = torch.stack(contrasts) ** weights
    coarsest = (torch.stack(similarities) ** weights)[-1]
    return torch.prod(powers[:-1] * coarsest)


def _moments_compared(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean SSIM and mean contrast of one scale."""
    window = _window(min(11, *x.shape[-2:]), like=x)
    mean_x, mean_y = F.conv2d(x, window), F.conv2d(y, window)
    variance_x = F.conv2d(x * x, window) - mean_x.square()
    variance_y = F.conv2d(y * y, window) - mean_y.square()
    covariance = F.conv2d(x * y, window) - mean_x * mean_y
    structure, spread = 2 * covariance + C2, variance_x + variance_y + C2
    luminance = 2 * mean_x * mean_y + C1
    similarity = luminance * structure / ((mean_x.square() + mean_y.square() + C1) * spread)
    return similarity.mean(), (structure / spread).mean()


def _window(side: int, like: Tensor) -> Tensor:
    distance = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    axis = torch.exp(-distance.square() / (2 * 1.5**2)).to(like)
    axis = axis / axis.sum()
    return torch.outer(axis, axis)[None, None]
