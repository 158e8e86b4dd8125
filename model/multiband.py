"""TIFF files of any number of bands: what image libraries take for CMYK, alpha or nothing at all.

Reads classic TIFF (not BigTIFF) of unsigned 8- or 16-bit samples in strips or tiles, interleaved or planar,
uncompressed, PackBits, LZW or Deflate, with or without the horizontal predictor; several pages of equal size
count as bands. Writes uncompressed strips. Geographic tags are carried along.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.files import InputError, write_bytes
from pipeline.images import MAX_BYTES, MAX_PIXELS

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_UNSIGNED = {1: "B", 3: "H", 4: "I"}
#: ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GeoDoubleParams, GeoAsciiParams and
#: GDAL's no-data value
_GEOGRAPHIC = (33550, 33922, 34264, 34735, 34736, 34737, 42113)
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES, _PLANAR = 273, 274, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 317, 322, 323, 324, 325
_EXTRA_SAMPLES, _SAMPLE_FORMAT = 338, 339


@dataclass(frozen=True)
class Bands:
    """Bands of one scene, (B, H, W) uint8 or uint16, and where on Earth it lies: tag -> (type, value)."""

    values: np.ndarray
    geography: dict[int, tuple[int, bytes]] = field(default_factory=dict)


def read_bands(path: Path | str) -> Bands:
    """Read a TIFF file of one band or more.

    Raises:
        InputError: missing, damaged, or of a kind that is not read (see above).
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: {len(data)} bytes, over the limit of {MAX_BYTES}")
    try:
        pages = _pages(data, path)
        bands = [_page_bands(data, page, path) for page in pages]
    except (struct.error, LookupError, ValueError, ArithmeticError, zlib.error) as error:
        raise InputError(f"{path}: damaged TIFF ({error})") from None
    if len({(page.shape[1:], page.dtype) for page in bands}) > 1:
        raise InputError(f"{path}: pages of different size or type; give one file per band")
    return Bands(np.concatenate(bands), pages[0].geography)


def write_bands(path: Path | str, bands: Bands) -> Path:
    """Write (B, H, W) as an interleaved, uncompressed TIFF, atomically."""
    count, height, width = bands.values.shape
    pixels = np.ascontiguousarray(
        np.moveaxis(bands.values, 0, 2).astype(bands.values.dtype.newbyteorder("<"))
    )
    bits = bands.values.dtype.itemsize * 8
    colour = count in (3, 4)  # as GDAL does, so that viewers show the first three
    entries = {
        _WIDTH: _longs(width),
        _HEIGHT: _longs(height),
        _BITS: _shorts(*[bits] * count),
        _COMPRESSION: _shorts(1),
        _PHOTOMETRIC: _shorts(2 if colour else 1),
        _STRIP_OFFSETS: _longs(8),
        _SAMPLES: _shorts(count),
        _STRIP_ROWS: _longs(height),
        _STRIP_BYTES: _longs(pixels.nbytes),
        _PLANAR: _shorts(1),
        _SAMPLE_FORMAT: _shorts(*[1] * count),
        **bands.geography,
    }
    if extra := count - (3 if colour else 1):
        entries[_EXTRA_SAMPLES] = _shorts(*[0] * extra)  # 0: of no stated meaning, not alpha
    return write_bytes(path, _encode(pixels.tobytes(), entries))


