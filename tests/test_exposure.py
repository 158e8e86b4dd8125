"""Exposure pairs: luminance from the probe, hue from the source, nothing outside RGB."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.exposure import ExposureConfig, ExposurePair, exposure_pairs, probe_pairs, relight
from pipeline.exposure.camera_response import camera_pair, draw_camera
from pipeline.exposure.probe import ExposureProbe
from pipeline.files import InputError
from pipeline.images.ycbcr import luminance, rgb_to_ycbcr


def _pictures(pair: ExposurePair) -> tuple[np.ndarray, np.ndarray]:
    return pair.over, pair.under


def test_relight_keeps_luminance_and_hue() -> None:
    rng = np.random.default_rng(0)
    source = rng.random((50, 60, 3), np.float32)
    luma = rng.random((50, 60), np.float32)
    chroma = rgb_to_ycbcr(source)[..., 1:]
    result = relight(luma, chroma).astype(np.float32) / 255
    assert np.abs(luminance(result) - luma).max() < 0.6 / 255  # 8-bit rounding alone
    got = rgb_to_ycbcr(result)[..., 1:]
    cross = got[..., 0] * chroma[..., 1] - got[..., 1] * chroma[..., 0]
    assert np.abs(cross).max() < 1 / 255  # Cb : Cr as before
    assert (np.linalg.norm(got, axis=-1) <= np.linalg.norm(chroma, axis=-1) + 1 / 255).all()


def test_chroma_that_fits_is_kept_whole() -> None:
    source = np.array([[[200, 120, 90], [30, 60, 50]]], np.uint8)
    rgb = source.astype(np.float32) / 255
    assert np.array_equal(relight(luminance(rgb), rgb_to_ycbcr(rgb)[..., 1:]), source)


def test_extremes_are_black_and_white() -> None:
    chroma = np.full((2, 2, 2), 0.3, np.float32)
    assert (relight(np.zeros((2, 2), np.float32), chroma) == 0).all()
    assert (relight(np.ones((2, 2), np.float32), chroma) == 255).all()


def test_a_pair_depends_on_the_pixels_alone() -> None:
    torch.manual_seed(1)
    probe = ExposureProbe().eval()
    frame = np.random.default_rng(2).integers(0, 256, (90, 80, 3), dtype=np.uint8)
    cut, other = frame[10:74, 8:72], np.ascontiguousarray(frame[:64, 16:])
    (whole,) = probe_pairs([frame], probe)
    (alone,) = probe_pairs([cut.copy()], probe)
    together = probe_pairs([other, cut, other], probe)[1]
    reach = probe.reach_px
    inner = np.s_[reach:-reach, reach:-reach]
    for a, b, frame_result in zip(*map(_pictures, (alone, together, whole)), strict=True):
        assert a.shape == (64, 64, 3) and a.dtype == np.uint8
        assert np.array_equal(a, b)
        difference = np.abs(a.astype(int) - frame_result[10:74, 8:72])[inner]
        assert difference.max() <= 1


def test_the_mode_decides_who_makes_the_pair() -> None:
    probe = ExposureProbe().eval()
    frame = np.random.default_rng(2).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    config = ExposureConfig(mode="camera-response")
    by_camera, by_probe = (
        exposure_pairs([frame], probe, config=mode, streams=[np.random.default_rng(1)])[0]
        for mode in (config, ExposureConfig())
    )
    rng = np.random.default_rng(1)
    draw = draw_camera(config.camera, rng)
    expected = camera_pair(frame, draw, rng)
    assert by_probe.camera is None and by_camera.camera is not None
    assert (by_camera.camera.over_ev, by_camera.camera.under_ev) == (draw.over_ev, draw.under_ev)
    for got, camera, from_probe in zip(_pictures(by_camera), expected, _pictures(by_probe), strict=True):
        assert np.array_equal(got, camera)
        assert not np.array_equal(got, from_probe)


def test_no_tiles_no_pairs() -> None:
    assert probe_pairs([], ExposureProbe()) == []


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(InputError, match="use one of"):
        ExposureConfig(mode="hdr")
