"""A shard made in a process that stands elsewhere, as a worker of a running cluster does."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from response_tables import write_gamma
from synthesis_runs import bytes_of
from tiny_source import make_config, make_source, run

from pipeline.exposure import ExposureConfig
from pipeline.exposure.camera_response import CameraConfig
from pipeline.exposure.probe import ExposureProbe, save_probe
from pipeline.files import InputError
from pipeline.shards.dataset import read_index, verify
from pipeline.synthesis import synthesise as synthesis
from pipeline.synthesis import work_units
from pipeline.synthesis.engines import RunOptions
from pipeline.synthesis.plan import SynthesisConfig
from pipeline.synthesis.work_units import ShardTask, make_shard


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest whose path counts from the working folder."""
    make_source(tmp_path / "here" / "source")
    monkeypatch.chdir(tmp_path / "here")
    return Path("source/manifest.toml")


def _tasks(
    source: Path, monkeypatch: pytest.MonkeyPatch, config: SynthesisConfig | None = None
) -> list[ShardTask]:
    """The work units of a run into ``out`` that makes none of them."""
    tasks: list[ShardTask] = []

    def collect(make: Any, units: Sequence[ShardTask], options: RunOptions) -> Iterator[Any]:
        tasks.extend(units)
        return iter([(unit, {}) for unit in units])

    with monkeypatch.context() as patch:
        patch.setattr(synthesis, "run_units", collect)
        assert run(source, Path("out"), config).index is None
    return tasks


def test_relative_paths_count_from_the_folder_of_the_run(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(source, Path("expected"))
    (tmp_path / "there").mkdir()

    def elsewhere(
        make: Callable[[Any], Any], units: Sequence[Any], _: RunOptions
    ) -> Iterator[tuple[Any, Any]]:
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, spawn, initializer=os.chdir, initargs=(tmp_path / "there",)) as pool:
            yield from zip(units, pool.map(make, units), strict=True)

    monkeypatch.setattr(synthesis, "run_units", elsewhere)
    (tmp_path / "here/source/visible/6.png").write_text("no picture")
    summary = run(source, Path("out"))
    assert summary.failed == 2 and all("source/visible/6.png: not a" in one for one in summary.problems)
    assert str(tmp_path) not in "".join(summary.problems), "messages keep the names that were given"
    assert verify("out") == [] and not any((tmp_path / "there").iterdir())
    made, expected = (read_index(folder)["shards"] for folder in ("out", "expected"))
    assert made[:3] == expected[:3]


def test_a_shard_that_another_process_has_just_finished_is_left(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _tasks(source, monkeypatch)[0]
    assert make_shard(task)
    monkeypatch.setattr(work_units, "write_shard", lambda *_, **__: pytest.fail("made again"))
    assert make_shard(task) == {}


def test_a_worker_without_the_folder_says_what_to_share(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _tasks(source, monkeypatch)[0]
    with pytest.raises(InputError, match=r"absent: a worker cannot go there .*share the folder") as error:
        make_shard(replace(task, folder=tmp_path / "absent"))
    assert "\n" not in str(error.value)
    assert Path.cwd() == tmp_path / "here"


def test_a_worker_with_other_weights_does_not_make_the_shard(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _tasks(source, monkeypatch)[0]
    settings = {**task.settings, "probe_digest": "0" * 64}
    with pytest.raises(InputError, match="--probe default: a worker has other weights than the plan"):
        make_shard(replace(task, settings=settings))
    assert not task.path.exists() and not task.path.with_suffix(".lease").exists()


def test_a_worker_with_another_table_of_curves_does_not_make_the_shard(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_gamma(Path("curves.txt"), 0.5)
    camera = ExposureConfig(mode="camera-response", camera=CameraConfig(curves=str(table)))
    first, second = _tasks(source, monkeypatch, replace(make_config(source), exposure=camera))[:2]
    assert make_shard(first)
    write_gamma(table, 0.6)
    with pytest.raises(InputError, match=r"--curves curves\.txt: a worker has another table than the plan"):
        make_shard(second)


def test_a_paused_process_whose_shard_was_taken_over_leaves_it(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = _tasks(source, monkeypatch)[0]
    claim = task.path.with_suffix(".lease")

    def paused(path: Path, *_: Any, **__: Any) -> None:
        claim.write_text('{"token": "successor"}')
        raise InputError(f"{path}: no such shard")

    monkeypatch.setattr(work_units, "write_shard", paused)
    assert make_shard(task) is None and claim.exists()


def test_a_worker_that_moves_does_not_keep_the_weights_of_another_folder(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_source(tmp_path / "there" / "source")
    for seed, folder in enumerate(("here", "there")):
        torch.manual_seed(seed)
        save_probe(tmp_path / folder / "probe.safetensors", ExposureProbe(), {})
        os.utime(tmp_path / folder / "probe.safetensors", (1, 1))
    config = replace(make_config(source), probe="probe.safetensors")
    task = _tasks(source, monkeypatch, config)[0]
    assert make_shard(task), "the weights of this folder are now loaded"
    with pytest.raises(InputError, match=r"--probe probe\.safetensors: a worker has other weights"):
        make_shard(replace(task, folder=tmp_path / "there", out=tmp_path))


def test_threads_of_one_process_that_work_for_two_folders_take_turns(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a worker of a cluster that has several threads, and is shared by two runs."""
    make_source(tmp_path / "there" / "source")
    for path in (tmp_path / "there/source/visible").iterdir():
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    folders = [tmp_path / "here", tmp_path / "there"]
    tasks = []
    for folder in folders:
        monkeypatch.chdir(folder)
        run(source, Path("expected"))
        tasks.append(_tasks(source, monkeypatch))
    assert bytes_of(folders[0] / "expected") != bytes_of(folders[1] / "expected")

    make, both = work_units.make_samples, threading.Barrier(2)

    def make_when_both_are_here(*arguments: Any) -> Any:
        with suppress(threading.BrokenBarrierError):  # the other waits for its turn
            both.wait(timeout=1)
        return make(*arguments)

    monkeypatch.setattr(work_units, "make_samples", make_when_both_are_here)
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(make_shard, [task for pair in zip(*tasks, strict=True) for task in pair]))
    for folder in folders:
        assert bytes_of(folder / "out") == bytes_of(folder / "expected")
