"""Pan-sharpening: bands take detail and keep their values, and results their place on Earth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from fusing import on_cpu, tiny_network, tiny_weights
from multiband_scenes import scene

from model.engine.strips import FusionEngine
from model.fuse import fuse
from model.fusing.multiband import Bands, read_bands, write_bands
from model.fusing.pansharpen import add_detail, give_back_values, match_histogram, pansharpen
from model.fusing.places import displacement
from pipeline.files import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

PIXEL_SCALE: dict = {33550: (12, (2.4, 2.4, 0.0))}
COARSE_SCALE: dict = {33550: (12, (4.8, 4.8, 0.0))}
ZERO_IS_NONE, ONE_IS_NONE = {42113: (2, b"0")}, {42113: (2, b"1")}


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
    values = give_back_values(
        band * 1.7 - 20 + detail, band.astype(np.uint8), np.ones(band.shape, bool)
    ).reshape(band.shape)
    assert abs(values.mean() - band.mean()) < 1
    assert values.std() > band.std()


@pytest.mark.parametrize("ratio", [2.0, 4.0])
def test_the_finest_that_a_band_can_hold_is_taken_for_its_own_by_three_tenths(ratio: float) -> None:
    wave = np.cos(np.pi / ratio * np.arange(96, dtype=np.float32))[None].repeat(64, axis=0)
    gained = add_detail(wave, np.zeros_like(wave), ratio)
    np.testing.assert_allclose(gained[:, 24:-24], 0.7 * wave[:, 24:-24], atol=0.02)


def test_bands_are_sharpened_one_by_one() -> None:
    values, pan = scene(4), scene(1)[0]
    engine = FusionEngine(tiny_network())
    sharpened = pansharpen(engine, Bands(values), Bands(pan[None], PIXEL_SCALE))
    assert sharpened.values.shape == values.shape and sharpened.values.dtype == np.uint8
    assert sharpened.geography == PIXEL_SCALE
    fused = engine.fuse_planes((values[2] / 255).astype(np.float32), (pan / 255).astype(np.float32))
    expected = np.rint(add_detail(fused * 255, values[2], 4.0).clip(0, 255))
    assert np.abs(sharpened.values[2] - expected).max() <= 1
    assert (sharpened.values[2] == expected).mean() > 0.99
    published = pansharpen(engine, Bands(values), Bands(pan[None]), published=True)
    whole = np.ones(fused.shape, bool)
    expected = give_back_values(fused * 255, values[2], whole).reshape(fused.shape)
    assert np.abs(published.values[2] - np.rint(expected.clip(0, 255))).max() <= 1


def test_a_coarse_band_keeps_its_colours_and_gains_what_it_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wald's protocol: bands that are made coarser are known as they should become."""
    random = np.random.default_rng(0)
    coarse = [cv2.GaussianBlur(random.normal(size=(96, 96)), (0, 0), 12) * 400 for _ in range(3)]
    detail = cv2.GaussianBlur(random.normal(size=(96, 96)), (0, 0), 1) * 40
    truth = np.stack([np.rint(band + detail + 128) for band in coarse[:2]]).clip(0, 255).astype(np.uint8)
    pan = np.rint(coarse[2] + detail + 128).clip(0, 255).astype(np.uint8)[None]  # other colours, same detail
    given = np.stack([cv2.resize(band, (24, 24), interpolation=cv2.INTER_AREA) for band in truth])
    monkeypatch.setattr(FusionEngine, "fuse_planes", lambda engine, band, pan, main: pan)  # all of it
    engine, errors = FusionEngine(tiny_network()), []
    for published in (False, True):
        result = pansharpen(engine, Bands(given), Bands(pan), resize="a", published=published).values
        errors.append(float(np.square(result - truth.astype(float)).mean()))
        if not published:
            np.testing.assert_allclose(result.mean((1, 2)), truth.mean((1, 2)), atol=0.5)
    enlarged = np.stack([cv2.resize(band, (96, 96), interpolation=cv2.INTER_CUBIC) for band in given])
    unsharp = float(np.square(enlarged - truth.astype(float)).mean())
    assert errors[0] < 0.5 * unsharp < unsharp < errors[1]


