"""Feature mutual information (FMI): how much each 3x3 neighbourhood of the fused image tells of the sources'.

The neighbourhoods are those of the pixels, or of a feature map (:mod:`model.metrics.feature_maps`).

Haghighat, Aghagolzadeh and Seyedarabi, "A non-reference image fusion metric based on mutual information
of image features", Comput. Electr. Eng. 2011; the local form is Haghighat and Razian, "Fast-FMI", AICT 2014.

Each window's nine values, stretched to [0, 1] and divided by their sum, are taken as a probability
distribution over the nine positions (read down the columns). Two such marginals p and q get the joint
distribution phi x (extremal) + (1 - phi) x p q of Nelsen, where the extremal one is Frechet's upper bound
(lower, if p and q correlate negatively) and phi is the correlation of p and q over that of the bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.metrics.feature_maps import cosine_map, edge_map, wavelet_map
from model.metrics.windows import grey_levels

_SIDE = 3
_CELLS = _SIDE * _SIDE
#: Rows of windows worked on at a time: the intermediate arrays stay in the processor's cache.
_BAND_ROWS = 8
#: Entropies of nine cells need no more; the mean over an image is exact to 1e-6.
_FLOAT = np.float32
#: A window of smaller range is constant: what rounding in a transform leaves of a constant image.
_ROUNDING = 1e-11


def feature_mutual_information(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """FMI of the pixels themselves: mean over windows and sources of 2 I / (H + H), about 0 to 1.

    A window equal to the source's counts 1, a window without structure 0.
    """
    return _mean_information(grey_levels(fused, a, b))


def edge_feature_information(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """FMI of the (H, W) maps of thinned Sobel edges, about 0 to 1.

    Most windows hold no edge in any image; they are equal, count 1 and lift the value towards 1.
    """
    return _mean_information([edge_map(plane) for plane in grey_levels(fused, a, b)])


def cosine_feature_information(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """FMI of the (H, W) coefficients of the whole images' cosine transforms, about 0 to 1."""
    return _mean_information([cosine_map(plane) for plane in grey_levels(fused, a, b)])


