"""Training that is interrupted or shared out: exact resume, one result on any number of processes."""

from __future__ import annotations

import copy
import math
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from joint_data import write_joint
from torch import Tensor
from training_runs import (
    digest,
    kill_after_lines,
    run_apart,
    run_processes,
    spawn,
    stop_at,
    tiny,
    without_times,
)

import model.training.objectives
from model.checkpoint import load_network, save_weights
from model.digest import content_digest, weights_digest
from model.trainer import train
from model.training.curves import LOSSES
from model.training.distributed import Team
from model.training.feed import TrainingData
from model.training.information import load_measure
from model.training.objectives import FidelityObjective, PublishedObjective
from model.training.run_folder import RunFolder, settings_changed
from model.training.start import start_network
from model.training.step import AlternatingStep, NonFiniteError, _Snapshot
from model.training.train_config import SHAPE, TrainConfig
from model.training.training_log import read_metrics
from model.training.training_state import load_training_state
from pipeline.device import computes_bfloat16
from pipeline.files import InputError, read_json, write_json

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_run_that_was_made_longer_equals_a_long_one(joint: Path, tmp_path: Path, straight: Path) -> None:
    train(tiny(steps=2), joint, tmp_path)
    assert train(tiny(), joint, tmp_path, resume=True) == tmp_path / "weights.safetensors"
    assert digest(tmp_path) == digest(straight)
    assert without_times(tmp_path)[2:] == without_times(straight)[2:]
    with pytest.raises(InputError, match="4 steps are done already, not 3; give --steps 4 or more"):
        train(tiny(steps=3), joint, tmp_path, resume=True)


def test_what_a_kill_left_is_cleared_and_made_up_for(joint: Path, tmp_path: Path, straight: Path) -> None:
    run = shutil.copytree(straight, tmp_path / "run")
    for lost in ("curves.png", "summary.json"):
        (run / lost).unlink()
    for litter in (".best.tmp-0.safetensors", "checkpoints/.step-5.tmp-0.pt", "pictures/.step-5.tmp-0.png"):
        (run / litter).write_bytes(b"half")
    train(tiny(), joint, run, resume=True)
    assert (run / "curves.png").is_file() and (run / "summary.json").is_file()
    assert not list(run.rglob(".*"))


def test_a_summary_is_not_that_of_a_shorter_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.summary.write_text("{}")
    folder.forget_after(2, 4)
    assert not folder.summary.exists()


