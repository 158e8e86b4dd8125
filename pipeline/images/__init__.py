"""Safe decoding and encoding of images.

Formats: JPEG, PNG, TIFF and BMP; read by content, never by name, and written by suffix. In memory an image
is uint8 or uint16, (H, W) grey or (H, W, 3) RGB. Untrusted files are checked before a pixel is decoded.
"""

from __future__ import annotations

import io
import logging
import stat
import struct
import warnings
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, PngImagePlugin, UnidentifiedImageError
from tifffile import imwrite

from pipeline.files import InputError, first_line, write_bytes
from pipeline.images.colour_profiles import usable_profile
from pipeline.images.headers import (
    COLOUR_MODES,
    check_header,
    has_grey_palette,
    is_cut_tiff,
    is_sixteen_bit,
    orientation_of,
    upright,
    why_not_read,
)
from pipeline.images.png import decode_plain_png, encode_png, lacks_rows
from pipeline.images.sixteen_bit import decode_sixteen_bit
from pipeline.images.ycbcr import luminance

#: File name endings that a folder of images is searched for.
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
#: Those that can hold 16 bits per channel.
SIXTEEN_BIT_SUFFIXES = (".png", ".tif", ".tiff")
#: Refuse larger files and pictures before decoding them. Pillow's own limit is 178,956,970 pixels.
MAX_BYTES = 1 << 30
MAX_PIXELS = 1 << 27

#: libjpeg writes no longer side.
_MOST_PX_OF_JPEG = 65500
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM")
# What matters is raised; standard error is the user's. OpenCV 5 has moved the function.
(cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel)(0)
logging.getLogger("PIL").addHandler(logging.NullHandler())
# Pillow warns of many pixels, on which MAX_PIXELS decides, and of damaged metadata. Not around each call:
# what is set there for a while is set for all threads, and may stay.
warnings.filterwarnings("ignore", module=r"PIL\.")
#: Text beside the pixels is not read, and refused only where all of it is more than memory should hold.
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
#: What Pillow raises for a damaged file, seen by changing bytes of good ones.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    ArithmeticError,
    LookupError,
    AttributeError,
    AssertionError,
    struct.error,
)


class Picture(NamedTuple):
    """A decoded file: its values, and the ICC profile that says which colours these are, if it has one."""

    image: np.ndarray
    profile: bytes | None


def read_image(path: Path | str) -> np.ndarray:
    """The values of :func:`read_picture`."""
    return read_picture(path).image


def read_picture(path: Path | str) -> Picture:
    """Decode one image: uint8 or uint16, (H, W) for grey files, (H, W, 3) RGB for colour files.

    EXIF orientation is applied; 16-bit files stay 16-bit; a colour profile changes no value.

    Raises:
        InputError: the file is missing, unreadable, truncated, not of an accepted format, has an alpha
            channel, several pages, further bands, or a pixel type other than 8- or 16-bit unsigned integers.
    """
    data = _read_bytes(Path(path))
    if (plain := decode_plain_png(data, max_pixels=MAX_PIXELS)) is not None:
        return Picture(plain, None)
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as picture:
            check_header(picture, path, max_pixels=MAX_PIXELS)
            sixteen_bit = is_sixteen_bit(picture, data)
            if is_cut_tiff(picture, data):
                raise InputError(f"{path}: damaged image (its end is missing)")
            picture.load()  # raises for truncated data, where OpenCV would fill in grey
            if picture.format == "PNG" and lacks_rows(data):
                raise InputError(f"{path}: damaged image (rows are missing)")
            orientation = orientation_of(picture)
            # Not by ImageOps.exif_transpose, which rewrites all tags and fails at any that is malformed.
            image = upright(_values(picture, data, path, sixteen_bit=sixteen_bit), orientation)
            return Picture(image, usable_profile(picture.info.get("icc_profile"), colour=image.ndim == 3))
    except UnidentifiedImageError:
        if data.startswith(_SIGNATURES):
            if why := why_not_read(data):
                raise InputError(f"{path}: {why}") from None
            raise InputError(f"{path}: damaged image, or of a pixel type other than 8- or 16-bit") from None
        raise InputError(f"{path}: not a JPEG, PNG, TIFF or BMP image") from None
    except Image.DecompressionBombError:
        raise InputError(f"{path}: more than {MAX_PIXELS} pixels; tile the image first") from None
    except _DAMAGE as error:
        raise InputError(f"{path}: damaged image ({first_line(error)})") from None


def num_pixels(path: Path | str) -> int:
    """Width times height by a file's header; 0 of what :func:`read_image` would refuse for it."""
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            return picture.width * picture.height
    except (Image.DecompressionBombError, *_DAMAGE):
        return 0


