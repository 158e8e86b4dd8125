"""Visual information fidelity: how much of what an eye reads from the sources the fused image keeps.

Both metrics model each source as a Gaussian scale mixture in the pixel domain (four scales, windows 17,
9, 5 and 3 with sigma = size / 5, no padding) and the fused image as g x source + additive noise, seen
through visual noise. Planes are (H, W), uint8 or float in [0, 1], at least 41 pixels a side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from model.metrics.windows import gaussian_means, grey_levels

_WINDOWS = (17, 9, 5, 3)
_TINY = 1e-10
#: Han et al. 2013: visual noise variance, and the weights of the four scales.
_VIFF_NOISE = 0.005 * 255.0**2
_VIFF_WEIGHTS = np.array([1.0, 0.0, 0.15, 1.0]) / 2.15

_Product = Callable[[np.ndarray, np.ndarray], np.ndarray]


def information_fidelity(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """VIF: VIFp(A, F) + VIFp(B, F), visual noise variance 2; 0 to 2, above where contrast is enhanced.

    A constant source has nothing to keep and counts 1. Sheikh and Bovik, "Image information and visual
    quality", TIP 2006, in its pixel-domain form.
    """
    fused, a, b = grey_levels(fused, a, b)
    return _vifp(fused, a) + _vifp(fused, b)


def information_fidelity_saturated(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """VIF whose finest scale squares pixels in 8-bit saturating arithmetic (at most 255)."""
    fused, a, b = grey_levels(fused, a, b)
    return _vifp(fused, a, _saturating) + _vifp(fused, b, _saturating)


def fusion_information_fidelity(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """VIFF: per scale, the information kept of the source that each pixel keeps least; about 0 to 1.

    Per pixel, the source with the smaller gain g is taken (the mean of both where the gains are equal, so
    that the order of the sources does not matter; the authors take the second). Visual noise variance
    .005 x 255^2; the four scales weigh 1, 0, .15 and 1 (over 2.15). Han, Cai, Cao and Xu, "A new image
    fusion performance metric based on visual information fidelity", Information Fusion 2013.
    """
    fused, a, b = grey_levels(fused, a, b)
    scales = []
    for (gain_a, kept_a, all_a), (gain_b, kept_b, all_b) in zip(
        _information(fused, a, _VIFF_NOISE), _information(fused, b, _VIFF_NOISE), strict=True
    ):
        from_a = 0.5 * (np.sign(gain_b - gain_a) + 1.0)  # 1, 0, or 1/2 for a tie
        kept, everything = (from_a * x + (1 - from_a) * y for x, y in ((kept_a, kept_b), (all_a, all_b)))
        # The constant makes a scale without any information count 1.
        scales.append((kept + 1e-7).sum() / (everything + 1e-7).sum())
    return float(_VIFF_WEIGHTS @ np.array(scales))


def _vifp(fused: np.ndarray, source: np.ndarray, product: _Product = np.multiply) -> float:
    kept = everything = 0.0
    for _, kept_map, all_map in _information(fused, source, 2.0, product):
        kept += float(kept_map.sum())
        everything += float(all_map.sum())
    return kept / everything if everything > 0 else 1.0


def _information(
    fused: np.ndarray, source: np.ndarray, noise: float, product: _Product = np.multiply
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Per scale: gain g, information kept, information in the source (maps, nats)."""
    for scale, size in enumerate(_WINDOWS):
        sigma = size / 5.0
        if scale > 0:
            source, fused = (mean[::2, ::2] for mean in gaussian_means(size, sigma, source, fused))
            product = np.multiply
        mean_s, mean_f, square_s, square_f, cross = gaussian_means(
            size, sigma, source, fused, product(source, source), product(fused, fused), product(source, fused)
        )
        variance_s = np.maximum(square_s - mean_s**2, 0.0)
        variance_f = np.maximum(square_f - mean_f**2, 0.0)
        covariance = cross - mean_s * mean_f
        flat = (variance_s < _TINY) | (variance_f < _TINY)
        gain = np.where(flat, 0.0, covariance / (variance_s + _TINY))
        gain = np.maximum(gain, 0.0)  # an inverted structure conveys nothing
        distortion = np.maximum(variance_f - gain * covariance, _TINY)
        kept = np.log1p(gain**2 * variance_s / (distortion + noise))
        yield gain, kept, np.log1p(np.where(variance_s < _TINY, 0.0, variance_s) / noise)


def _saturating(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.minimum(x * y, 255.0)