def test_files_folders_of_bands_and_sizes(tmp_path: Path) -> None:
    values = scene(4, "uint16", (10, 15))
    pan = scene(1, "uint16")
    write_bands(tmp_path / "ms.tif", Bands(values))
    write_bands(tmp_path / "pan.tif", Bands(pan, PIXEL_SCALE))
    for index, band in enumerate(values):
        write_bands(tmp_path / "bands" / f"b{index}.tif", Bands(band[None]))
    weights = tiny_weights(tmp_path)
    config = on_cpu(weights, task="pansharpen", range_16bit="percentile")
    small = fuse(config, [tmp_path / "ms.tif", tmp_path / "pan.tif"], tmp_path / "out")
    assert (
        "bands is 15x10, panchromatic is 30x21" in small.failed["ms"] and "--resize a" in small.failed["ms"]
    )
    config = on_cpu(weights, task="pansharpen", range_16bit="percentile", resize="a")
    assert fuse(config, [tmp_path / "ms.tif", tmp_path / "pan.tif"], tmp_path / "out").done == ["ms"]
    assert fuse(config, [tmp_path / "bands", tmp_path / "pan.tif"], tmp_path / "out").done == ["bands"]
    from_file, from_bands = (read_bands(tmp_path / "out" / f"{name}.tif") for name in ("ms", "bands"))
    assert from_file.values.shape == (4, 21, 30) and from_file.values.dtype == np.uint16
    np.testing.assert_array_equal(from_file.values, from_bands.values)
    assert from_file.geography == PIXEL_SCALE
    wrong = fuse(config, [tmp_path / "pan.tif", tmp_path / "ms.tif"], tmp_path / "out2")
    assert "4 channels; a panchromatic image has one" in wrong.failed["pan"]


def test_settings_of_files_are_those_of_the_function(tmp_path: Path) -> None:
    bands, pan = Bands(scene(2, "uint16") // 8), Bands(scene(1, "uint16") // 8)
    write_bands(tmp_path / "ms.tif", bands)
    write_bands(tmp_path / "pan.tif", pan)
    config = on_cpu(tiny_weights(tmp_path), task="pansharpen", main_task="ivif", range_16bit="percentile")
    for colour in ("true", "upstream"):
        out = tmp_path / f"{colour}.tif"
        fuse(replace(config, colour=colour), [tmp_path / "ms.tif", tmp_path / "pan.tif"], out)
        options = {"main": "mm", "range_16bit": "percentile", "published": colour == "upstream"}
        expected = pansharpen(FusionEngine(tiny_network()), bands, pan, **options)  # type: ignore[arg-type]
        np.testing.assert_array_equal(read_bands(out).values, expected.values)


def test_bands_that_fill_little_of_their_range_are_told_whatever_stands_for_no_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = scene(1, "uint16") // 16 + 100
    values[:, :5] = 65535
    write_bands(tmp_path / "ms.tif", Bands(values, no_data={42113: (2, b"65535")}))
    write_bands(tmp_path / "pan.tif", Bands(scene(1, "uint16")))
    config = on_cpu(tiny_weights(tmp_path), task="pansharpen")
    assert fuse(config, [tmp_path / "ms.tif", tmp_path / "pan.tif"], tmp_path / "out.tif").complete
    assert "ms.tif: values from " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("bands", "pan", "geography"),
    [
        ((COARSE_SCALE, ZERO_IS_NONE), ({}, ONE_IS_NONE), COARSE_SCALE),  # no-data is no place
        ((COARSE_SCALE, ZERO_IS_NONE), (PIXEL_SCALE, {}), PIXEL_SCALE),
        (({}, ZERO_IS_NONE), (PIXEL_SCALE, ONE_IS_NONE), PIXEL_SCALE),
        ((COARSE_SCALE, {}), ({}, ONE_IS_NONE), COARSE_SCALE),
    ],
    ids=["pan has no-data alone", "pan has a place", "only pan has a place", "bands have no no-data"],
)
def test_the_place_is_that_of_either_and_no_data_that_of_the_bands(
    tmp_path: Path, bands: tuple[dict, dict], pan: tuple[dict, dict], geography: dict
) -> None:
    write_bands(tmp_path / "ms.tif", Bands(scene(2), *bands))
    write_bands(tmp_path / "pan.tif", Bands(scene(1), *pan))
    config = on_cpu(tiny_weights(tmp_path), task="pansharpen")
    assert fuse(config, [tmp_path / "ms.tif", tmp_path / "pan.tif"], tmp_path / "out.tif").complete
    result = read_bands(tmp_path / "out.tif")
    assert (result.geography, result.no_data) == (geography, bands[1])


