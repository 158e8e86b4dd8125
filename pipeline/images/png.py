"""PNG in a few large calls, which let other threads work meanwhile: plain pictures in, all pictures out.

Pillow and OpenCV take turns with Python for every few kilobytes, copy what they have decoded up to four times
and deflate with zlib. Here libspng decodes straight into an array, and libdeflate packs.
"""

from __future__ import annotations

import struct
import zlib

import imagecodecs
import numpy as np

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Channels by IHDR's colour type, of those read here.
_CHANNELS = {0: 1, 2: 3}
#: Channels by colour type, of all there are: palette and alpha, which only others decode, too.
_SAMPLES = _CHANNELS | {3: 1, 4: 2, 6: 4}
#: First pixel and step of the seven pictures of which an interlaced one consists: column, row.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
#: Bytes that are inflated at a time where they are only counted.
_COUNTED = 1 << 20
#: Lengths of the chunks that a plain picture may have beside IDAT, none of which says anything of its values
#: but IHDR. Transparency, animation, palettes and EXIF are in others.
_LENGTHS = {b"IHDR": 13, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32, b"pHYs": 9, b"IEND": 0}
#: Each row is stored as differences from the one above, which on camera frames packs best of what is quick.
_FILTER_UP = 2
#: libdeflate's quickest that packs at all.
_LEVEL = 1
#: Bytes that a chunk can hold.
_MOST_BYTES = (1 << 31) - 1


def decode_plain_png(data: bytes, *, max_pixels: int) -> np.ndarray | None:
    """Decode an 8-bit grey or RGB picture of which the pixels are all that there is to know.

    Returns:
        uint8 (H, W) or (H, W, 3); None of any other file, a damaged or cut one and one of more pixels too:
        what is wrong with it is for others to say.
    """
    shape = _plain_shape(data)
    if shape is None or not 0 < shape[0] * shape[1] <= max_pixels:
        return None
    try:
        # Raises unless there is a value for every pixel.
        image: np.ndarray = imagecodecs.spng_decode(data)
    except (imagecodecs.SpngError, ValueError):
        return None
    return image if image.shape == shape and image.dtype == np.uint8 else None


def lacks_rows(data: bytes) -> bool:
    """Whether a PNG that others could decode has less in it than its size asks for; they fill in black."""
    width, height, bits, colour_type, *_, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    needed = 0
    for column, row, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - column) // across), -(-(height - row) // down)
        if columns > 0 and rows > 0:
            needed += rows * (1 + -(-columns * bits * _SAMPLES[colour_type] // 8))
    packed = zlib.decompressobj()
    place = len(_SIGNATURE)
    while place < len(data) and needed > 0:
        length = int.from_bytes(data[place : place + 4], "big")
        if data[place + 4 : place + 8] == b"IDAT":
            rest = data[place + 8 : place + 8 + length]
            while rest and needed > 0 and not packed.eof:
                try:
                    needed -= len(packed.decompress(rest, _COUNTED))
                except zlib.error:
                    return True
                rest = packed.unconsumed_tail
        place += 12 + length
    return needed > 0


def encode_png(image: np.ndarray, profile: bytes | None = None) -> bytes:
    """Encode uint8 or uint16 (H, W) or (H, W, 3) RGB, and the ICC profile of its values.

    Raises:
        ValueError: more than a PNG of one IDAT chunk can hold.
    """
    height, width = image.shape[:2]
    samples = image if image.dtype == np.uint8 else image.astype(">u2")
    values = np.ascontiguousarray(samples).reshape(height, -1).view(np.uint8)
    rows = np.empty((height, 1 + values.shape[1]), np.uint8)
    rows[:, 0] = _FILTER_UP
    rows[0, 1:] = values[0]
    np.subtract(values[1:], values[:-1], out=rows[1:, 1:])
    packed: bytes = imagecodecs.deflate_encode(rows.ravel(), level=_LEVEL)  # type: ignore[arg-type, assignment]
    if len(packed) > _MOST_BYTES:
        raise ValueError("too many pixels")
    colour_type = 0 if image.ndim == 2 else 2
    header = struct.pack(">IIBBBBB", width, height, 8 * image.dtype.itemsize, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", packed), (b"IEND", b"")]
    if profile is not None:
        parts.insert(1, (b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
    return b"".join((_SIGNATURE, *(part for kind, data in parts for part in _chunk(kind, data))))


def _plain_shape(data: bytes) -> tuple[int, ...] | None:
    """Shape of a plain picture, by IHDR; None where the chunks up to the file's end are not those of one."""
    if not data.startswith(_SIGNATURE) or len(data) < 33:
        return None
    width, height, bits, colour_type, *methods = struct.unpack_from(">IIBBBBB", data, 16)
    if bits != 8 or colour_type not in _CHANNELS or any(methods):
        return None
    view, place, kind, idat_ends = memoryview(data), 8, b"", 0
    while place < len(data):
        if kind == b"IEND":
            return None
        length, kind = int.from_bytes(view[place : place + 4], "big"), data[place + 4 : place + 8]
        stop = place + 12 + length
        if zlib.crc32(view[place + 4 : stop - 4]).to_bytes(4, "big") != view[stop - 4 : stop]:
            return None
        if kind == b"IDAT":
            if idat_ends not in (0, place):
                return None
            idat_ends = stop
        elif _LENGTHS.get(kind) != length or (kind == b"IHDR") != (place == 8):
            return None
        place = stop
    if kind != b"IEND" or not idat_ends:
        return None
    return (height, width) if colour_type == 0 else (height, width, _CHANNELS[colour_type])


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return len(data).to_bytes(4, "big"), kind, data, checksum.to_bytes(4, "big")
