"""From image files to what the network is given: value range of 16-bit data, sizes that agree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.files import InputError
from pipeline.images import read_picture, size_text
from pipeline.images.ycbcr import luminance

#: Shares of the pixels of a 16-bit image that ``percentile`` leaves below and above the range.
PERCENTILES = (0.001, 0.999)

#: Share of its range that an image should fill: more than 14 bits of 16 can.
LEAST_SHARE = 1 / 4
#: Rows converted at a time: large images are never held as several float planes.
_ROWS = 64


@dataclass(frozen=True)
class Source:
    """One input image, uint8 or uint16, (H, W) or (H, W, 3) RGB; ``low`` and ``high`` become 0 and 1."""

    image: np.ndarray
    low: float
    high: float
    profile: bytes | None = None  # ICC
    coloured: bool = True  # RGB that is not grey; of (H, W) it means nothing

    def plane(self) -> np.ndarray:
        """Luminance, (H, W) float32 in [0, 1]."""
        if self.image.ndim == 2:
            return self.scaled(slice(None))
        plane = np.empty(self.image.shape[:2], np.float32)
        for rows in row_slices(plane):
            plane[rows] = luminance(self.scaled(rows))
        return plane

    def scaled(self, rows: slice) -> np.ndarray:
        """Some rows, float32 in [0, 1]."""
        values = self.image[rows].astype(np.float32)
        if self.low:
            values -= np.float32(self.low)
        values /= np.float32(self.high - self.low)
        return values if self.high - self.low == np.iinfo(self.image.dtype).max else values.clip(0, 1)


def check_range(text: str) -> None:
    """Raise :class:`InputError` unless ``text`` is full, percentile or LOW:HIGH."""
    if text not in ("full", "percentile"):
        _given(text)


def value_range(image: np.ndarray, text: str) -> tuple[float, float]:
    """Values that become 0 and 1. 8-bit images always use their full range.

    Args:
        image: uint8 or uint16, any shape.
        text: ``full`` (0 to 65535), ``percentile`` (0.1 to 99.9 of this image; where both are one value, its
            least and greatest; of one value alone, full) or ``LOW:HIGH``.
    """
    if image.dtype == np.uint8:
        return 0.0, 255.0
    if text == "full":
        return 0.0, 65535.0
    if text != "percentile":
        return _given(text)
    low, high = _percentiles(image)
    if low == high:
        low, high = int(image.min()), int(image.max())
    return (float(low), float(high)) if low < high else (0.0, 65535.0)


def unused_range(image: np.ndarray, text: str) -> str | None:
    """What to tell where 16-bit values fill so little of their range that the image hardly counts; else None.

    A fused image follows the stronger detail, and 14 bits of a thermal camera, read as 16, have next to none.

    Args:
        image: uint8 or uint16, any shape, possibly empty.
        text: as for :func:`value_range`.
    """
    if image.dtype == np.uint8 or text == "percentile" or not image.size:
        return None
    low, high = value_range(image, text)
    least, most = _percentiles(image)
    filled = min(most, high) - max(least, low)  # negative of values that all lie beside the range
    if most == least or filled >= LEAST_SHARE * (high - low):
        return None
    values = f"values from {least} to {most} fill little of the range {low:g} to {high:g}"
    return f"{values}; --range-16bit percentile uses them whole"


def read_source(path: Path, *, range_16bit: str) -> Source:
    """Decode one file and decide on its range; see :func:`value_range`."""
    image, profile = read_picture(path)
    return Source(image, *value_range(image, range_16bit), profile)


def has_colour(image: np.ndarray, tolerance: int = 0) -> bool:
    """Whether the channels of a pixel of (H, W, 3) differ by more than ``tolerance``; of (H, W) never."""
    return image.ndim == 3 and any(_channel_range(image[rows]) > tolerance for rows in row_slices(image))


def same_size(images: Sequence[np.ndarray], names: Sequence[str], resize: str | None) -> list[np.ndarray]:
    """Images of one size, (H, W[, C]).

    Args:
        images: in order.
        names: how an error calls them.
        resize: ``a`` gives all others the size of the second, ``b`` that of the first;
            None refuses images that differ.
    """
    if len({image.shape[:2] for image in images}) <= 1:
        return list(images)
    if resize is None:
        sizes = ", ".join(f"{name} is {size_text(image)}" for name, image in zip(names, images, strict=True))
        raise InputError(
            f"{sizes}; sizes must be equal: use --resize a or --resize b, or register the images"
        )
    target = images[1 if resize == "a" else 0].shape[:2]
    return [image if image.shape[:2] == target else _resized(image, target) for image in images]


def row_slices(image: np.ndarray) -> list[slice]:
    """All rows, a few at a time."""
    return [slice(first, first + _ROWS) for first in range(0, image.shape[0], _ROWS)]


def _channel_range(image: np.ndarray) -> int:
    """How far the channels of a pixel of (H, W, 3) differ at most."""
    # NumPy takes forty times as long over so short an axis.
    red, green, blue = cv2.split(image)
    highest, lowest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    return int(cv2.subtract(highest, lowest).max())


def _percentiles(image: np.ndarray) -> tuple[int, int]:
    """Values that :data:`PERCENTILES` of a uint16 image reach."""
    below = np.bincount(image.ravel(), minlength=65536).cumsum() / image.size
    low, high = (int(np.searchsorted(below, share)) for share in PERCENTILES)
    return low, high


def _resized(image: np.ndarray, size_hw: tuple[int, ...]) -> np.ndarray:
    if image.ndim == 3:  # OpenCV takes 512 channels at most, to make an image smaller 4
        return np.dstack([_resized(plane, size_hw) for plane in np.moveaxis(image, 2, 0)])
    smaller = size_hw[0] * size_hw[1] < image.shape[0] * image.shape[1]
    # Cubic values beyond the type's range are saturated.
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    return cv2.resize(image, (size_hw[1], size_hw[0]), interpolation=interpolation)


def _given(text: str) -> tuple[float, float]:
    match = re.fullmatch(r"(\d+):(\d+)", text)
    if not match or not int(match[1]) < int(match[2]) <= 65535:
        raise InputError(
            f"value range {text!r}: use full, percentile or LOW:HIGH with 0 <= LOW < HIGH <= 65535"
        )
    return float(match[1]), float(match[2])
