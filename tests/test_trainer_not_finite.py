"""A loss that is not finite: training stops with the state of before the step."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from training_runs import digest, tiny

import model.training.objectives
from model.checkpoint.digest import content_digest, weights_digest
from model.checkpoint.training_state import load_training_state
from model.trainer import train
from model.training.distributed import Team
from model.training.feed import Batch, TrainingData
from model.training.information import load_measure, pyramid_energy
from model.training.run_folder import RunFolder
from model.training.start import start_network
from model.training.step import AlternatingStep, NonFiniteError, _Snapshot
from pipeline.files import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("main", ["mm", "dp"])
def test_a_loss_that_is_not_finite_stops_with_the_state_of_before(
    joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: str
) -> None:
    calls = 0
    honest = getattr(model.training.objectives, f"{main}_loss")

    def poisoned(*planes: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return honest(*planes) * (math.nan if calls == 4 else 1)

    config = tiny(validation_share=0)
    train(config, joint, tmp_path / "straight")
    with monkeypatch.context() as patch:
        patch.setattr(model.training.objectives, f"{main}_loss", poisoned)
        with pytest.raises(InputError, match=rf"step 4 is not finite \({main} step") as error:
            train(config, joint, tmp_path / "run")
    assert "\n" not in str(error.value)
    data = TrainingData(config, [joint], device=torch.device("cpu"))
    for sample_id in data.batch_ids(3):
        assert sample_id in str(error.value)
    newest = RunFolder(tmp_path / "run").checkpoints()[-1]
    assert newest.name == "step-00000003.pt" and str(newest) in str(error.value)
    # The state is exactly that of before the step: going on from it leads where the honest run led.
    train(config, joint, tmp_path / "run", resume=True)
    assert digest(tmp_path / "run") == digest(tmp_path / "straight")


def test_the_first_step_can_fail_too(joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(model.training.objectives, "dp_loss", lambda fused, truth: fused.mean() * math.inf)
        with pytest.raises(InputError, match="step 1 is not finite"):
            train(tiny(steps=1), joint, tmp_path)
    state = load_training_state(RunFolder(tmp_path).checkpoint(0))
    assert state.step == 0 and not state.optimizer["state"]


def test_a_failed_step_is_undone_where_it_gave_the_first_gradient() -> None:
    early, late = (torch.nn.Parameter(torch.ones(3)) for _ in "ab")
    optimizer = torch.optim.Adam([early, late], lr=0.1)

    def update(*parameters: torch.nn.Parameter) -> None:
        optimizer.zero_grad()
        for parameter in parameters:
            parameter.grad = torch.full((3,), 2.0)
        optimizer.step()

    update(early)
    snapshot = _Snapshot(optimizer)
    snapshot.take()
    before = copy.deepcopy(optimizer.state_dict()), early.clone(), late.clone()
    update(early, late)
    snapshot.restore()
    assert torch.equal(early, before[1]) and torch.equal(late, before[2])
    assert content_digest(optimizer.state_dict()) == content_digest(before[0])
    update(early, late)
    snapshot.take()  # and again with more of it
    update(early)
    snapshot.restore()
    assert float(optimizer.state[early]["step"]) == 2


def test_a_failed_step_leaves_the_scale_as_it_was(joint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, device = tiny(), torch.device("cpu")
    network = start_network(config)
    measure = load_measure("pyramid", weights="", device=device)
    step = AlternatingStep(network, config, measure=measure, team=Team("cpu"))
    step.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=1)  # MM's update lets it grow
    monkeypatch.setattr(model.training.objectives, "dp_loss", lambda fused, truth: fused.mean() * math.nan)
    with pytest.raises(NonFiniteError):
        step(TrainingData(config, [joint], device=device).batch(0), 1e-3)
    assert step.scaler.state_dict()["scale"] == 8.0


def scaled_step(joint: Path, scale: float, **settings: float) -> tuple[AlternatingStep, Batch]:
    """A step in float32 whose gradients are scaled as those of fp16 are."""
    config = tiny(**settings)
    step = AlternatingStep(start_network(config), config, measure=pyramid_energy, team=Team("cpu"))
    step.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    return step, TrainingData(config, [joint], device=torch.device("cpu")).batch(0)


def test_a_gradient_that_overflows_costs_the_update_and_half_the_scale(
    joint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, batch = scaled_step(joint, 2.0**127, mm_task_weight=1e6, dp_task_weight=1e6)
    before = weights_digest(step.network)
    told = step(batch, 1e-3)
    assert not math.isfinite(told["mm_gradient_norm"]) and not math.isfinite(told["dp_gradient_norm"])
    assert weights_digest(step.network) == before and step.scaler.get_scale() == 2.0**125
    # Of a scale below 1 the gradient itself is too large.
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", lambda gradients: torch.tensor(math.inf))
    step, batch = scaled_step(joint, 0.5)
    with pytest.raises(NonFiniteError, match=r"mm step: .* gradient norm inf"):
        step(batch, 1e-3)


def test_norms_are_those_of_gradients_without_their_scale(joint: Path) -> None:
    norms = []
    for scale in (1.0, 1024.0):
        step, batch = scaled_step(joint, scale)
        told = step(batch, 1e-3)
        norms.append([told["mm_gradient_norm"], told["dp_gradient_norm"]])
    assert norms[1] == pytest.approx(norms[0], rel=1e-3)
