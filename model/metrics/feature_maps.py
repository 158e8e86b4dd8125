"""Feature maps of a plane: edges, cosine transform, wavelet transform, each as Matlab's functions give them.

:mod:`model.metrics.feature_information` compares the maps of a fused image with those of its sources.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
import scipy  # loads its modules when they are first used

#: Taps of Matlab's filter "dmey", the middle one at ``_TAPS // 2``. The Meyer filter itself never ends.
_TAPS = 102
#: Values of a transformed column that are worked out at a time.
_BLOCK = 64
#: Gradients across and down, in 1/8 grey level, that differ by less are equal: Matlab's 100 eps.
_SAME_GRADIENT = 100 * np.finfo(np.float64).eps * 8 * 255


def edge_map(levels: np.ndarray) -> np.ndarray:
    """Edges as Matlab's ``edge(image)`` finds them: (H, W) grey levels -> (H, W) of 0.0 and 1.0.

    Squared Sobel gradient (replicated border) above four times its mean (Pratt, "Digital Image Processing",
    Wiley 1978), thinned: a pixel stays if it is a maximum along the axis of its larger gradient, across
    columns or across rows. Of two equal neighbours the right or lower one is the maximum. Matlab works on
    [0, 1], where rounding decides between them; on whole levels, as here, nothing is rounded.
    """
    across, down = (
        np.abs(cv2.Sobel(levels, cv2.CV_64F, *axis, borderType=cv2.BORDER_REPLICATE))
        for axis in ((1, 0), (0, 1))
    )
    strength = across * across + down * down
    maximum = (across >= down - _SAME_GRADIENT) & _is_row_maximum(strength)
    maximum |= (down >= across - _SAME_GRADIENT) & _is_row_maximum(strength.T).T
    return (maximum & (strength > 4 * strength.mean())).astype(np.float64)


def cosine_map(levels: np.ndarray) -> np.ndarray:
    """Orthonormal two-dimensional DCT-II of the whole plane: (H, W) grey levels -> (H, W) coefficients.

    Of the plane in [0, 1], as Matlab's ``dct2(im2double(image))``.
    """
    return np.asarray(scipy.fft.dctn(levels / 255, norm="ortho"))


def wavelet_map(levels: np.ndarray) -> np.ndarray:
    """One level of the discrete Meyer wavelet transform: (H, W) grey levels -> about (H + 101, W + 101).

    The four bands lie side by side (averages and horizontal details over vertical and diagonal details) and
    are stretched together to [0, 1]; a plane of zeros gives ones. Borders are mirrored, the edge pixel
    repeated, as in Matlab's ``dwt2(image, 'dmey')``. The filter is Meyer's (Daubechies, "Ten Lectures on
    Wavelets", SIAM 1992, with the polynomial of p. 119), cut to 101 taps; Matlab's own agrees to 1e-10.
    """
    bands = _meyer_transform(_meyer_transform(levels / 255).T).T
    shape = bands.shape
    # Horizontal details, of high frequency down the rows, are computed below the averages: to their right.
    bands = bands.reshape(2, shape[0] // 2, 2, shape[1] // 2).swapaxes(0, 2).reshape(shape)
    low, high = bands.min(), bands.max()
    return (bands - low) / (high - low) if high > low else np.ones_like(bands)


def _is_row_maximum(strength: np.ndarray) -> np.ndarray:
    """Where a value is at least its left and above its right neighbour; the border has none."""
    inside = np.pad(strength, ((0, 0), (1, 1)), constant_values=-1)
    return (inside[:, :-2] <= strength) & (strength > inside[:, 2:])


def _meyer_transform(plane: np.ndarray) -> np.ndarray:
    """Of every column: (side, W) -> (2 n, W), n = (side + 101) // 2: low-pass values, then high-pass ones.

    Few values at a time, and the matrix of their taps is small.
    """
    side = len(plane)
    low = _meyer_filter()
    filters = np.stack([low, low[::-1] * (-1.0) ** np.arange(1, _TAPS + 1)])
    ends = np.arange(1, side + _TAPS - 1, 2)
    transformed = np.empty((2, len(ends), plane.shape[1]))
    for first in range(0, len(ends), _BLOCK):
        block = ends[first : first + _BLOCK]
        source = (block[:, None] - np.arange(_TAPS)) % (2 * side)
        source = np.minimum(source, 2 * side - 1 - source)  # mirrored, the border pixel twice
        start, stop = source.min(), source.max() + 1
        taps = np.zeros((2, len(block), stop - start))
        for band, filter_ in zip(taps, filters, strict=True):
            np.add.at(band, (np.arange(len(block))[:, None], source - start), filter_)
        transformed[:, first : first + _BLOCK] = taps @ plane[start:stop]
    return transformed.reshape(-1, plane.shape[1])


@functools.cache
def _meyer_filter() -> np.ndarray:
    """(102,) low-pass taps of sum sqrt 2: a zero, then Fourier coefficients -50..50 of Meyer's response."""
    count = 4096  # frequencies: aliasing falls below 1e-12
    frequency = 2 * np.pi / count * np.arange(-count // 2, count // 2)
    ramp = np.clip(3 * np.abs(frequency) / np.pi - 1, 0, 1)
    smooth = ramp**4 * (35 - 84 * ramp + 70 * ramp**2 - 20 * ramp**3)
    delay = np.arange(_TAPS) - _TAPS // 2
    taps = np.cos(np.outer(delay, frequency)) @ np.cos(np.pi / 2 * smooth)
    taps[0] = 0
    return taps * (np.sqrt(2) / taps.sum())
