"""Order in depth of points judged by eye on photographs, as in Depth in the Wild (Chen et al., NeurIPS 2016).

``judged_pairs.txt`` has 109 pairs on 56 scenes of RoadScene and MFIFB: streets from a car, by day and night,
and people, things and buildings. Both points lie in one row, so "lower is nearer" says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipeline.images import read_rgb

#: Half side of the square around a point whose median counts, in shares of the width.
REACH = 0.01

_Pairs = list[tuple[float, float, float]]


def judged_photos(data: Path) -> dict[str, list[tuple[np.ndarray, _Pairs]]]:
    """Photographs below a folder by their set, each (H, W, 3) uint8 with (row, nearer and farther column).

    Of focus pairs both photographs count. Sets that are absent are left out.
    """
    photos: dict[str, list[tuple[np.ndarray, _Pairs]]] = {}
    for line in Path(__file__).with_suffix(".txt").read_text().splitlines():
        if not line.startswith("#"):
            pattern, *pairs = line.split()
            for path in sorted(data.glob(pattern)):
                judged = [tuple(float(number) / 100 for number in pair.split(",")) for pair in pairs]
                photos.setdefault(pattern.split("/")[0], []).append((read_rgb(path), judged))
    return photos


def judged_order(
    estimate: Callable[[np.ndarray, None], np.ndarray], photos: list[tuple[np.ndarray, _Pairs]]
) -> float:
    """Share of the pairs that the inverse depth of ``estimate`` orders as the eye does; ties count half."""
    return float(np.mean([*_agreements(estimate, photos)]))


def _agreements(
    estimate: Callable[[np.ndarray, None], np.ndarray], photos: list[tuple[np.ndarray, _Pairs]]
) -> Iterator[float]:
    for frame, pairs in photos:
        inverse_depth = estimate(frame, None)
        for row, nearer, farther in pairs:
            yield (1 + np.sign(_at(inverse_depth, row, nearer) - _at(inverse_depth, row, farther))) / 2


def _at(inverse_depth: np.ndarray, row: float, column: float) -> float:
    height, width = inverse_depth.shape
    y, x, reach = int(row * height), int(column * width), max(1, int(REACH * width))
    return float(
        np.median(inverse_depth[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1])
    )
