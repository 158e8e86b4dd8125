"""The metrics as a set: published numbers, identities that hold for every convention, hostile input."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_pictures import picture

from model.evaluation.baselines import BASELINES
from model.metrics import GROUND_TRUTH_METRICS, METRICS, compute_metrics
from model.metrics.conventions import CONVENTIONS, metrics_of
from pipeline.files import InputError
from pipeline.images import read_grey

SHAPE = (50, 57)
#: Metrics defined for images of that size.
SMALL = {name: metric for name, metric in METRICS.items() if metric.min_side_px <= min(SHAPE)}
#: fused = a = b: information grows with the image, the rest is a constant of the definition.
PERFECT = {
    "SCD": 0.0,
    "CC": 1.0,
    "NMI": 2.0,
    "FMI": 1.0,
    "VIF": 2.0,
    "VIFF": 1.0,
    "Qabf": 0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(-4.4)),
    "Nabf": 0.0,
    "SSIM": 1.0,
    "MS-SSIM": 1.0,
    "MEF-SSIM": 1.0,
    "Qcb": 1.0,
    "Qcv": 0.0,
    "PSNR": 150.0,
    "MSE": 0.0,
}

seeds = st.integers(0, 2**32 - 1)


def every_convention() -> list[tuple[str, dict]]:
    return [
        (
            name,
            {key: metric for key, metric in metrics_of(name).items() if metric.min_side_px <= min(SHAPE)},
        )
        for name in CONVENTIONS
    ]


def assert_same(first: dict[str, float], second: dict[str, float], tolerance: float = 1e-9) -> None:
    for name, value in first.items():
        assert second[name] == pytest.approx(value, rel=tolerance, abs=tolerance), name


def test_published_numbers(shared: Path) -> None:
    """A public Matlab toolbox's values for two published methods on four TNO pairs."""
    root = shared / "reference" / "metrics"
    chosen = metrics_of("standard", ("EN", "AG", "SCD", "CC", "SF", "Qabf"))
    for row in json.loads((root / "expected.json").read_text()):
        fused, a, b = (
            read_grey(root / path)
            for path in (
                f"{row['method']}/{row['file']}",
                f"ir/{row['image']}",
                f"vi/{row['image']}",
            )
        )
        for name, value in compute_metrics(fused, a, b, metrics=chosen).items():
            limit = {"abs": 2e-3} if name == "Qabf" else {"rel": 1e-9}
            assert value == pytest.approx(row[name], **limit), (row["method"], row["file"], name)


@pytest.mark.parametrize("shape", [SHAPE, (180, 190)])
def test_a_perfect_fusion_reaches_the_known_extremes(shape: tuple[int, int]) -> None:
    image = picture(3, shape)
    metrics = {name: m for name, m in METRICS.items() if m.min_side_px <= min(shape)}
    scores = compute_metrics(image, image, image, ground_truth=image, metrics=metrics)
    for name, value in PERFECT.items():
        if name in scores:
            assert scores[name] == pytest.approx(value, abs=1e-6), name
    assert scores["MI"] == pytest.approx(2 * scores["EN"])
    assert scores["PSNR-GT"] == 150.0
    assert scores["SSIM-GT"] == pytest.approx(1.0)


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_swapping_the_sources_changes_nothing(seed: int) -> None:
    fused, a, b = (picture(seed + i) for i in range(3))
    for _, metrics in every_convention():
        assert_same(
            compute_metrics(fused, a, b, metrics=metrics), compute_metrics(fused, b, a, metrics=metrics)
        )


@given(seeds, st.sampled_from([np.float32, np.float64]))
@settings(max_examples=10, deadline=None)
def test_float_images_score_as_their_8_bit_originals(seed: int, dtype: type) -> None:
    images = [picture(seed + i) for i in range(3)]
    floats = [(image / 255).astype(dtype) for image in images]
    for _, metrics in every_convention():
        assert compute_metrics(*images, metrics=metrics) == compute_metrics(*floats, metrics=metrics)


@given(seeds, st.integers(-30, 30))
@settings(max_examples=10, deadline=None)
def test_a_common_change_of_brightness_does_not_matter(seed: int, shift: int) -> None:
    """Metrics of contrast, structure and information see differences of grey levels alone."""
    images = [picture(seed + i) for i in range(3)]
    shifted = [(image.astype(int) + shift).astype(np.uint8) for image in images]
    blind = {name: m for name, m in SMALL.items() if name not in ("SSIM", "Qabf", "Qcb")}
    assert_same(
        compute_metrics(*images, metrics=blind), compute_metrics(*shifted, metrics=blind), tolerance=1e-6
    )


