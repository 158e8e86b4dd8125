"""Shards that another process is making: waited for, and taken over where it gave up or died."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthesis_runs import bytes_of
from tiny_source import run

from pipeline.runtime import leases
from pipeline.shards.dataset import shard_name, verify
from pipeline.synthesis import synthesise as synthesis
from pipeline.synthesis import work_units

SHARDS = [shard_name(number, 4) for number in range(4)]
#: Names of the shards that are made here, and what happens while others are waited for.
Watch = Callable[[Callable[[], None]], list[str]]


@pytest.fixture
def claim(dataset: Path, tmp_path: Path) -> Path:
    """The second shard's lease, which a living process of another machine has."""
    shutil.copy(dataset / "plan.json", tmp_path)
    claim = (tmp_path / SHARDS[1]).with_suffix(".lease")
    claim.write_text(json.dumps({"host": "another-machine", "pid": 1, "token": "another"}))
    return claim


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    def begin(happens: Callable[[], None]) -> list[str]:
        made: list[str] = []
        looks: list[None] = []
        write, sleep = work_units.write_shard, time.sleep

        def write_and_note(path: Path, *arguments: Any, **options: Any) -> dict[str, Any]:
            made.append(path.name)
            return write(path, *arguments, **options)

        def look_again(seconds: float) -> None:
            looks.append(None)
            assert len(looks) < 100, "waits for ever"
            happens()
            sleep(seconds)

        monkeypatch.setattr(work_units, "write_shard", write_and_note)
        monkeypatch.setattr(synthesis.time, "sleep", look_again)
        monkeypatch.setattr(synthesis, "_POLL_S", 0.05)
        return made

    return begin


def test_a_shard_that_was_finished_elsewhere_is_not_made(
    source: Path, dataset: Path, tmp_path: Path, claim: Path, watch: Watch
) -> None:
    def finish() -> None:
        for name in (SHARDS[1], claim.with_suffix(".json").name):
            shutil.copy(dataset / name, tmp_path)

    made = watch(finish)
    assert run(source, tmp_path).index is not None
    assert made == [SHARDS[0], *SHARDS[2:]] and bytes_of(tmp_path) == bytes_of(dataset)


def test_a_shard_that_was_given_up_is_made_at_once(
    source: Path, dataset: Path, tmp_path: Path, claim: Path, watch: Watch
) -> None:
    made = watch(lambda: claim.unlink(missing_ok=True))
    assert run(source, tmp_path).index is not None
    assert made == [SHARDS[0], *SHARDS[2:], SHARDS[1]] and bytes_of(tmp_path) == bytes_of(dataset)


def test_a_shard_whose_owner_has_fallen_silent_is_taken_over(
    source: Path,
    tmp_path: Path,
    claim: Path,
    watch: Watch,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for module in (leases, synthesis):
        monkeypatch.setattr(module, "LEASE_S", 1.0)
    monkeypatch.setattr(synthesis, "_SILENT_S", 0.1)
    made = watch(lambda: None)
    monkeypatch.setattr(leases, "_alive", lambda pid: pytest.fail("of another machine"))
    assert run(source, tmp_path).index is not None
    assert made[-1] == SHARDS[1] and len(made) == 4 and verify(tmp_path) == []
    assert "synth: waiting for 1 shard(s) that other processes are making" in capsys.readouterr().err
    assert not claim.exists()
