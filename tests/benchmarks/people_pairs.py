"""People of infrared and visible frames as a test of depth: they stand before what is beside them.

Upright warm blobs of the infrared frame are taken for people. Points on them are compared with points beside
them in the same row, so "lower is nearer" says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline.images import read_grey, read_rgb
from pipeline.runtime.randomness import random_stream

#: Points that are drawn on a figure.
_POINTS = 300


def people_pairs(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every fourth visible and infrared frame below a folder."""
    for path in sorted((folder / "visible").rglob("*.jpg"))[::4]:
        yield read_rgb(path), read_grey(folder / "infrared" / path.relative_to(folder / "visible"))


def people_nearer(
    estimate: Callable[[np.ndarray, np.ndarray], np.ndarray], pairs: list[tuple[np.ndarray, np.ndarray]]
) -> float:
    """Share of the points that ``estimate`` places nearer than what is beside them.

    Mean over figures, ties count half; feet are left out, which are as far as the ground.
    """
    shares, random = [], random_stream(0, "benchmark", "", "people")
    for frame, infrared in pairs:
        inverse_depth = estimate(frame, infrared)
        warm, figures = _figures(infrared)
        for figure, (left, width) in figures:
            points = np.argwhere(figure)
            rows, columns = points[random.integers(len(points), size=_POINTS)].T
            step = 3 + (random.uniform(0.2, 1.0, _POINTS) * width).astype(int)
            beside = np.where(random.random(_POINTS) < 0.5, left - step, left + width + step)
            counts = (beside >= 0) & (beside < infrared.shape[1])
            counts[counts] = ~warm[rows[counts], beside[counts]]
            if counts.sum() > _POINTS // 10:
                rows, columns, beside = rows[counts], columns[counts], beside[counts]
                nearer = np.sign(inverse_depth[rows, columns] - inverse_depth[rows, beside])
                shares.append(np.mean(1 + nearer) / 2)
    return float(np.mean(shares))


def _figures(infrared: np.ndarray) -> tuple[np.ndarray, list[tuple[np.ndarray, tuple[int, int]]]]:
    """Where a frame is warm, and of each upright blob its upper two thirds, left column and width."""
    smooth = cv2.GaussianBlur(infrared, (0, 0), 1.5)
    warm = (smooth > max(120.0, 0.75 * np.percentile(smooth, 97))).astype(np.uint8)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(warm)
    figures = []
    for label in range(1, count):
        left, top, width, height, area = (int(value) for value in boxes[label])
        share = height / infrared.shape[0]
        if 1 / 14 < share < 1 / 2 and 1.2 < height / width < 6 and area > 0.3 * width * height:
            figure = labels == label
            figure[top + 2 * height // 3 :] = False
            figures.append((figure, (left, width)))
    return cv2.dilate(warm, np.ones((5, 5), np.uint8)) > 0, figures