def test_ctrl_c_finishes_the_step_and_saves(
    joint: Path, tmp_path: Path, straight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        stop_at(patch, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="after step 3"):
            train(tiny(), joint, tmp_path)
    assert signal.getsignal(signal.SIGINT) is before
    assert RunFolder(tmp_path).checkpoints()[-1].name == "step-00000003.pt"
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3
    assert not (tmp_path / "weights.safetensors").exists()
    train(tiny(), joint, tmp_path, resume=True)
    assert digest(tmp_path) == digest(straight)
    assert without_times(tmp_path) == without_times(straight)


def test_resume_restores_average_best_and_metrics(
    joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between two checkpoints, with a record half written."""
    amp = "bf16" if computes_bfloat16(torch.device("cpu")) else "off"  # emulated, it takes minutes
    config = tiny(ema_decay=0.9, dp_task="both", schedule="cosine", warmup_steps=2, init="", amp=amp)
    train(config, joint, tmp_path / "straight")

    class Killed(BaseException):
        pass

    def kill() -> None:
        raise Killed

    with monkeypatch.context() as patch:
        stop_at(patch, 3, kill)
        with pytest.raises(Killed):
            train(config, joint, tmp_path / "killed")
    with open(tmp_path / "killed/metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"step": 4, "lr"')
    assert [record["step"] for record in read_metrics(tmp_path / "killed/metrics.jsonl")] == [1, 2, 3]
    train(config, joint, tmp_path / "killed", resume=True)
    assert digest(tmp_path / "killed") == digest(tmp_path / "straight")
    assert without_times(tmp_path / "killed") == without_times(tmp_path / "straight")
    best = [
        weights_digest(load_network(tmp_path / run / "best.safetensors")) for run in ("killed", "straight")
    ]
    assert best[0] == best[1]
    # What is written, and what the checkpoint gives as weights, is the average, not the network that learns.
    path = RunFolder(tmp_path / "killed").checkpoint(4)
    assert weights_digest(load_network(path)) == digest(tmp_path / "killed")
    state = load_training_state(path)
    result = load_network(tmp_path / "killed/weights.safetensors").state_dict()
    assert all(torch.equal(result[name], value) for name, value in state.extra["average"].items())
    assert any(not torch.equal(result[name], value) for name, value in state.network.items())


def test_changed_settings_or_data_stop_with_what_differs(joint: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny(steps=1), joint, run)
    with pytest.raises(InputError, match="holds a run already; add --resume"):
        train(tiny(steps=1), joint, run)
    with pytest.raises(InputError, match=r"batch_size: 2 -> 4; lr: 0.001 -> 0.01"):
        train(tiny(steps=1, lr=0.01, batch_size=4), joint, run, resume=True)
    other = write_joint(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="data: "):
        train(tiny(steps=1), other, run, resume=True)
    with pytest.raises(InputError, match="not empty and not a training run"):
        train(tiny(steps=1), joint, run / "checkpoints")
    damaged = {"config": None, "data_digest": "d"}
    for resume, foreign in ((True, {"architectures": []}), (True, [1]), (False, {}), (True, damaged)):
        write_json(tmp_path / "foreign/config.json", foreign)
        with pytest.raises(InputError, match=r"config\.json: not of a training run"):
            train(tiny(steps=1), joint, tmp_path / "foreign", resume=resume)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    joint: Path, tmp_path: Path, straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny(steps=4), joint, tmp_path)
    folder = RunFolder(tmp_path)
    newest = bytearray(folder.checkpoint(4).read_bytes())
    newest[len(newest) // 2] ^= 1
    folder.checkpoint(4).write_bytes(newest)
    folder.weights.unlink()
    train(tiny(steps=4), joint, tmp_path, resume=True)
    assert "passed over" in capsys.readouterr().err
    assert digest(tmp_path) == digest(straight)
    folder.checkpoint(4).write_bytes(newest)
    with pytest.raises(InputError, match=r"best\.safetensors: of step 4, which 3 steps do not reach"):
        train(tiny(steps=3), joint, tmp_path, resume=True)
    folder.best_weights.unlink()
    train(tiny(steps=3, keep_checkpoints=1, checkpoint_every=1), joint, tmp_path, resume=True)
    assert folder.checkpoints() == [folder.checkpoint(3)]  # the damaged one does not push it out
    for path in folder.checkpoints():
        path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="no checkpoint of this run can be read; delete the run or choose"):
        train(tiny(steps=4), joint, tmp_path, resume=True)
    assert r"step-00000003.pt" in capsys.readouterr().err


def test_one_process_trains_in_a_folder(joint: Path, tmp_path: Path, straight: Path) -> None:
    run = shutil.copytree(straight, tmp_path / "run")
    before = without_times(run)
    with (
        RunFolder(run).in_use(),
        pytest.raises(InputError, match="another process trains here; wait, or choose"),
    ):
        train(tiny(steps=6), joint, run, resume=True)
    assert without_times(run) == before
    train(tiny(steps=6), joint, run, resume=True)
    assert not (run / ".in-use").exists()
    with RunFolder(tmp_path / "nothing").in_use():
        pass
    assert not (tmp_path / "nothing").exists()


def test_a_process_whose_run_was_taken_over_stops(
    joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def paused(config: TrainConfig, step: int) -> float:
        if step == 2:
            (tmp_path / ".in-use").write_text('{"token": "of another process", "pid": 1}')
        return rate_of(config, step)

    rate_of = TrainConfig.learning_rate
    monkeypatch.setattr(TrainConfig, "learning_rate", paused)
    with pytest.raises(InputError, match="stood still for a minute or more and another one trains here"):
        train(tiny(steps=6), joint, tmp_path)
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
    assert "another process" in (tmp_path / ".in-use").read_text()
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_log_that_lacks_steps_is_told(
    joint: Path, tmp_path: Path, straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(straight, tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    train(tiny(steps=6), joint, run, resume=True)
    assert "metrics.jsonl: lacks steps of the 4 that are done" in capsys.readouterr().err
    assert [record["step"] for record in read_metrics(run / "metrics.jsonl")] == [5, 6]


def test_a_checkpoint_of_another_network_is_one_line(joint: Path, tmp_path: Path, straight: Path) -> None:
    run = shutil.copytree(straight, tmp_path / "run")
    path = RunFolder(run).checkpoints()[-1]
    content = torch.load(path, weights_only=True)
    body = {k: v for k, v in content.items() if k not in ("format", "format_version", "digest")}
    body["network"] = {**body["network"], "head.correction": torch.zeros(6)}
    torch.save({**content, **body, "digest": content_digest(body)}, path)
    with pytest.raises(
        InputError, match=r"does not fit this version \(.*\); begin a new run, with --init"
    ) as error:
        train(tiny(steps=6), joint, run, resume=True)
    assert "\n" not in str(error.value)


def test_a_kill_before_the_first_file_is_no_obstacle(joint: Path, tmp_path: Path) -> None:
    (tmp_path / ".config.tmp-0123.json").write_text("{")
    train(tiny(steps=1), joint, tmp_path, resume=True)
    assert read_json(tmp_path / "summary.json")["samples"]


def test_a_finished_run_without_its_checkpoints_is_kept(joint: Path, tmp_path: Path, straight: Path) -> None:
    run = shutil.copytree(straight, tmp_path / "run")
    shutil.rmtree(run / "checkpoints")
    before = {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file()}
    with pytest.raises(
        InputError, match=r"its checkpoints are gone; .* --init .*weights\.safetensors, of step 4 of 4$"
    ):
        train(tiny(steps=5), joint, run, resume=True)
    assert before == {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file()}
    (run / "weights.safetensors").unlink()  # as of a run that was killed before its first checkpoint
    train(tiny(), joint, run, resume=True)
    assert digest(run) == digest(straight)


def test_going_on_needs_no_weights_to_start_from(joint: Path, tmp_path: Path, straight: Path) -> None:
    weights = tmp_path / "start.safetensors"
    weights.write_bytes((straight / "weights.safetensors").read_bytes())
    config: dict[str, Any] = dict.fromkeys(SHAPE)
    train(tiny(steps=1, init=str(weights), **config), joint, tmp_path / "run")
    moved = weights.rename(tmp_path / "moved.safetensors")
    for steps, init in ((2, str(weights)), (3, str(moved)), (4, "")):
        train(tiny(steps=steps, init=init, **config), joint, tmp_path / "run", resume=True)
        told = read_json(tmp_path / "run/config.json")["config"]
        assert (told["init"], told["feature_growth"]) == (str(weights), 8)
    for other in (RunFolder(straight).checkpoint(2), tmp_path / "nowhere.safetensors"):
        with pytest.raises(InputError, match=f"init: .*start.safetensors -> {other}"):
            train(tiny(init=str(other), **config), joint, tmp_path / "run", resume=True)
    with pytest.raises(InputError, match="feature_growth: 8 -> 32"):  # the default, if asked for
        train(tiny(init="", **config | {"feature_growth": 32}), joint, tmp_path / "run", resume=True)
    with pytest.raises(InputError, match=r"start\.safetensors"):
        train(tiny(steps=1, init=str(weights), **config), joint, tmp_path / "new")


def test_old_checkpoints_go(joint: Path, tmp_path: Path) -> None:
    train(tiny(steps=4, checkpoint_every=1, keep_checkpoints=2, validation_share=0), joint, tmp_path)
    assert [path.name for path in RunFolder(tmp_path).checkpoints()] == [
        "step-00000003.pt",
        "step-00000004.pt",
    ]
    assert not (tmp_path / "best.safetensors").exists() and not (tmp_path / "pictures").exists()


@pytest.mark.parametrize("main", ["mm", "dp"])
def test_a_loss_that_is_not_finite_stops_with_the_state_of_before(
    joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, straight: Path, main: str
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


def test_several_processes_need_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="is not set; start it with torchrun, or unset WORLD_SIZE"):
        Team("cpu")


def test_two_processes_learn_what_one_does(joint: Path, tmp_path: Path) -> None:
    config = {"steps": 3, "batch_size": 4, "lr": 1e-4}
    run_processes(2, joint, [tmp_path / "two"] * 2, config)
    train(tiny(**config), joint, tmp_path / "one")
    one, two = (read_metrics(tmp_path / run / "metrics.jsonl") for run in ("one", "two"))
    for first, second in zip(one, two, strict=True):
        for name in (*LOSSES, "w_ir"):
            assert second[name] == pytest.approx(first[name], rel=1e-5), (name, first["step"])
        assert second["mm_gradient_norm"] == pytest.approx(first["mm_gradient_norm"], rel=1e-4)
    states = [load_network(tmp_path / run / "weights.safetensors").state_dict() for run in ("one", "two")]
    for name, value in states[0].items():
        # Adam divides by the gradient's size, so rounding moves weights whose gradient is rounding alone.
        assert (states[1][name] - value).abs().median() < 1e-7, name
    assert read_json(tmp_path / "two/summary.json")["processes"] == 2


def test_machines_that_do_not_share_the_folder_are_told(joint: Path, tmp_path: Path) -> None:
    config = {"steps": 2, "batch_size": 4}
    train(tiny(**config), joint, tmp_path / "first")
    made = (tmp_path / "first/weights.safetensors").stat().st_mtime_ns
    with pytest.raises(subprocess.CalledProcessError):
        run_processes(2, joint, [tmp_path / "first", tmp_path / "second"], {**config, "resume": True})
    assert (tmp_path / "first/weights.safetensors").stat().st_mtime_ns == made
    assert not (tmp_path / "second").exists()


def test_processes_that_were_started_differently_are_told(joint: Path, tmp_path: Path) -> None:
    settings = [{"batch_size": 4, **mine} for mine in ({"seed": 3}, {"seed": 7, "lr": 0.01})]
    codes, said = run_apart(joint, tmp_path / "run", settings)
    assert codes == [1, 1] and said.count("processes differ in lr, seed; let them share") == 2
    assert not list((tmp_path / "run").glob("*"))
    # Files may lie elsewhere on each machine, but hold the same.
    for name, seed in (("a", 1), ("b", 2)):
        save_weights(tmp_path / f"{name}.safetensors", start_network(tiny(seed=seed)), {})
    settings = [{"batch_size": 4, "init": str(tmp_path / f"{name}.safetensors")} for name in "ab"]
    codes, said = run_apart(joint, tmp_path / "run", settings)
    assert codes == [1, 1] and said.count("processes differ in weights; let them share") == 2


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    team = Team("cpu")
    team.size, team.rank = 2, 1
    assert team.part(8) == slice(4, 8)
    for objective, size, better in (
        (PublishedObjective(), 3, 4),
        (FidelityObjective(), 3, 8),
        (FidelityObjective(), 6, 8),
        (FidelityObjective(), 9, 10),
    ):
        says = f"batch_size {size}, .* over 2 processes evenly; use --batch-size {better}$"
        with pytest.raises(InputError, match=says):
            team.check_batch(size, objective.mm_samples)
        team.check_batch(better, objective.mm_samples)


def test_a_killed_run_resumes_to_the_same_weights(joint: Path, tmp_path: Path, straight: Path) -> None:
    kill_after_lines(joint, tmp_path, lines=3)
    train(tiny(), joint, tmp_path, resume=True)
    assert digest(tmp_path) == digest(straight)
    assert without_times(tmp_path) == without_times(straight)


@pytest.mark.slow
def test_killed_at_ten_random_moments(joint: Path, tmp_path: Path) -> None:
    settings = {"steps": 40, "checkpoint_every": 1}
    run_processes(1, joint, [tmp_path / "straight"], settings)
    step_s = float(np.median([step["seconds"] for step in read_metrics(tmp_path / "straight/metrics.jsonl")]))
    rng, kills, log = random.Random(0), 0, tmp_path / "run" / "metrics.jsonl"
    while kills < 10:
        process = spawn(joint, tmp_path / "run", settings | {"resume": True})
        lines = len(read_metrics(log)) if log.is_file() else 0
        while process.poll() is None and (not log.is_file() or len(read_metrics(log)) <= lines):
            time.sleep(0.001)  # one step further, and then a part of the next one
        time.sleep(rng.uniform(0, 1) * step_s)
        assert process.poll() is None, "finished before its time had come"
        process.kill()
        process.wait()
        kills += 1
    assert 10 <= len(read_metrics(log)) < 40
    run_processes(1, joint, [tmp_path / "run"], settings | {"resume": True})
    assert digest(tmp_path / "run") == digest(tmp_path / "straight")
    assert without_times(tmp_path / "run") == without_times(tmp_path / "straight")


@pytest.mark.parametrize("begun", [False, True])
def test_only_settings_that_matter_keep_a_run_from_going_on(begun: bool) -> None:
    def changes(earlier: dict[str, Any], **settings: Any) -> list[str]:
        return settings_changed(TrainConfig(**settings), earlier, begun=begun)

    earlier = TrainConfig(**SHAPE).to_json()
    assert changes(earlier) == changes(earlier, steps=9000, device="cpu", keep_checkpoints=9) == []
    assert changes(earlier, seed=1) == ["seed: 0 -> 1"]
    cosine = TrainConfig(schedule="cosine", **SHAPE).to_json()
    assert changes(cosine, schedule="cosine", steps=9000) == ["steps: 5000 -> 9000"]
    assert changes({**earlier, "momentum": 0.9}) == ["momentum: 0.9 -> (absent)"]
    # A shape or weights to start from that are left out are those of the network, once there is one.
    assert changes({**earlier, "head": "pyramid"}) == ([] if begun else ["head: pyramid -> plane"])
    assert changes({**earlier, "init": "/a"}) == ([] if begun else ["init: /a -> "])
    assert changes({**earlier, "init": "/a"}, init="/b") == ["init: /a -> /b"]
    assert changes({**earlier, "init": "/x/../a"}, init="/a") == ([] if begun else ["init: /x/../a -> /a"])
    # The digest of the data tells what pairs show, but not that there are none.
    assert changes({**earlier, "dp_folder": "/a"}, dp_folder="b") == []
    assert changes({**earlier, "dp_folder": "/a"}) == ["dp_folder: /a -> "]


def test_one_file_has_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    paths = (str(tmp_path / "w.pth"), "w.pth", "x/../w.pth", "link/w.pth")
    one, *others = (TrainConfig(information="densenet121", information_weights=path) for path in paths)
    assert not any(settings_changed(other, one.to_json(), begun=True) for other in others)
    other = TrainConfig(information="densenet121", information_weights="v.pth")
    (line,) = settings_changed(other, one.to_json(), begun=True)
    assert line == f"information_weights: {paths[0]} -> v.pth"
