"""Multispectral scenes for tests."""

from __future__ import annotations

import numpy as np


def scene(bands: int, dtype: str = "uint8", size_hw: tuple[int, int] = (21, 30)) -> np.ndarray:
    """(B, H, W), smooth along the rows, so that compression and predictors have something to do."""
    rng = np.random.default_rng(bands)
    steps = rng.integers(0, 9, (bands, *size_hw))
    return (steps.cumsum(axis=2) * (1 if dtype == "uint8" else 200)).astype(dtype)
