"""Calibration of a pyramid head: what it moves, what that gives, and from which pairs it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from model.blocks.cues import CUE_SCALE
from model.blocks.pyramid_head import PyramidHead
from model.calibration import calibrate as calibration
from model.calibration.calibrate import _best, calibrate
from model.calibration.moves import MOVES
from model.calibration.pairs import SIDE, calibration_pairs
from model.engine.strips import FusionEngine
from model.evaluation.baselines import BASELINES
from model.metrics import METRICS, compute_metrics
from model.network import GIFNet, NetworkConfig
from model.training.planes import is_held_out, split_validation
from pipeline.files import InputError
from pipeline.focus import gaussian_blur
from pipeline.images import to_uint8, write_image
from pipeline.images.ycbcr import luminance
from pipeline.scenes import render_scene

NARROW = NetworkConfig(feature_growth=8, decoder_channels=16, head="pyramid")


#: How far the gain of the finest details may go at most: by itself, and with that of strong ones.
MOST = 2 * MOVES[-1].most


@pytest.fixture(scope="module")
def focus_pairs() -> list[np.ndarray]:
    pairs = []
    for index in range(3):
        scene = render_scene(seed=3, index=2 * index, size_hw=(96, 128))
        near = scene.inverse_depth > np.median(scene.inverse_depth)
        sharp = luminance(scene.visible.astype(np.float32))
        soft = luminance(gaussian_blur(scene.visible, 2.5).astype(np.float32))
        pairs.append(np.stack([np.where(mask, sharp, soft) for mask in (near, ~near)]).astype(np.uint8))
    return pairs


@pytest.fixture(scope="module")
def network() -> GIFNet:
    torch.manual_seed(0)
    network = GIFNet(NARROW)
    assert isinstance(network.head, PyramidHead)
    with torch.no_grad():
        network.head.gain_by_cues[0, 0] = -0.01 / CUE_SCALE  # finest details a per cent too faint
    return network


def test_what_is_behind_comes_up_and_the_network_stays(
    network: GIFNet, focus_pairs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "ROUNDS", 1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    result = calibrate(network, {"focus": focus_pairs, "medical": []}, jobs=1)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), f"{key} of the network that was given"
        if key.rpartition(".")[2] not in {move.weights for move in MOVES}:
            assert torch.equal(value, result.state_dict()[key]), key
    assert isinstance(result.head, PyramidHead) and isinstance(network.head, PyramidHead)
    moved = (result.head.gain_by_cues - network.head.gain_by_cues)[0, :2].sum()  # of what is alike
    assert 0 < moved.item() * CUE_SCALE <= MOST + 1e-6

    def gradient(one: GIFNet) -> float:
        engine = FusionEngine(one)
        fused = [engine.fuse_pair(pair.astype(np.float32) / 255) for pair in focus_pairs]
        scores = [
            compute_metrics(to_uint8(plane), *pair, metrics={"AG": METRICS["AG"]})["AG"]
            for plane, pair in zip(fused, focus_pairs, strict=True)
        ]
        return float(np.mean(scores))

    rival = [BASELINES["Laplacian pyramid"](*pair, "") for pair in focus_pairs]
    goal = np.mean(
        [
            compute_metrics(plane, *pair, metrics={"AG": METRICS["AG"]})["AG"]
            for plane, pair in zip(rival, focus_pairs, strict=True)
        ]
    )
    assert gradient(network) < gradient(result)
    assert abs(gradient(result) - goal) < abs(gradient(network) - goal)


def test_moves_that_give_nothing_are_not_kept(
    network: GIFNet, focus_pairs: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibration, "_best", lambda *_: np.array([-20 * move.most for move in MOVES]))
    monkeypatch.setattr(calibration, "ROUNDS", 1)
    result = calibrate(network, {"focus": focus_pairs[:1]}, jobs=1)
    for key, value in network.state_dict().items():
        assert torch.equal(value, result.state_dict()[key]), key


def test_moves_are_the_likeliest_within_their_limits() -> None:
    slopes = np.zeros((2, len(MOVES)))
    errors = np.full(2, 0.01)
    slopes[0, 0], slopes[1, 1] = 1.0, 1.0
    moves = _best(np.array([-0.05, -0.05]), slopes, errors)
    assert np.all(-0.05 + moves[:2] > 2 * errors)
    assert all(abs(far) <= move.most + 1e-9 for move, far in zip(MOVES, moves, strict=True))
    slopes[1, 1] = 0.0
    for cost, goes in ((0.5, True), (2.0, False)):  # what the first gains per what the second loses
        slopes[1, 0] = -cost
        assert bool(_best(np.array([-0.005, 0.0]), slopes, errors)[0] > 0) is goes
    # What is behind for certain counts more than what is likely ahead.
    assert _best(np.array([-0.03, 0.02]), slopes, errors)[0] > 0


def test_only_pyramid_heads_and_some_pairs_will_do(network: GIFNet, focus_pairs: list[np.ndarray]) -> None:
    with pytest.raises(InputError, match="no pair"):
        calibrate(network, {"focus": []})
    plain = GIFNet(replace(NARROW, head="plane"))
    with pytest.raises(InputError, match="pyramid head"):
        calibrate(plain, {"focus": focus_pairs})


def test_pairs_are_those_that_training_may_see(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds none of roadscene, mefb, mfif"):
        calibration_pairs(tmp_path, 5, held_out=0.1)
    random = np.random.default_rng(0)
    for index in range(40):
        for role in ("over", "under"):
            picture = random.integers(0, 256, (50, 700), np.uint8)
            write_image(tmp_path / "mefb" / role / f"scene{index}.jpg", picture)
    pairs = calibration_pairs(tmp_path, 1000, held_out=0.1)
    seen = sum(not is_held_out(f"scene{index}", 0.1) for index in range(40))
    assert 0 < seen < 40 and len(pairs["exposure"]) == seen and not pairs["focus"]
    assert all(max(pair.shape) == SIDE and pair.dtype == np.uint8 for pair in pairs["exposure"])
    assert len(calibration_pairs(tmp_path, 5, held_out=0.1)["exposure"]) == 5
    # Where names would hold out none, training holds out one all the same.
    few = [f"scene{index}" for index in range(40) if not is_held_out(f"scene{index}", 0.1)][:4]
    for name in few:
        for role in ("over", "under"):
            picture = random.integers(0, 256, (50, 60), np.uint8)
            write_image(tmp_path / "few/mefb" / role / f"{name}.jpg", picture)
    kept, _ = split_validation(few, 0.1)
    assert len(calibration_pairs(tmp_path / "few", 9, held_out=0.1)["exposure"]) == len(kept) == 3
    with pytest.raises(InputError, match=r"x\.jpg: 60x40; pairs to calibrate with need 41 pixels a side"):
        for role in ("over", "under"):
            write_image(tmp_path / "small/mefb" / role / "x.jpg", np.zeros((40, 60), np.uint8))
        calibration_pairs(tmp_path / "small", 9, held_out=0.0)
    for role in ("over", "under"):  # large enough, but not where it is shrunk
        write_image(tmp_path / "wide/mefb" / role / "x.jpg", np.zeros((42, 700), np.uint8))
    with pytest.raises(InputError, match=r"x\.jpg: 700x42; pairs to calibrate with need 41 pixels a side"):
        calibration_pairs(tmp_path / "wide", 9, held_out=0.0)
    for modality in ("ct", "mri", "pet"):
        for number in range(20001, 20006):
            for folder in ("pet-mri", "ct-mri"):
                picture = random.integers(0, 256, (50, 50), np.uint8)
                write_image(tmp_path / "harvard" / folder / modality / f"{number}.png", picture)
    for count in (1, 2, 5):
        assert len(calibration_pairs(tmp_path, count, held_out=0.0)["medical"]) == count


def test_a_patient_that_a_mixture_holds_out_is_not_calibrated_with(tmp_path: Path) -> None:
    """By itself the set would hold out some slices alone, but in a mixture the patient is one scene."""
    kept_out, trained_on = (
        next(str(case) for case in range(10, 99) if is_held_out(str(case), 0.3) is out)
        for out in (True, False)
    )
    for case in (kept_out, trained_on):
        for modality in ("ct", "mri"):
            for number in range(10):
                picture = np.full((50, 50), 10 * number, np.uint8)
                write_image(tmp_path / case / f"harvard/ct-mri/{modality}/{case}{number:03d}.png", picture)
    assert not calibration_pairs(tmp_path / kept_out, 10, held_out=0.3)["medical"]
    assert 0 < len(calibration_pairs(tmp_path / trained_on, 10, held_out=0.3)["medical"]) < 10
