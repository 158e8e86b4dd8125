"""TIFF files of any number of bands: what image libraries take for CMYK, alpha or nothing at all.

tifffile reads and writes them; here is what of TIFF counts as bands. Read are unsigned 8- or 16-bit samples
in strips or tiles, interleaved or planar, plain or compressed without loss, also BigTIFF; several pages of
equal size count as bands. Written are uncompressed strips. Geographic tags and GDAL's no-data value are
carried along.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage, imwrite

from pipeline.files import InputError, atomic_path
from pipeline.images import MAX_BYTES, MAX_PIXELS
from pipeline.images.headers import COMPRESSIONS, TRANSPARENCY
from pipeline.images.sixteen_bit import TIFF_DAMAGE

#: ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GeoDoubleParams, GeoAsciiParams, and
#: the RPC coefficients of satellite scenes that are not rectified.
_GEOGRAPHIC = (33550, 33922, 34264, 34735, 34736, 34737, 50844)
#: GDAL's: it says which value is none, not where the scene lies.
_NO_DATA = (42113,)
_BAND_MEANINGS = {PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.SEPARATED}
_MAX_PAGES = 256
_ORIENTATION = 274
#: Types of two numbers each: RATIONAL and SRATIONAL.
_FRACTIONS = (5, 10)

#: Tag -> (type, value): text as bytes, numbers as they are.
Tags = dict[int, tuple[int, bytes | int | float | tuple[int | float, ...]]]


@dataclass(frozen=True)
class Bands:
    """Bands of one scene, (B, H, W) uint8 or uint16, where on Earth it lies, and which value is none."""

    values: np.ndarray
    geography: Tags = field(default_factory=dict)
    no_data: Tags = field(default_factory=dict)
    alpha: bool = False  # whether the file calls one of them transparency

    def none(self) -> int | None:
        """The value of pixels without data; None where there is none, or none that pixels can have."""
        for _, text in self.no_data.values():
            try:
                value = float(text.strip(b" \0") if isinstance(text, bytes) else text)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                continue
            if value.is_integer() and 0 <= value <= np.iinfo(self.values.dtype).max:
                return int(value)
        return None


def read_bands(path: Path | str) -> Bands:
    """Read a TIFF file of one band or more.

    Raises:
        InputError: missing, damaged, or of a kind that is not read (see above).
    """
    try:
        size = Path(path).stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{path}: {size} bytes, over the limit of {MAX_BYTES}")
        with TiffFile(path) as file:
            pages = [page.aspage() for page in islice(file.pages, _MAX_PAGES + 1)]
            # Overviews and masks, as GDAL adds them, are no bands.
            pages = [page for page in pages if not page.is_reduced and not page.is_mask] or pages
            _check_pages(pages, path)
            bands = [_page_bands(page) for page in pages]
            geography, no_data = _tags(pages[0], _GEOGRAPHIC), _tags(pages[0], _NO_DATA)
            alpha = any(not TRANSPARENCY.isdisjoint(page.extrasamples) for page in pages)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except TIFF_DAMAGE as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: not a TIFF file, or a damaged one ({what:.200})") from None
    return Bands(np.concatenate(bands), geography, no_data, alpha)


def write_bands(path: Path | str, bands: Bands) -> Path:
    """Write (B, H, W) as an interleaved, uncompressed TIFF, atomically."""
    count = len(bands.values)
    colour = count in (3, 4)  # as GDAL does, so that viewers show the first three
    pixels = np.ascontiguousarray(np.moveaxis(bands.values, 0, 2))
    with atomic_path(path) as temporary:
        imwrite(
            temporary,
            pixels if count > 1 else bands.values[0],
            byteorder="<",
            photometric="rgb" if colour else "minisblack",
            planarconfig="contig" if count > 1 else None,
            extrasamples=["unspecified"] * (count - (3 if colour else 1)),  # not alpha
            metadata=None,
            software=False,
            extratags=[
                (tag, kind, _count(kind, value), value, True)
                for tag, (kind, value) in (bands.geography | bands.no_data).items()
            ],
        )
    return Path(path)


def _count(kind: int, value: bytes | int | float | tuple[int | float, ...]) -> int:
    """How many values of its type a tag has."""
    if isinstance(value, bytes):
        return len(value)
    return np.size(value) // (2 if kind in _FRACTIONS else 1)


def _check_pages(pages: list[TiffPage], path: Path | str) -> None:
    """Refuse what is not bands, and sizes that no memory holds, before a pixel is decoded."""
    if not pages:
        raise InputError(f"{path}: holds no picture")
    if len(pages) > _MAX_PAGES:
        raise InputError(f"{path}: more than {_MAX_PAGES} pages")
    samples = sum(_product(page.shaped) for page in pages)
    if samples > 4 * MAX_PIXELS:
        height, width = pages[0].shaped[2:4]
        raise InputError(f"{path}: {samples} samples ({width}x{height} a page) are too many pixels")
    if len({(page.shaped[2:4], page.dtype) for page in pages}) > 1:
        raise InputError(f"{path}: pages of different size or type; give one file per band")
    for page in pages:
        if page.dtype not in (np.uint8, np.uint16) or page.bitspersample not in (8, 16):
            raise InputError(f"{path}: bands are not unsigned 8- or 16-bit integers; convert them first")
        if page.compression not in COMPRESSIONS:
            name = getattr(COMPRESSION(page.compression), "name", page.compression)
            raise InputError(f"{path}: TIFF compression {name} is not read; use none, LZW or Deflate")
        if page.photometric not in _BAND_MEANINGS:
            name = getattr(page.photometric, "name", page.photometric)
            raise InputError(f"{path}: samples are {name}, not the values of bands; convert them first")
        if page.tags.valueof(_ORIENTATION, default=1) != 1:
            raise InputError(f"{path}: rotated by its orientation tag; rotate the pixels")
        if page.shaped[1] != 1 or 0 in page.shaped or _product(page.chunks) > 4 * MAX_PIXELS:
            raise ValueError(f"a page of {page.shape} in parts of {page.chunks}")
        if 0 in page.databytecounts:
            raise ValueError("a strip or tile is absent")


def _product(lengths: tuple[int, ...]) -> int:
    if not all(isinstance(length, int) for length in lengths):
        raise TypeError("a length is not one number")
    return math.prod(lengths)


def _page_bands(page: TiffPage) -> np.ndarray:
    """(B, H, W) of one page."""
    planes = page.asarray(squeeze=False)[:, 0]  # (planes, H, W, samples): one of the two is 1
    return np.moveaxis(planes, 3, 1).reshape(-1, *planes.shape[1:3])


def _tags(page: TiffPage, codes: tuple[int, ...]) -> Tags:
    """Those of a page's tags that are there."""
    tags = (page.tags.get(code) for code in codes)
    return {
        tag.code: (int(tag.dtype), tag.value.encode() if isinstance(tag.value, str) else tag.value)
        for tag in tags
        if tag is not None
    }