def read_rgb(path: Path | str) -> np.ndarray:
    """Decode to (H, W, 3) uint8 RGB; grey is repeated, 16-bit is refused. See :func:`read_image`."""
    image = _eight_bit(read_image(path), path)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


def read_grey(path: Path | str) -> np.ndarray:
    """Decode to (H, W) uint8; colour becomes BT.601 luminance, 16-bit is refused."""
    image = _eight_bit(read_image(path), path)
    return image if image.ndim == 2 else to_uint8(luminance(image.astype(np.float32) / 255))


def write_image(
    path: Path | str, image: np.ndarray, *, jpeg_quality: int = 95, profile: bytes | None = None
) -> Path:
    """Encode uint8 or uint16 (H, W) or (H, W, 3) RGB by the suffix of ``path``, atomically.

    Args:
        jpeg_quality: 1 to 100, of JPEG alone.
        profile: ICC profile to go with the values; a BMP holds none.

    Raises:
        InputError: the suffix is none of a picture's, or the image does not fit the format: 16 bits in JPEG
            or BMP, no pixels, or more of them than the format holds.
    """
    path = check_suffix(path)
    assert image.dtype in (np.uint8, np.uint16), image.dtype
    suffix = path.suffix.lower()
    if image.dtype == np.uint16 and suffix not in SIXTEEN_BIT_SUFFIXES:
        raise InputError(
            f"{path}: {suffix} holds 8 bits; use {', '.join(SIXTEEN_BIT_SUFFIXES)} for 16-bit images"
        )
    if suffix in (".jpeg", ".jpg") and max(image.shape[:2]) > _MOST_PX_OF_JPEG:
        raise InputError(
            f"{path}: {size_text(image)} is more than the {_MOST_PX_OF_JPEG} pixels a side that JPEG holds; "
            "use .png or .tif"
        )
    try:
        if not image.size or image.shape[2:] not in ((), (3,)):
            raise ValueError("neither grey nor RGB")
        data = _encode(suffix, image, jpeg_quality, profile)
    except (OSError, ValueError):
        raise InputError(f"{path}: an image of shape {image.shape} cannot be written as {suffix}") from None
    return write_bytes(path, data)


def check_suffix(path: Path | str) -> Path:
    """Return ``path`` if :func:`write_image` knows its format; else raise the :class:`InputError` for it."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: cannot write this format; use one of {', '.join(SUFFIXES)}")
    return path


def size_text(image: np.ndarray) -> str:
    """Width x height of an image (H, W[, C]), as messages tell it and viewers show it."""
    return f"{image.shape[1]}x{image.shape[0]}"


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Round float values in [0, 1] to uint8, clipping what lies outside."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def _encode(suffix: str, image: np.ndarray, jpeg_quality: int, profile: bytes | None) -> bytes:
    """The file; OSError or ValueError of what its format does not hold."""
    if suffix == ".png":
        return encode_png(image, profile)
    file = io.BytesIO()
    if suffix in (".tif", ".tiff"):  # of which Pillow writes no colours of 16 bits
        imwrite(
            file,
            image,
            photometric="minisblack" if image.ndim == 2 else "rgb",
            compression="lzw",
            predictor=True,
            iccprofile=profile,
            metadata=None,
            software=False,
        )
    elif suffix == ".bmp":
        Image.fromarray(image).save(file, "BMP")
    else:  # not with half the resolution of colour, which is Pillow's default whatever the quality
        Image.fromarray(image).save(file, "JPEG", quality=jpeg_quality, subsampling=0, icc_profile=profile)
    return file.getvalue()


def _values(picture: Image.Image, data: bytes, path: Path | str, *, sixteen_bit: bool) -> np.ndarray:
    """A picture's values as they are stored; ``data`` is its file."""
    if picture.mode not in COLOUR_MODES:
        if sixteen_bit:
            return np.asarray(picture).astype(np.uint16)
        return np.asarray(picture.convert("L"))
    colours = np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    if has_grey_palette(picture):
        return colours[..., 0]
    return decode_sixteen_bit(data, colours, path) if sixteen_bit else colours


def _read_bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: not a file")
        if status.st_size > MAX_BYTES:
            raise InputError(f"{path}: {status.st_size} bytes, over the limit of {MAX_BYTES}")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not data:
        raise InputError(f"{path}: empty file")
    return data


def _eight_bit(image: np.ndarray, path: Path | str) -> np.ndarray:
    if image.dtype != np.uint8:
        raise InputError(f"{path}: 16-bit; this step takes 8-bit images: convert it to 8 bits")
    return image
