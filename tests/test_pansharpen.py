"""Pan-sharpening and multi-band TIFF files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from fusing import tiny_network, tiny_weights
from picture_files import tiff
from PIL import Image

from model.fuse import fuse
from model.fuse_config import FuseConfig
from model.multiband import Bands, read_bands, write_bands
from model.pansharpen import give_back_values, match_histogram, pansharpen
from model.strips import FusionEngine
from pipeline.files import InputError


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def scene(bands: int, dtype: str = "uint8", size_hw: tuple[int, int] = (21, 30)) -> np.ndarray:
    """Smooth bands, so that compression and predictors have something to do."""
    rng = np.random.default_rng(bands)
    steps = rng.integers(0, 9, (bands, *size_hw))
    return (steps.cumsum(axis=2) * (1 if dtype == "uint8" else 200)).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [1, 2, 3, 4, 8])
def test_any_number_of_bands_comes_back(tmp_path: Path, bands: int, dtype: str) -> None:
    values = scene(bands, dtype)
    geography = {33550: (12, np.arange(3.0).tobytes()), 34735: (3, np.arange(8, dtype="<u2").tobytes())}
    path = write_bands(tmp_path / "x.tif", Bands(values, geography))
    read = read_bands(path)
    np.testing.assert_array_equal(read.values, values)
    assert read.values.dtype == dtype and read.geography == geography


@pytest.mark.parametrize("compression", [None, "packbits", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "I;16"])
def test_reads_what_others_write(tmp_path: Path, mode: str, compression: str | None) -> None:
    values = scene({"RGB": 3, "CMYK": 4}.get(mode, 1), "uint16" if mode == "I;16" else "uint8")
    pixels = np.moveaxis(values, 0, 2) if len(values) > 1 else values[0]
    picture = Image.fromarray(np.ascontiguousarray(pixels), None if mode == "I;16" else mode)
    predictor = {317: 2} if compression == "tiff_lzw" and mode != "I;16" else {}
    picture.save(tmp_path / "x.tif", compression=compression, tiffinfo=predictor)
    np.testing.assert_array_equal(read_bands(tmp_path / "x.tif").values, values)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", [1, 2])
def test_reads_both_byte_orders_and_layouts(tmp_path: Path, order: str, planar: int) -> None:
    values = scene(3, "uint16")
    (tmp_path / "x.tif").write_bytes(tiff(np.moveaxis(values, 0, 2), order=order, planar=planar))
    np.testing.assert_array_equal(read_bands(tmp_path / "x.tif").values, values)


def test_pages_are_bands(tmp_path: Path) -> None:
    values = scene(3)
    first, *others = (Image.fromarray(band) for band in values)
    first.save(tmp_path / "x.tif", save_all=True, append_images=others)
    np.testing.assert_array_equal(read_bands(tmp_path / "x.tif").values, values)


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    data = write_bands(tmp_path / "x.tif", Bands(scene(4), {33550: (12, bytes(24))})).read_bytes()
    rng = np.random.default_rng(0)
    path, refused = tmp_path / "bad.tif", 0
    for _ in range(300):
        bad = bytearray(data)
        for _ in range(3):
            bad[rng.integers(len(bad) - 200, len(bad)) if rng.random() < 0.9 else rng.integers(8)] = (
                rng.integers(256)
            )
        path.write_bytes(bad[: rng.integers(len(bad))] if rng.random() < 0.3 else bad)
        try:
            read_bands(path)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
    assert refused > 100
    path.write_bytes(tiff(np.zeros((5, 6), np.uint8), sample_format=2))
    with pytest.raises(InputError, match="not unsigned"):
        read_bands(path)
    path.write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="not a TIFF"):
        read_bands(path)


def test_histogram_matching() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 60)).astype(np.float32)
    target = (rng.gamma(2.0, 20.0, (40, 30))).astype(np.uint8)
    matched = match_histogram(values, target)
    shares = np.linspace(0.02, 0.98, 25)
    np.testing.assert_allclose(np.quantile(matched, shares), np.quantile(target, shares), atol=1.0)
    order = np.argsort(values, axis=None)
    assert np.all(np.diff(matched.ravel()[order]) >= 0)
    assert np.unique(match_histogram(np.ones((4, 4), np.float32), target)).size == 1
    np.testing.assert_allclose(match_histogram(target.astype(np.float32), target), target, atol=1e-4)


def test_a_band_keeps_its_values_and_gains_detail() -> None:
    rng = np.random.default_rng(1)
    band = (rng.random((40, 40)) * 60 + 90).astype(np.float32)
    detail = np.zeros_like(band)
    detail[::2] = 2
    values = give_back_values(band * 1.7 - 20 + detail, band.astype(np.uint8))
    assert abs(values.mean() - band.mean()) < 1
    assert values.std() > band.std()


def test_bands_are_sharpened_one_by_one(tmp_path: Path) -> None:
    values, pan = scene(4), scene(1)[0]
    engine = FusionEngine(tiny_network())
    sharpened = pansharpen(engine, Bands(values), Bands(pan[None], {33550: (12, bytes(24))}))
    assert sharpened.values.shape == values.shape and sharpened.values.dtype == np.uint8
    assert sharpened.geography == {33550: (12, bytes(24))}
    fused = engine.fuse_planes((values[2] / 255).astype(np.float32), (pan / 255).astype(np.float32))
    expected = np.rint(give_back_values(fused * 255, values[2]).clip(0, 255))
    assert np.abs(sharpened.values[2] - expected).max() <= 1


def test_files_folders_of_bands_and_sizes(tmp_path: Path) -> None:
    values = scene(4, "uint16", (10, 15))
    pan = scene(1, "uint16")
    write_bands(tmp_path / "ms.tif", Bands(values))
    write_bands(tmp_path / "pan.tif", Bands(pan))
    for index, band in enumerate(values):
        write_bands(tmp_path / "bands" / f"b{index}.tif", Bands(band[None]))
    weights = tiny_weights(tmp_path)
    config = FuseConfig(weights=weights, task="pansharpen", range_16bit="percentile")
    small = fuse(config, [tmp_path / "ms.tif", tmp_path / "pan.tif"], tmp_path / "out")
    assert (
        "bands is 10x15, panchromatic is 21x30" in small.failed["ms"] and "--resize a" in small.failed["ms"]
    )
    config = FuseConfig(weights=weights, task="pansharpen", range_16bit="percentile", resize="a")
    assert fuse(config, [tmp_path / "ms.tif", tmp_path / "pan.tif"], tmp_path / "out").done == ["ms"]
    assert fuse(config, [tmp_path / "bands", tmp_path / "pan.tif"], tmp_path / "out").done == ["bands"]
    from_file, from_bands = (read_bands(tmp_path / "out" / f"{name}.tif").values for name in ("ms", "bands"))
    assert from_file.shape == (4, 21, 30) and from_file.dtype == np.uint16
    np.testing.assert_array_equal(from_file, from_bands)
    wrong = fuse(config, [tmp_path / "pan.tif", tmp_path / "ms.tif"], tmp_path / "out2")
    assert "4 channels; a panchromatic image has one" in wrong.failed["pan"]


@pytest.mark.shared
def test_published_sample(shared: Path) -> None:
    folder = shared / "data/samples/remote"
    whole = read_bands(folder / "ms.tif").values
    assert whole.shape == (4, 512, 481)
    for index, band in enumerate(whole, start=1):
        np.testing.assert_array_equal(read_bands(folder / f"ms_band{index}.tif").values[0], band)
