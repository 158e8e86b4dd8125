"""Colour images of 16 bits a channel, of which Pillow has the upper half only.

OpenCV reads most, and tifffile the other TIFFs. OpenCV gets some wrong without a word, so what either gives
counts if its upper half is what Pillow has. Planar TIFFs OpenCV and Pillow get wrong; there tifffile alone
decides.
"""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path

import cv2
import numpy as np
from tifffile import PLANARCONFIG, TiffFile, TiffFileError

from pipeline.files import InputError
from pipeline.images.headers import ORIENTATION, upright

#: What tifffile and its decoders raise for a damaged file, seen by changing bytes of good ones.
TIFF_DAMAGE = (
    TiffFileError,
    struct.error,
    LookupError,
    ValueError,
    ArithmeticError,
    RuntimeError,
    TypeError,
    AttributeError,
)

# tifffile logs every oddity; what matters is raised, and standard error is the user's.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def decode_sixteen_bit(data: bytes, eight_bit: np.ndarray, path: Path | str) -> np.ndarray:
    """Decode an RGB image of 16 bits a channel: a PNG as it is stored, a TIFF upright, as of Pillow.

    Args:
        data: the file.
        eight_bit: the upper half of its values, (H, W, 3) uint8.
        path: of the file, for the message.

    Returns:
        The image, (H, W, 3) uint16.

    Raises:
        InputError: no decoder gives what agrees with the upper half.
    """
    planar = _is_planar(data)
    for decode in (_by_tifffile,) if planar else (_by_opencv, _by_tifffile):
        image = decode(data)
        if image is None or image.shape != eight_bit.shape:
            continue
        if planar or _upper_half_is(image, eight_bit):
            return image
    raise InputError(f"{path}: 16-bit image that cannot be decoded reliably; convert it to a plain PNG")


def _upper_half_is(image: np.ndarray, eight_bit: np.ndarray) -> bool:
    return bool(np.abs((image >> 8).astype(np.int16) - eight_bit).max() <= 1)


def _is_planar(data: bytes) -> bool:
    """Whether it is a TIFF that holds one channel after the other."""
    try:
        with TiffFile(io.BytesIO(data)) as file:
            return file.pages.first.aspage().planarconfig == PLANARCONFIG.SEPARATE
    except TIFF_DAMAGE:
        return False


def _by_opencv(data: bytes) -> np.ndarray | None:
    """What OpenCV reads, TIFFs upright: (H, W, 3) uint16, or None."""
    flags = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        return None
    if decoded is None or decoded.dtype != np.uint16 or decoded.ndim != 3:
        return None
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def _by_tifffile(data: bytes) -> np.ndarray | None:
    """What tifffile reads, turned upright: (H, W, 3) uint16, or None."""
    try:
        with TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first.aspage()
            values = page.asarray()
            planar = page.planarconfig == PLANARCONFIG.SEPARATE
            image = upright(
                np.moveaxis(values, 0, -1) if planar else values, page.tags.valueof(ORIENTATION, 1)
            )
    except TIFF_DAMAGE:
        return None
    return image if image.dtype == np.uint16 and image.ndim == 3 and image.shape[2] == 3 else None