@pytest.mark.parametrize(
    ("resize", "pan", "expected"),
    [("a", PIXEL_SCALE, PIXEL_SCALE), ("a", {}, {}), ("b", PIXEL_SCALE, COARSE_SCALE)],
)
def test_tags_of_a_resized_input_are_left_out(resize: str, pan: dict, expected: dict) -> None:
    fine_hw = (40, 48) if resize == "a" else (22, 26)  # else there is nothing to sharpen with
    bands, fine = Bands(scene(2, size_hw=(20, 24)), COARSE_SCALE), Bands(scene(1, size_hw=fine_hw), pan)
    sharpened = pansharpen(FusionEngine(tiny_network()), bands, fine, resize=resize)
    assert sharpened.geography == expected


@pytest.mark.parametrize(
    ("bands_hw", "pan_hw", "resize", "advice"),
    [
        ((16, 16), (64, 64), "b", "16x16 and a panchromatic image of 64x64.*use --resize a"),
        ((64, 64), (16, 16), "a", "give the finer image as B"),
        ((64, 64), (16, 16), "b", "give the finer image as B"),
    ],
)
def test_a_panchromatic_image_that_is_no_finer_is_refused(
    bands_hw: tuple[int, int], pan_hw: tuple[int, int], resize: str, advice: str
) -> None:
    bands, pan = Bands(scene(2, size_hw=bands_hw)), Bands(scene(1, size_hw=pan_hw))
    with pytest.raises(InputError, match=advice):
        pansharpen(FusionEngine(tiny_network()), bands, pan, resize=resize)


