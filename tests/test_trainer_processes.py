"""One training on several processes: it learns what one would, and what does not fit is told."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from training_runs import run_apart, run_processes, tiny

from model.checkpoint import load_network, save_weights
from model.trainer import train
from model.training.curves import LOSSES
from model.training.distributed import Team
from model.training.objectives import FidelityObjective, PublishedObjective
from model.training.run_folder import RunFolder
from model.training.start import start_network
from model.training.training_log import read_metrics
from pipeline.files import InputError, read_json

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_the_end_of_another_process_is_one_line(joint: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"batch_size": 4, "steps": 8}
    codes, said = run_apart(joint, tmp_path / "run", [settings | {"kill_after": 2}, settings])
    assert codes == [-signal.SIGKILL, 1]
    assert "train: another process of this run has ended; what it said tells why\n" in said
    assert "Traceback" not in said


def test_a_signal_to_one_process_stops_all_after_the_same_step(joint: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"batch_size": 4, "steps": 8, "checkpoint_every": 100}
    codes, said = run_apart(joint, tmp_path, [settings, settings | {"end_at": 2}])
    assert codes == [1, 1] and said.count("after step 3; go on with --resume") == 2
    assert [path.name for path in RunFolder(tmp_path).checkpoints()] == ["step-00000003.pt"]


def test_no_process_ends_before_the_state_is_saved(
    joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the first that ends, torchrun ends the others: a second signal, which acts at once."""
    saved: list[bool] = []
    monkeypatch.setattr(Team, "any", lambda *_: True)
    monkeypatch.setattr(Team, "wait", lambda _: saved.append(RunFolder(tmp_path).checkpoint(1).is_file()))
    with pytest.raises(KeyboardInterrupt, match="after step 1"):
        train(tiny(), joint, tmp_path)
    assert saved == [True]


def test_a_number_without_a_team_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Schedulers set it for every process, also for one that trains alone, which must write its files."""
    monkeypatch.setenv("RANK", "3")
    assert Team("cpu").is_first
    monkeypatch.setenv("WORLD_SIZE", "two")
    with pytest.raises(InputError, match="WORLD_SIZE=two: torchrun sets it to a number; unset it"):
        Team("cpu")


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


def test_processes_that_do_not_find_each_other_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(InputError, match=f"2 processes do not find each other at 127.0.0.1:{port} "):
            Team("cpu")
