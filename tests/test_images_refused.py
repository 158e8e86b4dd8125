"""Image files that are refused: damaged, disguised, oversized or of a kind nothing here can use."""

from __future__ import annotations

import os
import random
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from picture_files import encoded, exif, pixels, tiff
from PIL import Image

from pipeline import images
from pipeline.files import InputError
from pipeline.images import read_image


def refused(path: Path, data: bytes, message: str) -> None:
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as error:
        read_image(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_files_that_are_no_images(tmp_path: Path) -> None:
    refused(tmp_path / "text.jpg", b"This is no picture.\n" * 20, "not a JPEG, PNG, TIFF or BMP image")
    refused(tmp_path / "empty.png", b"", "empty file")
    colour = Image.fromarray(pixels("uint8", 3))
    for kind in ("GIF", "WEBP"):
        refused(tmp_path / "named.jpg", encoded(colour, kind), "not a JPEG")
    with pytest.raises(InputError, match="No such file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(InputError, match="not a file"):
        read_image(tmp_path)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        with pytest.raises(InputError, match="not a file"):
            read_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_a_truncated_file_is_never_read(tmp_path: Path, kind: str) -> None:
    for image in (
        pixels("uint8", 3, 40, 50),
        pixels("uint16" if kind in ("PNG", "TIFF") else "uint8", 1, 40, 50),
    ):
        data = encoded(Image.fromarray(image), kind)
        for keep in (1, 20, len(data) // 3, len(data) // 2, len(data) * 9 // 10):
            refused(tmp_path / f"x{keep}", data[:keep], "damaged image|not a JPEG|truncated")


def test_a_cut_tiff_prints_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = pixels("uint8", 1, 200, 250)
    tifffile.imwrite(tmp_path / "whole.tif", image, compression="zlib", rowsperstrip=50)
    np.testing.assert_array_equal(read_image(tmp_path / "whole.tif"), image)
    data = (tmp_path / "whole.tif").read_bytes()
    refused(tmp_path / "x.tif", data[: len(data) * 9 // 10], r"damaged image \(its end is missing\)")
    assert not capfd.readouterr().err


def test_a_flipped_bit_in_a_png_is_never_read(tmp_path: Path) -> None:
    data = bytearray(encoded(Image.fromarray(pixels("uint8", 3, 40, 50)), "PNG"))
    data[len(data) // 2] ^= 16
    refused(tmp_path / "x.png", bytes(data), "damaged image")


def test_a_tiff_whose_tags_are_of_the_wrong_type_is_damaged(tmp_path: Path) -> None:
    data = bytearray(encoded(Image.fromarray(pixels("uint8", 3)), "TIFF"))
    start = struct.unpack_from("<I", data, 4)[0] + 2
    count = struct.unpack_from("<H", data, start - 2)[0]
    places = {struct.unpack_from("<H", data, start + 12 * number)[0]: number for number in range(count)}
    struct.pack_into("<H", data, start + 12 * places[273] + 2, 2)  # StripOffsets as text
    refused(tmp_path / "x.tif", bytes(data), "damaged image")


def test_a_palette_picture_without_its_palette_is_damaged(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(pixels("uint8", 3)).quantize(7), "PNG")
    start = data.index(b"PLTE") - 4
    stop = start + 12 + int.from_bytes(data[start : start + 4], "big")
    refused(tmp_path / "x.png", data[:start] + data[stop:], "damaged image")


def test_an_offset_that_no_file_reaches_is_damage(tmp_path: Path) -> None:
    """In a BigTIFF, whose offsets have 64 bits."""
    tags = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 2**64 - 1, 277: 1, 278: 4, 279: 16}
    directory = b"".join(struct.pack("<HHQQ", tag, 16, 1, value) for tag, value in tags.items())
    header = b"II" + struct.pack("<HHHQQ", 43, 8, 0, 16, len(tags))
    refused(tmp_path / "x.tif", header + directory + bytes(24), "damaged image")


def test_alpha_is_refused(tmp_path: Path) -> None:
    colour = Image.fromarray(pixels("uint8", 3))
    for picture, kind, options in (
        (colour.convert("RGBA"), "PNG", {}),
        (colour.convert("RGBA"), "TIFF", {}),
        (colour.convert("LA"), "PNG", {}),
        (colour.quantize(7), "PNG", {"transparency": 2}),
        (colour, "PNG", {"transparency": (1, 2, 3)}),
        (colour.convert("L"), "PNG", {"transparency": 3}),
    ):
        refused(tmp_path / "x", encoded(picture, kind, **options), "alpha channel; flatten")
    four = np.random.default_rng(0).integers(0, 65536, (5, 6, 4), np.uint16)
    refused(tmp_path / "x", cv2.imencode(".png", four)[1].tobytes(), "alpha channel")
    tifffile.imwrite(
        tmp_path / "two.tif", four[..., :2], photometric="minisblack", extrasamples=["unassalpha"]
    )
    refused(tmp_path / "x", (tmp_path / "two.tif").read_bytes(), "alpha channel; flatten")


@pytest.mark.parametrize("compression", ["jpeg2000", "jpegxl", "png"])
def test_a_compression_that_is_not_read_is_named(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "colour.tif"
    tifffile.imwrite(path, pixels("uint8", 3), photometric="rgb", compression=compression)
    refused(path, path.read_bytes(), f"TIFF of {compression.upper()} compression, which is not read; convert")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_big_endian_bigtiff_is_called_that(tmp_path: Path, dtype: str) -> None:
    def written(image: np.ndarray, photometric: str, **layout: str) -> bytes:
        path = tmp_path / "big.tif"
        tifffile.imwrite(path, image, photometric=photometric, bigtiff=True, byteorder=">", **layout)
        return path.read_bytes()

    grey, colour = written(pixels(dtype, 1), "minisblack"), written(pixels(dtype, 3), "rgb")
    for data in (grey, colour):
        refused(tmp_path / "x.tif", data, "big-endian BigTIFF, which is not read; convert it first$")
    refused(tmp_path / "x.tif", colour[:40], "damaged image")
    bands = written(np.zeros((8, 9, 5), dtype), "minisblack", planarconfig="contig")
    refused(tmp_path / "x.tif", bands, "TIFF of 5 bands; --task pansharpen takes those$")


def test_several_pages_are_refused(tmp_path: Path) -> None:
    colour = Image.fromarray(pixels("uint8", 3))
    for kind in ("TIFF", "PNG"):
        data = encoded(colour, kind, save_all=True, append_images=[colour.rotate(180)])
        refused(tmp_path / "x", data, "2 pages or frames")


def test_other_pixel_types_are_refused(tmp_path: Path) -> None:
    grey, colour = pixels("uint8", 1), pixels("uint8", 3)
    real = grey.astype(np.float32)
    real[0, 0] = np.nan
    for image in (grey.astype(np.float32), real, grey.astype(np.int32)):
        refused(tmp_path / "x.tif", encoded(Image.fromarray(image), "TIFF"), "pixel type [FI] is not")
    refused(tmp_path / "x.tif", cv2.imencode(".tif", colour.astype(np.float32))[1].tobytes(), "pixel type")
    for kind in ("JPEG", "TIFF"):
        refused(tmp_path / "x", encoded(Image.fromarray(colour).convert("CMYK"), kind), "pixel type CMYK")
        # Four bands may be stored as CMYK, as Pillow writes them; of a JPEG nobody would.
        hint = "; if these are bands, --task pansharpen takes those" if kind == "TIFF" else ""
        refused(tmp_path / "x", (tmp_path / "x").read_bytes(), f"convert it first{hint}$")
    lab = encoded(Image.fromarray(colour).convert("LAB"), "TIFF")
    refused(tmp_path / "x", lab, "pixel type LAB.*; convert it first$")
    refused(tmp_path / "x", tiff(pixels("uint16", 1, 4, 4) >> 4, bits=12), "12-bit samples")
    refused(tmp_path / "x", tiff(pixels("uint16", 1), photometric=0), "white stored as 0")
    refused(tmp_path / "x", tiff(grey, sample_format=2), "8-bit samples of format 2")
    refused(tmp_path / "x", tiff(pixels("uint16", 1), sample_format=2), "pixel type")
    refused(tmp_path / "x", tiff(pixels("uint16", 1).astype(np.uint32)), "pixel type")


def test_sizes_are_checked_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def header(width: int, height: int) -> bytes:
        picture = bytearray(encoded(Image.new("L", (1, 1)), "BMP"))
        picture[18:26] = struct.pack("<ii", width, height)
        return bytes(picture)

    for width, height in ((20_000, 20_000), (1 << 30, 1 << 30), (100_000, 2_000)):
        refused(tmp_path / "x.bmp", header(width, height), r"more than \d+ pixels; tile the image")
    refused(tmp_path / "x.bmp", header(11_000, 11_000), "damaged image")  # allowed: no bomb
    (tmp_path / "y.png").write_bytes(encoded(Image.new("L", (10, 10)), "PNG"))
    monkeypatch.setattr(images, "MAX_PIXELS", 99)
    with pytest.raises(InputError, match="10x10 is more than 99 pixels"):
        read_image(tmp_path / "y.png")
    monkeypatch.setattr(images, "MAX_BYTES", 20)
    with pytest.raises(InputError, match="bytes, over the limit of 20"):
        read_image(tmp_path / "y.png")


def test_damaged_files_are_images_or_input_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes changed, cut and inserted at random: one line, never another exception."""
    monkeypatch.setattr(images, "MAX_PIXELS", 1 << 18)
    chance, path = random.Random(0), tmp_path / "x"
    originals = [
        encoded(Image.fromarray(image), kind, **options)
        for image in (pixels("uint8", 1), pixels("uint8", 3))
        for kind, options in (
            ("JPEG", {"exif": exif(6)}),
            ("PNG", {"exif": exif(6)}),
            ("TIFF", {"exif": exif(6)}),
            ("TIFF", {"compression": "tiff_adobe_deflate"}),
            ("BMP", {}),
        )
    ]
    originals += [tiff(pixels("uint16", 3)), cv2.imencode(".png", pixels("uint16", 3))[1].tobytes()]
    seen = {"image": 0, "error": 0}
    for _ in range(600):
        data = bytearray(chance.choice(originals))
        for _ in range(chance.choice((1, 1, 2, 4))):
            where = chance.randrange(min(len(data), 300))
            choice = chance.random()
            if choice < 0.7:
                data[where] = chance.choice((0, 255, chance.randrange(256)))
            elif choice < 0.85:
                data[where:where] = chance.randbytes(3)
            else:
                del data[where : where + 2]
        path.write_bytes(data)
        try:
            image = read_image(path)
            assert image.dtype in (np.uint8, np.uint16) and image.ndim in (2, 3)
            seen["image"] += 1
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            seen["error"] += 1
    assert min(seen.values()) > 50


def test_webp_within_a_tiff_is_refused_by_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tifffile.imwrite(tmp_path / "x.tif", pixels("uint8", 3), photometric="rgb", compression="webp")
    refused(tmp_path / "x.tif", (tmp_path / "x.tif").read_bytes(), "WebP compression, which is not read")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("bands", [2, 4, 5])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_further_bands_are_not_dropped(tmp_path: Path, bands: int, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 255, (8, 9, bands)).astype(dtype)
    known = 1 if bands == 2 else 3
    tifffile.imwrite(
        tmp_path / "bands.tif",
        values,
        photometric="minisblack" if known == 1 else "rgb",
        planarconfig="contig",
        extrasamples=["unspecified"] * (bands - known),
    )
    with pytest.raises(InputError, match=rf"{bands} bands(, of which {known} are read)?; --task pansharpen"):
        read_image(tmp_path / "bands.tif")
