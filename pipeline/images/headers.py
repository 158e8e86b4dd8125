"""What the header of a picture says, asked before a pixel of an untrusted file is decoded."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile
from tifffile import COMPRESSION, EXTRASAMPLE, TiffFile

from pipeline.files import InputError

#: Pillow's names of pixel types that are read.
COLOUR_MODES = {"RGB", "P", "YCbCr"}
GREY_MODES = {"L", "1", "I;16", "I;16B", "I;16L"}
#: Of TIFF: without loss, and decoded into a buffer of known size, so that no file can swell beyond what its
#: header says.
COMPRESSIONS = {
    COMPRESSION.NONE,
    COMPRESSION.LZW,
    COMPRESSION.ADOBE_DEFLATE,
    COMPRESSION.DEFLATE,
    COMPRESSION.PACKBITS,
    COMPRESSION.ZSTD,
}
TRANSPARENCY = frozenset((EXTRASAMPLE.ASSOCALPHA, EXTRASAMPLE.UNASSALPHA))
# TIFF tags
_COMPRESSION = 259
#: Of that tag; Pillow names it, but comes without its decoder.
_WEBP = 50001
_BIG_ENDIAN_BIGTIFF = b"MM\0+"
#: Where strips and tiles begin, and how long they are.
_PLACES = ((273, 279), (324, 325))
_BITS_PER_SAMPLE, _PHOTOMETRIC, ORIENTATION, _SAMPLES, _SAMPLE_FORMAT = 258, 262, 274, 277, 339


def check_header(picture: Image.Image, path: Path | str, *, max_pixels: int) -> None:
    """Refuse what is no single picture of 8- or 16-bit grey or RGB.

    Raises:
        InputError: too many pixels, an alpha channel, several pages, or another pixel type.
    """
    width, height = picture.size
    if width * height > max_pixels:
        raise InputError(f"{path}: {width}x{height} is more than {max_pixels} pixels; tile the image first")
    if picture.has_transparency_data:
        raise InputError(f"{path}: has an alpha channel; flatten it first")
    try:
        pages = getattr(picture, "n_frames", 1)
    except TypeError:  # Pillow, of a second TIFF page without dimensions
        raise InputError(f"{path}: damaged second page; give one image per file") from None
    if pages > 1 and picture.format != "MPO":  # a camera's JPEG, with previews behind the picture
        raise InputError(f"{path}: {pages} pages or frames; give one image per file")
    if picture.mode not in COLOUR_MODES | GREY_MODES:
        message = f"{path}: pixel type {picture.mode} is not 8- or 16-bit grey or RGB; convert it first"
        if isinstance(picture, TiffImageFile) and picture.tag_v2.get(_SAMPLES, 1) >= 4:
            # Four bands of a satellite may be stored as CMYK, and nothing in the file tells them from inks.
            message += "; if these are bands, --task pansharpen takes those"
        raise InputError(message)
    if isinstance(picture, TiffImageFile):
        _check_tiff(picture, path)


def orientation_of(picture: Image.Image) -> int:
    """The orientation that EXIF states, 1 to 8 (1 = upright).

    It is 1 as well where Pillow and OpenCV turn a picture by themselves, or where EXIF is malformed.
    """
    if picture.format == "TIFF":
        return 1
    try:
        return int(picture.getexif().get(ORIENTATION, 1))
    except (OSError, SyntaxError, ValueError, TypeError, LookupError, struct.error):
        return 1


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn pixels as stored, (H, W[, C]), as an orientation says, 1 to 8; any other number turns nothing.

    Returns:
        an array of its own rows, which can be written to.
    """
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    # What remains after a transposition is a mirror of rows and/or columns.
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.require(image, requirements=("C", "W"))


def has_grey_palette(picture: Image.Image) -> bool:
    """Whether all colours of a picture's palette are grey, which some programs store grey pictures with."""
    if picture.mode != "P":
        return False
    palette = np.reshape(picture.getpalette() or (), (-1, 3))
    return bool((palette == palette[:, :1]).all())


def is_sixteen_bit(picture: Image.Image, data: bytes) -> bool:
    """Pillow reads 16-bit RGB as 8-bit without a word, so ask the file itself."""
    if picture.format == "PNG":
        return data[24] == 16  # bit depth in IHDR
    if isinstance(picture, TiffImageFile):
        return max(picture.tag_v2.get(_BITS_PER_SAMPLE, (1,))) == 16
    return False


def is_cut_tiff(picture: Image.Image, data: bytes) -> bool:
    """Whether compressed strips or tiles end behind the file's end, of which libtiff itself prints lines."""
    if not isinstance(picture, TiffImageFile) or picture.tag_v2.get(_COMPRESSION, 1) == 1:
        return False
    tags = picture.tag_v2
    return any(
        start + count > len(data)
        for starts, counts in _PLACES
        for start, count in zip(tags.get(starts, ()), tags.get(counts, ()), strict=False)
    )


def why_not_read(data: bytes) -> str | None:
    """What to tell of a sound TIFF that Pillow does not know at all; None of anything else."""
    try:
        with TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first.aspage()
            if page.dtype is None or page.dtype.name not in ("uint8", "uint16"):
                return None
            if page.compression not in COMPRESSIONS:
                name = COMPRESSION(page.compression).name
                return f"TIFF of {name} compression, which is not read; convert it first"
            count = page.samplesperpixel
            if count <= 4 and TRANSPARENCY & set(page.extrasamples):
                return "has an alpha channel; flatten it first"
            if count in (1, 3) and data.startswith(_BIG_ENDIAN_BIGTIFF):  # grey or RGB otherwise
                return "big-endian BigTIFF, which is not read; convert it first"
            return f"TIFF of {count} bands; --task pansharpen takes those" if count > 1 else None
    except Exception:  # noqa: BLE001 - of a damaged file tifffile raises anything; that it is damaged is said
        return None


def _check_tiff(picture: TiffImageFile, path: Path | str) -> None:
    """Refuse what Pillow takes for something else: 12-bit it clips, signed it reads as unsigned, and of
    further bands it says nothing."""
    if picture.tag_v2.get(_COMPRESSION) == _WEBP:
        raise InputError(f"{path}: TIFF of WebP compression, which is not read; convert it first")
    bits = max(picture.tag_v2.get(_BITS_PER_SAMPLE, (1,)))
    formats = picture.tag_v2.get(_SAMPLE_FORMAT, (1,))
    if (bits > 8 and bits != 16) or any(item != 1 for item in formats):
        raise InputError(
            f"{path}: {bits}-bit samples of format {formats[0]}, not 8- or 16-bit unsigned; convert it"
        )
    samples, known = picture.tag_v2.get(_SAMPLES, 1), 3 if picture.mode in ("RGB", "YCbCr") else 1
    if samples > known:
        raise InputError(
            f"{path}: {samples} bands, of which {known} are read; --task pansharpen takes them all"
        )
    if bits == 16 and picture.tag_v2.get(_PHOTOMETRIC) == 0:
        raise InputError(f"{path}: 16-bit with white stored as 0; convert it first")
