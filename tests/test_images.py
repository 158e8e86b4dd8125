"""Decoding and encoding: what is read, what is written."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from picture_files import encoded, exif, pixels, png_chunk, tiff
from PIL import Image
from tifffile import imwrite

from pipeline.files import InputError
from pipeline.images import SUFFIXES, read_image, write_image

TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Pillow's transposition, channel by channel."""
    if orientation == 1:
        return image
    if image.ndim == 3:
        return np.stack([upright(channel, orientation) for channel in np.moveaxis(image, 2, 0)], axis=2)
    return np.asarray(Image.fromarray(image).transpose(TRANSPOSITIONS[orientation]))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("suffix", [".bmp", ".png", ".tif", ".tiff", ".PNG"])
def test_lossless_round_trip(tmp_path: Path, suffix: str, dtype: str, channels: int) -> None:
    image = pixels(dtype, channels)
    path = tmp_path / f"x{suffix}"
    if dtype == "uint16" and suffix == ".bmp":
        with pytest.raises(InputError, match=r"\.bmp holds 8 bits"):
            write_image(path, image)
        return
    assert write_image(path, image) == path
    back = read_image(path)
    assert back.dtype == image.dtype and back.flags.c_contiguous and back.flags.writeable
    np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".JPG"])
def test_jpeg_round_trip(tmp_path: Path, suffix: str) -> None:
    ramp = np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)
    for image in (ramp, np.stack([ramp, ramp[::-1], ramp[:, ::-1]], axis=2)):
        back = read_image(write_image(tmp_path / f"x{suffix}", image))
        assert back.shape == image.shape and back.dtype == np.uint8
        assert np.abs(back.astype(int) - image).mean() < 2
        rough = write_image(tmp_path / f"y{suffix}", image, jpeg_quality=5)
        assert rough.stat().st_size < (tmp_path / f"x{suffix}").stat().st_size
    with pytest.raises(InputError, match="holds 8 bits"):
        write_image(tmp_path / f"x{suffix}", pixels("uint16", 1))


def test_written_colours_are_rgb_for_other_readers(tmp_path: Path) -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    for suffix in (".png", ".tif", ".bmp"):
        assert Image.open(write_image(tmp_path / f"red{suffix}", red)).getpixel((0, 0)) == (255, 0, 0)


def test_pillow_and_this_reader_agree(tmp_path: Path) -> None:
    path = tmp_path / "x"
    colour, grey = Image.fromarray(pixels("uint8", 3)), Image.fromarray(pixels("uint8", 1))
    for picture in (colour, grey):
        for kind, options in (
            ("JPEG", {"progressive": True}),
            ("JPEG", {"subsampling": 0}),
            ("PNG", {}),
            ("TIFF", {"compression": "tiff_lzw"}),
            ("TIFF", {"compression": "jpeg"}),
            ("TIFF", {"compression": "tiff_adobe_deflate"}),
            ("BMP", {}),
        ):
            path.write_bytes(encoded(picture, kind, **options))
            expected = np.asarray(Image.open(path).convert(picture.mode))
            np.testing.assert_array_equal(read_image(path), expected)


def test_palette_and_one_bit(tmp_path: Path) -> None:
    palette = Image.fromarray(pixels("uint8", 3)).quantize(7)
    for kind in ("PNG", "TIFF", "BMP"):
        (tmp_path / "x").write_bytes(encoded(palette, kind))
        np.testing.assert_array_equal(read_image(tmp_path / "x"), np.asarray(palette.convert("RGB")))
    grey = Image.fromarray(pixels("uint8", 1)).quantize(7)
    for kind in ("PNG", "TIFF", "BMP"):
        (tmp_path / "x").write_bytes(encoded(grey, kind))
        np.testing.assert_array_equal(read_image(tmp_path / "x"), np.asarray(grey.convert("L")))
    bits = pixels("uint8", 1) > 127
    for kind in ("PNG", "TIFF", "BMP"):
        (tmp_path / "x").write_bytes(encoded(Image.fromarray(bits), kind))
        np.testing.assert_array_equal(read_image(tmp_path / "x"), np.where(bits, 255, 0))


