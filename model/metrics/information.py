"""Information metrics: entropy and mutual information of grey-level histograms.

Every function takes (H, W) planes, uint8 or float in [0, 1], and uses 256 levels; float is rounded.
"""

from __future__ import annotations

import numpy as np

from model.metrics.windows import grey_levels

LEVELS = 256


def entropy(fused: np.ndarray) -> float:
    """EN: Shannon entropy of the grey levels in bits, 0 (constant) to 8 (flat histogram).

    Rises with noise and with sharpening. Roberts et al., "Assessment of image fusion procedures using
    entropy, image quality, and multispectral classification", J. Appl. Remote Sens. 2008.
    """
    (fused,) = grey_levels(fused)
    return _bits(_histogram(fused))


def mutual_information(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """MI: I(A; F) + I(B; F) in bits; 0 (independent) to H(A) + H(B).

    Qu, Zhang and Yan, "Information measure for performance of image fusion", Electronics Letters 2002.
    """
    fused, a, b = grey_levels(fused, a, b)
    return _information(a, fused) + _information(b, fused)


def normalised_mutual_information(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """NMI: 2 [I(A; F) / (H(A) + H(F)) + I(B; F) / (H(B) + H(F))], 0 to 2; 0 where all is constant.

    Hossny, Nahavandi and Creighton, "Comments on 'Information measure for performance of image
    fusion'", Electronics Letters 2008.
    """
    fused, a, b = grey_levels(fused, a, b)
    total = 0.0
    for source in (a, b):
        entropies = _bits(_histogram(source)) + _bits(_histogram(fused))
        total += 2.0 * _information(source, fused) / entropies if entropies > 0 else 0.0
    return total


def mutual_information_nats(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """MI in nats (bits x ln 2), as a histogram library with natural logarithms gives it."""
    return mutual_information(fused, a, b) * float(np.log(2))


def mutual_information_stretched(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """MI in nats after every image is stretched to 0-255 by its own minimum and maximum."""
    fused, a, b = (stretched(image) for image in grey_levels(fused, a, b))
    return (_information(a, fused) + _information(b, fused)) * float(np.log(2))


def mutual_information_saturated(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """MI in bits whose joint histogram (but not its marginals) takes level 255 for 254."""
    fused, a, b = grey_levels(fused, a, b)
    total = 0.0
    for source in (a, b):
        joint = _joint_histogram(np.minimum(source, 254.0), np.minimum(fused, 254.0))
        total += _bits(_histogram(source)) + _bits(_histogram(fused)) - _bits(joint)
    return total


def cross_entropy(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """CE: mean relative entropy of the two source histograms from the fused one, in bits; lower is better.

    Levels that one of the two images lacks are left out, so it may be negative. Bulanon, Burks and
    Alchanatis, "Image fusion of visible and thermal images for fruit detection", Biosyst. Eng. 2009.
    """
    fused, a, b = grey_levels(fused, a, b)
    q = _histogram(fused) / fused.size
    total = 0.0
    for source in (a, b):
        p = _histogram(source) / source.size
        both = (p > 0) & (q > 0)
        total += float((p[both] * np.log2(p[both] / q[both])).sum()) / 2
    return total


def stretched(levels: np.ndarray) -> np.ndarray:
    """Grey levels stretched to 0-255 by minimum and maximum and rounded; a constant plane becomes 0."""
    low, high = levels.min(), levels.max()
    if high == low:
        return np.zeros_like(levels)
    # Halves round up, away from zero.
    return np.floor((levels - low) / (high - low) * 255.0 + 0.5)


def _information(x: np.ndarray, y: np.ndarray) -> float:
    """I(X; Y) in bits."""
    return _bits(_histogram(x)) + _bits(_histogram(y)) - _bits(_joint_histogram(x, y))


def _histogram(levels: np.ndarray) -> np.ndarray:
    return np.bincount(np.rint(levels).astype(np.int64).ravel(), minlength=LEVELS)


def _joint_histogram(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    pairs = np.rint(x).astype(np.int64) * LEVELS + np.rint(y).astype(np.int64)
    return np.bincount(pairs.ravel(), minlength=LEVELS * LEVELS)


def _bits(counts: np.ndarray) -> float:
    """Entropy of a histogram in bits."""
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log2(p)).sum()) + 0.0  # + 0.0: no negative zero
