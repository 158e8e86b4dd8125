"""Area averages and box filters as products with matrices: one call each, and repeatable, on any device.

Both are separable and linear: a row of a matrix holds the weights that the pixels along one axis have in one
pixel of the result. Most are 0, but a GPU multiplies matrices faster than it gathers pixels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


def filtered(planes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Planes (..., H, W) by the weights ``rows`` (h, H) and ``columns`` (w, W) -> (..., h, w)."""
    return rows @ planes @ columns.mT


@lru_cache(maxsize=64)
def area_average(windows: tuple[tuple[int, int], ...], total: int, size: int, device: torch.device) -> Tensor:
    """Average each window down to ``size`` pixels, every pixel counting by the share that lies within.

    Args:
        windows: first pixel and the one after the last of each, in an axis of ``total`` pixels; none shorter
            than ``size``.

    Returns:
        (len(windows) * size, total) float32, window by window; rows add up to 1.
    """
    before = np.arange(total)
    blocks = []
    for start, stop in windows:
        edges = start + np.arange(size + 1) * ((stop - start) / size)
        ends, starts = (np.minimum(edges[1:, None], before + 1), np.maximum(edges[:-1, None], before))
        blocks.append(np.maximum(ends - starts, 0.0) * (size / (stop - start)))
    return torch.from_numpy(np.concatenate(blocks).astype(np.float32)).to(device)


@lru_cache(maxsize=64)
def mirrored_box(size: int, radius: int, device: torch.device) -> Tensor:
    """Mean of 2 ``radius`` + 1 pixels, those beyond the ends mirrored with the outermost one repeated.

    Returns:
        (size, size) float32; rows add up to 1.
    """
    places = np.arange(-radius, size + radius) % (2 * size)
    places = np.minimum(places, 2 * size - 1 - places)
    weights = np.zeros((size, size))
    for offset in range(2 * radius + 1):
        # One offset hits each pixel of the output once, so that nothing is added twice in one statement.
        weights[np.arange(size), places[offset : offset + size]] += 1 / (2 * radius + 1)
    return torch.from_numpy(weights.astype(np.float32)).to(device)
