"""Stage one on several processes, some of them killed: not a byte is another, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from synthesis_runs import bytes_of, die_before, spawn, synthesise, synthesise_with_another
from tiny_source import run

from pipeline.files import InputError, _temporary
from pipeline.shards.dataset import read_index, shard_name, verify


@pytest.mark.parametrize("jobs", [2, 3])
def test_workers_do_not_change_a_byte(source: Path, dataset: Path, tmp_path: Path, jobs: int) -> None:
    run(source, tmp_path, jobs=jobs)
    assert bytes_of(tmp_path) == bytes_of(dataset)
    assert read_index(tmp_path)["digest"] == read_index(dataset)["digest"]


def test_parts_do_not_change_a_byte(source: Path, dataset: Path, tmp_path: Path) -> None:
    first = run(source, tmp_path, part=(1, 2))
    assert first.index is None
    with pytest.raises(InputError, match="run synth again"):
        read_index(tmp_path)
    second = run(source, tmp_path, part=(2, 2))
    assert second.index is not None
    assert bytes_of(tmp_path) == bytes_of(dataset)


def test_a_part_answers_for_its_own_failures(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source.parent, tmp_path / "source")
    manifest, out = tmp_path / "source" / "manifest.toml", tmp_path / "out"
    (tmp_path / "source/visible/6.png").write_text("no picture")  # in the last of four shards
    assert len(run(manifest, out, part=(2, 2)).problems) == 2
    first = run(manifest, out, part=(1, 2))
    assert first.index is not None and first.failed == 2 and not first.problems


def test_two_processes_on_one_folder_share_the_work(source: Path, dataset: Path, tmp_path: Path) -> None:
    """Each has a shard at the same time as the other, and none is made twice."""
    out, meeting = tmp_path / "out", tmp_path / "meeting"
    meeting.mkdir()
    children = [spawn(synthesise_with_another, source, out, meeting) for _ in "ab"]
    made = [child.communicate(timeout=250)[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0] and all(made)
    assert sorted(made[0] + made[1]) == [shard_name(number, 4) for number in range(4)]
    assert bytes_of(out) == bytes_of(dataset)
    assert read_index(out) == read_index(dataset) and verify(out) == []
    assert not list(out.glob("*.lease")) and not list(out.glob(".*"))


def test_killed_and_resumed_gives_the_same_bytes(source: Path, dataset: Path, tmp_path: Path) -> None:
    """Killed twice: with the second shard half done, and between the last shard and its record."""
    shards = [shard_name(number, 4) for number in range(4)]
    record = Path(shards[3]).with_suffix(".json").name
    for name, finished in ((shards[1], shards[:1]), (record, shards)):
        assert spawn(die_before, source, tmp_path, name).wait(timeout=250) == -signal.SIGKILL
        assert (tmp_path / "plan.json").exists() and not (tmp_path / "index.json").exists()
        assert [path.name for path in sorted(tmp_path.glob("shard-*.h5"))] == finished
        assert list(tmp_path.glob(".shard-*")) and list(tmp_path.glob("*.lease"))
    run(source, tmp_path)
    assert bytes_of(tmp_path) == bytes_of(dataset)
    assert not list(tmp_path.glob("*.lease"))
    assert not list(tmp_path.glob(".shard-*")), "what killed processes left is cleared"


def test_a_finished_dataset_is_cleared_of_what_killed_processes_left(
    source: Path, dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
    before = {path.name for path in tmp_path.iterdir()}
    litter = [".clock-1", "shard-00000-of-00004.lease.stale-1"]
    for name in ("plan.json", "index.json", "failures.jsonl"):
        litter.append(_temporary(tmp_path / name).name)
    others = {".hidden", "notes.tmp-1"}
    for name in (*litter, *others):
        (tmp_path / name).touch()
    run(source, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*before, *litter, *others}, "their owners may live"
    for name in (*litter, *others):
        os.utime(tmp_path / name, (1, 1))
    run(source, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == before | others


@pytest.mark.slow
def test_killed_at_twenty_random_moments(source: Path, dataset: Path, tmp_path: Path) -> None:
    rng, cut_short = np.random.default_rng(0), 0
    start = time.monotonic()
    run(source, tmp_path / "whole")
    whole_s = time.monotonic() - start
    for number in range(20):
        out = tmp_path / str(number)
        child, deadline = spawn(synthesise, source, out), time.monotonic() + 60
        while not (out / "plan.json").exists():
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0, whole_s)))
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        cut_short += not (out / "index.json").exists()
        run(source, out)
        assert bytes_of(out) == bytes_of(dataset)
    assert cut_short >= 5


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_engines_do_not_change_a_byte(source: Path, dataset: Path, tmp_path: Path, engine: str) -> None:
    pytest.importorskip("distributed" if engine == "dask" else "ray")
    run(source, tmp_path, engine=engine, jobs=2)
    assert bytes_of(tmp_path) == bytes_of(dataset)