def test_noise_over_flat_sources_is_visible() -> None:
    flat, metrics = np.full(SHAPE, 100, np.uint8), metrics_of(names=["Qcv"])
    assert compute_metrics(flat, flat, flat, metrics=metrics)["Qcv"] == 0
    assert compute_metrics(picture(1), flat, flat, metrics=metrics)["Qcv"] > 1


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_a_displaced_image_scores_worse(seed: int) -> None:
    image = picture(seed)
    displaced = np.roll(image, 3, axis=1)
    exact, moved = (compute_metrics(fused, image, image, metrics=SMALL) for fused in (image, displaced))
    for name in ("CC", "MI", "NMI", "FMI", "VIF", "VIFF", "Qabf", "SSIM", "MEF-SSIM", "Qcb", "PSNR"):
        assert moved[name] < exact[name], name
    for name in ("MSE", "Qcv", "Nabf"):
        assert moved[name] > exact[name], name


@given(seeds, st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1))
@settings(max_examples=15, deadline=None)
def test_one_pixel_hardly_matters_but_is_seen(seed: int, row: int, column: int) -> None:
    image = picture(seed)
    touched = image.copy()
    touched[row, column] += 5
    before, after = (compute_metrics(fused, image, image, metrics=SMALL) for fused in (image, touched))
    assert after["MSE"] == pytest.approx(25 / image.size)
    for name, perfect in PERFECT.items():
        if name in after and name != "PSNR" and METRICS[name].unit == "" and name not in ("SCD", "Qcv"):
            assert after[name] == pytest.approx(perfect, abs=0.02), name
    for name in ("CC", "SSIM", "FMI"):
        assert after[name] < before[name], name
    # A level that occurs nowhere else only gives the pixel a new name.
    assert after["MI"] <= before["MI"] + 1e-9


@pytest.mark.parametrize("levels", [(0, 0, 0), (255, 255, 255), (7, 90, 90), (90, 7, 200)])
def test_constant_images_give_finite_scores(levels: tuple[int, int, int]) -> None:
    constant = [np.full(SHAPE, level, np.uint8) for level in levels]
    for convention, metrics in every_convention():
        for fused, a, b in (
            constant,
            (picture(1), *constant[1:]),
            (constant[0], picture(2), constant[2]),
            (constant[0], picture(1), picture(2)),
        ):
            for name, value in compute_metrics(fused, a, b, ground_truth=b, metrics=metrics).items():
                assert math.isfinite(value) and isinstance(value, float), (convention, name, value)


@given(seeds)
@settings(max_examples=10, deadline=None)
def test_scores_stay_in_their_range(seed: int) -> None:
    stream = np.random.default_rng(seed)
    fused, a, b = (stream.integers(0, 256, SHAPE, np.uint8) for _ in range(3))
    scores = compute_metrics(fused, a, b, metrics=SMALL)
    ranges = {
        "EN": (0, 8),
        "SD": (0, 127.5),
        "CC": (-1, 1),
        "SCD": (-2, 2),
        "NMI": (0, 2),
        "Qabf": (0, 0.975),
        "Nabf": (0, 1),
        "SSIM": (-1, 1),
        "MEF-SSIM": (-1, 1),
        "Qcb": (0, 1),
        "VIF": (0, 2),
    }
    for name, (low, high) in ranges.items():
        assert low <= scores[name] <= high, name
    assert all(value >= 0 for name, value in scores.items() if name not in ("CC", "SCD", "SSIM", "MEF-SSIM"))


def test_noise_and_sharpening_raise_the_metrics_that_only_see_the_fused_image() -> None:
    """Why every table carries baselines: EI, AG, SF, EN and SD go up, closeness to the sources goes down."""
    a, b = picture(5, (180, 190)), picture(6, (180, 190))
    plain, sharp, noisy = (
        compute_metrics(BASELINES[name](a, b, "x"), a, b)
        for name in ("average", "average + unsharp", "average + noise")
    )
    for name in ("EI", "AG", "SF", "EN", "SD"):
        assert sharp[name] > plain[name] and noisy[name] > plain[name], name
    for name in ("CC", "MI", "NMI", "FMI", "VIF", "Qabf", "SSIM", "MS-SSIM", "MEF-SSIM", "PSNR"):
        assert noisy[name] < plain[name], name
    assert sharp["SCD"] > plain["SCD"]  # not only the metrics without a reference can be gamed


def test_unusable_input_is_named() -> None:
    image = picture(1)
    with pytest.raises(InputError, match="57x50 and 50x57"):
        compute_metrics(image, image, image.T, metrics=SMALL)
    with pytest.raises(InputError, match="uint16"):
        compute_metrics(image.astype(np.uint16), image, image, metrics=SMALL)
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        compute_metrics(image.astype(np.float32), image, image, metrics=SMALL)
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        compute_metrics(np.full(SHAPE, np.nan), image, image, metrics=SMALL)
    with pytest.raises(InputError, match="one plane"):
        compute_metrics(np.zeros((*SHAPE, 3), np.uint8), image, image, metrics=SMALL)
    with pytest.raises(InputError, match="MS-SSIM needs 176 pixels a side and the image has 50"):
        compute_metrics(image, image, image)


def test_every_metric_is_described() -> None:
    for name, metric in {**METRICS, **GROUND_TRUTH_METRICS}.items():
        assert metric.title and metric.function.__doc__, name
