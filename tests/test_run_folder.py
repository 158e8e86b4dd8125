"""The folder of a run: one process trains there, and what is damaged or missing in it is told."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from damaged_files import flip_a_bit
from training_runs import digest, tiny, without_times

from model.checkpoint import read_metadata
from model.checkpoint.digest import content_digest
from model.trainer import train
from model.training.run_folder import RunFolder
from model.training.step import AlternatingStep
from model.training.train_config import TrainConfig
from model.training.training_log import read_metrics
from pipeline.files import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    joint: Path, tmp_path: Path, straight: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny(steps=4), joint, tmp_path)
    folder = RunFolder(tmp_path)
    flip_a_bit(folder.checkpoint(4))
    damaged = folder.checkpoint(4).read_bytes()
    folder.weights.unlink()
    train(tiny(steps=4), joint, tmp_path, resume=True)
    assert "passed over" in capsys.readouterr().err
    assert digest(tmp_path) == digest(straight)
    folder.checkpoint(4).write_bytes(damaged)
    with pytest.raises(InputError, match=r"best\.safetensors: of step 4, which 3 steps do not reach"):
        train(tiny(steps=3), joint, tmp_path, resume=True)
    folder.best_weights.unlink()
    train(tiny(steps=3, keep_checkpoints=1, checkpoint_every=1), joint, tmp_path, resume=True)
    assert folder.checkpoints() == [folder.checkpoint(3)]  # the damaged one does not push it out
    for path in folder.checkpoints():
        path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="no checkpoint of this run can be read; delete it or choose"):
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


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["network"].update({"head.correction": torch.zeros(6)}),
        lambda body: body["optimizer"]["state"][0].update(exp_avg=torch.ones(1)),
        lambda body: body["optimizer"]["state"][0].update(exp_avg=body["network"]),
        lambda body: body["optimizer"].pop("state"),
        lambda body: body["extra"].update(best=[]),
    ],
    ids=["network", "short moments", "no moments", "no state", "best"],
)
def test_a_checkpoint_that_does_not_fit_is_one_line(
    joint: Path, tmp_path: Path, straight: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    run = shutil.copytree(straight, tmp_path / "run")
    path = RunFolder(run).checkpoints()[-1]
    content = torch.load(path, weights_only=True)
    body = {k: v for k, v in content.items() if k not in ("format", "format_version", "digest")}
    change(body)
    torch.save({**content, **body, "digest": content_digest(body)}, path)
    with pytest.raises(
        InputError, match=r"does not fit this version \(.*\); begin a new run, with --init"
    ) as error:
        train(tiny(steps=6), joint, run, resume=True)
    assert "\n" not in str(error.value)


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


def test_a_folder_without_a_run_to_go_on_with_is_told(
    joint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = f"{tmp_path / 'run'}: no run to go on with; a new one begins"
    for times in (1, 0):
        train(tiny(steps=1), joint, tmp_path / "run", resume=True)
        assert capsys.readouterr().err.count(told) == times


def test_old_checkpoints_go(joint: Path, tmp_path: Path) -> None:
    train(tiny(steps=4, checkpoint_every=1, keep_checkpoints=2, validation_share=0), joint, tmp_path)
    assert [path.name for path in RunFolder(tmp_path).checkpoints()] == [
        "step-00000003.pt",
        "step-00000004.pt",
    ]
    assert not (tmp_path / "best.safetensors").exists() and not (tmp_path / "pictures").exists()


def test_what_ends_a_run_early_is_told_and_a_folder_that_was_there_stays(joint: Path, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "scratch")
    for folder in (link, tmp_path / "scratch", tmp_path / "new"):
        with pytest.raises(InputError, match=r"absent\.safetensors"):
            train(tiny(init=str(tmp_path / "absent.safetensors")), joint, folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "scratch"]
    assert not list((tmp_path / "scratch").iterdir())


def test_a_checkpoint_that_may_be_sound_is_neither_passed_over_nor_deleted(
    joint: Path, tmp_path: Path, straight: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunFolder(shutil.copytree(straight, tmp_path / "run"))
    latest = run.checkpoint(4)

    def stale(path: Any, *rest: Any, **options: Any) -> Any:
        if Path(path) == latest:
            raise OSError(errno.ESTALE, "Stale file handle")
        return open(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr("model.checkpoint.file_checks.open", stale, raising=False)
        with pytest.raises(InputError, match=r"step-00000004\.pt: cannot be read \(Stale file handle\)"):
            train(tiny(steps=6), joint, run.path, resume=True)
    with monkeypatch.context() as patch:
        patch.setattr("model.checkpoint.file_checks.FORMAT_VERSION", "0")
        with pytest.raises(InputError, match="update this program"):
            train(tiny(steps=6), joint, run.path, resume=True)
    assert latest.is_file() and run.weights.is_file()


def test_best_weights_of_steps_that_are_taken_back_are_not_those_of_the_run(
    joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the steps do not come out the same again, as on another device."""
    losses = {2: 1.0, 3: 0.5}

    def validate(step: AlternatingStep, *_: object) -> dict[str, float]:
        return {"total": losses.get(done[0], 2.0)}

    done = [0]
    one_step = AlternatingStep.finish

    def finish(step: AlternatingStep) -> dict[str, float]:
        done[0] += 1
        if done[0] == killed_in:
            raise Killed
        return one_step(step)

    class Killed(BaseException):
        pass

    monkeypatch.setattr(AlternatingStep, "validate", validate)
    monkeypatch.setattr(AlternatingStep, "finish", finish)
    killed_in = 4
    config = tiny(steps=5, validate_every=1, checkpoint_every=2)
    with pytest.raises(Killed):
        train(config, joint, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    assert folder.checkpoints() == [folder.checkpoint(2)]
    assert read_metadata(folder.best_weights)["step"] == 3
    losses, killed_in = {}, 0
    done[0] = 2
    train(config, joint, folder.path, resume=True)
    assert read_metadata(folder.best_weights)["step"] == 3  # the first one after those that are left
    assert read_metadata(folder.best_weights)["step"] > 2 and done[0] == 5
