"""The account of results: complete whatever ends a run, and true of inputs and settings."""

from __future__ import annotations

import errno
import json
import os
import resource
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from fusing import picture, tiny_weights

from model.engine.strips import FusionEngine
from model.fuse import fuse
from model.fusing.fuse_config import FuseConfig
from model.fusing.fuse_jobs import Job
from model.fusing.fuse_recipes import Pictures
from model.fusing.fused_log import FusedLog
from pipeline.files import InputError, write_bytes

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def config(tmp_path: Path) -> FuseConfig:
    return FuseConfig(weights=tiny_weights(tmp_path), device="cpu")


def lines_of(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "fused.jsonl").read_text().splitlines()]


def folders(root: Path, count: int) -> list[Path]:
    for role in "ab":
        for index in range(count):
            picture(root / role / f"{index}.png", index)
    return [root / "a", root / "b"]


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_stopped_run_has_a_line_for_every_result(
    tmp_path: Path, config: FuseConfig, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    inputs, out = folders(tmp_path, 9), tmp_path / "out"
    fused = iter(range(7))
    fuse_pair = FusionEngine.fuse_pair

    def stopping(engine: FusionEngine, pair: np.ndarray, **options: object) -> np.ndarray:
        if next(fused) == 6:
            raise KeyboardInterrupt
        return fuse_pair(engine, pair, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FusionEngine, "fuse_pair", stopping)
        fuse(FuseConfig(weights=config.weights, device="cpu", jobs=jobs), inputs, out)
    assert {record["output"] for record in lines_of(out)} == {path.name for path in out.glob("*.png")}
    assert len(lines_of(out)) == 6
    with pytest.raises(InputError, match="made with different main_task"):
        fuse(FuseConfig(weights=config.weights, device="cpu", main_task="ivif"), inputs, out)


def test_a_stopped_remake_does_not_pass_off_old_results_as_new(
    tmp_path: Path, config: FuseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, out = folders(tmp_path, 2), tmp_path / "out"
    fuse(config, inputs, out)
    other = {"weights": config.weights, "device": "cpu", "main_task": "ivif"}

    def stopped(*_: object, **__: object) -> np.ndarray:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(FusionEngine, "fuse_pair", stopped)
        fuse(FuseConfig(**other, overwrite=True), inputs, out)
    with pytest.raises(InputError, match="made with different main_task"):
        fuse(FuseConfig(**other), inputs, out)


def test_a_line_that_a_crash_cut_short_is_gone_before_the_next(tmp_path: Path, config: FuseConfig) -> None:
    inputs, out = folders(tmp_path, 3), tmp_path / "out"
    fuse(config, inputs, out)
    log, last = out / "fused.jsonl", lines_of(out)[-1]["output"]
    log.write_bytes(log.read_bytes()[:-40])
    (out / str(last)).unlink()
    for _ in range(2):
        fuse(config, inputs, out)
        assert sorted(record["output"] for record in lines_of(out)) == ["0.png", "1.png", "2.png"]


def test_results_that_are_gone_are_forgotten(tmp_path: Path, config: FuseConfig) -> None:
    inputs, out = folders(tmp_path, 2), tmp_path / "out"
    fuse(config, inputs, out)
    (out / "0.png").unlink()
    (tmp_path / "a/0.png").write_text("no image")
    assert set(fuse(config, inputs, out).failed) == {"0"}
    assert [record["output"] for record in lines_of(out)] == ["1.png"]


def test_results_of_one_name_in_one_folder_keep_their_records(tmp_path: Path, config: FuseConfig) -> None:
    inputs, out = [path / "0.png" for path in folders(tmp_path, 1)], tmp_path / "out"
    medical = FuseConfig(weights=config.weights, device="cpu", task="medical")
    fuse(config, inputs, out / "one.png")
    fuse(medical, inputs, out / "two.png")
    assert {record["output"]: record["settings"]["task"] for record in lines_of(out)} == {
        "one.png": "auto",
        "two.png": "medical",
    }
    assert fuse(config, inputs, out / "one.png").skipped == ["0"]
    with pytest.raises(InputError, match=r"one\.png was made with different task"):
        fuse(medical, inputs, out / "one.png")


def test_a_result_of_other_inputs_is_no_result(
    tmp_path: Path, config: FuseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (a, b), out = folders(tmp_path, 1), tmp_path / "out"
    picture(tmp_path / "c/0.png", 5)
    fuse(config, [a, b], out)
    with pytest.raises(InputError, match=r"0\.png was made with different inputs; use --overwrite"):
        fuse(config, [a, tmp_path / "c"], out)
    monkeypatch.chdir(tmp_path)  # the same files by other names
    assert fuse(config, [Path("a"), Path("b")], Path("out")).skipped == ["0"]


@pytest.mark.parametrize("bad", [b"\xff", b"{}", b"[]", b'{"output": 1}', bytes(9)])
def test_a_damaged_line_is_left_out_and_told(
    tmp_path: Path, config: FuseConfig, capsys: pytest.CaptureFixture[str], bad: bytes
) -> None:
    inputs, out = folders(tmp_path, 2), tmp_path / "out"
    fuse(config, inputs, out)
    log = out / "fused.jsonl"
    good = log.read_bytes()
    first, second = good.splitlines()
    log.write_bytes(damaged := b"\n".join((first, bad, second, b"")))
    assert sorted(fuse(config, inputs, out).skipped) == ["0", "1"]
    assert "fused.jsonl: 1 damaged line left out" in capsys.readouterr().err
    assert log.read_bytes() == good and (out / "fused.jsonl.damaged").read_bytes() == damaged
    log.write_bytes(bad + b"\n")  # what the results were made of is not known any more
    assert sorted(fuse(replace(config, overwrite=True), inputs, out).done) == ["0", "1"]
    assert len(lines_of(out)) == 2


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_log_of_another_kind_is_left_alone(tmp_path: Path, config: FuseConfig, end: str) -> None:
    """Such as that of an evaluation, whose summary was called ``fused.json``."""
    inputs, out = folders(tmp_path, 1), tmp_path / "out"
    out.mkdir()
    (out / "fused.jsonl").write_text(lines := f'{{"image": "0", "method": "m"}}{end}')
    with pytest.raises(InputError, match=r"fused\.jsonl: is there, and not of fusing; choose another"):
        fuse(replace(config, overwrite=True), inputs, out)
    assert (out / "fused.jsonl").read_text() == lines and len(list(out.iterdir())) == 1


@pytest.mark.skipif(os.name == "nt", reason="no locks on Windows")
def test_no_line_is_lost_to_a_run_that_tidies_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [Job(name, (tmp_path / "a", tmp_path / "b"), tmp_path / f"{name}.png") for name in "xy"]
    first = FusedLog(tmp_path, {})
    first.begin(adds=True)

    def note(job: Job) -> None:
        job.output.touch()
        first.append(job, digests=[None, None], size_hw=(1, 1), seconds=1)

    for _ in range(2):  # made twice: the next run writes the log anew
        note(jobs[0])
    later = Thread(target=note, args=[jobs[1]])

    def slow_write(path: Path, data: bytes) -> None:
        later.start()
        later.join(0.2)  # as far as it comes
        write_bytes(path, data)

    monkeypatch.setattr("model.fusing.fused_log.write_bytes", slow_write)
    FusedLog(tmp_path, {}).begin(adds=False)
    later.join()
    assert [record["name"] for record in lines_of(tmp_path)] == ["x", "y"]


def test_a_result_of_other_settings_is_no_result(tmp_path: Path, config: FuseConfig) -> None:
    inputs, out = folders(tmp_path, 1), tmp_path / "out"
    fuse(config, inputs, out)
    others = {"task": "medical", "colour": "upstream", "range_16bit": "percentile", "bits": 16, "resize": "a"}
    for name, value in others.items():
        with pytest.raises(InputError, match=rf"0\.png was made with different {name}; use"):
            fuse(replace(config, **{name: value}), inputs, out)
    with pytest.raises(InputError, match=r"0\.png was made with different weights; use"):
        fuse(replace(config, weights=tiny_weights(tmp_path, 1)), inputs, out)


def test_results_of_an_earlier_revision_are_no_results(tmp_path: Path, config: FuseConfig) -> None:
    (a, _), out = folders(tmp_path, 1), tmp_path / "out"
    fuse(config, [a], out)
    (record,) = lines_of(out)
    del record["settings"]["revision"]  # type: ignore[attr-defined]
    (out / "fused.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(InputError, match=r"0\.png was made with different revision; use --overwrite"):
        fuse(config, [a], out)


def test_results_of_replaced_pictures_are_made_again(tmp_path: Path, config: FuseConfig) -> None:
    inputs, out = folders(tmp_path, 2), tmp_path / "out"
    fuse(config, inputs, out)
    before = (out / "1.png").read_bytes()
    picture(tmp_path / "b/1.png", 7)
    again = fuse(config, inputs, out)
    assert (again.done, again.skipped) == (["1"], ["0"]) and (out / "1.png").read_bytes() != before
    assert fuse(config, inputs, out).skipped == ["0", "1"]
    assert len(lines_of(out)) == 2
    picture(tmp_path / "b/1.png", 8)
    older = [{key: record[key] for key in record if key != "digests"} for record in lines_of(out)]
    (out / "fused.jsonl").write_text("".join(json.dumps(record) + "\n" for record in older))
    assert fuse(config, inputs, out).skipped == ["0", "1"]  # of which no digest tells


def test_inputs_of_the_log_are_found_from_behind_links(tmp_path: Path, config: FuseConfig) -> None:
    folders(tmp_path / "disk/data", 1)
    (tmp_path / "disk/results/deep").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "disk/data")
    (tmp_path / "out").symlink_to(tmp_path / "disk/results/deep")
    (tmp_path / "disk/data/a/0.png").rename(tmp_path / "disk/stored")
    (tmp_path / "disk/data/a/0.png").symlink_to(tmp_path / "disk/stored")
    fuse(config, [tmp_path / "data/a", tmp_path / "data/b"], tmp_path / "out")
    (record,) = lines_of(tmp_path / "disk/results/deep")
    assert record["inputs"] == ["../../data/a/0.png", "../../data/b/0.png"]


def test_a_source_that_is_replaced_while_it_is_fused_is_fused_again(
    tmp_path: Path, config: FuseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, out = folders(tmp_path, 2), tmp_path / "out"
    write = Pictures.write

    def replacing(recipe: Pictures, job: Job, result: Any) -> tuple[int, int]:
        picture(tmp_path / "b/1.png", 7)
        return write(recipe, job, result)

    with monkeypatch.context() as patch:
        patch.setattr(Pictures, "write", replacing)
        fuse(config, inputs, out)
    again = fuse(config, inputs, out)
    assert (again.done, again.skipped) == (["1"], ["0"])


def test_a_result_that_cannot_be_noted_is_taken_back(
    tmp_path: Path, config: FuseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, out = folders(tmp_path, 1), tmp_path / "out"
    fuse(config, inputs, out)
    log = out / "fused.jsonl"
    before = log.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("model.fusing.fused_log._line", lambda record: "x" * 10000)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))  # a disk that is full
        try:
            with pytest.raises(OSError) as error:
                fuse(replace(config, overwrite=True), inputs, out)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.filename == str(log)
    assert log.read_bytes() == before and not (out / "0.png").exists()


def test_two_runs_at_once_do_not_mix_their_settings(
    tmp_path: Path, config: FuseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, out = folders(tmp_path, 3), tmp_path / "out"
    fuse_pair = FusionEngine.fuse_pair

    def meanwhile(engine: FusionEngine, pair: np.ndarray, **options: Any) -> np.ndarray:
        with monkeypatch.context() as patch:
            patch.setattr(FusionEngine, "fuse_pair", fuse_pair)
            fuse(replace(config, main_task=other), inputs, out)
        return fuse_pair(engine, pair, **options)

    for other in ("ivif", "mfif"):
        (out / "fused.jsonl").unlink(missing_ok=True)
        for path in out.glob("*.png"):
            path.unlink()
        with monkeypatch.context() as patch:
            patch.setattr(FusionEngine, "fuse_pair", meanwhile)
            summary = fuse(replace(config, jobs=1), inputs, out)
        if other == "mfif":  # twice the work, but the same
            assert summary.done == ["0", "1", "2"]
            continue
        assert not summary.done and set(summary.failed) == {"0", "1", "2"}
        assert "another run makes it with different main_task" in summary.failed["0"]
        assert {line["settings"]["main_task"] for line in lines_of(out)} == {"ivif"}


def test_what_others_wrote_since_a_log_was_read_counts(tmp_path: Path, config: FuseConfig) -> None:
    inputs, out = folders(tmp_path, 3), tmp_path / "out"
    early = FusedLog(out, {})
    fuse(config, inputs, out)
    whole = lines_of(out)
    early.begin(adds=True)
    assert lines_of(out) == whole
    # And where it has been written anew, with less in it.
    for path in out.glob("*.png"):
        path.unlink()
    first = [folder / "0.png" for folder in inputs]
    fuse(replace(config, main_task="ivif"), first, out)
    mine = FusedLog(out, whole[0]["settings"])  # type: ignore[arg-type]
    mine._read_to = early._read_to
    with pytest.raises(InputError, match="another run makes it with different main_task"):
        mine.check_unclaimed(Job("0", (first[0], first[1]), out / "0.png"))


def test_what_killed_runs_left_is_removed(tmp_path: Path, config: FuseConfig) -> None:
    inputs, out = folders(tmp_path, 2), tmp_path / "out"
    out.mkdir()
    left, written, foreign = (
        out / f".{name}.tmp-{'0' * 31}{digit}.png" for name, digit in (("0", 1), ("1", 2), ("x", 3))
    )
    for path, age_s in ((left, 61), (written, 0), (foreign, 61)):
        path.touch()
        os.utime(path, (time.time() - age_s,) * 2)
    fuse(config, inputs, out)
    assert not left.exists() and written.exists() and foreign.exists()


def test_a_name_is_no_pattern(tmp_path: Path, config: FuseConfig) -> None:
    inputs, out = [tmp_path / "a", tmp_path / "b"], tmp_path / "out"
    out.mkdir()
    for name in ("a**b", "x*", "[1]"):
        for folder in inputs:
            picture(folder / f"{name}.png", 1)
    left = [out / f".{name}.tmp-0.png" for name in ("a**b", "x*", "[1]")]
    foreign = [out / f".{name}.tmp-0.png" for name in ("xyz", "1")]
    for path in (*left, *foreign):
        path.touch()
        os.utime(path, (time.time() - 61,) * 2)
    assert fuse(config, inputs, out).complete
    assert not any(path.exists() for path in left) and all(path.exists() for path in foreign)


def test_a_log_that_may_not_be_written_to_costs_no_result(
    tmp_path: Path, config: FuseConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, out = folders(tmp_path, 2), tmp_path / "out"
    fuse(config, inputs, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def forbidden(path: Path, mode: str, **_: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("model.fusing.fused_log.open", forbidden, raising=False)
    assert fuse(config, inputs, out).skipped == ["0", "1"], "nothing to note, nothing to complain of"
    with pytest.raises(PermissionError, match=r"fused\.jsonl"):
        fuse(replace(config, overwrite=True), inputs, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_folder_with_the_name_of_a_result_is_no_result(tmp_path: Path, config: FuseConfig) -> None:
    inputs, out = folders(tmp_path, 2), tmp_path / "out"
    (out / "0.png").mkdir(parents=True)
    summary = fuse(config, inputs, out)
    assert summary.done == ["1"] and "0.png" in summary.failed["0"]
