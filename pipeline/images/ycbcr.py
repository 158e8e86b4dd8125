"""BT.601 luminance and chroma, full range as in JFIF (ITU-R BT.601-7)."""

from __future__ import annotations

import numpy as np

#: Luma weights of R, G, B.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
#: Chroma that leaves any colour in the RGB cube.
FAINT = np.float32(1e-6)


def luminance(rgb: np.ndarray) -> np.ndarray:
    """BT.601 luminance of float32 RGB in [0, 1], (..., 3) -> (...)."""
    return rgb @ LUMA


def rgb_to_ycbcr(rgb: np.ndarray) -> np.ndarray:
    """Full-range BT.601 (JFIF): float32 RGB (..., 3) in [0, 1] -> Y in [0, 1], Cb and Cr in [-0.5, 0.5].

    Chroma is centred on 0: the offset of 128 belongs to the 8-bit encoding alone.
    """
    y = luminance(rgb)
    return _interleaved([y, (rgb[..., 2] - y) / 1.772, (rgb[..., 0] - y) / 1.402])


def ycbcr_to_rgb(ycbcr: np.ndarray) -> np.ndarray:
    """Inverse of :func:`rgb_to_ycbcr`, not clipped."""
    return _interleaved(_channels(ycbcr[..., 0], ycbcr[..., 1], ycbcr[..., 2]))


def apply_chroma(luma: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Luminance (...) in [0, 1] and chroma (..., 2) -> RGB (..., 3) in [0, 1], of that hue and luminance.

    The chroma is scaled by the largest factor up to 1 with which the colour fits into the RGB cube.
    """
    offsets = _channels(np.zeros_like(luma), chroma[..., 0], chroma[..., 1])
    up, down = np.maximum.reduce(offsets), -np.minimum.reduce(offsets)
    up, down = np.maximum(up, FAINT), np.maximum(down, FAINT)
    fits = np.minimum(np.minimum((1 - luma) / up, luma / down), 1)
    return _interleaved([np.clip(luma + offset * fits, 0, 1) for offset in offsets])


def _interleaved(channels: list[np.ndarray]) -> np.ndarray:
    """(...) each -> (..., C). In memory each stays whole, for most of what comes next takes them apart."""
    return np.moveaxis(np.stack(channels), 0, -1)


def _channels(y: np.ndarray, cb: np.ndarray, cr: np.ndarray) -> list[np.ndarray]:
    red, blue = y + 1.402 * cr, y + 1.772 * cb
    return [red, (y - LUMA[0] * red - LUMA[2] * blue) / LUMA[1], blue]
