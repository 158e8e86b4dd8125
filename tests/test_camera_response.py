"""Camera exposures: identity at EV 0, known answers, noise statistics, bracketing, response tables."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.exposure.camera_response import (
    PARAMETRIC,
    CameraConfig,
    ResponseCurve,
    camera_pair,
    curves_identity,
    draw_camera,
    draw_curve,
    expose,
    read_curves,
    sigmoid_curve,
)
from pipeline.files import InputError
from pipeline.images import read_rgb

QUIET = CameraConfig(full_well_e=0, read_noise_e=0)
CODES = np.arange(256, dtype=np.uint8).reshape(16, 16)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _pair(
    picture: np.ndarray, config: CameraConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    return camera_pair(picture, draw_camera(config, rng), rng)


def _numbers(values: np.ndarray, per_line: int) -> str:
    return "".join(" ".join(f"{v:e}" for v in row) + "\n" for row in values.reshape(-1, per_line))


def _dorf(path: Path, *exponents: float) -> Path:
    """A table in the published layout: six lines for each curve, here brightness = irradiance ** exponent."""
    light = np.linspace(0, 1, 1024)
    curves = [
        f"curve-{e}Red\nlin-lin\nI = \n{_numbers(light, 1024)}B = \n{_numbers(light**e, 1024)}"
        for e in exponents
    ]
    path.write_text("".join(curves))
    return path


def _emor(path: Path) -> Path:
    """A table in the published layout: blocks of 256 lines of four numbers."""
    irradiance = np.linspace(0, 1, 1024)
    blocks = {"E =": irradiance, "f0 =": irradiance**0.45, "h(1)=": np.sin(np.pi * irradiance)}
    path.write_text("".join(f"{name}\n{_numbers(values, 4)}" for name, values in blocks.items()))
    return path


@settings(max_examples=30, deadline=None)
@given(exponent=st.floats(0.3, 1.5), sigma=st.floats(0.3, 1.5))
def test_ev_0_without_noise_returns_the_source(exponent: float, sigma: float) -> None:
    curve = sigmoid_curve(exponent=exponent, sigma=sigma)
    result = expose(CODES, curve, ev=0, config=QUIET, rng=_rng())
    assert np.abs(result.astype(int) - CODES).max() <= 1


def test_one_stop_doubles_the_light() -> None:
    """With brightness = irradiance ** (1 / 2.2), n stops multiply the code by 2 ** (n / 2.2) up to 255."""
    light = np.linspace(0, 1, 10_001) ** 3
    curve = ResponseCurve(name="gamma", irradiance=light, brightness=light ** (1 / 2.2))
    for ev in (-4, -1, 1, 2):
        result = expose(CODES, curve, ev=ev, config=QUIET, rng=_rng())
        expected = np.minimum(CODES * 2 ** (ev / 2.2), 255)
        assert np.abs(result - expected).max() <= 0.6


def test_noise_has_the_variance_of_electrons() -> None:
    light = np.linspace(0, 1, 1001)
    linear = ResponseCurve(name="linear", irradiance=light, brightness=light)
    config = CameraConfig(full_well_e=2000, read_noise_e=20)
    grey = np.full((400, 400), 102, np.uint8)  # 800 electrons
    result = expose(grey, linear, ev=0, config=config, rng=_rng()).astype(float) * 2000 / 255
    assert result.mean() == pytest.approx(800, abs=1)
    rounding = (2000 / 255) ** 2 / 12
    assert result.var() == pytest.approx(800 + 20**2 + rounding, rel=0.02)


@pytest.mark.parametrize(("full_well_e", "read_noise_e"), [(50, 5), (500, 50), (10_000, 5)])
def test_what_is_far_beyond_full_well_is_white(full_well_e: float, read_noise_e: float) -> None:
    config = CameraConfig(full_well_e=full_well_e, read_noise_e=read_noise_e)
    grey = np.full((400, 400), 200, np.uint8)
    assert (
        expose(grey, sigmoid_curve(exponent=0.9, sigma=0.6), ev=6, config=config, rng=_rng()) == 255
    ).all()


@pytest.mark.parametrize("config", [CameraConfig(), QUIET, CameraConfig(full_well_e=500, read_noise_e=30)])
def test_pairs_bracket_their_source(config: CameraConfig) -> None:
    picture = _rng().integers(0, 256, (60, 70, 3), dtype=np.uint8)
    over, under = _pair(picture, config, _rng())
    assert over.dtype == under.dtype == np.uint8 and over.shape == under.shape == picture.shape
    assert (over >= picture).all() and (under <= picture).all()
    assert over.mean() > picture.mean() + 10 and under.mean() < picture.mean() - 10


def test_pairs_of_photographs_bracket_their_source(shared: Path) -> None:
    folder = shared / "data"
    paths = [
        sorted((folder / name).glob("*.jpg"))[0] for name in ("llvip/visible/train", "roadscene/visible")
    ]
    for path in paths:
        photo = read_rgb(path)[:300, :400]
        for seed in range(3):
            over, under = _pair(photo, CameraConfig(), np.random.default_rng(seed))
            assert (over >= photo).all() and (under <= photo).all()
            assert over.mean() > photo.mean() + 5 and under.mean() < photo.mean() - 5


def test_equal_streams_give_equal_pairs() -> None:
    first, second = (_pair(CODES, CameraConfig(), np.random.default_rng(5)) for _ in range(2))
    other = _pair(CODES, CameraConfig(), np.random.default_rng(6))
    assert np.array_equal(first, second) and not np.array_equal(first, other)


def test_steps_are_drawn_from_their_ranges_as_they_are_stored() -> None:
    config = CameraConfig(over_ev=(0.5, 0.75), under_ev=(-3.0, -2.5))
    for seed in range(20):
        draw = draw_camera(config, np.random.default_rng(seed))
        assert 0.5 <= draw.over_ev <= 0.75 and -3 <= draw.under_ev <= -2.5
        for ev in (draw.over_ev, draw.under_ev):
            assert ev == float(np.float32(ev))


def test_the_parametric_family_rises_from_0_to_1() -> None:
    for seed in range(20):
        curve = draw_curve(PARAMETRIC, np.random.default_rng(seed))
        assert curve.brightness[0] == 0 and curve.brightness[-1] == pytest.approx(1)
        assert (np.diff(curve.brightness) > 0).all()


def test_plateaus_can_be_inverted() -> None:
    flat = ResponseCurve(
        name="flat", irradiance=np.linspace(0, 1, 6), brightness=np.array([0, 0, 0.5, 0.5, 1, 1])
    )
    back = flat.respond(flat.invert(np.array([0, 0.25, 0.5, 0.75, 1])))
    assert back == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert flat.invert(np.array([0.5, 1])) == pytest.approx([0.6, 0.8])


def test_dorf_tables(tmp_path: Path) -> None:
    curves = read_curves(str(_dorf(tmp_path / "dorf.txt", 0.4, 0.8)))
    assert [curve.name for curve in curves] == ["curve-0.4Red", "curve-0.8Red"]
    assert curves[1].respond(np.array([0.25])) == pytest.approx(0.25**0.8, abs=1e-5)
    names = {draw_curve(str(tmp_path / "dorf.txt"), np.random.default_rng(n)).name for n in range(20)}
    assert len(names) == 2


def test_names_of_curves_have_no_controls(tmp_path: Path) -> None:
    table = _dorf(tmp_path / "dorf.txt", 0.4)
    table.write_text(table.read_text().replace("curve-0.4Red", "curve\x1b[2J\0"))
    assert [curve.name for curve in read_curves(str(table))] == [r"curve\x1b[2J\x00"]


def test_a_table_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    path = str(_dorf(tmp_path / "dorf.txt", 0.4))
    before = curves_identity(path), read_curves(path)[0].name
    size = os.path.getsize(path)
    _dorf(tmp_path / "dorf.txt", 0.8)
    os.utime(path, (1, 1))
    assert os.path.getsize(path) == size
    assert (curves_identity(path), read_curves(path)[0].name) != before
    assert read_curves(path)[0].name == "curve-0.8Red"
    assert curves_identity(str(shutil.copy(path, tmp_path / "elsewhere.txt"))) == curves_identity(path)
    assert curves_identity(PARAMETRIC) == PARAMETRIC


def test_emor_tables(tmp_path: Path) -> None:
    (curve,) = read_curves(str(_emor(tmp_path / "emor.txt")))
    assert curve.respond(np.array([0.5])) == pytest.approx(0.5**0.45, abs=1e-4)
    result = expose(CODES, curve, ev=0, config=QUIET, rng=_rng())
    assert np.abs(result.astype(int) - CODES).max() <= 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "neither"),
        ("hello\nworld\n", "neither"),
        ("a\nb\nI =\n0 0.5 1\nB =\n0 1\n", "3 irradiances, 2 brightnesses"),
        ("a\nb\nI =\n0 0.5 1\nB =\n0 nan 1\n", "not finite"),
        ("a\nb\nI =\n0 0.5 1\nB =\n1 0.5 0\n", "does not rise"),
        ("a\nb\nI =\n0 0.5 1\nB =\n0 0.5 0.9\n", "does not rise"),
        ("a\nb\nI =\n0.1 0.5 1\nB =\n0 0.5 1\n", "does not rise"),
        ("a\nb\nI =\n0 0.3 0.6 1\nB =\n0 0.6 0.3 1\n", "does not rise"),
        ("a\nb\nI =\n0 0.5 0.5 1\nB =\n0 0.4 0.6 1\n", "does not rise"),
    ],
)
def test_unusable_tables_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "curves.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"curves\.txt.*{message}"):
        read_curves(str(path))


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_curves(str(tmp_path / "absent.txt"))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"curves": ""}, "curves: empty"),
        ({"over_ev": (-1.0, 2.0)}, "over_ev -1.0..2.0"),
        ({"under_ev": (-1.0, -4.0)}, "under_ev -1.0..-4.0"),
        ({"under_ev": (-2.0, 1.0)}, "under_ev -2.0..1.0"),
        ({"full_well_e": -1.0}, "full well -1.0 and"),
        ({"full_well_e": 1e-9}, "full well 1e-09 and"),
        ({"full_well_e": 0.5, "read_noise_e": 0.0}, "full well 0.5 and read noise 0.0"),
        ({"full_well_e": 49.0, "read_noise_e": 0.0}, "full well 49.0 and read noise 0.0"),
        ({"full_well_e": 290.0, "read_noise_e": 30.0}, "full well 290.0 and read noise 30.0"),
        ({"read_noise_e": float("nan")}, "read noise nan"),
    ],
)
def test_config_refuses_what_cannot_be(bad: dict, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        CameraConfig(**bad)
