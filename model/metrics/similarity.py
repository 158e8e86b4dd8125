"""Similarity metrics: how close the fused image is to its sources, or to a ground truth.

Every function takes (H, W) planes, uint8 or float in [0, 1]. Two-source metrics are the mean over the
two sources unless they say otherwise. Grey levels 0-255.
"""

from __future__ import annotations

import numpy as np
from skimage import metrics as skimage_metrics  # loads its functions when they are first used

from model.metrics.windows import MS_SSIM_WEIGHTS, correlation, grey_levels

#: PSNR of identical images, which is infinite; the least difference of a 16-megapixel image gives 120 dB.
PSNR_CAP_DB = 150.0
#: With K1 this large, SSIM's luminance term is exactly 1 and its contrast-structure term is left.
_NO_LUMINANCE_K1 = 1e9


def standard_deviation(fused: np.ndarray) -> float:
    """SD: population standard deviation of the grey levels, 0 to 127.5. Rao, Meas. Sci. Technol. 1997."""
    (fused,) = grey_levels(fused)
    return float(fused.std())


def standard_deviation_saturated(fused: np.ndarray) -> float:
    """SD in 8-bit saturating arithmetic: darker than the mean counts 0, and squares stop at 255."""
    (fused,) = grey_levels(fused)
    deviation = np.clip(np.floor(fused - fused.mean() + 0.5), 0.0, 255.0)
    return float(np.sqrt(np.minimum(deviation**2, 255.0).mean()))


def mean_squared_error(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """MSE: mean over the sources of the mean squared difference, grey levels squared; lower is better."""
    fused, a, b = grey_levels(fused, a, b)
    return float(((fused - a) ** 2).mean() + ((fused - b) ** 2).mean()) / 2


def mean_squared_error_unit_range(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """MSE of images in [0, 1]: 1/65025 of the usual figure."""
    return mean_squared_error(fused, a, b) / 255.0**2


def peak_signal_to_noise(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """PSNR: 10 log10(255^2 / MSE) in dB, MSE being the mean over both sources; 150 for identical images.

    Jagalingam and Hegde, "A review of quality metrics for fused image", Aquatic Procedia 2015.
    """
    return _decibels(255.0, mean_squared_error(fused, a, b))


def peak_signal_to_noise_by_maximum(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """PSNR whose peak is the fused image's own maximum instead of 255."""
    (levels,) = grey_levels(fused)
    return _decibels(float(levels.max()), mean_squared_error(fused, a, b))


def peak_signal_to_noise_unit_range(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """PSNR of images in [0, 1] while the peak stays 255: 48.1 dB too high."""
    return peak_signal_to_noise(fused, a, b) + 20.0 * float(np.log10(255.0))


def frobenius_error(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """Mean over the sources of ||F - A|| / (H W), the root taken before the division."""
    fused, a, b = grey_levels(fused, a, b)
    return float(np.linalg.norm(fused - a) + np.linalg.norm(fused - b)) / (2 * fused.size)


def peak_signal_to_frobenius(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """PSNR with :func:`frobenius_error` in the place of the mean squared error."""
    return _decibels(255.0, frobenius_error(fused, a, b))


def correlation_coefficient(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """CC: mean of corr(A, F) and corr(B, F), -1 to 1; a constant image correlates with nothing (0).

    Deshmukh and Bhosale, "Image fusion and image quality assessment of fused images", Int. J. Image
    Processing 2010.
    """
    fused, a, b = grey_levels(fused, a, b)
    return (correlation(a, fused) + correlation(b, fused)) / 2


def sum_of_difference_correlations(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """SCD: corr(F - B, A) + corr(F - A, B), -2 to 2; 2 for F = A + B. Signed differences.

    Aslantas and Bendes, "A new image quality metric for image fusion: the sum of the correlations of
    differences", AEU Int. J. Electron. Commun. 2015.
    """
    fused, a, b = grey_levels(fused, a, b)
    return correlation(fused - b, a) + correlation(fused - a, b)


def structural_similarity_mean(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """SSIM: mean over the sources, -1 to 1; 11x11 Gaussian, sigma 1.5, K .01/.03, range 255, no padding.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", TIP 2004.
    """
    fused, a, b = grey_levels(fused, a, b)
    return (_ssim(fused, a) + _ssim(fused, b)) / 2


def structural_similarity_sum(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """SSIM summed over the sources: twice the mean."""
    return 2.0 * structural_similarity_mean(fused, a, b)


def structural_similarity_range_two(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """SSIM as scikit-image's old default for float: 7x7 uniform window, data range 2, summed."""
    f, *sources = (image.astype(np.float32) for image in grey_levels(fused, a, b))
    return float(sum(skimage_metrics.structural_similarity(f, source, data_range=2) for source in sources))


def multi_scale_similarity(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """MS-SSIM: mean over the sources, 0 to 1; five scales halved by 2x2 means, negative terms count 0.

    Wang, Simoncelli and Bovik, "Multi-scale structural similarity for image quality assessment",
    Asilomar 2003, Eq. 7. Needs 176 pixels a side.
    """
    fused, a, b = grey_levels(fused, a, b)
    return (_ms_ssim(fused, a) + _ms_ssim(fused, b)) / 2


def ground_truth_psnr(fused: np.ndarray, ground_truth: np.ndarray) -> float:
    """PSNR in dB against a ground truth, peak 255; 150 for identical images."""
    fused, truth = grey_levels(fused, ground_truth)
    return _decibels(255.0, float(((fused - truth) ** 2).mean()))


def ground_truth_ssim(fused: np.ndarray, ground_truth: np.ndarray) -> float:
    """SSIM against a ground truth; see :func:`structural_similarity_mean`."""
    fused, truth = grey_levels(fused, ground_truth)
    return _ssim(fused, truth)


def error_map(fused: np.ndarray, ground_truth: np.ndarray) -> np.ndarray:
    """Absolute difference from a ground truth in grey levels, (H, W) uint8."""
    fused, truth = grey_levels(fused, ground_truth)
    return np.rint(np.abs(fused - truth)).astype(np.uint8)


def _decibels(peak: float, error: float) -> float:
    if error == 0:
        return PSNR_CAP_DB
    return min(10.0 * float(np.log10(max(peak, 1.0) ** 2 / error)), PSNR_CAP_DB)


def _ssim(x: np.ndarray, y: np.ndarray, k1: float = 0.01) -> float:
    return float(
        skimage_metrics.structural_similarity(
            x, y, data_range=255, K1=k1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
    )


def _ms_ssim(x: np.ndarray, y: np.ndarray) -> float:
    product = 1.0
    for weight in MS_SSIM_WEIGHTS[:-1]:
        product *= max(_ssim(x, y, _NO_LUMINANCE_K1), 0.0) ** weight
        x, y = _halved(x), _halved(y)
    return product * max(_ssim(x, y), 0.0) ** MS_SSIM_WEIGHTS[-1]


def _halved(levels: np.ndarray) -> np.ndarray:
    """Means of whole 2x2 blocks."""
    rows, columns = levels.shape[0] // 2, levels.shape[1] // 2
    return levels[: rows * 2, : columns * 2].reshape(rows, 2, columns, 2).mean((1, 3))
