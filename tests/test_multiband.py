"""Multi-band TIFF files: any number of bands, other programs' layouts, damage refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from multiband_scenes import scene
from picture_files import tiff
from PIL import Image

from model.fusing.multiband import Bands, read_bands, write_bands
from pipeline.files import InputError

PLACE: dict = {
    33550: (12, (0.6, 0.6, 0.0)),  # ModelPixelScale
    33922: (12, (0.0, 0.0, 0.0, 440720.0, 3751320.0, 0.0)),  # ModelTiepoint
    34735: (3, (1, 1, 0, 2, 1024, 0, 1, 1, 3072, 0, 1, 32633)),  # GeoKeyDirectory
    34736: (12, (6378137.0, 298.257223563)),  # GeoDoubleParams
    34737: (2, b"WGS 84 / UTM zone 33N|"),  # GeoAsciiParams
}


def interleaved(values: np.ndarray) -> np.ndarray:
    return np.moveaxis(values, 0, 2)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("size_hw", [(21, 30), (1, 5), (5, 1), (1, 1)], ids=str)
def test_any_number_of_bands_comes_back(
    tmp_path: Path, bands: int, dtype: str, size_hw: tuple[int, int]
) -> None:
    values = scene(bands, dtype, size_hw)
    no_data: dict = {42113: (2, b"255")}
    read = read_bands(write_bands(tmp_path / "x.tif", Bands(values, PLACE, no_data)))
    np.testing.assert_array_equal(read.values, values)
    assert read.values.dtype == dtype and (read.geography, read.no_data) == (PLACE, no_data)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tif"]


@pytest.mark.parametrize(
    ("text", "none"),
    [(b"7", 7), (b" 255.0 \0", 255), (b"0", 0), (b"-9999", None), (b"256", None), (b"nan", None)],
)
def test_what_no_pixel_can_have_is_no_value_without_data(text: bytes, none: int | None) -> None:
    assert Bands(np.zeros((1, 2, 3), np.uint8), no_data={42113: (2, text)}).none() == none


def test_other_programs_see_bands_that_are_not_alpha(tmp_path: Path) -> None:
    for bands, photometric in ((1, "MINISBLACK"), (3, "RGB"), (4, "RGB"), (8, "MINISBLACK")):
        with tifffile.TiffFile(write_bands(tmp_path / "x.tif", Bands(scene(bands), PLACE))) as file:
            page = file.pages.first
            assert page.photometric.name == photometric
            assert set(page.extrasamples) <= {tifffile.EXTRASAMPLE.UNSPECIFIED}
            assert page.geotiff_tags["ProjectedCSTypeGeoKey"] == 32633


@pytest.mark.parametrize("compression", [None, "packbits", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "I;16"])
def test_reads_what_pillow_writes(tmp_path: Path, mode: str, compression: str | None) -> None:
    values = scene({"RGB": 3, "CMYK": 4}.get(mode, 1), "uint16" if mode == "I;16" else "uint8")
    pixels = interleaved(values) if len(values) > 1 else values[0]
    picture = Image.fromarray(np.ascontiguousarray(pixels), None if mode == "I;16" else mode)
    predictor = {317: 2} if compression == "tiff_lzw" and mode != "I;16" else {}
    picture.save(tmp_path / "x.tif", compression=compression, tiffinfo=predictor)
    np.testing.assert_array_equal(read_bands(tmp_path / "x.tif").values, values)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("layout", [{"tile": (16, 16)}, {"rowsperstrip": 5}], ids=["tiles", "strips"])
@pytest.mark.parametrize(
    "coding",
    [{}, {"compression": "lzw", "predictor": 2}, {"compression": "zlib", "predictor": 2}, {"bigtiff": True}],
    ids=["plain", "lzw", "deflate", "big"],
)
def test_reads_layouts_of_many_bands(
    tmp_path: Path, coding: dict[str, Any], layout: dict[str, Any], planar: str
) -> None:
    values = scene(6, "uint16")
    stored = values if planar == "separate" else interleaved(values)
    tifffile.imwrite(
        tmp_path / "x.tif", stored, photometric="minisblack", planarconfig=planar, **coding, **layout
    )
    np.testing.assert_array_equal(read_bands(tmp_path / "x.tif").values, values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [1, 2])
def test_reads_both_byte_orders(tmp_path: Path, order: str, planar: int) -> None:
    values = scene(3, "uint16")
    (tmp_path / "x.tif").write_bytes(tiff(interleaved(values), order=order, planar=planar))
    read = read_bands(tmp_path / "x.tif").values
    np.testing.assert_array_equal(read, values)
    assert read.dtype.isnative


def test_pages_are_bands(tmp_path: Path) -> None:
    values = scene(3)
    first, *others = (Image.fromarray(band) for band in values)
    first.save(tmp_path / "x.tif", save_all=True, append_images=others)
    np.testing.assert_array_equal(read_bands(tmp_path / "x.tif").values, values)
    others[0] = others[0].resize((9, 9))
    first.save(tmp_path / "x.tif", save_all=True, append_images=others)
    with pytest.raises(InputError, match="pages of different size"):
        read_bands(tmp_path / "x.tif")


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_damaged_files_are_refused_in_one_line(tmp_path: Path, compression: str | None) -> None:
    tifffile.imwrite(tmp_path / "x.tif", interleaved(scene(4)), compression=compression, rowsperstrip=5)
    data = (tmp_path / "x.tif").read_bytes()
    rng = np.random.default_rng(0)
    path, refused = tmp_path / "bad.tif", 0
    for _ in range(150):
        bad = bytearray(data)
        for place in rng.integers(0, 260, 3):  # header and directory
            bad[place] = rng.integers(256)
        path.write_bytes(bad[: rng.integers(len(bad))] if rng.random() < 0.3 else bad)
        try:
            read_bands(path)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 75
    for length in range(0, len(data) - 1, 97):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match="damaged"):
            read_bands(path)


def test_foreign_files_are_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "x.tif"

    def refused(match: str) -> None:
        with pytest.raises(InputError, match=match) as error:
            read_bands(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)

    refused("cannot be read")
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    refused("not a TIFF")
    path.write_bytes(tiff(np.zeros((5, 6), np.uint8), sample_format=2))
    refused("not unsigned")
    tifffile.imwrite(path, np.full((5, 6), np.nan, np.float32))
    refused("not unsigned")
    path.write_bytes(tiff(np.zeros((5, 6), np.uint16), orientation=6))
    refused("rotated")
    tifffile.imwrite(path, scene(1)[0], photometric="miniswhite")
    refused("samples are MINISWHITE")
    Image.fromarray(scene(1)[0]).save(path, compression="jpeg")
    refused("compression JPEG is not read")


def test_sizes_are_checked_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> np.ndarray:
        raise AssertionError("decoded")

    path = tmp_path / "x.tif"
    bomb = np.zeros((2048, 2048, 8), np.uint8)
    tifffile.imwrite(path, bomb, photometric="minisblack", planarconfig="contig", compression="zlib")
    assert path.stat().st_size < bomb.nbytes / 500
    monkeypatch.setattr("tifffile.TiffPage.asarray", never)
    monkeypatch.setattr("model.fusing.multiband.MAX_PIXELS", 2048 * 2048)
    with pytest.raises(InputError, match="too many pixels"):
        read_bands(path)
    monkeypatch.setattr("model.fusing.multiband.MAX_BYTES", 1000)
    with pytest.raises(InputError, match="over the limit of 1000"):
        read_bands(path)
    # Many pages of one strip: each is small, together they are not.
    with tifffile.TiffWriter(path) as writer:
        for _ in range(257):
            writer.write(np.zeros((8, 8), np.uint8), contiguous=False)
    monkeypatch.setattr("model.fusing.multiband.MAX_BYTES", 10**6)
    with pytest.raises(InputError, match="more than 256 pages"):
        read_bands(path)
    monkeypatch.setattr("model.fusing.multiband.MAX_PIXELS", 64)
    monkeypatch.setattr("model.fusing.multiband._MAX_PAGES", 300)
    with pytest.raises(InputError, match="too many pixels"):
        read_bands(path)


def test_published_sample(shared: Path) -> None:
    folder = shared / "data/samples/remote"
    whole = read_bands(folder / "ms.tif").values
    assert whole.shape == (4, 512, 481)
    for index, band in enumerate(whole, start=1):
        np.testing.assert_array_equal(read_bands(folder / f"ms_band{index}.tif").values[0], band)


def test_overviews_and_masks_are_no_bands(tmp_path: Path) -> None:
    values, path = scene(3, "uint8", (64, 96)), tmp_path / "cog.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(interleaved(values), photometric="rgb")
        file.write(interleaved(values)[::2, ::2], photometric="rgb", subfiletype=1)
        file.write(np.ones(values.shape[1:], bool), photometric="mask", subfiletype=4)
    np.testing.assert_array_equal(read_bands(path).values, values)


def test_rational_polynomials_of_a_scene_are_kept(tmp_path: Path) -> None:
    place: dict = {50844: (12, tuple(float(number) for number in range(92)))}
    read = read_bands(write_bands(tmp_path / "x.tif", Bands(scene(4), place)))
    assert read.geography == place


@pytest.mark.parametrize("kind", [5, 10])
def test_geographic_tags_may_be_fractions(tmp_path: Path, kind: int) -> None:
    place: dict = {33550: (kind, (1, 2, 1, 2, 0, 1))}
    read = read_bands(write_bands(tmp_path / "x.tif", Bands(scene(4), place)))
    assert read.geography == place
