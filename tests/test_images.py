"""Decoding and encoding: what is read, what is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_runs import REPOSITORY
from picture_files import encoded, interlaced_png, pixels, tiff
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tifffile import TIFF, imwrite

from pipeline.files import InputError
from pipeline.images import SUFFIXES, read_image, write_image


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
    for channels in (1, 3):
        image = pixels("uint8", channels, 9, 10)
        (tmp_path / "x.png").write_bytes(interlaced_png(image))
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
    """Zstandard is read by tifffile alone."""
    image = pixels("uint16", 3, 30, 40)
    for planar in ("contig", "separate"):
        stored = image if planar == "contig" else np.moveaxis(image, 2, 0)
        imwrite(tmp_path / "x.tif", stored, photometric="rgb", planarconfig=planar, compression=compression)
        np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), image)


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits"])
def test_dark_planar_tiff_of_sixteen_bits(tmp_path: Path, compression: str | None) -> None:
    """OpenCV gives memory that nobody wrote, whose upper bytes may happen to be as dark."""
    image = np.random.default_rng(0).integers(0, 128, (30, 40, 3), np.uint16)
    stored = np.moveaxis(image, 2, 0)
    imwrite(tmp_path / "x.tif", stored, photometric="rgb", planarconfig=2, compression=compression)
    for _ in range(5):
        np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), image)


def test_text_of_any_length_beside_the_pixels_does_not_matter(tmp_path: Path) -> None:
    image, text = pixels("uint16", 1), PngInfo()
    text.add_text("workflow", "x" * (2 << 20), zip=True)
    text.add_itxt("XML:com.adobe.xmp", "y" * (2 << 20), zip=True)
    Image.fromarray(image).save(tmp_path / "x.png", pnginfo=text)
    np.testing.assert_array_equal(read_image(tmp_path / "x.png"), image)


def test_reading_in_threads_leaves_warnings_as_they_are(tmp_path: Path) -> None:
    """In a process of its own, as users have it: pytest has filters of its own."""
    path = tmp_path / "x.tif"
    path.write_bytes(tiff(pixels("uint8", 3)))
    script = f"""
import sys, warnings
from concurrent.futures import ThreadPoolExecutor
from PIL import Image
from pipeline.images import read_image
sys.setswitchinterval(1e-6)
before = list(warnings.filters)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(read_image, [{str(path)!r}] * 400))
assert list(warnings.filters) == before
Image.MAX_IMAGE_PIXELS = 50  # of which Pillow warns up to twice as many
read_image({str(path)!r})
warnings.warn("told")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert "told" in done.stderr and "Decompression" not in done.stderr


def test_a_compression_without_its_decoder_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.tif"
    imwrite(path, pixels("uint16", 3), photometric="rgb", compression="zstd")
    monkeypatch.setattr(TIFF, "DECOMPRESSORS", {})
    with pytest.raises(InputError, match="16-bit image that cannot be decoded reliably; convert it") as error:
        read_image(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_white_is_zero(tmp_path: Path) -> None:
    image = pixels("uint8", 1)
    (tmp_path / "x.tif").write_bytes(tiff(image, photometric=0))
    np.testing.assert_array_equal(read_image(tmp_path / "x.tif"), 255 - image)


def test_a_jpeg_with_a_preview_behind_it_is_one_picture(tmp_path: Path) -> None:
    picture = Image.fromarray(pixels("uint8", 3, 32, 40))
    (tmp_path / "x.jpg").write_bytes(encoded(picture, "JPEG"))
    preview = [picture.rotate(180).resize((8, 8))]
    (tmp_path / "y.jpg").write_bytes(encoded(picture, "MPO", save_all=True, append_images=preview))
    np.testing.assert_array_equal(read_image(tmp_path / "y.jpg"), read_image(tmp_path / "x.jpg"))


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
    with pytest.raises(InputError, match=r"70000x1 is more than the 65500 pixels a side that JPEG holds"):
        write_image(tmp_path / "x.jpg", np.zeros((1, 70_000), np.uint8))
    with pytest.raises(InputError, match=r"shape \(2, 2, 4\) cannot be written as \.png"):
        write_image(tmp_path / "x.png", np.zeros((2, 2, 4), np.uint8))
    with pytest.raises(AssertionError, match="float32"):
        write_image(tmp_path / "x.tif", np.zeros((2, 2), np.float32))
    assert list(tmp_path.iterdir()) == []


def test_writing_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for suffix in SUFFIXES:
        write_image(tmp_path / f"x{suffix}", pixels("uint8", 3))
    assert capfd.readouterr() == ("", "")


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
