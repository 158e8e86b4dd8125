"""Gradient metrics: how strong the fused image's edges are, and whether they came from the sources.

Every function takes (H, W) planes, uint8 or float in [0, 1]. Edge strengths are in grey levels (0-255).
"""

from __future__ import annotations

import cv2
import numpy as np

from model.metrics.windows import grey_levels, ratio


def edge_intensity(fused: np.ndarray) -> float:
    """EI: mean magnitude of the un-normalised 3x3 Sobel gradient, border replicated; 0 to about 1140.

    Codes that divide the Sobel kernel by 4 or 8 print a quarter or an eighth. Rises with noise and with
    sharpening. Rajalingam and Priya, "Hybrid multimodality medical image fusion technique", IJESI 2018.
    """
    (fused,) = grey_levels(fused)
    return float(np.hypot(*_sobel(fused, cv2.BORDER_REPLICATE)).mean())


def average_gradient(fused: np.ndarray) -> float:
    """AG: sum of sqrt((dx^2 + dy^2) / 2) over the image, divided by (H - 1)(W - 1); grey levels.

    Central differences inside, one-sided at the border. Rises with noise and with sharpening. Cui et al.,
    "Detail preserved fusion of visible and infrared images", Opt. Commun. 2015.
    """
    (fused,) = grey_levels(fused)
    return float(_gradient_magnitude(fused).sum() / ((fused.shape[0] - 1) * (fused.shape[1] - 1)))


def average_gradient_mean(fused: np.ndarray) -> float:
    """AG divided by the number of pixels, H W, instead of (H - 1)(W - 1)."""
    (fused,) = grey_levels(fused)
    return float(_gradient_magnitude(fused).mean())


def spatial_frequency(fused: np.ndarray) -> float:
    """SF: sqrt(mean of squared row differences + mean of squared column differences), grey levels.

    Each mean is over the differences that exist. Rises with noise and with sharpening. Eskicioglu and
    Fisher, "Image quality measures and their performance", IEEE Trans. Commun. 1995.
    """
    (fused,) = grey_levels(fused)
    return float(np.sqrt(sum((np.diff(fused, axis=axis) ** 2).mean() for axis in (0, 1))))


def spatial_frequency_per_pixel(fused: np.ndarray) -> float:
    """SF with both sums divided by the number of pixels, H W."""
    (fused,) = grey_levels(fused)
    return float(np.sqrt(sum((np.diff(fused, axis=axis) ** 2).sum() for axis in (0, 1)) / fused.size))


def spatial_frequency_unit_range(fused: np.ndarray) -> float:
    """SF of the image in [0, 1]: 1/255 of the usual figure."""
    return spatial_frequency(fused) / 255.0


def edge_transfer(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Qabf: share of the sources' edges (strength and direction) kept in the fused image, 0 to 0.975.

    Each pixel is weighted with the source's Sobel magnitude (zero border); constants Gamma .9994/.9879,
    kappa -15/-22, sigma .5/.8, so even fused = a = b scores .975, not 1. 0 where no source has an edge.
    Xydeas and Petrovic, "Objective image fusion performance measure", Electronics Letters 2000.
    """
    strength_f, angle_f = _edges(fused)
    kept = weight = 0.0
    for source in (a, b):
        strength, angle = _edges(source)
        relative = ratio(np.minimum(strength, strength_f), np.maximum(strength, strength_f), 1.0)
        aligned = 1.0 - np.abs(angle - angle_f) / (np.pi / 2)
        preserved = _sigmoid(relative, 0.9994, 15.0, 0.5) * _sigmoid(aligned, 0.9879, 22.0, 0.8)
        kept += float((preserved * strength).sum())
        weight += float(strength.sum())
    return kept / weight if weight > 0 else 0.0


def edge_artefacts(fused: np.ndarray, a: np.ndarray, b: np.ndarray, *, threshold: float = 2.0) -> float:
    """Nabf: share of edges that neither source has, 0 to 1; lower is better.

    Sobel / 8 with reflected border; pixels whose fused edge is stronger than both source edges count with
    what they lost of each source, weighted strength^1.5 (0.001 below ``threshold`` grey levels).
    Shreyamsha Kumar, "Multifocus and multispectral image fusion based on pixel significance using
    discrete cosine harmonic wavelet transform", Signal, Image and Video Processing 2013.
    """
    fused, a, b = grey_levels(fused, a, b)
    strength_f, angle_f = _artefact_edges(fused)
    edges = [_artefact_edges(source) for source in (a, b)]
    stronger = (strength_f > edges[0][0]) & (strength_f > edges[1][0])
    lost = weights = 0.0
    for strength, angle in edges:
        relative = ratio(np.minimum(strength, strength_f), np.maximum(strength, strength_f), 0.0)
        aligned = np.abs(np.abs(angle - angle_f) - np.pi / 2) * 2 / np.pi
        preserved = np.sqrt(_sigmoid(relative, 0.9999, 19.0, 0.5) * _sigmoid(aligned, 0.9995, 22.0, 0.5))
        weight = np.where(strength >= threshold, strength**1.5, 0.001)
        lost += float(((1.0 - preserved) * weight)[stronger].sum())
        weights += float(weight.sum())
    return lost / weights


def edge_artefacts_unit_range(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Nabf of images in [0, 1]: no edge ever reaches the threshold of 2, so every pixel weighs the same."""
    return edge_artefacts(fused, a, b, threshold=2.0 * 255.0)


def _gradient_magnitude(levels: np.ndarray) -> np.ndarray:
    down, across = np.gradient(levels)
    return np.sqrt((across**2 + down**2) / 2)


def _sobel(levels: np.ndarray, border: int) -> tuple[np.ndarray, np.ndarray]:
    """Un-normalised derivatives across (x) and down (y)."""
    return (
        cv2.Sobel(levels, cv2.CV_64F, 1, 0, borderType=border),
        cv2.Sobel(levels, cv2.CV_64F, 0, 1, borderType=border),
    )


def _edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strength, and angle atan(gy / gx) in (-pi/2, pi/2], pi/2 where gx = 0.

    The published codes convolve, so their x axis points to the left. Angles are not compared around the
    circle, hence the direction counts where one of them is pi/2.
    """
    (levels,) = grey_levels(image)
    to_right, down = _sobel(levels, cv2.BORDER_CONSTANT)
    across = -to_right
    angle = np.where(across == 0, np.pi / 2, np.arctan(ratio(down, across, 0.0)))
    return np.hypot(across, down), angle


def _artefact_edges(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Strength, and angle atan(gx / gy), 0 where there is no gradient."""
    across, down = _sobel(levels / 8.0, cv2.BORDER_REFLECT_101)
    vertical = np.sign(across) * np.pi / 2
    return np.hypot(across, down), np.where(down == 0, vertical, np.arctan(ratio(across, down, 0.0)))


def _sigmoid(x: np.ndarray, height: float, slope: float, centre: float) -> np.ndarray:
    return height / (1.0 + np.exp(-slope * (x - centre)))
