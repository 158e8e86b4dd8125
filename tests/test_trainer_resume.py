"""Training that is interrupted: it goes on to the same weights, wherever it was stopped."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from training_runs import digest, run_killed, run_processes, spawn, stop_at, tiny, without_times

from model.checkpoint import load_network
from model.checkpoint.digest import weights_digest
from model.checkpoint.training_state import load_training_state
from model.trainer import train
from model.training.run_folder import RunFolder
from model.training.training_log import read_metrics
from pipeline.files import InputError, read_json
from pipeline.networks.device import computes_bfloat16

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
    folder.pictures.mkdir()
    earlier, later = (folder.pictures / f"step-0000000{step}.png" for step in (2, 3))
    for path in (earlier, later):
        path.touch()
    folder.forget_after(2, 4)
    assert not folder.summary.exists() and not later.exists() and earlier.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=str)
def test_ctrl_c_finishes_the_step_and_saves(
    joint: Path, tmp_path: Path, straight: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    before = signal.getsignal(number)
    with monkeypatch.context() as patch:
        stop_at(patch, 2, lambda: os.kill(os.getpid(), number))
        with pytest.raises(KeyboardInterrupt, match="after step 3"):
            train(tiny(), joint, tmp_path)
    assert signal.getsignal(number) is before
    assert RunFolder(tmp_path).checkpoints()[-1].name == "step-00000003.pt"
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3
    assert not (tmp_path / "weights.safetensors").exists()
    train(tiny(), joint, tmp_path, resume=True)
    assert digest(tmp_path) == digest(straight)
    assert without_times(tmp_path) == without_times(straight)


def test_a_signal_in_the_last_step_leaves_the_result(
    joint: Path, tmp_path: Path, straight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, 3, lambda: signal.raise_signal(signal.SIGINT))
    train(tiny(), joint, tmp_path)
    assert digest(tmp_path) == digest(straight)


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


def test_a_kill_before_the_first_file_is_no_obstacle(joint: Path, tmp_path: Path) -> None:
    (tmp_path / ".config.tmp-0123.json").write_text("{")
    train(tiny(steps=1), joint, tmp_path, resume=True)
    assert read_json(tmp_path / "summary.json")["samples"]


def test_a_killed_run_resumes_to_the_same_weights(joint: Path, tmp_path: Path, straight: Path) -> None:
    run_killed(joint, tmp_path, lines=3)
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3
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