def wavelet_feature_information(fused: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """FMI of the coefficients of one level of the discrete Meyer wavelet transform, about 0 to 1."""
    return _mean_information([wavelet_map(plane) for plane in grey_levels(fused, a, b)])


def _mean_information(features: Sequence[np.ndarray]) -> float:
    """FMI of the (H, W) feature map of the fused image, the first, and of those of the sources."""
    rows, columns = (side - _SIDE + 1 for side in features[0].shape)
    equal = [_windows_equal(features[0], feature) for feature in features[1:]]
    total = 0.0
    for top in range(0, rows, _BAND_ROWS):
        band = slice(top, min(top + _BAND_ROWS, rows))
        q, *of_sources = (_distributions(feature[top : band.stop + _SIDE - 1]) for feature in features)
        for p, same in zip(of_sources, equal, strict=True):
            information = _normalised_information(p, q)
            same = same[band].ravel()
            total += float(information[~same].sum(dtype=np.float64)) + float(same.sum())
    return total / ((len(features) - 1) * rows * columns)


def _windows_equal(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of every whole 3x3 window, whether two planes agree in all of it: (H, W) -> (H - 2, W - 2)."""
    same = x == y
    same = same[:-2] & same[1:-1] & same[2:]
    return same[:, :-2] & same[:, 1:-1] & same[:, 2:]


def _distributions(feature: np.ndarray) -> np.ndarray:
    """Every whole 3x3 window as probabilities: (9, windows), down the columns of the window first.

    A window that is constant up to rounding is uniform.
    """
    view = np.lib.stride_tricks.sliding_window_view(feature, (_SIDE, _SIDE)).transpose(3, 2, 0, 1)
    # Differences lose nothing in float32 that matters; the values may be large beside them.
    p = (view - view[1, 1]).astype(_FLOAT).reshape(_CELLS, -1)
    p -= p.min(0)
    p[:, p.max(0) < _ROUNDING] = 1.0
    p /= p.sum(0)
    return p


def _normalised_information(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """2 I(P; Q) / (H(P) + H(Q)) of each column of (9, N) and (9, N)."""
    dp, dq = p - _FLOAT(1 / _CELLS), q - _FLOAT(1 / _CELLS)
    correlation = _ratio((dp * dq).sum(0), np.sqrt((dp * dp).sum(0) * (dq * dq).sum(0)))
    # Frechet's lower bound is the upper bound of one marginal reversed.
    p = np.where(correlation < 0, p[::-1], p)
    cumulative_p, cumulative_q = _cumulative(p), _cumulative(q)
    covariance = -cumulative_p.sum(0) * cumulative_q.sum(0)
    for row in cumulative_q:
        covariance += np.minimum(row, cumulative_p).sum(0)
    bound = _ratio(covariance, _deviation(p) * _deviation(q))
    phi = _ratio(np.abs(correlation), bound)
    entropies = -_xlogx(p).sum(0) - _xlogx(q).sum(0)
    joint = _joint_entropy(p, q, cumulative_p, cumulative_q, phi, entropies)
    return _ratio(2 * (entropies - joint), entropies)


def _joint_entropy(
    p: np.ndarray,
    q: np.ndarray,
    cumulative_p: np.ndarray,
    cumulative_q: np.ndarray,
    phi: np.ndarray,
    entropies: np.ndarray,
) -> np.ndarray:
    """Entropy of phi x (upper bound) + (1 - phi) p q over the 81 cells, without visiting them all.

    The independent part has a closed form. The bound's mass lies on a staircase of at most 17 cells,
    found by merging the two cumulative distributions; only those cells differ from the closed form.
    """
    independent = 1 - phi
    joint = independent * entropies - _xlogx(independent)
    count = p.shape[1]
    # Positions in the flattened (9, N) arrays; one row more, never passed, ends each merge.
    at_p, at_q = np.arange(count), np.arange(count)
    flat_p, flat_q = (np.append(x, np.zeros(count, _FLOAT)) for x in (p * independent, q))
    ends_p, ends_q = (np.append(x, np.full(count, 2, _FLOAT)) for x in (cumulative_p, cumulative_q))
    reached = np.zeros(count, _FLOAT)
    for _ in range(2 * _CELLS - 1):
        end_p, end_q = ends_p.take(at_p), ends_q.take(at_q)
        end = np.minimum(end_p, end_q)
        alone = flat_p.take(at_p) * flat_q.take(at_q)
        joint += _xlogx(alone)
        reached -= end
        reached *= phi
        alone -= reached
        joint -= _xlogx(alone)
        reached = end
        step_p = end_p <= end_q
        at_p += step_p * count
        at_q += ~step_p * count
    return joint


def _cumulative(p: np.ndarray) -> np.ndarray:
    """Cumulative sums down each column of probabilities; row by row, as ``cumsum`` is slow along axis 0."""
    total = p.copy()
    for row in range(1, _CELLS - 1):
        total[row] += total[row - 1]
    total[-1] = 1
    return total


def _deviation(p: np.ndarray) -> np.ndarray:
    """Standard deviation of the position 1..9 under each column of probabilities."""
    position = np.arange(1, _CELLS + 1, dtype=_FLOAT)
    return np.sqrt(np.maximum((position**2) @ p - (position @ p) ** 2, 0))


def _xlogx(x: np.ndarray) -> np.ndarray:
    """x log2 |x|, 0 at 0. Where phi exceeds 1, cells are negative; the logarithm's real part is taken."""
    logarithm = np.abs(x)
    np.maximum(logarithm, _FLOAT(1e-37), out=logarithm)
    np.log2(logarithm, out=logarithm)
    logarithm *= x
    return logarithm


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Elementwise quotient, 0 where the denominator is 0 up to rounding."""
    defined = denominator > 1e-6
    return np.where(defined, numerator / np.where(defined, denominator, 1), 0)
