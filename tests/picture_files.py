"""Image files for tests, encoded by Pillow or put together by hand."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image


def pixels(dtype: str, channels: int, height: int = 7, width: int = 11) -> np.ndarray:
    shape = (height, width, 3) if channels == 3 else (height, width)
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def interlaced_png(image: np.ndarray) -> bytes:
    """An 8-bit picture as seven smaller ones (PNG specification, 8.2), which no encoder at hand writes."""
    steps = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    parts = [image[row::down, column::across] for column, row, across, down in steps]
    rows = b"".join(b"\0" + line.tobytes() for part in parts if part.size for line in part)
    height, width = image.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if image.ndim == 3 else 0, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in chunks)


def tiff(image: np.ndarray, *, order: str = "<", planar: int = 1, orientation: int = 1, **tags: int) -> bytes:
    """A TIFF by the specification, also of what Pillow cannot write: 16-bit RGB, planar, 12-bit, signed."""
    height, width = image.shape[:2]
    channels = image.shape[2] if image.ndim == 3 else 1
    stored = np.moveaxis(image, 2, 0) if image.ndim == 3 and planar == 2 else image
    data = stored.astype(image.dtype.newbyteorder(order)).tobytes()
    bits = tags.get("bits", image.dtype.itemsize * 8)
    if bits == 12:
        text = "".join(f"{value:012b}" for value in image.ravel())
        data = int(text, 2).to_bytes(len(text) // 8, "big")
    strips = channels if planar == 2 else 1
    start = 8 + 2 + 11 * 12 + 4
    blobs: list[bytes] = []

    def field(tag: int, kind: str, *values: int) -> bytes:
        packed = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(packed) > 4:
            offset = start + sum(map(len, blobs))
            blobs.append(packed)
            packed = struct.pack(f"{order}I", offset)
        return struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[kind], len(values)) + packed.ljust(4, b"\0")

    size = len(data) // strips
    first = start + (2 * channels if channels > 2 else 0) + (8 * strips if strips > 1 else 0)
    offsets = [first + index * size for index in range(strips)]
    entries = [
        field(256, "I", width),
        field(257, "I", height),
        field(258, "H", *[bits] * channels),
        field(259, "H", 1),
        field(262, "H", tags.get("photometric", 2 if channels == 3 else 1)),
        field(273, "I", *offsets),
        field(274, "H", orientation),
        field(277, "H", channels),
        field(279, "I", *[size] * strips),
        field(284, "H", planar),
        field(339, "H", tags.get("sample_format", 1)),
    ]
    header = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + struct.pack(f"{order}I", 0)
    assert len(header + directory) == start and start + sum(map(len, blobs)) == first
    return header + directory + b"".join(blobs) + data
