"""Thin-lens defocus against known answers: two planes, occlusion, focus, slanted ground."""

from __future__ import annotations

import math
import re
import tracemalloc

import numpy as np
import pytest

from pipeline.files import InputError
from pipeline.focus import FocusConfig, SampleFailure, draw_focus, focus_pair, thin_lens
from pipeline.focus.thin_lens import ThinLens, defocus, disc_kernel
from pipeline.runtime.randomness import random_stream

LENS = ThinLens()
NEAR, FAR = 0.9, 0.3  # inverse depths of the two planes


def _two_planes(height: int = 120, width: int = 300, edge: int = 120) -> np.ndarray:
    depth = np.full((height, width), FAR, np.float32)
    depth[:, :edge] = NEAR
    return depth


def _radius(depth: np.ndarray, focus: float, f_number: float, width: int = 1280) -> np.ndarray:
    focus_m = LENS.distance_m(focus)
    return LENS.blur_radius_px(depth, focus_m=focus_m, f_number=f_number, frame_width=width)


def _linear(codes: np.ndarray) -> np.ndarray:
    x = codes / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def test_formula_against_the_textbook() -> None:
    """Diameter A f |d - s| / (d (s - f)) for an 85 mm lens at f/2, focused at 3 m, object at 6 m."""
    lens = ThinLens(nearest_m=3, farthest_m=6)
    aperture, focal, focus, distance = 0.085 / 2, 0.085, 3.0, 6.0
    diameter = aperture * focal * abs(distance - focus) / (distance * (focus - focal))
    radius_px = diameter / 2 / (0.036 / 1280)
    got = lens.blur_radius_px(np.array([0.0, 1.0]), focus_m=focus, f_number=2, frame_width=1280)
    assert got == pytest.approx([-radius_px, 0], abs=1e-9)


@pytest.mark.parametrize("f_number", [1.4, 2.8, 5.6, 8])
@pytest.mark.parametrize("focus", [NEAR, FAR, 0.5])
def test_blur_radius_on_edges_of_two_planes(f_number: float, focus: float) -> None:
    """A disc of radius r spreads an edge with the standard deviation r/2: within 5 % on both planes."""
    depth = _two_planes()
    radius = np.abs(_radius(depth, focus, f_number))
    picture = np.full((*depth.shape, 3), 60, np.uint8)
    picture[:, 60:200] = 170  # an edge amid each plane; none where they meet
    light = _linear(defocus(picture, _radius(depth, focus, f_number)))[60, :, 0]
    for edge, expected in ((60, radius[0, 0]), (200, radius[0, -1])):
        spread = np.diff(light[edge - 32 : edge + 32])
        weight, place = spread / spread.sum(), np.arange(spread.size)
        mean = (weight * place).sum()
        measured = 2 * np.sqrt(max((weight * (place - mean) ** 2).sum(), 0))
        if expected < 0.5:
            assert measured == 0
        else:
            assert measured == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("focus", [NEAR, FAR, 0.5])
def test_no_halo_between_planes_of_equal_brightness(focus: float) -> None:
    depth = _two_planes()
    picture = np.full((*depth.shape, 3), (90, 140, 200), np.uint8)
    result = defocus(picture, _radius(depth, focus, 1.4))
    assert np.abs(result.astype(int) - picture).max() <= 2


def test_no_halo_between_planes_of_equally_bright_texture() -> None:
    """Noise of one mean: along the occlusion edge the mean light stays what it is elsewhere."""
    rng = np.random.default_rng(0)
    depth = _two_planes(height=400)
    picture = np.repeat(rng.integers(110, 151, (*depth.shape, 1), dtype=np.uint8), 3, axis=2)
    for focus in (NEAR, FAR):
        columns = _linear(defocus(picture, _radius(depth, focus, 2.0))).mean((0, 2))
        level = _linear(picture).mean()
        codes = 255 * (1.055 * columns ** (1 / 2.4) - 0.055) - 255 * (1.055 * level ** (1 / 2.4) - 0.055)
        assert np.abs(codes).max() < 2


def test_a_foreground_in_focus_keeps_its_pixels_and_gives_none_away() -> None:
    rng = np.random.default_rng(1)
    depth = _two_planes()
    picture = rng.integers(0, 256, (*depth.shape, 3), dtype=np.uint8)
    result = defocus(picture, _radius(depth, NEAR, 2.0))
    assert np.array_equal(result[:, :120], picture[:, :120])
    other = picture.copy()
    other[:, :119] = 255 - other[:, :119]  # all but the column whose pixels the edge itself may mix
    assert np.array_equal(defocus(other, _radius(depth, NEAR, 2.0))[:, 120:], result[:, 120:])


