"""Whether two pictures lie on each other: the shift that their edges agree on, whatever brightness does.

Edges of one scene stand in the same places in infrared and visible, sharp and blurred, bright and dark
pictures. So maps of edge strength are correlated over all shifts (by the cross-correlation theorem), and one
that stands out, far better than none, is told. Nothing is moved by it.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from model.inputs.sources import Source
from pipeline.images.resampling import shrunk

#: Pictures are compared at this longer side; the shorter one has at least the second number then.
LONGEST_PX, SHORTEST_PX = 320, 64
#: Shifts that are tried, up to this share of the longer side.
FARTHEST_SHARE = 0.1
#: A smaller shift, at that size, counts as none: 0.8 % of the longer side.
LEAST_SHIFT_PX = 2.5
#: What the best shift must have to be told: its correlation over that at (about) no shift, and how many
#: robust standard deviations it stands above those of other shifts. Of 323 pairs of RoadScene, LLVIP, MEFB,
#: MFIFB and Harvard two of RoadScene pass, which are displaced indeed; of the same pairs (but PET and SPECT,
#: which share few edges with MRI), displaced by 3 % of their longer side, three in four
#: (``tests/benchmarks/alignment.py``).
LEAST_GAIN, LEAST_DEVIATIONS = 1.5, 5.0
#: The picture is cut into so many cells each way; of what agrees at the best shift two of them may hold this
#: share. A few spots, or the letters of a time stamp, match by chance, but not all over the picture.
CELLS, MOST_OF_BEST_CELLS = 4, 0.8
#: Of the Gaussians that smooth noise and that measure how strong edges are around a pixel.
_NOISE_SIGMA_PX, _AROUND_SIGMA_PX = 1.0, 12.0
#: Edges weaker than this gradient count the less: mere noise is no edge. (Sobel, white is 1.)
_WEAK_GRADIENT = 4 / 255
#: Robust standard deviation: the median absolute deviation times this, for normal values.
_MAD_SCALE = 1.4826


def shift_between(a: Source, b: Source) -> tuple[int, int] | None:
    """How far the scene in ``b`` lies from that in ``a``, of one size: (rows down, columns right), pixels.

    Returns:
        None where they lie on each other to within 1 % or so, or where there is no telling.
    """
    size_hw = a.image.shape[:2]
    scale = max(1.0, max(size_hw) / LONGEST_PX)
    if min(size_hw) / scale < SHORTEST_PX:
        return None
    small = (replace(one, image=shrunk(one.image, LONGEST_PX)) for one in (a, b))
    edges = [_windowed_edges(one.plane()) for one in small]
    norm = float(np.linalg.norm(edges[0]) * np.linalg.norm(edges[1]))
    if norm == 0:
        return None
    spectra = [np.fft.rfft2(one) for one in edges]
    correlation = np.fft.irfft2(np.conj(spectra[0]) * spectra[1], s=edges[0].shape) / norm
    reach = round(FARTHEST_SHARE * max(edges[0].shape))
    near = np.arange(-reach, reach + 1)
    tried = correlation[np.ix_(near, near)]
    best = np.unravel_index(tried.argmax(), tried.shape)
    down, right = (int(place) - reach for place in best)
    unmoved = float(tried[reach - 1 : reach + 2, reach - 1 : reach + 2].max())
    usual = float(np.median(tried))
    deviation = _MAD_SCALE * float(np.median(np.abs(tried - usual)))
    height = float(tried[best])
    agreeing = edges[0] * np.roll(edges[1], (-down, -right), (0, 1))
    stands_out = (
        np.hypot(down, right) >= LEAST_SHIFT_PX
        and max(abs(down), abs(right)) < reach  # else it may rise further beyond
        and height >= LEAST_GAIN * unmoved
        and height - usual >= LEAST_DEVIATIONS * deviation
        and _share_of_best_cells(agreeing) <= MOST_OF_BEST_CELLS
    )
    return (round(down * scale), round(right * scale)) if stands_out else None


def _share_of_best_cells(agreeing: np.ndarray) -> float:
    """What the two best cells hold of a map (H, W), of the sum over all that is positive."""
    rows = np.array_split(agreeing, CELLS, axis=0)
    sums = [cell.sum() for row in rows for cell in np.array_split(row, CELLS, axis=1)]
    best = np.sort(np.maximum(sums, 0))[::-1]
    return float(best[:2].sum() / max(best.sum(), np.finfo(np.float32).tiny))


def _windowed_edges(plane: np.ndarray) -> np.ndarray:
    """Strength of edges beside those around, mean 0, fading towards the borders; all (H, W) float32."""
    smooth = cv2.GaussianBlur(plane, (0, 0), _NOISE_SIGMA_PX)
    strength = cv2.magnitude(cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1))
    edges = strength / (cv2.GaussianBlur(strength, (0, 0), _AROUND_SIGMA_PX) + np.float32(_WEAK_GRADIENT))
    fade = np.outer(*(np.hanning(side).astype(np.float32) for side in edges.shape))
    return (edges - edges.mean()) * fade
