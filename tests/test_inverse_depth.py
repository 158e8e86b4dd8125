"""Arithmetic of inverse depth: scaling to [0, 1], and edges pulled onto those of the frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from depth_frames import smooth_frame
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.depth.maps import FLAT_VALUE, refine_edges, unit_range


@given(hnp.arrays(np.float32, (7, 9), elements=st.floats(-(2.0**100), 2.0**100, width=32)))
@settings(max_examples=60, deadline=None)
def test_unit_range_keeps_order_and_range(values: np.ndarray) -> None:
    scaled = unit_range(values)
    assert np.isfinite(scaled).all() and scaled.min() >= 0 and scaled.max() <= 1
    order = np.argsort(values, axis=None)
    assert (np.diff(scaled.ravel()[order]) >= 0).all()
    if scaled.min() != scaled.max():
        assert scaled.min() == 0 and scaled.max() == 1


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e30, 1e-30])
def test_a_flat_map_becomes_a_constant(value: float) -> None:
    flat = np.full((4, 5), value, np.float32)
    flat[:2] *= np.float32(1 + 2**-23)  # rounding is no relief
    assert (unit_range(flat, saturated_percent=1) == FLAT_VALUE).all()


def test_a_map_that_spans_the_unit_range_is_kept() -> None:
    values = np.random.default_rng(0).random((8, 9), np.float32)
    values[0, 0], values[1, 1] = 0, 1
    np.testing.assert_array_equal(unit_range(values), values)


def test_refined_edges_lie_on_the_frames_edges() -> None:
    truth = np.zeros((120, 160), np.float32)
    truth[30:90, 40:110] = 1
    frame = np.where(truth[..., None] > 0, np.uint8(200), np.uint8(60)).repeat(3, axis=2)
    soft = cv2.GaussianBlur(truth, (0, 0), 4)
    refined = refine_edges(soft, frame, radius_px=16, epsilon=1e-4)
    # The map jumps where the frame does (between columns 39 and 40), and less on either side.
    assert refined[60, 40] - refined[60, 39] > 5 * (soft[60, 40] - soft[60, 39])
    assert np.diff(refined[60, 30:50]).argmax() == 39 - 30
    assert ((refined > 0.5) == (truth > 0.5)).all()


def test_edges_that_the_infrared_frame_alone_has_are_followed_too() -> None:
    truth = np.zeros((120, 160), np.float32)
    truth[30:90, 40:110] = 1
    dark = np.full((120, 160, 3), 9, np.uint8)
    infrared = np.where(truth > 0, np.uint8(200), np.uint8(60))
    soft = cv2.GaussianBlur(truth, (0, 0), 4)
    refined = refine_edges(soft, np.dstack([dark, infrared]), radius_px=16, epsilon=1e-4)
    assert refined[60, 40] - refined[60, 39] > 5 * (soft[60, 40] - soft[60, 39])
    assert ((refined > 0.5) == (truth > 0.5)).all()


@pytest.mark.parametrize("subsampling", [1, 3])
def test_refining_a_constant_or_over_a_flat_frame_changes_nothing_but_blur(subsampling: int) -> None:
    frame = smooth_frame(60, 80)
    constant = np.full((60, 80), 0.3, np.float32)
    refined = refine_edges(constant, frame, radius_px=6, epsilon=1e-4, subsampling=subsampling)
    np.testing.assert_allclose(refined, constant, atol=1e-5)
    ramp = np.tile(np.linspace(0, 1, 80, dtype=np.float32), (60, 1))
    over_grey = refine_edges(
        ramp, np.full_like(frame, 128), radius_px=2, epsilon=1e-4, subsampling=subsampling
    )
    np.testing.assert_allclose(over_grey[:, 8:-8], ramp[:, 8:-8], atol=0.02)
