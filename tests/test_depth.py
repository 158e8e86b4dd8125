"""Depth networks: the same bits in any batch, infrared frames, frames of any size, the hourglass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from depth_frames import depth_of, smooth_frame
from depth_networks import CPU, ENCODER, random_source
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.depth import load_depth_estimator
from pipeline.depth.hourglass import Hourglass
from pipeline.depth.inference import fit_size
from pipeline.depth.network import load_depth_network, save_depth_network
from pipeline.files import sha256_file


@pytest.fixture(scope="module")
def random_network(tmp_path_factory: pytest.TempPathFactory) -> str:
    return random_source(tmp_path_factory.mktemp("weights"))


def test_the_same_frame_gives_the_same_bits_in_any_batch(random_network: str) -> None:
    estimator = load_depth_estimator(random_network, device=CPU)
    frames = [
        smooth_frame(90, 120, 1),
        smooth_frame(70, 130, 2),
        smooth_frame(90, 120, 3),
        smooth_frame(33, 20, 4),
    ]
    together = estimator.estimate(frames, ["a", "b", "c", "d"])
    backwards = estimator.estimate(frames[::-1], ["d", "c", "b", "a"])[::-1]
    for frame, first, second in zip(frames, together, backwards, strict=True):
        np.testing.assert_array_equal(first, depth_of(estimator, frame))
        np.testing.assert_array_equal(first, second)


def test_the_number_of_threads_changes_no_bit(random_network: str) -> None:
    estimator = load_depth_estimator(random_network, device=CPU)
    frame, threads, results = smooth_frame(90, 120), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(depth_of(estimator, frame))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*results)


@pytest.fixture(scope="module")
def pair_network(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One whose correction by infrared frames does something."""
    return random_source(tmp_path_factory.mktemp("weights"), corrects=True)


def test_an_infrared_frame_has_a_say_but_for_itself_alone(pair_network: str) -> None:
    estimator = load_depth_estimator(pair_network, device=CPU)
    frames = [smooth_frame(90, 120, seed) for seed in (1, 2, 3)]
    infrared = [smooth_frame(90, 120, seed)[..., 0] for seed in (4, 5, 6)]
    together = estimator.estimate(frames, ["a", "b", "c"], infrared)
    for frame, warm, result in zip(frames, infrared, together, strict=True):
        np.testing.assert_array_equal(result, estimator.estimate([frame], ["a"], [warm])[0])
        assert np.abs(result - depth_of(estimator, frame)).max() > 0.05


def test_large_pairs_are_seen_in_parts(pair_network: str) -> None:
    estimator = load_depth_estimator(pair_network, device=CPU)
    frame, infrared = smooth_frame(400, 600, 1), smooth_frame(400, 600, 2)[..., 0]
    changed = infrared.copy()
    changed[300:, 450:] = 255 - changed[300:, 450:]
    first, second = (estimator.estimate([frame], ["a"], [warm])[0] for warm in (infrared, changed))
    assert np.abs(first - second)[320:, 470:].max() > 0.05


def test_without_a_correction_infrared_frames_change_nothing(tmp_path: Path, random_network: str) -> None:
    frame, infrared = smooth_frame(90, 120, 1), smooth_frame(90, 120, 2)[..., 0]
    sources = [random_network]  # an untrained correction
    network, _ = load_depth_network(random_network.split(":", 2)[2])
    network.correction = None
    path = save_depth_network(
        tmp_path / "old.safetensors", network, encoder=ENCODER, size_hw=(64, 96), training={}
    )
    sources.append(f"timm:{ENCODER}:{path}")
    for source in sources:
        estimator = load_depth_estimator(source, device=CPU, refine=False)
        np.testing.assert_array_equal(
            estimator.estimate([frame], ["a"], [infrared])[0], depth_of(estimator, frame)
        )


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("grey", [0, 128, 255])
def test_a_flat_frame_gives_no_nan(random_network: str, grey: int, refine: bool) -> None:
    estimator = load_depth_estimator(random_network, device=CPU, refine=refine)
    depth_of(estimator, np.full((50, 70, 3), grey, np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (90, 7), (64, 96)])
def test_frames_of_any_size(random_network: str, size: tuple[int, int]) -> None:
    depth_of(load_depth_estimator(random_network, device=CPU), smooth_frame(*size))


@given(st.integers(1, 5000), st.integers(1, 5000))
@settings(max_examples=100, deadline=None)
def test_network_size_fits_strides_area_and_aspect(height: int, width: int) -> None:
    rows, columns = fit_size((height, width), (192, 256), 32)
    assert rows % 32 == 0 and columns % 32 == 0
    if 0.5 < height / width < 2:
        assert 0.75 < rows * columns / (192 * 256) < 1.34
        assert 0.75 < (rows / columns) / (height / width) < 1.34


def test_digest_and_name(random_network: str) -> None:
    estimator = load_depth_estimator(random_network, device=CPU)
    assert estimator.name == random_network
    assert estimator.digest == sha256_file(random_network.split(":", 2)[2])


def test_megadepth_inverts_log_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.depth.hourglass.INPUT_SIZE_HW", (64, 96))
    torch.manual_seed(0)
    network = Hourglass()
    path = tmp_path / "net_G.pth"
    torch.save({f"module.{key}": value for key, value in network.state_dict().items()}, path)
    estimator = load_depth_estimator(f"megadepth:{path}", device=CPU, refine=False)
    frame = smooth_frame(64, 96)
    result = depth_of(estimator, frame)
    with torch.inference_mode():
        log_depth = network.eval()(torch.from_numpy(frame).permute(2, 0, 1)[None] / 255)[0, 0].numpy()
    correlation = np.corrcoef(result.ravel(), np.exp(-log_depth).ravel())[0, 1]
    assert correlation > 0.98  # all but the saturated hundredth is linear


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_gpu_agrees_with_cpu_and_with_itself(random_network: str) -> None:
    gpu = load_depth_estimator(random_network, device=torch.device("cuda"))
    frames = [smooth_frame(90, 120, seed) for seed in range(11)]
    ids = [str(index) for index in range(11)]
    together = gpu.estimate(frames, ids)
    for frame, result in zip(frames, together, strict=True):
        np.testing.assert_array_equal(result, depth_of(gpu, frame))
    on_cpu = load_depth_estimator(random_network, device=CPU).estimate(frames, ids)
    assert max(np.abs(a - b).mean() for a, b in zip(together, on_cpu, strict=True)) < 0.01
