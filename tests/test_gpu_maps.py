"""Frames and maps on a GPU: resampling, merging and refining are those of the CPU up to rounding."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from depth_frames import smooth_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.depth import details, gpu_maps
from pipeline.depth.maps import FLAT_VALUE, full_size
from pipeline.depth.separable import area_average, filtered, mirrored_box

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), np.uint8)


def picture(frame: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frame).permute(2, 0, 1)


@given(st.integers(1, 60), st.integers(1, 60), st.data())
@settings(max_examples=60, deadline=None)
def test_frames_are_shrunk_as_by_opencv(height: int, width: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    frame = noise(height, width)
    (found,) = gpu_maps.shrunk(picture(frame), size).permute(0, 2, 3, 1).numpy()
    expected = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(found - expected.reshape(found.shape)).max() <= 1  # halves are rounded otherwise


def test_few_pixels_of_a_shrunk_frame_are_rounded_otherwise() -> None:
    frame = noise(1024, 1280)
    (found,) = gpu_maps.shrunk(picture(frame), (160, 224)).permute(0, 2, 3, 1).numpy()
    expected = cv2.resize(frame, (224, 160), interpolation=cv2.INTER_AREA)
    assert (found != expected).mean() < 0.01


def test_frames_are_enlarged_as_by_opencv() -> None:
    frame = noise(20, 31)
    for size in ((64, 96), (64, 16)):
        (found,) = gpu_maps.shrunk(picture(frame), size).permute(0, 2, 3, 1).numpy()
        expected = cv2.resize(frame, size[::-1], interpolation=cv2.INTER_LINEAR)
        assert np.abs(found - expected).max() <= 1 and (found != expected).mean() < 0.01


@pytest.mark.parametrize("size", [(200, 320), (203, 322)])
def test_parts_are_shrunk_as_frames_of_their_own(size: tuple[int, int]) -> None:
    frame = noise(*size, 4)
    windows = details.part_windows(size, (40, 64))
    found = gpu_maps.shrunk_parts(picture(frame), (32, 64))
    assert len(found) == len(windows) == 9
    for part, window in zip(found, windows, strict=True):
        (alone,) = gpu_maps.shrunk(picture(frame[window]), (32, 64))
        assert (part - alone).abs().max() <= 1 and (part != alone).float().mean() < 0.02


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_box_is_that_of_opencv(height: int, width: int, radius: int) -> None:
    values = noise(height, width, 1)[..., 0].astype(np.float32)
    boxes = (mirrored_box(side, radius, CPU) for side in (height, width))
    found = filtered(torch.from_numpy(values), *boxes).numpy()
    side = 2 * radius + 1
    np.testing.assert_allclose(
        found, cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT), atol=1e-3
    )


def test_weights_add_up_to_one() -> None:
    for weights in (area_average(((0, 50), (25, 75)), 101, 7, CPU), mirrored_box(9, 30, CPU)):
        assert weights.min() >= 0
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(len(weights)))


@pytest.mark.parametrize("part_hw", [(32, 40), (40, 32)])
def test_parts_are_merged_as_on_the_cpu(part_hw: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    wholes = rng.standard_normal((2, 32, 40)).cumsum(2).astype(np.float32)
    parts = rng.standard_normal((2, 9, *part_hw)).cumsum(3).astype(np.float32)
    parts[0, 3], parts[1, 4] = 2, -parts[1, 4]  # flat and inverted
    merged = gpu_maps.merge(torch.from_numpy(wholes), torch.from_numpy(parts)).numpy()
    for found, whole, seen in zip(merged, wholes, parts, strict=True):
        np.testing.assert_allclose(found, details.merge(whole, list(seen)), atol=1e-4)


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 60), (90, 7), (300, 500), (900, 1300)])
def test_full_size_is_that_of_the_cpu(size: tuple[int, int], channels: int, refine: bool) -> None:
    frames = [
        np.dstack([smooth_frame(*size, seed), smooth_frame(*size, 9)])[..., :channels] for seed in (1, 2)
    ]
    maps = np.exp(np.random.default_rng(1).standard_normal((3, 33, 47)).cumsum(1) / 8).astype(np.float32)
    found = gpu_maps.full_size(torch.from_numpy(maps), [picture(one) for one in frames], refine=refine)
    assert len(found) == 2
    for one, map_, frame in zip(found, maps, frames, strict=False):
        np.testing.assert_allclose(one.numpy(), full_size(map_, frame, refine=refine), atol=1e-4)


def test_a_flat_map_becomes_a_constant() -> None:
    (found,) = gpu_maps.full_size(torch.full((8, 5, 6), 3.5), [picture(noise(40, 60))], refine=True)
    torch.testing.assert_close(found, torch.full((40, 60), FLAT_VALUE), atol=1e-5, rtol=0)


def test_a_batch_is_filled_with_its_last() -> None:
    batch = torch.rand(3, 2)
    full = gpu_maps.filled(batch, 5)
    assert torch.equal(full[:3], batch) and torch.equal(full[3:], batch[-1:].expand(2, -1))
    assert torch.equal(gpu_maps.filled(batch, 3), batch)
