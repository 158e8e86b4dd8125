"""What the metrics share: grey levels, local windows and correlation."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.files import InputError

#: Exponents of the five scales of MS-SSIM, finest first (Wang, Simoncelli and Bovik, "Multi-scale structural
#: similarity for image quality assessment", Asilomar 2003, Section 3.2).
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
#: Float images this close to whole grey levels are 8-bit images that were divided by 255.
_ROUNDING = 1e-3


def grey_levels(*images: np.ndarray) -> list[np.ndarray]:
    """Return (H, W) planes as float64 grey levels, 0-255.

    uint8 is taken as it is; float must lie in [0, 1] and is multiplied by 255. Where every pixel then
    lies within 0.001 of a whole level, the plane is rounded: a float copy of an 8-bit image scores
    exactly as the 8-bit image does.

    Raises:
        InputError: a plane is not (H, W), not uint8 or float, out of range, or of another size.
    """
    for image in images:
        if image.ndim != 2:
            raise InputError(f"metrics take one plane (H, W), not {image.shape}; give the luminance")
        if image.shape != images[0].shape:
            sizes = " and ".join(f"{i.shape[1]}x{i.shape[0]}" for i in (images[0], image))
            raise InputError(f"metrics compare images of one size, not {sizes}; resize or register first")
    return [_levels(image) for image in images]


def gaussian_means(size: int, sigma: float, *images: np.ndarray) -> list[np.ndarray]:
    """Gaussian-weighted means over every whole window of ``size`` x ``size``, without padding.

    (H, W) -> (H - size + 1, W - size + 1). The weights sum to 1.
    """
    kernel = cv2.getGaussianKernel(size, sigma, cv2.CV_64F)
    return [_whole_windows(image, kernel) for image in images]


def window_sums(size: int, *images: np.ndarray) -> list[np.ndarray]:
    """Sums over every whole window of ``size`` x ``size``, without padding; exact for whole numbers."""
    kernel = np.ones((size, 1))
    return [_whole_windows(image, kernel) for image in images]


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson correlation of two planes; 0 where one of them is constant and it is undefined."""
    x, y = x - x.mean(), y - y.mean()
    energy = np.sqrt((x * x).sum() * (y * y).sum())
    return float((x * y).sum() / energy) if energy > 0 else 0.0


def ratio(numerator: np.ndarray, denominator: np.ndarray, otherwise: float) -> np.ndarray:
    """Elementwise quotient, ``otherwise`` where the denominator is 0."""
    defined = denominator != 0
    return np.where(defined, numerator / np.where(defined, denominator, 1.0), otherwise)


def _levels(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image.astype(np.float64)
    if not np.issubdtype(image.dtype, np.floating):
        raise InputError(f"metrics take uint8 or float in [0, 1], not {image.dtype}; convert to 8 bits first")
    # NaN fails both comparisons.
    if not (image.min() >= 0 and image.max() <= 1):
        raise InputError("metrics take float images in [0, 1]; this one has values outside or not finite")
    levels = image.astype(np.float64) * 255.0
    rounded = np.rint(levels)
    return rounded if np.abs(levels - rounded).max() < _ROUNDING else levels


def _whole_windows(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    size = len(kernel)
    rows, columns = image.shape[0] - size + 1, image.shape[1] - size + 1
    top = size // 2
    return cv2.sepFilter2D(image, cv2.CV_64F, kernel, kernel)[top : top + rows, top : top + columns]