def test_interlaced_png(tmp_path: Path) -> None:
    """Adam7 by hand: no encoder at hand writes it."""
    image = pixels("uint8", 3, 9, 10)
    passes = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    rows = b"".join(
        b"\0" + row.tobytes()
        for top, left, step_y, step_x in passes
        for row in image[top::step_y, left::step_x]
        if row.size
    )

    header = struct.pack(">IIBBBBB", 10, 9, 8, 2, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    data = b"".join(png_chunk(kind, body) for kind, body in chunks)
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), image)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [1, 3])
def test_tiff_of_either_byte_order(tmp_path: Path, order: str, channels: int) -> None:
    for dtype in ("uint8", "uint16"):
        image = pixels(dtype, channels)
        (tmp_path / "x.tif").write_bytes(tiff(image, order=order))
        np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), image)
        planar = pixels(dtype, 3)
        (tmp_path / "x.tif").write_bytes(tiff(planar, order=order, planar=2))
        np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), planar)


@pytest.mark.parametrize("compression", ["zstd", "zlib", "lzw"])
def test_compressed_tiff_of_sixteen_bits(tmp_path: Path, compression: str) -> None:
    """Zstandard is read by tifffile alone; where the decoder is not installed, one line says so."""
    image = pixels("uint16", 3, 30, 40)
    for planar in ("contig", "separate"):
        stored = image if planar == "contig" else np.moveaxis(image, 2, 0)
        imwrite(tmp_path / "x.tif", stored, photometric="rgb", planarconfig=planar, compression=compression)
        np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), image)


def test_white_is_zero(tmp_path: Path) -> None:
    image = pixels("uint8", 1)
    (tmp_path / "x.tif").write_bytes(tiff(image, photometric=0))
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), 255 - image)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_eight_bit_files(tmp_path: Path, orientation: int) -> None:
    for channels in (1, 3):
        image = pixels("uint8", channels, 16, 24)
        picture = Image.fromarray(image)
        for kind in ("PNG", "TIFF"):
            (tmp_path / "x").write_bytes(encoded(picture, kind, exif=exif(orientation)))
            np.testing.assert_array_equal(read_image(tmp_path / "x"), upright(image, orientation))
        flat = encoded(picture, "JPEG", quality=95)
        turned = encoded(picture, "JPEG", quality=95, exif=exif(orientation))
        (tmp_path / "flat.jpg").write_bytes(flat)
        (tmp_path / "turned.jpg").write_bytes(turned)
        expected = upright(read_image(tmp_path / "flat.jpg"), orientation)
        np.testing.assert_array_equal(read_image(tmp_path / "turned.jpg"), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_sixteen_bit_files(tmp_path: Path, orientation: int) -> None:
    grey, colour = pixels("uint16", 1), pixels("uint16", 3)
    for kind in ("PNG", "TIFF"):
        (tmp_path / "x").write_bytes(encoded(Image.fromarray(grey), kind, exif=exif(orientation)))
        np.testing.assert_array_equal(read_image(tmp_path / "x"), upright(grey, orientation))
    for order in "<>":
        (tmp_path / "x").write_bytes(tiff(colour, order=order, orientation=orientation))
        np.testing.assert_array_equal(read_image(tmp_path / "x"), upright(colour, orientation))
    # A 16-bit RGB PNG with an eXIf chunk after its header.
    plain = cv2.imencode(".png", np.ascontiguousarray(colour[..., ::-1]))[1].tobytes()
    body = exif(orientation).tobytes().removeprefix(b"Exif\0\0")
    (tmp_path / "x").write_bytes(plain[:33] + png_chunk(b"eXIf", body) + plain[33:])
    np.testing.assert_array_equal(read_image(tmp_path / "x"), upright(colour, orientation))


def test_a_malformed_tag_beside_the_orientation_does_not_matter(tmp_path: Path) -> None:
    """ResolutionUnit as text where it is a number: such tags cannot be written again, but need not be."""
    entries = ((274, 3, 1, struct.pack(">HH", 6, 0)), (296, 2, 2, b"2\0\0\0"))
    tags = b"MM\0*" + struct.pack(">IH", 8, len(entries))
    tags += b"".join(struct.pack(">HHI4s", *entry) for entry in entries) + bytes(4)
    image = pixels("uint8", 3, 16, 24)
    for kind in ("PNG", "JPEG"):
        for name, options in (("flat", {}), ("turned", {"exif": b"Exif\0\0" + tags})):
            (tmp_path / name).write_bytes(encoded(Image.fromarray(image), kind, **options))
        expected = upright(read_image(tmp_path / "flat"), 6)
        np.testing.assert_array_equal(read_image(tmp_path / "turned"), expected)


def test_malformed_exif_is_none(tmp_path: Path) -> None:
    image = pixels("uint8", 3)
    (tmp_path / "x.png").write_bytes(encoded(Image.fromarray(image), "PNG", exif=b"Exif\0\0junk"))
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), image)