@pytest.mark.parametrize("resize", [None, "a", "b"])
def test_pixels_without_data_stay_so_and_bend_no_others(resize: str | None) -> None:
    fine, coarse = (40, 48), (20, 24)
    size_hw, pan_hw = coarse if resize == "a" else fine, (44, 52) if resize == "b" else fine
    values, pan = scene(2, "uint16", size_hw) // 8 + 1000, scene(1, "uint16", pan_hw) + 900
    holes = np.zeros(size_hw, bool)
    holes[:, : size_hw[1] // 6] = True
    enlarged = holes.repeat(2, 0).repeat(2, 1) if resize == "a" else holes
    engine, results = FusionEngine(tiny_network()), []
    for none in (0, 300, 65535):  # whatever stands for no data
        tag: dict = {42113: (2, b"%d" % none)}
        values[:, holes] = none
        pan[0, :6] = none
        result = pansharpen(engine, Bands(values, no_data=tag), Bands(pan, no_data=tag), resize=resize)
        assert result.no_data == tag
        np.testing.assert_array_equal(result.values == none, np.stack([enlarged] * 2))
        results.append(result.values[:, ~enlarged])
    for result in results:
        np.testing.assert_allclose(result, results[0], rtol=0, atol=1)  # those moved away from it
        np.testing.assert_allclose(result.mean(1), values[:, ~holes].mean(1), rtol=0.01)
    if resize is None:  # nothing to take detail from
        rows = (~enlarged).nonzero()[0]
        np.testing.assert_array_equal(result[:, rows < 6], values[:, ~holes][:, rows < 6])
        assert (result[:, rows >= 6] != values[:, ~holes][:, rows >= 6]).mean() > 0.9


def test_results_that_look_like_no_data_are_moved() -> None:
    values, pan = scene(1, "uint8", (20, 24)), scene(1, "uint8", (20, 24))
    values[0, 0, 0] = 0
    for none, moved in ((0, 1), (255, 254)):
        values[0, 1:] = moved
        tag: dict = {42113: (2, b"%d" % none)}
        sharpened = pansharpen(FusionEngine(tiny_network()), Bands(values, no_data=tag), Bands(pan)).values
        np.testing.assert_array_equal(sharpened == none, values == none)
        assert (sharpened == moved).any()


def test_bands_that_do_not_fit_together_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bands(tmp_path / "bands/1.tif", Bands(scene(1)))
    write_bands(tmp_path / "bands/2.tif", Bands(scene(1, "uint16")))
    write_bands(tmp_path / "pan.tif", Bands(scene(1)))
    config = on_cpu(tiny_weights(tmp_path), task="pansharpen")
    fuse(config, [tmp_path / "bands", tmp_path / "pan.tif"], tmp_path / "out")
    assert "1.tif has type uint8, " in (said := capsys.readouterr().err) and "2.tif has uint16; bands" in said


def test_pixels_beside_those_without_data_stay_as_they_would_be_without_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ramp, pan = np.mgrid[:24, :24].sum(axis=0)[None] * 3 + 60, np.full((1, 96, 96), 100)
    holes = ramp.copy()
    holes[:, :, :8] = 0  # the mean of the others is farther from the values at the edge than noise
    monkeypatch.setattr(FusionEngine, "fuse_planes", lambda engine, band, pan, main: band)
    monkeypatch.setattr("model.fusing.pansharpen.add_detail", lambda fused, band, ratio: band)
    whole, bordered = (
        pansharpen(
            FusionEngine(tiny_network()),
            Bands(values.astype(np.uint8), no_data={42113: (2, b"0")}),
            Bands(pan.astype(np.uint8)),
            resize="a",
        ).values.astype(int)
        for values in (ramp, holes)
    )
    assert not bordered[:, :, :32].any()
    assert np.abs(whole - bordered)[:, :, 32:].max() <= 2


def test_bands_whose_no_data_values_differ_are_told(tmp_path: Path) -> None:
    write_bands(tmp_path / "bands/1.tif", Bands(scene(1)))
    write_bands(tmp_path / "bands/2.tif", Bands(scene(1), no_data=ZERO_IS_NONE))
    write_bands(tmp_path / "pan.tif", Bands(scene(1)))
    config = on_cpu(tiny_weights(tmp_path), task="pansharpen")
    failed = fuse(config, [tmp_path / "bands", tmp_path / "pan.tif"], tmp_path / "out").failed
    assert "1.tif has no-data value none, " in failed["bands"] and "2.tif has 0; bands" in failed["bands"]


def test_a_preview_among_bands_is_no_band(tmp_path: Path) -> None:
    for name, count in (("1", 1), ("2", 1), ("preview", 3)):
        write_bands(tmp_path / f"bands/{name}.tif", Bands(scene(count)))
    write_bands(tmp_path / "pan.tif", Bands(scene(1)))
    config = on_cpu(tiny_weights(tmp_path), task="pansharpen")
    failed = fuse(config, [tmp_path / "bands", tmp_path / "pan.tif"], tmp_path / "out").failed
    assert "preview.tif: 3 channels in a folder of single bands; move it out" in failed["bands"]


def _place(x: float, y: float, scale: float, *, kind: int = 1, system: int = 32633) -> dict:
    keys = (1, 1, 0, 2, 1025, 0, 1, kind, 3072, 0, 1, system)
    return {
        33550: (12, (scale, scale, 0.0)),
        33922: (12, (0.0, 0.0, 0.0, x, y, 0.0)),
        34735: (3, keys),
    }


@pytest.mark.parametrize(
    ("bands", "pan", "apart"),
    [
        (_place(500, 900, 2.0), _place(500, 900, 1.0), 0),
        (_place(501, 899, 2.0, kind=2), _place(500.5, 899.5, 1.0, kind=2), 0),  # centres of first pixels
        (_place(501, 899, 2.0, kind=2), _place(500, 900, 1.0), 0),
        (_place(500, 900, 2.0), _place(507, 900, 1.0), 7),
        (_place(500, 900, 2.0), _place(500, 897, 1.0), 3),
        (_place(500, 900, 2.0), _place(500, 900, 1.1), 4.8 / 1.1),
        (_place(500, 900, 2.0), _place(500, 900, 1.0, system=32634), 0),  # not to be compared
        (_place(500, 900, 2.0), {}, 0),
    ],
)
def test_where_scenes_lie_is_compared(bands: dict, pan: dict, apart: float) -> None:
    scenes = [Bands(scene(2, size_hw=(20, 24)), bands), Bands(scene(1, size_hw=(40, 48)), pan)]
    assert displacement([Path("ms.tif"), Path("pan.tif")], scenes) == pytest.approx(apart)


def test_scenes_of_two_places_are_not_fused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = on_cpu(tiny_weights(tmp_path), task="pansharpen", resize="a")
    files = [tmp_path / "ms.tif", tmp_path / "pan.tif"]
    write_bands(files[0], Bands(scene(2, size_hw=(20, 24)), _place(500, 900, 2.0)))
    for x, told in ((508, "up to 8.0 of its pixels apart"), (548, "lie at different places")):
        write_bands(files[1], Bands(scene(1, size_hw=(40, 48)), _place(x, 900, 1.0)))
        summary = fuse(replace(config, overwrite=True), files, tmp_path / "out.tif")
        assert summary.complete == (x == 508)
        assert told in capsys.readouterr().err
