"""Frames for tests of depth, and one through an estimator."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.depth import DepthEstimator


def smooth_frame(height: int, width: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (6, 8, 3), np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def depth_of(estimator: DepthEstimator, frame: np.ndarray, id_: str = "a") -> np.ndarray:
    (result,) = estimator.estimate([frame], [id_])
    assert result.shape == frame.shape[:2] and result.dtype == np.float32
    assert np.isfinite(result).all() and result.min() >= 0 and result.max() <= 1
    return result
