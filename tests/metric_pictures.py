"""Pictures that the metric tests share."""

from __future__ import annotations

import cv2
import numpy as np


def picture(seed: int, shape: tuple[int, int] = (50, 57)) -> np.ndarray:
    """A smooth random (H, W) uint8 plane; its levels, 40-215, leave room for a shift."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.rint(np.clip(128 + 110 * smooth / np.abs(smooth).max(), 40, 215)).astype(np.uint8)
