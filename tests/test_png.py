"""PNG: written for anyone to read, and read in one call only where no other reader would say otherwise."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from picture_files import encoded, exif, interlaced_png, pixels, png_chunk
from PIL import Image

from pipeline.files import InputError
from pipeline.images import read_image, write_image
from pipeline.images.png import decode_plain_png, encode_png, lacks_rows

_CHANNELS = [1, 3]


def with_chunk(data: bytes, kind: bytes, content: bytes) -> bytes:
    """Put a chunk behind IHDR."""
    return data[:33] + png_chunk(kind, content) + data[33:]


def with_idat(data: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Change what IDAT holds, with a checksum that fits."""
    start, stop = data.index(b"IDAT") + 4, data.rindex(b"IEND") - 8
    return data[: start - 8] + png_chunk(b"IDAT", change(data[start:stop])) + png_chunk(b"IEND")


def decode(data: bytes) -> np.ndarray | None:
    return decode_plain_png(data, max_pixels=1 << 20)


@pytest.mark.parametrize("channels", _CHANNELS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 7), (31, 1), (64, 41)])
def test_what_is_written_others_read(size_hw: tuple[int, int], dtype: str, channels: int) -> None:
    image = pixels(dtype, channels, *size_hw)
    data = encode_png(image)
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(by_opencv[..., ::-1] if channels == 3 else by_opencv, image)
    if dtype == "uint8":
        with Image.open(io.BytesIO(data)) as picture:
            picture.verify()
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), image)
        found = decode(data)
        assert found is not None and found.flags.writeable
        np.testing.assert_array_equal(found, image)
    turned = encode_png(image[::-1, ::-1])  # in memory the other way round
    np.testing.assert_array_equal(
        cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_UNCHANGED), by_opencv[::-1, ::-1]
    )


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (3, 4, 1), (3, 4, 4), (2, 3, 4, 3)])
def test_what_is_no_picture_is_not_written(shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shape"):
        write_image(tmp_path / "none.png", np.zeros(shape, np.uint8))


@pytest.mark.parametrize("channels", _CHANNELS)
def test_plain_pictures_of_other_writers(channels: int) -> None:
    """Of many IDAT chunks, all filters, and chunks that tell of printing and screens."""
    smooth = cv2.GaussianBlur(pixels("uint8", channels, 240, 320), (0, 0), 3)
    # OpenCV 4.12 writes 8 KiB a chunk.
    small_chunks = [cv2.IMWRITE_PNG_ZLIBBUFFER_SIZE, 512] if cv2.__version__ > "4.13" else []
    for data in (
        encoded(Image.fromarray(smooth), "PNG"),
        encoded(Image.fromarray(smooth), "PNG", dpi=(72, 72)),
        *(
            cv2.imencode(
                ".png",
                smooth[..., ::-1] if channels == 3 else smooth,
                [cv2.IMWRITE_PNG_FILTER, filters, *small_chunks],
            )[1].tobytes()
            for filters in (cv2.IMWRITE_PNG_FILTER_PAETH, cv2.IMWRITE_PNG_ALL_FILTERS)
        ),
        with_chunk(encode_png(smooth), b"gAMA", struct.pack(">I", 45455)),
    ):
        np.testing.assert_array_equal(decode(data), smooth)


def test_pictures_that_are_more_than_pixels_are_left_to_others() -> None:
    colour = Image.fromarray(pixels("uint8", 3))
    for data in (
        encoded(colour, "PNG", exif=exif(6)),
        encoded(colour, "PNG", transparency=(1, 2, 3)),
        encoded(colour, "PNG", save_all=True, append_images=[colour.rotate(180)]),
        encoded(colour.convert("RGBA"), "PNG"),
        encoded(colour.convert("LA"), "PNG"),
        encoded(colour.convert("1"), "PNG"),
        encoded(colour.quantize(7), "PNG"),
        encode_png(pixels("uint16", 3)),
        encoded(colour, "JPEG"),
        with_chunk(encode_png(np.asarray(colour)), b"pHYs", bytes(8)),
    ):
        assert decode(data) is None
    interlaced = bytearray(encode_png(np.asarray(colour)))
    interlaced[28] = 1
    interlaced[29:33] = struct.pack(">I", zlib.crc32(interlaced[12:29]))
    assert decode(bytes(interlaced)) is None


def test_more_pixels_than_asked_for_are_left_to_others() -> None:
    data = encode_png(pixels("uint8", 1, 10, 10))
    assert decode_plain_png(data, max_pixels=100) is not None
    assert decode_plain_png(data, max_pixels=99) is None


@pytest.mark.parametrize("channels", _CHANNELS)
def test_cut_files_are_left_to_others(channels: int) -> None:
    data = encoded(Image.fromarray(pixels("uint8", channels, 12, 15)), "PNG")
    assert decode(data) is not None
    for keep in range(len(data)):
        assert decode(data[:keep]) is None
    assert decode(data + b"\0") is None


@pytest.mark.parametrize("channels", _CHANNELS)
def test_changed_bytes_are_left_to_others(channels: int) -> None:
    data = with_chunk(encode_png(pixels("uint8", channels, 12, 15)), b"gAMA", struct.pack(">I", 45455))
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        assert decode(bytes(changed)) is None, place


@pytest.mark.parametrize("channels", _CHANNELS)
def test_streams_that_fill_no_picture_are_left_to_others(channels: int) -> None:
    """With checksums that fit, as a program that was stopped and went on may leave them."""
    data = encode_png(pixels("uint8", channels, 12, 15))
    row = 1 + 15 * channels
    for change in (
        lambda packed: packed[: len(packed) // 2],
        lambda packed: zlib.compress(zlib.decompress(packed)[:-1]),
        lambda packed: zlib.compress(zlib.decompress(packed)[:-row]),
        lambda packed: zlib.compress(b"\x09" + zlib.decompress(packed)[1:]),
        lambda packed: packed[:-4] + bytes(4),
        lambda _: b"",
    ):
        assert decode(with_idat(data, change)) is None
    assert decode(data[:33] + png_chunk(b"IEND")) is None
    assert decode(data[:33] + png_chunk(b"IEND") + data[33:]) is None


@pytest.mark.parametrize("size_hw", [(1, 1), (5, 3), (21, 34)])
@pytest.mark.parametrize("kind", ["1", "L", "P", "RGB", "I;16", "text", "interlaced"])
def test_pictures_that_lack_rows_are_refused(kind: str, size_hw: tuple[int, int], tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, size_hw, np.uint8)
    if kind == "interlaced":
        data = interlaced_png(grey)
        np.testing.assert_array_equal(read_back(data, tmp_path), grey)
    else:
        picture = Image.fromarray(grey.astype(np.uint16) * 257 if kind == "I;16" else grey)
        buffer = io.BytesIO()
        (picture.convert(kind) if kind in ("1", "P", "RGB") else picture).save(buffer, "png")
        data = buffer.getvalue()
    if kind == "text":
        data = with_chunk(data, b"tEXt", b"a\0b")
    assert not lacks_rows(data)
    read_back(data, tmp_path)
    # One byte less, and a stream that ends there as if it were whole.
    short = with_idat(data, lambda packed: zlib.compress(zlib.decompress(packed)[:-1]))
    assert lacks_rows(short)
    with pytest.raises(InputError, match="damaged image"):
        read_back(short, tmp_path)


def read_back(data: bytes, folder: Path) -> np.ndarray:
    (folder / "picture.png").write_bytes(data)
    return read_image(folder / "picture.png")
