"""Perceptual metrics: MEF-SSIM for exposures, and two models of human contrast sensitivity.

Planes are (H, W), uint8 or float in [0, 1]; grey levels 0-255.
"""

from __future__ import annotations

import cv2
import numpy as np

from model.metrics.information import stretched
from model.metrics.windows import MS_SSIM_WEIGHTS, gaussian_means, grey_levels, ratio, window_sums

_MEF_WINDOW = 11
_MEF_STABILITY = (0.03 * 255.0) ** 2
#: Ma et al. 2015, the three finest of MS-SSIM's weights.
_MEF_WEIGHTS = np.array(MS_SSIM_WEIGHTS[:3]) / sum(MS_SSIM_WEIGHTS[:3])
_BLOCK = 16
#: Reach of the two Gaussians (sigma 2 and 4) that make Chen and Blum's local contrast.
_CONTRAST_WINDOW = 31


def exposure_fusion_similarity(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """MEF-SSIM: product over three scales (halved by 2x2 means) of :func:`exposure_fusion_similarity_fine`.

    0 to 1; mean brightness does not count. Ma, Zeng and Wang, "Perceptual quality assessment for
    multi-exposure image fusion", TIP 2015, Eq. 13. Needs 44 pixels a side.
    """
    fused, a, b = grey_levels(fused, a, b)
    product = 1.0
    for scale, weight in enumerate(_MEF_WEIGHTS):
        if scale > 0:
            fused, a, b = (_halved(image) for image in (fused, a, b))
        product *= max(_structure(fused, a, b), 0.0) ** float(weight)
    return product


def exposure_fusion_similarity_fine(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """MEF-SSIM of the finest scale alone: mean contrast-structure similarity to the desired patch.

    -1 to 1.
    """
    return _structure(*grey_levels(fused, a, b))


def chen_blum(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Qcb: local contrast kept, weighted by the sources' own contrast, 0 to 1.

    Contrast-sensitivity filter (difference of Gaussians, 15.387 / 1.3456, .7622), contrast = ratio of
    Gaussians sigma 2 and 4 minus 1, masking C^3 / (C^2 + .0001). Reflected border. Where nobody has
    contrast it counts as kept. Chen and Blum, "A new automated quality assessment algorithm for image
    fusion", Image Vision Comput. 2009.
    """
    return _chen_blum(*grey_levels(fused, a, b), border=cv2.BORDER_REFLECT_101)


def chen_blum_stretched(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Qcb after stretching every image to 0-255 by minimum and maximum; zero border."""
    images = (stretched(image) for image in grey_levels(fused, a, b))
    return _chen_blum(*images, border=cv2.BORDER_CONSTANT)


def chen_varshney(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Qcv: visible difference from the sources in 16x16 blocks, weighted by saliency; lower is better.

    Mean square of the difference after the Mannos-Sakrison contrast sensitivity; a block's saliency is
    the sum of its Sobel magnitudes (border replicated) to the power 5. 0 for fused = a = b. Chen and
    Varshney, "A human perception inspired quality metric for image fusion based on regional
    information", Information Fusion 2007.
    """
    return _chen_varshney(*grey_levels(fused, a, b), border=cv2.BORDER_REPLICATE)


def chen_varshney_stretched(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Qcv after stretching every image to 0-255 by minimum and maximum; zero border."""
    images = (stretched(image) for image in grey_levels(fused, a, b))
    return _chen_varshney(*images, border=cv2.BORDER_CONSTANT)


def _structure(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Ma et al., Eq. 1-11 on one scale."""
    pixels = _MEF_WINDOW**2
    sums = window_sums(_MEF_WINDOW, a, b, a * a, b * b, a * b)
    energy_a = np.maximum(sums[2] - sums[0] ** 2 / pixels, 0.0)
    energy_b = np.maximum(sums[3] - sums[1] ** 2 / pixels, 0.0)
    shared = sums[4] - sums[0] * sums[1] / pixels
    strength_a, strength_b = np.sqrt(energy_a), np.sqrt(energy_b)
    # How far the two structures agree, 0 to 1; 1 where there is none.
    agreement = ratio(
        np.sqrt(np.maximum(energy_a + energy_b + 2 * shared, 0.0)), strength_a + strength_b, 1.0
    )
    exponent = np.minimum(np.tan(np.pi / 2 * np.clip(agreement, 0.0, 1.0 - 1e-12)), 10.0)
    # The small constant keeps flat patches stable.
    strength_a, strength_b = strength_a + 0.001, strength_b + 0.001
    weight_a = (strength_a / _MEF_WINDOW) ** exponent + 1e-16
    weight_b = (strength_b / _MEF_WINDOW) ** exponent + 1e-16
    share_a = weight_a / (weight_a + weight_b) / strength_a
    share_b = weight_b / (weight_a + weight_b) / strength_b
    # The desired patch is share_a * a + share_b * b, scaled to the larger of the two strengths.
    norm = share_a**2 * energy_a + share_b**2 * energy_b + 2 * share_a * share_b * shared
    scale = ratio(np.maximum(strength_a, strength_b), np.sqrt(np.maximum(norm, 0.0)), 0.0)
    share_a, share_b = share_a * scale, share_b * scale

    products = (a * a, b * b, fused * fused, a * b, a * fused, b * fused)
    mean_a, mean_b, mean_f, *means = gaussian_means(_MEF_WINDOW, 1.5, a, b, fused, *products)
    variance_a, variance_b = means[0] - mean_a**2, means[1] - mean_b**2
    variance_f = np.maximum(means[2] - mean_f**2, 0.0)
    desired = share_a**2 * variance_a + share_b**2 * variance_b
    desired = np.maximum(desired + 2 * share_a * share_b * (means[3] - mean_a * mean_b), 0.0)
    covariance = share_a * (means[4] - mean_a * mean_f) + share_b * (means[5] - mean_b * mean_f)
    return float(((2 * covariance + _MEF_STABILITY) / (desired + variance_f + _MEF_STABILITY)).mean())


def _halved(levels: np.ndarray) -> np.ndarray:
    """Means of 2x2 blocks; an odd last row or column is repeated."""
    levels = np.pad(levels, ((0, levels.shape[0] % 2), (0, levels.shape[1] % 2)), mode="edge")
    rows, columns = levels.shape[0] // 2, levels.shape[1] // 2
    return levels.reshape(rows, 2, columns, 2).mean((1, 3))


def _chen_blum(fused: np.ndarray, a: np.ndarray, b: np.ndarray, *, border: int) -> float:
    radius = _radial_frequency(fused.shape, 30.0)
    sensitivity = np.exp(-((radius / 15.3870) ** 2)) - 0.7622 * np.exp(-((radius / 1.3456) ** 2))
    masked_f, masked_a, masked_b = (_masked_contrast(x, sensitivity, border) for x in (fused, a, b))
    kept_a = ratio(np.minimum(masked_a, masked_f), np.maximum(masked_a, masked_f), 1.0)
    kept_b = ratio(np.minimum(masked_b, masked_f), np.maximum(masked_b, masked_f), 1.0)
    saliency_a = ratio(masked_a**2, masked_a**2 + masked_b**2, 0.5)
    return float((saliency_a * kept_a + (1.0 - saliency_a) * kept_b).mean())


def _masked_contrast(levels: np.ndarray, sensitivity: np.ndarray, border: int) -> np.ndarray:
    """Chen and Blum, Eq. 9-12."""
    seen = _filtered(levels, sensitivity)
    narrow, wide = (_blur(seen, sigma, border) for sigma in (2.0, 4.0))
    contrast = np.abs(ratio(narrow, wide, 1.0) - 1.0)
    return contrast**3 / (contrast**2 + 0.0001)


def _chen_varshney(fused: np.ndarray, a: np.ndarray, b: np.ndarray, *, border: int) -> float:
    frequency = 0.144 * _radial_frequency(fused.shape, 8.0)
    sensitivity = 2.6 * (0.0192 + frequency) * np.exp(-(frequency**1.1))
    whole = border == cv2.BORDER_CONSTANT  # blocks are padded with zeros to 16x16
    pixels = _BLOCK**2 if whole else _block_sums(np.ones_like(fused))
    difference = total = 0.0
    flat = []  # what is visible where neither source has an edge by which blocks would count
    for source in (a, b):
        across = cv2.Sobel(source, cv2.CV_64F, 1, 0, borderType=border)
        down = cv2.Sobel(source, cv2.CV_64F, 0, 1, borderType=border)
        saliency = _block_sums(np.hypot(across, down) ** 5)
        visible = _block_sums(_filtered(source - fused, sensitivity) ** 2) / pixels
        flat.append(visible.mean())
        difference += float((saliency * visible).sum())
        total += float(saliency.sum())
    return difference / total if total > 0 else float(np.mean(flat))


def _radial_frequency(shape: tuple[int, ...], divisor: float) -> np.ndarray:
    """Radial frequency of each coefficient of ``rfft2``: Nyquist is side / ``divisor`` cycles a degree."""
    down = 2.0 * np.fft.fftfreq(shape[0]) * shape[0] / divisor
    across = 2.0 * np.fft.rfftfreq(shape[1]) * shape[1] / divisor
    return np.hypot(down[:, None], across[None, :])


def _filtered(levels: np.ndarray, response: np.ndarray) -> np.ndarray:
    return np.fft.irfft2(np.fft.rfft2(levels) * response, s=levels.shape)


def _blur(levels: np.ndarray, sigma: float, border: int) -> np.ndarray:
    offset = np.arange(_CONTRAST_WINDOW) - _CONTRAST_WINDOW // 2
    kernel = np.exp(-(offset**2) / (2 * sigma**2)) / (np.sqrt(2 * np.pi) * sigma)
    return cv2.sepFilter2D(levels, cv2.CV_64F, kernel, kernel, borderType=border)


def _block_sums(levels: np.ndarray) -> np.ndarray:
    """Sums over 16x16 blocks; the last row and column of blocks may be smaller."""
    rows = np.add.reduceat(levels, np.arange(0, levels.shape[0], _BLOCK), axis=0)
    return np.add.reduceat(rows, np.arange(0, levels.shape[1], _BLOCK), axis=1)
