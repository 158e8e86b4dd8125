"""Pictures inside a page: scaled down, encoded and counted against a limit."""

from __future__ import annotations

import base64
from collections.abc import Callable

import cv2
import numpy as np

from pipeline.images.contact_sheet import heat
from pipeline.images.resampling import shrunk

#: Errors of this many grey levels and more are drawn in the brightest colour.
ERROR_RANGE_LEVELS = 64
_JPEG_QUALITY = 85


def data_uri(image: np.ndarray, side_px: int) -> str:
    """Encode (H, W) or (H, W, 3) RGB, uint8 or uint16, as a JPEG or PNG data URI, whichever is smaller.

    Args:
        side_px: the longer side is scaled down to this; smaller images stay as they are.
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    image = shrunk(image, side_px)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    encoded = {
        "jpeg": cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1],
        "png": cv2.imencode(".png", bgr)[1],
    }
    kind = min(encoded, key=lambda name: len(encoded[name]))
    return f"data:image/{kind};base64,{base64.b64encode(encoded[kind].tobytes()).decode()}"


def coloured_error(error: np.ndarray) -> np.ndarray:
    """Error map (H, W) uint8 in grey levels -> (H, W, 3) RGB, dark at 0, brightest at 64 and more."""
    return heat(error.astype(np.float32) / ERROR_RANGE_LEVELS)


def within_limit(count: int, encode: Callable[[int], list[str]], limit_mb: float) -> dict[int, list[str]]:
    """Data URIs of as many of ``count`` groups of pictures as a page may hold, of one at least, in order.

    Args:
        encode: gives those of one group, by its number.
    """
    shown: dict[int, list[str]] = {}
    used = 0
    for index in _spread(count):
        uris = encode(index)
        used += sum(map(len, uris))
        if used > limit_mb * 2**20 and shown:
            break
        shown[index] = uris
    return dict(sorted(shown.items()))


def _spread(count: int) -> list[int]:
    """0 .. count - 1 in an order whose every beginning is spread over the whole range."""
    bits = max(1, (count - 1).bit_length())
    reversed_bits = (int(f"{i:0{bits}b}"[::-1], 2) for i in range(1 << bits))
    return [i for i in reversed_bits if i < count]
