"""The trivial fusions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from metric_pictures import picture

from model.evaluation.baselines import (
    BASELINES,
    average,
    average_noise,
    average_unsharp,
    laplacian_pyramid,
    mertens,
)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("shape", [(50, 57), (41, 64)])
def test_every_baseline_returns_an_8_bit_plane_and_repeats(name: str, shape: tuple[int, int]) -> None:
    a, b = picture(1, shape), picture(2, shape)
    fused = BASELINES[name](a, b, "x")
    assert fused.shape == shape and fused.dtype == np.uint8
    assert np.array_equal(fused, BASELINES[name](a, b, "x"))


def test_values() -> None:
    a = np.array([[0, 100], [255, 1]], np.uint8)
    b = np.array([[0, 50], [255, 4]], np.uint8)
    assert average(a, b).tolist() == [[0, 75], [255, 3]]
    flat = np.full((40, 40), 80, np.uint8)
    for name in ("average", "average + unsharp", "Laplacian pyramid", "Mertens"):
        assert np.abs(BASELINES[name](flat, flat, "").astype(int) - 80).max() <= 1, name


def test_the_average_has_no_comb_of_levels() -> None:
    a, b = picture(1, (200, 210)), picture(2, (200, 210))
    assert (average(a, b) % 2 == 0).mean() == pytest.approx(0.5, abs=0.02)
    every = np.arange(256, dtype=np.uint8)
    assert np.array_equal(
        average(every[None], every[:, None]), (every[None] / 2 + every[:, None] / 2 + 0.5) // 1
    )


def test_sharper_and_noisier_are_what_they_say() -> None:
    a, b = picture(1, (120, 130)), picture(2, (120, 130))
    plain = average(a, b).astype(float)
    assert average_unsharp(a, b).std() > plain.std()
    noise = average_noise(a, b, "x") - plain
    assert noise.std() == pytest.approx(10, rel=0.05)
    assert abs(noise.mean()) < 0.5
    assert not np.array_equal(average_noise(a, b, "x"), average_noise(a, b, "y"))


def test_the_pyramid_keeps_the_sharper_half_of_each_source() -> None:
    sharp = picture(3, (96, 128))
    soft = cv2.GaussianBlur(sharp, (0, 0), 4)
    left, right = sharp.copy(), sharp.copy()
    left[:, 64:], right[:, :64] = soft[:, 64:], soft[:, :64]
    error = {
        fuse: np.abs(fuse(left, right).astype(int) - sharp).mean() for fuse in (average, laplacian_pyramid)
    }
    assert error[laplacian_pyramid] < 0.4 * error[average]


def test_mertens_prefers_the_well_exposed_source() -> None:
    scene = picture(4, (96, 128))
    washed_out = np.minimum(scene.astype(int) // 12 + 240, 255).astype(np.uint8)
    fused = mertens(scene, washed_out).astype(int)
    assert np.abs(fused - scene).mean() < np.abs(average(scene, washed_out).astype(int) - scene).mean()