def test_what_an_edge_mixes_is_not_blurred_into_the_background() -> None:
    """A pixel that a camera mixes of both planes counts for the far one: its light would spread as a halo."""
    depth = _two_planes()
    picture = np.full((*depth.shape, 3), 40, np.uint8)
    picture[:, :120], picture[:, 120] = 220, 150
    result = defocus(picture, _radius(depth, NEAR, 2.0))
    assert np.array_equal(result[:, :120], picture[:, :120])
    assert (result[:, 120:] == 40).all()


def test_a_defocused_foreground_spills_outward_and_shows_what_is_behind() -> None:
    depth = _two_planes()
    picture = np.zeros((*depth.shape, 3), np.uint8)
    picture[:, :120] = 255
    radius = _radius(depth, FAR, 2.0)
    reach = float(radius[0, 0])
    light = _linear(defocus(picture, radius))[60, :, 0]
    assert light[119] > 0.5 > light[120]  # half of the disc at the edge
    assert light[120 + int(reach / 2)] > 0.05 and light[119 - int(reach / 2)] < 0.95
    assert (light[: 118 - int(reach)] == 1).all() and (light[122 + int(reach) :] == 0).all()


@pytest.mark.parametrize(("middle", "spread"), [(5.4, 0.0), (5.496, 0.02), (6.386, 0.3), (-5.496, 0.02)])
def test_a_surface_of_two_layers_is_no_larger_than_one(middle: float, spread: float) -> None:
    """Its depth varies by chance across the border between two layers; nearer than the focus, or farther."""
    picture = np.full((80, 120, 3), 255, np.uint8)
    picture[:, 60:] = 0
    radius = np.full((80, 120), 0.0 if middle > 0 else -30.0)
    radius[:, 60:] = middle + np.random.default_rng(0).uniform(-spread, spread, (80, 60))
    covered = 1 - _linear(defocus(picture, radius)[20:60, :, 0]).mean(0)
    expected = np.convolve(np.arange(120) >= 60, disc_kernel(abs(middle)).sum(0), "same")
    np.testing.assert_allclose(covered[40:80], expected[40:80], atol=0.02)
    assert covered[40:80].sum() == pytest.approx(20, abs=0.1)


def test_a_layer_elsewhere_changes_nothing_where_two_others_meet() -> None:
    picture, radius = np.full((120, 260, 3), 20, np.uint8), np.zeros((120, 260))
    picture[30:90, 30:60], radius[30:90, 30:60] = (200, 100, 50), 2.2
    picture[30:90, 60:90], radius[30:90, 60:90] = (50, 240, 90), 3.2
    alone = defocus(picture, radius)
    radius[50:60, 200:220] = 2.7  # between the two
    assert np.array_equal(defocus(picture, radius), alone)


def test_a_slanted_plane_has_no_seams() -> None:
    """Through many layers, in and out of focus, flat brightness stays flat and texture keeps its mean."""
    rows = np.linspace(0, 1, 300, dtype=np.float32)[:, None]
    depth = np.broadcast_to(rows, (300, 200)).copy()
    radius = _radius(depth, 0.5, 2.0)
    assert np.ptp(radius) > 30
    flat = np.full((300, 200, 3), 77, np.uint8)
    assert np.abs(defocus(flat, radius).astype(int) - 77).max() <= 1
    noise = np.repeat(np.random.default_rng(2).integers(0, 2, (300, 200, 1), dtype=np.uint8) * 255, 3, axis=2)
    result = _linear(defocus(noise, radius))[..., 0]
    assert np.abs(result[10:-10].reshape(-1, 20, 200).mean((1, 2)) - 0.5).max() < 0.03
    contrast = result.std(1)
    assert contrast[150] == pytest.approx(0.5, abs=0.02)  # in focus
    assert contrast[20] < 0.05 and contrast[-20] < 0.05


@pytest.mark.parametrize("radius", [0.5, 0.51, 0.58, 0.65, 0.75, 0.9, 0.99])
def test_an_edge_under_a_disc_within_a_pixel_or_two(radius: float) -> None:
    picture = np.full((20, 40, 3), 60, np.uint8)
    picture[:, 20:] = 170
    spread = np.diff(_linear(defocus(picture, np.full((20, 40), radius)))[10, :, 0])
    weight, place = spread / spread.sum(), np.arange(spread.size)
    assert 2 * np.sqrt((weight * (place - (weight * place).sum()) ** 2).sum()) == pytest.approx(
        radius, rel=0.05
    )


def test_disc_kernel() -> None:
    for radius in (0.5, 0.51, 0.58, 0.65, 0.8, 0.9, 0.99, 1.0, 1.6, 2.5, 7.3, 20.0, 300.0):
        kernel = disc_kernel(radius).astype(np.float64)
        place = np.arange(len(kernel)) - len(kernel) // 2
        assert kernel.sum() == pytest.approx(1, abs=1e-6)
        assert 2 * np.sqrt(kernel.sum(0) @ place**2) == pytest.approx(radius, rel=0.03)
        assert np.array_equal(kernel, kernel.T) and np.array_equal(kernel, kernel[::-1])


