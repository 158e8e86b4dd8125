"""Depth networks on a pretended GPU: a frame's bits, the number of kernels, faults, reduced precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from depth_frames import smooth_frame
from pretended_gpu import pretended_gpu

from pipeline.depth import FRAMES_AT_ONCE, load_depth_estimator
from pipeline.depth.hourglass import Hourglass, load_hourglass
from pipeline.depth.network import DepthNetwork, save_depth_network
from pipeline.files import InputError

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="here is a real one"),
]


@pytest.fixture(scope="module")
def depth_weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A depth source with random weights, for small frames."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("depth") / "depth.safetensors"
    save_depth_network(
        path, DepthNetwork("regnetx_002"), encoder="regnetx_002", size_hw=(32, 64), training={}
    )
    return f"timm:regnetx_002:{path}"


def test_depth_of_a_frame_has_the_same_bits_in_any_company(depth_weights: str) -> None:
    sizes = [(70, 90), (160, 330), (71, 90), (70, 90), (20, 31)]  # the second is seen in parts
    frames = [smooth_frame(*size, seed) for seed, size in enumerate(sizes)]
    infrared = [frame[..., 0] for frame in frames]
    expected = load_depth_estimator(depth_weights).estimate(frames, "abcde", infrared)
    with pretended_gpu():
        estimator = load_depth_estimator(depth_weights, device=torch.device("cuda"))
        together = estimator.estimate(frames, "abcde", infrared)
        backwards = estimator.estimate(frames[::-1], "edcba", infrared[::-1])[::-1]
        for frame, warm, *found, on_cpu in zip(frames, infrared, together, backwards, expected, strict=True):
            np.testing.assert_array_equal(*found)
            np.testing.assert_array_equal(estimator.estimate([frame], "a", [warm])[0], found[0])
            np.testing.assert_allclose(found[0], on_cpu, atol=0.02)  # where grey values are rounded otherwise


def test_depth_of_more_frames_takes_few_more_kernels(depth_weights: str) -> None:
    frames, kernels = [smooth_frame(160, 330, seed) for seed in range(FRAMES_AT_ONCE)], []
    with pretended_gpu() as account:
        estimator = load_depth_estimator(depth_weights, device=torch.device("cuda"))
        estimator.estimate(frames[:1], "a")  # which makes what frames of a size share
        for count in (1, FRAMES_AT_ONCE):
            account.kernels = 0
            account.waits.clear()
            estimator.estimate(frames[:count], "abcdefgh"[:count])
            kernels.append(account.kernels)
            assert sum(account.waits.values()) <= 2 * count  # frames go up, maps come down
    assert kernels[1] < 2 * kernels[0]


@pytest.mark.parametrize(
    ("size", "black"),
    [((40, 60), np.s_[:20]), ((160, 330), np.s_[2:8, 2:8])],
    ids=["in the whole", "in a part alone"],
)
def test_a_frame_without_finite_depth_is_named(
    depth_weights: str, size: tuple[int, int], black: tuple[slice, ...]
) -> None:
    class Spoilt(torch.nn.Module):
        def forward(self, frames: torch.Tensor) -> torch.Tensor:
            return frames[:, :1].log()

    frames = [np.maximum(smooth_frame(*size, seed), 1) for seed in range(3)]
    frames[1][black] = 0
    with pretended_gpu():
        for device in (None, torch.device("cuda")):
            estimator = load_depth_estimator(depth_weights, device=device)
            estimator = replace(estimator, network=Spoilt(), sees_infrared=False)  # type: ignore[type-var]
            assert len(estimator.estimate(frames[::2], "ac")) == 2
            with pytest.raises(InputError, match="no finite depth for b;"):
                estimator.estimate(frames, "abc")


def test_the_hourglass_computes_log_depth_in_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.depth.hourglass.INPUT_SIZE_HW", (64, 96))
    torch.manual_seed(0)
    torch.save(Hourglass().state_dict(), tmp_path / "hourglass.pth")
    source, frame, seen = f"megadepth:{tmp_path / 'hourglass.pth'}", smooth_frame(90, 120), []
    (expected,) = load_depth_estimator(source).estimate([frame], "a")
    network = load_hourglass(tmp_path / "hourglass.pth")
    for layer in (network[0], network[-1]):
        layer.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    monkeypatch.setattr("pipeline.depth.hourglass.load_hourglass", lambda _: network)
    with pretended_gpu() as account:
        estimator = load_depth_estimator(source, device=torch.device("cuda"))
        found = estimator.estimate([frame] * 3, "abc")
        assert account.launches == FRAMES_AT_ONCE - 1  # the first of a size is not recorded
    assert seen[:2] == [torch.float16, torch.float32]
    for one in found:
        np.testing.assert_allclose(one, expected, atol=0.02)
