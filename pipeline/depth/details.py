"""Depth of small things in large frames: parts of a frame through the network once more, fitted to the whole.

A network that was made for small pictures sees a large frame shrunk, and what is a few pixels high there has
no depth. Nine overlapping parts, each half as high and wide as the frame, show it at twice the size; each
part's log inverse depth is fitted to that of the whole frame by scale and shift, which the network cannot
know, and the parts are blended. After Miangoleh et al., "Boosting Monocular Depth Estimation Models to
High-Resolution via Content-Adaptive Multi-Resolution Merging", CVPR 2021, with a fixed grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

#: How many times larger than the network's input a frame must be, along its sides, to be seen in parts too.
MIN_FACTOR = 5.0
#: Places of the parts along each side, in quarters of it.
_PLACES = (0, 1, 2)
#: Least weight of a part at its border, so that the frame's own border has one.
_LEAST_WEIGHT = 1e-3


def part_windows(frame_hw: tuple[int, int], input_hw: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Rows and columns of the parts, row by row; none for a frame that is not much larger than the input."""
    if min(side / seen for side, seen in zip(frame_hw, input_hw, strict=True)) < MIN_FACTOR:
        return []
    return part_places(*frame_hw)


def part_places(height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the nine parts of a frame, or of a map of it, row by row."""
    return [(row, column) for row in part_sides(height) for column in part_sides(width)]


def part_sides(side: int) -> list[slice]:
    """The three places of a part along a side of the frame, or of a map of it."""
    starts = (round(side * place / 4) for place in _PLACES)
    return [slice(start, start + side // 2) for start in starts]


def blend_weights(part_hw: tuple[int, int]) -> np.ndarray:
    """Weight of each pixel of a part, (h, w) float64: little at its border, so that no seam shows."""
    height, width = part_hw
    return np.outer(_window(height), _window(width))


def merge(whole: np.ndarray, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Fit the parts to the whole and blend them.

    Args:
        whole: log inverse depth of the frame, (h, w) float32.
        parts: that of its nine parts, each of any size, in the order of :func:`part_windows`.

    Returns:
        (2h, 2w) float32.
    """
    height, width = whole.shape
    large = cv2.resize(whole, (2 * width, 2 * height), interpolation=cv2.INTER_LINEAR).astype(np.float64)
    blended, weights = np.zeros_like(large), np.zeros_like(large)
    weight = blend_weights(whole.shape)
    for place, part in zip(part_places(2 * height, 2 * width), parts, strict=True):
        seen = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float64)
        blended[place] += weight * _fitted(seen, large[place])
        weights[place] += weight
    return (blended / weights).astype(np.float32)


def _fitted(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Least squares scale, not negative, and shift."""
    deviation = part - part.mean()
    variance = (deviation * deviation).mean()
    covariance = (deviation * (whole - whole.mean())).mean()
    return deviation * (max(0.0, covariance / variance) if variance > 0 else 0.0) + whole.mean()


def _window(size: int) -> np.ndarray:
    return np.hanning(size + 2)[1:-1] + _LEAST_WEIGHT
