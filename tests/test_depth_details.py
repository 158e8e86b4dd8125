"""Depth of large frames in parts: the parts' own scale does not matter, their structure does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.depth.details import MIN_FACTOR, merge, part_windows

INPUT = (32, 40)


@given(st.integers(1, 400), st.integers(1, 400))
def test_parts_cover_large_frames_alone(height: int, width: int) -> None:
    windows = part_windows((height, width), INPUT)
    large = height >= MIN_FACTOR * INPUT[0] and width >= MIN_FACTOR * INPUT[1]
    assert len(windows) == (9 if large else 0)
    if large:
        covered = np.zeros((height, width), int)
        for rows, columns in windows:
            covered[rows, columns] += 1
        # Sides that four does not divide leave their last row or column to the whole frame's map.
        assert (covered[: height // 4 * 4 - 2, : width // 4 * 4 - 2] >= 1).all()
        assert {covered[w].shape for w in windows} == {(height // 2, width // 2)}


def field(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    return (np.cos(3 * rows) + columns**2).astype(np.float32)


def parts_of(large: np.ndarray) -> list[np.ndarray]:
    return [large[window] for window in part_windows(large.shape, (1, 1))]  # type: ignore[arg-type]


def test_scale_and_shift_of_a_part_do_not_matter() -> None:
    large = field(64, 80)
    whole = cv2.resize(large, (40, 32), interpolation=cv2.INTER_AREA)
    changed = [part * (1 + number) - 3 * number for number, part in enumerate(parts_of(large))]
    merged = merge(whole, changed)
    assert merged.shape == (64, 80) and np.abs(merged - large).max() < 0.02
    np.testing.assert_allclose(merge(whole, parts_of(large)), merged, atol=1e-5)


def test_what_only_a_part_sees_is_in_the_result() -> None:
    large = field(64, 80)
    whole = cv2.resize(large, (40, 32), interpolation=cv2.INTER_AREA)
    large[30:34, 40:44] += 1.0
    merged = merge(whole, parts_of(large))
    assert merged[31, 41] > merged[31, 20:36].max() + 0.5


@pytest.mark.parametrize("sign", [0.0, -1.0])
def test_a_flat_or_inverted_part_gives_the_mean_of_the_whole(sign: float) -> None:
    whole = field(32, 40)
    large = cv2.resize(whole, (80, 64), interpolation=cv2.INTER_LINEAR)
    merged = merge(whole, [sign * part for part in parts_of(large)])
    assert np.isfinite(merged).all() and merged.min() >= whole.min() and merged.max() <= whole.max()