def test_a_jpeg_with_a_preview_behind_it_is_one_picture(tmp_path: Path) -> None:
    picture = Image.fromarray(pixels("uint8", 3, 32, 40))
    (tmp_path / "x.jpg").write_bytes(encoded(picture, "JPEG"))
    preview = [picture.rotate(180).resize((8, 8))]
    (tmp_path / "y.jpg").write_bytes(encoded(picture, "MPO", save_all=True, append_images=preview))
    np.testing.assert_array_equal(read_image(tmp_path / "y.jpg"), read_image(tmp_path / "x.jpg"))


def test_an_orientation_that_does_not_exist_is_none(tmp_path: Path) -> None:
    for orientation in (0, 9, 77):
        for image in (pixels("uint8", 3), pixels("uint16", 1)):
            data = encoded(Image.fromarray(image), "PNG", exif=exif(orientation))
            (tmp_path / "x.png").write_bytes(data)
            np.testing.assert_array_equal(read_image(tmp_path / "x.png"), image)


def test_write_image_is_atomic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_image(tmp_path / "new" / "x.png", pixels("uint8", 3))
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_image(path, pixels("uint8", 1))
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["x.png"]


@pytest.mark.parametrize("name", ["x.gif", "x.webp", "x", ".png"])
def test_write_image_knows_its_formats(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"cannot write this format; use one of \.bmp, \.jpeg"):
        write_image(tmp_path / name, pixels("uint8", 1))
    assert list(tmp_path.iterdir()) == []


def test_write_image_says_what_a_format_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"shape \(1, 70000\) cannot be written as \.jpg"):
        write_image(tmp_path / "x.jpg", np.zeros((1, 70_000), np.uint8))
    with pytest.raises(AssertionError, match="float32"):
        write_image(tmp_path / "x.tif", np.zeros((2, 2), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_writing_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for suffix in SUFFIXES:
        write_image(tmp_path / f"x{suffix}", pixels("uint8", 3))
    assert capfd.readouterr() == ("", "")


@pytest.mark.shared
def test_real_images(shared: Path) -> None:
    """Every kind of file in the reference data, against Pillow."""
    for name in (
        "llvip/visible/train/010001.jpg",
        "llvip/infrared/train/010001.jpg",
        "roadscene/infrared/FLIR_00006.jpg",
        "mefb/over/Lamp.png",
        "harvard/pet-mri/pet/25016.png",
        "samples/remote/pan.tif",
    ):
        path = shared / "data" / name
        with Image.open(path) as picture:
            np.testing.assert_array_equal(read_image(path), np.asarray(picture))
