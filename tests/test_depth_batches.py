"""What a step of the depth network's training sees and does: its scenes, its loss, its moving average."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.depth import training as depth_training
from pipeline.depth.augmentation import View
from pipeline.depth.scenes import SceneSet
from pipeline.depth.training_config import DepthTrainingConfig
from pipeline.depth.training_state import DepthTrainingState
from pipeline.networks.schedules import average_decay

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
CONFIG = DepthTrainingConfig(
    encoder="regnetx_002", size_hw=(64, 64), inference_size_hw=(64, 64), batch_size=4, pairs=100, device="cpu"
)


@pytest.fixture
def scenes() -> SceneSet:
    """Six tilted planes under noise; the first pixel tells which it is."""
    rng = np.random.default_rng(0)
    visible = rng.integers(0, 256, (6, 80, 80, 3), dtype=np.uint8)
    visible[:, 0, 0, 0] = np.arange(6)
    depth = np.tile(np.linspace(0.1, 1, 80, dtype=np.float16), (6, 80, 1))
    return SceneSet(visible, visible[..., 1].copy(), depth)


def test_every_epoch_shows_every_scene_in_an_order_of_its_own(
    scenes: SceneSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    view = depth_training.random_view

    def note(visible: np.ndarray, *arguments: Any) -> View:
        seen.append(int(visible[0, 0, 0]))
        return view(visible, *arguments)

    monkeypatch.setattr(depth_training, "random_view", note)
    for step in range(9):  # an epoch may end within a batch
        depth_training._batch(CONFIG, scenes, list(scenes.visible), step, CPU)
    epochs = [seen[start : start + 6] for start in range(0, 36, 6)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs) and len(set(map(tuple, epochs))) > 3


@pytest.mark.parametrize(("share", "randomised"), [(0.0, 0), (0.3, 2), (1.0, 7)])
def test_scenes_of_both_kinds_are_all_different(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, randomised: int
) -> None:
    def numbers(_: Path, *, first: int, count: int, randomised: bool, **__: Any) -> SceneSet:
        kinds = np.full(count, randomised)
        return SceneSet(np.arange(first, first + count), kinds, kinds)

    monkeypatch.setattr(depth_training, "render_scene_set", numbers)
    config = replace(CONFIG, randomised_share=share)
    mixed = depth_training._mixed_scenes(config, tmp_path, first=10, count=7)
    assert sorted(mixed.visible) == list(range(10, 17)) and mixed.infrared.sum() == randomised


def test_the_loss_is_the_weighted_sum_of_its_parts(scenes: SceneSet) -> None:
    config = replace(CONFIG, gradient_weight=0.7, ordinal_weight=0.2, mixed_precision=False)
    told = depth_training._step(DepthTrainingState(config, CPU), scenes, list(scenes.visible))
    assert min(told.values()) > 0
    assert told["loss"] == pytest.approx(told["data"] + 0.7 * told["gradient"] + 0.2 * told["ordinal"])


def test_a_steep_loss_is_followed_no_faster(scenes: SceneSet) -> None:
    state = DepthTrainingState(replace(CONFIG, gradient_weight=1e3, mixed_precision=False), CPU)
    depth_training._step(state, scenes, list(scenes.visible))
    gradients = [p.grad for p in state.network.parameters() if p.grad is not None]
    assert gradients and torch.nn.utils.get_total_norm(gradients) <= 1.001


def test_vectors_do_not_decay_and_the_average_begins_afresh_with_the_correction() -> None:
    state = DepthTrainingState(CONFIG, CPU)
    decays = {p: group["weight_decay"] for group in state.optimiser.param_groups for p in group["params"]}
    assert decays.keys() == set(state.network.parameters())
    assert all((decay > 0) == (parameter.ndim > 1) for parameter, decay in decays.items())

    state.step = CONFIG.steps
    state.fix_base()
    state.correction.head.weight.data.fill_(1)
    state.step += 1
    state.follow()
    assert state.average.correction is not None
    moved = state.average.correction.head.weight
    assert torch.allclose(moved, torch.tensor(1 - average_decay(1, CONFIG.average_decay)))
