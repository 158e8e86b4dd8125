"""Focus pairs: Eq. 1-3 of the supplement, draws, and tiles that equal the whole frame."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.files import InputError
from pipeline.focus import (
    FocusConfig,
    FocusDraw,
    SampleFailure,
    draw_focus,
    focus_pair,
    gaussian_blur,
    split_focus,
)
from pipeline.focus.thin_lens import ThinLens
from pipeline.images import read_rgb
from pipeline.runtime.randomness import random_stream


def _frame(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    visible = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    return visible, np.broadcast_to(ramp, (height, width)).copy()


def test_every_pixel_is_sharp_on_its_own_side_and_blurred_on_the_other() -> None:
    visible, depth = _frame(90, 120)
    threshold = float(depth[36, 0])  # what lies at it is far
    near, far = split_focus(visible, depth, threshold=threshold, blur_sigma_px=2.0)
    blurred, mask = gaussian_blur(visible, 2.0), depth > threshold
    assert np.array_equal(near[mask], visible[mask])
    assert np.array_equal(near[~mask], blurred[~mask])
    assert np.array_equal(far[mask], blurred[mask])
    assert np.array_equal(far[~mask], visible[~mask])


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_tile_equals_the_cut_from_the_whole_frame(data: st.DataObject) -> None:
    visible, depth = _frame(130, 111, seed=1)
    tile = data.draw(st.sampled_from([16, 64, 97]))
    draw = FocusDraw(
        threshold=data.draw(st.floats(0.125, 0.875, width=32)),
        blur_sigma_px=data.draw(st.floats(0.5, 8, width=32)),
        row=data.draw(st.integers(0, 130 - tile)),
        col=data.draw(st.integers(0, 111 - tile)),
    )
    pair = focus_pair(visible, depth, draw, tile=tile)
    whole = split_focus(visible, depth, threshold=draw.threshold, blur_sigma_px=draw.blur_sigma_px)
    cut = np.s_[draw.row : draw.row + tile, draw.col : draw.col + tile]
    for got, expected in zip(pair, whole, strict=True):
        assert got.shape == (tile, tile, 3)
        assert np.array_equal(got, expected[cut])


@pytest.mark.parametrize("sigma", [0.7, 1.5, 5.0])
def test_blur_is_a_gaussian(sigma: float) -> None:
    """An impulse spreads with variance sigma^2; rounding is the only difference to a float Gaussian."""
    image = np.random.default_rng(3).integers(0, 256, (80, 90), dtype=np.uint8)
    size = 2 * int(np.ceil(6 * sigma)) + 1
    smooth = cv2.GaussianBlur(
        image.astype(np.float64), (size, size), sigma, borderType=cv2.BORDER_REFLECT_101
    )
    assert np.abs(gaussian_blur(image, sigma) - smooth).max() <= 0.52
    assert np.array_equal(
        gaussian_blur(np.full((40, 40, 3), 200, np.uint8), sigma), np.full((40, 40, 3), 200)
    )


def test_blur_does_not_depend_on_the_number_of_threads() -> None:
    image = _frame(200, 301)[0]
    threads = cv2.getNumThreads()
    try:
        results = []
        for count in (1, 2):
            cv2.setNumThreads(count)
            results.append(gaussian_blur(image, 3.3))
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(*results)


def test_draws_leave_both_sides_in_frame_and_tile() -> None:
    _, depth = _frame(480, 640)
    config = FocusConfig()
    draws = [
        draw_focus(depth, tile=160, config=config, rng=random_stream(0, "synth", str(index), "focus"))
        for index in range(60)
    ]
    for draw in draws:
        assert 0 < draw.threshold < 1
        assert config.blur_sigma_min_px <= draw.blur_sigma_px <= config.blur_sigma_max_px
        assert 0 <= draw.row <= 320 and 0 <= draw.col <= 480
        tile = depth[draw.row : draw.row + 160, draw.col : draw.col + 160]
        for part in (depth, tile):
            assert 0.05 <= (part > np.float32(draw.threshold)).mean() <= 0.95
        # float32 fields of the shard hold the draw exactly
        assert draw.threshold == float(np.float32(draw.threshold))
        assert draw.blur_sigma_px == float(np.float32(draw.blur_sigma_px))
    assert np.ptp([draw.threshold for draw in draws]) > 0.6
    assert np.ptp([draw.blur_sigma_px for draw in draws]) > 2
    again = draw_focus(depth, tile=160, config=config, rng=random_stream(0, "synth", "7", "focus"))
    assert again == draws[7]


def test_tiles_come_from_the_whole_frame_to_its_last_row_and_column() -> None:
    _, depth = _frame(17, 18)
    rng = np.random.default_rng(0)
    draws = [draw_focus(depth, tile=16, config=FocusConfig(), rng=rng) for _ in range(60)]
    assert {(draw.row, draw.col) for draw in draws} == {(row, col) for row in range(2) for col in range(3)}


@pytest.mark.parametrize("near_px", [0, 40])
def test_a_frame_without_two_sides_fails_with_its_reason(near_px: int) -> None:
    """40 pixels of 200 are enough of a tile for a side, and too little of the frame."""
    depth = np.zeros((200, 200), np.float32)
    depth[:near_px, :near_px] = 1
    with pytest.raises(SampleFailure, match="both sides in 400 draws"):
        draw_focus(depth, tile=64, config=FocusConfig(max_draws=400), rng=np.random.default_rng(0))


@pytest.mark.parametrize("limits", [(20.0, 22.0), (0.001, 0.002)])
def test_a_lens_that_cannot_give_the_blur_says_which_f_numbers_would(limits: tuple[float, float]) -> None:
    """Within the range that the reason names, the same stream finds a draw at once."""
    _, depth = _frame(200, 300)

    def draw(least: float, largest: float) -> FocusDraw:
        lens = ThinLens(f_number_min=least, f_number_max=largest)
        config = FocusConfig(mode="thin-lens", max_draws=60, lens=lens)
        return draw_focus(depth, tile=64, config=config, rng=np.random.default_rng(0))

    with pytest.raises(SampleFailure, match="--f-number-min and --f-number-max") as caught:
        draw(*limits)
    *asked, least, largest = (float(number) for number in re.findall(r"f/([0-9.e-]+)", str(caught.value)))
    assert (least, largest) == limits and asked[0] < asked[1]
    found = draw(0.99 * asked[0], 1.01 * asked[1]).lens
    assert found is not None and 0.99 * asked[0] <= found.f_number <= 1.01 * asked[1]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"mode": "bokeh"}, "focus mode 'bokeh' is unknown"),
        ({"blur_sigma_min_px": 0.0}, "blur sigma 0.0..5.0 px"),
        ({"blur_sigma_min_px": 1e-50}, "blur sigma 1e-50..5.0 px"),
        ({"blur_sigma_min_px": 4.0, "blur_sigma_max_px": 3.0}, "blur sigma 4.0..3.0 px"),
        ({"min_side_share": 0.5}, "min_side_share 0.5"),
        ({"max_draws": 0}, "max_draws 0"),
    ],
)
def test_config_refuses_what_cannot_work(bad: dict, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        FocusConfig(**bad)


def test_a_real_frame(shared) -> None:  # type: ignore[no-untyped-def]
    """The blurred side of a photograph loses gradient, the sharp side keeps every value."""
    path = sorted((shared / "data/llvip/visible/train").glob("*.jpg"))[0]
    visible = read_rgb(path)
    depth = np.broadcast_to(np.linspace(0, 1, 1024, dtype=np.float32)[:, None], (1024, 1280))
    draw = draw_focus(depth, tile=160, config=FocusConfig(), rng=np.random.default_rng(1))
    near, far = focus_pair(visible, depth, draw, tile=160)
    cut = np.s_[draw.row : draw.row + 160, draw.col : draw.col + 160]
    mask = depth[cut] > np.float32(draw.threshold)
    assert np.array_equal(near[mask], visible[cut][mask])
    assert np.array_equal(far[~mask], visible[cut][~mask])
    assert np.abs(cv2.Laplacian(far.astype(np.float32), cv2.CV_32F))[mask].mean() < (
        0.5 * np.abs(cv2.Laplacian(near.astype(np.float32), cv2.CV_32F))[mask].mean()
    )