@pytest.mark.parametrize("radius", [1.0, 1.13, 2.5, 7.3, 20.4])
def test_a_disc_whose_rim_alone_is_divided_is_the_one_divided_everywhere(radius: float) -> None:
    half = math.ceil(radius - 0.5)
    offsets = (np.arange((2 * half + 1) * 8) + 0.5) / 8 - half - 0.5
    inside = offsets[:, None] ** 2 + offsets**2 <= radius**2
    shares = inside.reshape(2 * half + 1, 8, 2 * half + 1, 8).sum((1, 3)) / inside.sum()
    np.testing.assert_array_equal(thin_lens._coverage(radius), shares)


def test_a_large_disc_takes_memory_of_its_own_size_alone() -> None:
    tracemalloc.start()
    try:
        kernel = disc_kernel(400)
        assert tracemalloc.get_traced_memory()[1] < 8 * 8 * kernel.size
    finally:
        tracemalloc.stop()


def test_drawn_pairs_focus_each_side() -> None:
    ramp = np.linspace(0, 1, 480, dtype=np.float32)[:, None] ** 2  # of which no side's median is its mean
    depth = np.broadcast_to(ramp, (480, 640)).copy()
    picture = np.random.default_rng(3).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    config = FocusConfig(mode="thin-lens")
    for number in range(8):
        rng = random_stream(0, "synth", str(number), "focus")
        draw = draw_focus(depth, tile=96, config=config, rng=rng)
        assert draw.lens is not None
        settings = draw.lens
        assert LENS.f_number_min <= settings.f_number <= LENS.f_number_max
        tile = depth[draw.row : draw.row + 96, draw.col : draw.col + 96]
        is_near = tile > np.float32(draw.threshold)
        near, far = np.median(tile[is_near]), np.median(tile[~is_near])
        drawn = (settings.near_focus_m, settings.far_focus_m, settings.f_number)
        assert drawn[:2] == pytest.approx((LENS.distance_m(near), LENS.distance_m(far)), rel=1e-6)
        assert drawn == tuple(float(np.float32(value)) for value in drawn)  # float32 fields hold them exactly
        # The stored sigma is that of the far focus distance's disc in the near-focused picture.
        radius = LENS.blur_radius_px(
            far, focus_m=settings.near_focus_m, f_number=settings.f_number, frame_width=640
        )
        assert abs(radius) / 2 == pytest.approx(draw.blur_sigma_px, rel=1e-5)
        near, distant = focus_pair(picture, depth, draw, tile=96)
        contrast = [image.astype(float).std(1).mean(1) for image in (near, distant)]
        assert contrast[0][-1] > contrast[1][-1] and contrast[1][0] > contrast[0][0]


def test_a_tile_of_two_planes_is_the_cut_from_the_whole_frame() -> None:
    """But for what shows through a rim: that is filled in from as much of the frame as is looked at."""
    depth = _two_planes(height=240)
    picture = np.random.default_rng(3).integers(0, 256, (*depth.shape, 3), dtype=np.uint8)
    config = FocusConfig(mode="thin-lens", min_side_share=0.2)
    draw = draw_focus(depth, tile=64, config=config, rng=np.random.default_rng(1))
    assert draw.lens is not None
    cut = np.s_[draw.row : draw.row + 64, draw.col : draw.col + 64]
    pair = focus_pair(picture, depth, draw, tile=64)
    for focus_m, tile in zip((draw.lens.near_focus_m, draw.lens.far_focus_m), pair, strict=True):
        radius = LENS.blur_radius_px(depth, focus_m=focus_m, f_number=draw.lens.f_number, frame_width=300)
        assert np.abs(tile.astype(float) - defocus(picture, radius)[cut]).mean() < 0.5


def test_too_little_relief_for_the_lens_is_a_failure() -> None:
    depth = np.broadcast_to(np.linspace(0.5, 0.501, 200, dtype=np.float32)[:, None], (200, 200)).copy()
    config = FocusConfig(mode="thin-lens", max_draws=50_000)
    with pytest.raises(SampleFailure, match=r"blur of 1\.5\.\.5 px within the lens's f-numbers"):
        draw_focus(depth, tile=64, config=config, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"nearest_m": 0.05}, "nearest 0.05 m"),
        ({"farthest_m": 2.0}, "farthest 2.0 m"),
        ({"farthest_m": float("inf")}, "farthest inf m"),
        ({"farthest_m": 1e300}, "farthest 1e+300 m"),
        ({"sensor_width_mm": 0.0}, "sensor width 0.0 mm must be positive"),
        ({"f_number_min": 4.0, "f_number_max": 2.0}, "f-numbers 4.0..2.0 must rise"),
    ],
)
def test_lens_refuses_what_cannot_be(bad: dict, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)):
        ThinLens(**bad)