def _encode(body: bytes, entries: dict[int, tuple[int, bytes]]) -> bytes:
    """A little-endian TIFF of one page: header, pixels from byte 8 on, directory, long values."""
    body += b"\0" * (len(body) % 2)
    start = 8 + len(body)
    after = start + 2 + 12 * len(entries) + 4
    directory, long_values = struct.pack("<H", len(entries)), b""
    for tag, (kind, value) in sorted(entries.items()):
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            place = struct.pack("<I", after + len(long_values))
            long_values += value + b"\0" * (len(value) % 2)
        directory += struct.pack("<HHI", tag, kind, len(value) // _TYPE_BYTES[kind]) + place
    return b"II*\0" + struct.pack("<I", start) + body + directory + bytes(4) + long_values


@dataclass(frozen=True)
class _Page:
    order: str
    tags: dict[int, tuple[int, ...]]
    geography: dict[int, tuple[int, bytes]]

    def one(self, tag: int, default: int) -> int:
        return self.tags.get(tag, (default,))[0]


def _pages(data: bytes, path: Path | str) -> list[_Page]:
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or struct.unpack(f"{order}H", data[2:4])[0] != 42:
        raise InputError(f"{path}: not a TIFF file (BigTIFF is not read)")
    pages: list[_Page] = []
    (offset,) = struct.unpack_from(f"{order}I", data, 4)
    while offset:
        if len(pages) == 256:
            raise InputError(f"{path}: more than 256 pages")
        (count,) = struct.unpack_from(f"{order}H", data, offset)
        tags, geography = {}, {}
        for index in range(count):
            entry = offset + 2 + 12 * index
            tag, kind, number = struct.unpack_from(f"{order}HHI", data, entry)
            size = _TYPE_BYTES.get(kind, 1) * number
            at = entry + 8 if size <= 4 else struct.unpack_from(f"{order}I", data, entry + 8)[0]
            if at + size > len(data):
                raise ValueError(f"tag {tag} lies behind the end of the file")
            if kind in _UNSIGNED:
                tags[tag] = struct.unpack_from(f"{order}{number}{_UNSIGNED[kind]}", data, at)
            if tag in _GEOGRAPHIC:
                raw = data[at : at + size]
                geography[tag] = kind, raw if order == "<" else _swapped(raw, _TYPE_BYTES[kind])
        pages.append(_Page(order, tags, geography))
        (offset,) = struct.unpack_from(f"{order}I", data, offset + 2 + 12 * count)
    if not pages:
        raise ValueError("no page")
    return pages


def _page_bands(data: bytes, page: _Page, path: Path | str) -> np.ndarray:
    """(B, H, W) of one page."""
    height, width = page.tags[_HEIGHT][0], page.tags[_WIDTH][0]
    samples, bits = page.one(_SAMPLES, 1), set(page.tags.get(_BITS, (1,)))
    if not 0 < height * width * samples <= 4 * MAX_PIXELS:
        raise InputError(f"{path}: {samples} bands of {height}x{width} are too many pixels")
    if bits not in ({8}, {16}) or set(page.tags.get(_SAMPLE_FORMAT, (1,))) != {1}:
        raise InputError(f"{path}: bands are not unsigned 8- or 16-bit integers; convert them first")
    if page.one(_ORIENTATION, 1) != 1:
        raise InputError(f"{path}: rotated by its orientation tag; rotate the pixels")
    dtype = np.dtype(np.uint8 if bits == {8} else f"{page.order}u2")
    if _TILE_OFFSETS in page.tags:
        offsets, sizes = page.tags[_TILE_OFFSETS], page.tags[_TILE_BYTES]
        tile_height, tile_width = page.tags[_TILE_HEIGHT][0], page.tags[_TILE_WIDTH][0]
    else:
        offsets, sizes = page.tags[_STRIP_OFFSETS], page.tags[_STRIP_BYTES]
        tile_height, tile_width = min(page.one(_STRIP_ROWS, height), height), width
    planes = samples if page.one(_PLANAR, 1) == 2 else 1
    depth = samples // planes
    across, down = -(-width // tile_width), -(-height // tile_height)
    if len(offsets) != across * down * planes or len(sizes) != len(offsets):
        raise ValueError("number of strips or tiles")
    image = np.empty((planes, down * tile_height, across * tile_width, depth), dtype.newbyteorder("="))
    tiled = _TILE_OFFSETS in page.tags
    for index, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
        plane, place = divmod(index, across * down)
        row, column = divmod(place, across)
        rows = tile_height if tiled else min(tile_height, height - row * tile_height)
        wanted = rows * tile_width * depth * dtype.itemsize
        raw = _decompress(data[offset : offset + size], page.one(_COMPRESSION, 1), wanted, path)
        tile = np.frombuffer(raw, dtype, rows * tile_width * depth).reshape(rows, tile_width, depth)
        if page.one(_PREDICTOR, 1) == 2:
            tile = np.cumsum(tile, axis=1, dtype=dtype.newbyteorder("="))
        top, left = row * tile_height, column * tile_width
        image[plane, top : top + rows, left : left + tile_width] = tile
    return np.moveaxis(image[:, :height, :width], 3, 1).reshape(samples, height, width)


def _decompress(raw: bytes, compression: int, wanted: int, path: Path | str) -> bytes:
    if compression in (8, 32946):
        raw = zlib.decompressobj().decompress(raw, wanted)
    elif compression == 32773:
        raw = _unpack_bits(raw, wanted)
    elif compression == 5:
        raw = _unpack_lzw(raw, wanted)
    elif compression != 1:
        raise InputError(f"{path}: TIFF compression {compression} is not read; use none, LZW or Deflate")
    if len(raw) < wanted:
        raise ValueError("truncated strip")
    return raw[:wanted]


def _unpack_bits(raw: bytes, wanted: int) -> bytes:
    out, at = bytearray(), 0
    while len(out) < wanted:
        run = raw[at]
        if run < 128:
            out += raw[at + 1 : at + 2 + run]
            at += 2 + run
        else:
            out += raw[at + 1 : at + 2] * (257 - run) if run > 128 else b""
            at += 2 if run > 128 else 1
    return bytes(out)


def _unpack_lzw(raw: bytes, wanted: int) -> bytes:
    """By libtiff, as the single row of a grey picture."""
    entries = {
        _WIDTH: _longs(wanted),
        _HEIGHT: _longs(1),
        _BITS: _shorts(8),
        _COMPRESSION: _shorts(5),
        _PHOTOMETRIC: _shorts(1),
        _STRIP_OFFSETS: _longs(8),
        _SAMPLES: _shorts(1),
        _STRIP_ROWS: _longs(1),
        _STRIP_BYTES: _longs(len(raw)),
    }
    try:
        with Image.open(io.BytesIO(_encode(raw, entries)), formats=["TIFF"]) as row:
            return np.asarray(row).tobytes()
    except OSError as error:
        raise ValueError(f"LZW: {error}") from None


def _swapped(raw: bytes, size: int) -> bytes:
    return np.frombuffer(raw, f">V{size}").view(np.uint8).reshape(-1, size)[:, ::-1].tobytes() if raw else raw


def _shorts(*values: int) -> tuple[int, bytes]:
    return 3, struct.pack(f"<{len(values)}H", *values)


def _longs(*values: int) -> tuple[int, bytes]:
    return 4, struct.pack(f"<{len(values)}I", *values)
