"""Trivial fusions that every table shows beside the methods: what a score is worth without a network.

Two of them are a plain average made sharper or noisier. Where they beat a method, the metric rewards
sharpening or noise, not fusion.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from pipeline.images import to_uint8
from pipeline.runtime.randomness import random_stream

#: Unsharp mask of ``average + unsharp``: amount and Gaussian sigma.
UNSHARP_AMOUNT, UNSHARP_SIGMA_PX = 2.0, 2.0
#: Noise of ``average + noise``, standard deviation in grey levels.
NOISE_LEVELS = 10.0
_PYRAMID_LEVELS = 4


def average(a: np.ndarray, b: np.ndarray, sample_id: str = "") -> np.ndarray:
    """Mean of the two planes, (H, W) uint8; halves go up (to even, they would leave a comb of levels)."""
    return ((a.astype(np.uint16) + b + 1) // 2).astype(np.uint8)


def average_unsharp(a: np.ndarray, b: np.ndarray, sample_id: str = "") -> np.ndarray:
    """The average after an unsharp mask, x + 2 (x - blur(x)), sigma 2 pixels."""
    plane = _mean(a, b)
    return to_uint8(plane + UNSHARP_AMOUNT * (plane - cv2.GaussianBlur(plane, (0, 0), UNSHARP_SIGMA_PX)))


def average_noise(a: np.ndarray, b: np.ndarray, sample_id: str = "") -> np.ndarray:
    """The average plus Gaussian noise of 10 grey levels, the same for a given ``sample_id``."""
    rng = random_stream(0, "evaluate", sample_id, "noise baseline")
    noise = rng.standard_normal(a.shape, np.float32) * np.float32(NOISE_LEVELS / 255)
    return to_uint8(_mean(a, b) + noise)


def laplacian_pyramid(a: np.ndarray, b: np.ndarray, sample_id: str = "") -> np.ndarray:
    """Per pixel the detail of larger magnitude on four levels, and the mean of the two bases.

    Burt and Adelson, "Merging images through pattern decomposition", SPIE 1985.
    """
    base_a, details_a = _pyramid(a)
    base_b, details_b = _pyramid(b)
    fused = (base_a + base_b) / 2
    for detail_a, detail_b in zip(reversed(details_a), reversed(details_b), strict=True):
        detail = np.where(np.abs(detail_a) >= np.abs(detail_b), detail_a, detail_b)
        fused = _expanded(fused, detail.shape) + detail
    return to_uint8(fused)


def mertens(a: np.ndarray, b: np.ndarray, sample_id: str = "") -> np.ndarray:
    """Exposure fusion by contrast and well-exposedness (grey planes have no saturation to weigh).

    Mertens, Kautz and Van Reeth, "Exposure fusion", Pacific Graphics 2007, as OpenCV computes it.
    """
    merge = cv2.createMergeMertens(contrast_weight=1.0, saturation_weight=0.0, exposure_weight=1.0)
    planes = [np.repeat(plane[..., None], 3, axis=2) for plane in (a, b)]
    return to_uint8(merge.process(planes)[..., 0])


#: Name in the tables -> function of two (H, W) uint8 planes and the sample's id.
BASELINES: dict[str, Callable[[np.ndarray, np.ndarray, str], np.ndarray]] = {
    "average": average,
    "average + unsharp": average_unsharp,
    "average + noise": average_noise,
    "Laplacian pyramid": laplacian_pyramid,
    "Mertens": mertens,
}


def _mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a.astype(np.float32) + b.astype(np.float32)) / 510


def _pyramid(plane: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Base and details, finest first, of a uint8 plane scaled to [0, 1]."""
    base: np.ndarray = plane.astype(np.float32) / 255
    details = []
    for _ in range(_PYRAMID_LEVELS):
        smaller = cv2.pyrDown(base)
        details.append(base - _expanded(smaller, base.shape))
        base = smaller
    return base, details


def _expanded(plane: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return cv2.pyrUp(plane, dstsize=(shape[1], shape[0]))
