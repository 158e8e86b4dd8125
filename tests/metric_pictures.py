"""Pictures that the tests of metrics and pyramids share."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor


def picture(seed: int, shape: tuple[int, int] = (50, 57)) -> np.ndarray:
    """A smooth random (H, W) uint8 plane; its levels, 40-215, leave room for a shift."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.rint(np.clip(128 + 110 * smooth / np.abs(smooth).max(), 40, 215)).astype(np.uint8)


def planes_of(height: int, width: int, channels: int = 2) -> Tensor:
    """Two images of random planes, (2, channels, H, W) in [0, 1], the same each time."""
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(height * width))


def unit(*planes: np.ndarray) -> Tensor:
    """uint8 planes (H, W) as one image, (1, N, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack(planes).astype(np.float32) / 255)[None]
