"""Frames that cannot be used: named with their reason, while the others are made."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tiny_source import FRAMES, SIZE, make_config, run

from pipeline.shards.dataset import read_index
from pipeline.synthesis import synthesise as synthesis
from pipeline.synthesis.work_units import ShardTask


def _half_a_pair(folder: Path) -> None:
    (folder / "infrared/2.png").unlink()


def _other_size(folder: Path) -> None:
    image = cv2.imread(str(folder / "infrared/2.png"))
    cv2.imwrite(str(folder / "infrared/2.png"), image[:-1])


def _text(folder: Path) -> None:
    (folder / "visible/2.png").write_text("not an image")


def _truncated(folder: Path) -> None:
    path = folder / "visible/2.png"
    path.write_bytes(path.read_bytes()[:-40])


def _zero_bytes(folder: Path) -> None:
    (folder / "visible/2.png").write_bytes(b"")


def _no_depth(folder: Path) -> None:
    (folder / "depth/2.png").unlink()


def _flat_depth(folder: Path) -> None:
    cv2.imwrite(str(folder / "depth/2.png"), np.full(SIZE, 3000, np.uint16))


def _tiny(folder: Path) -> None:
    for name in ("visible", "infrared", "depth"):
        path = folder / name / "2.png"
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:20, :20])


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_half_a_pair, "no infrared"),
        (_other_size, "96x72.*96x71"),
        (_text, "not a JPEG, PNG"),
        (_truncated, "damaged"),
        (_zero_bytes, "empty"),
        (_no_depth, "depth"),
        (_flat_depth, "threshold"),
        (_tiny, "smaller than the tile"),
    ],
)
def test_bad_frames_are_named_and_the_others_done(
    source: Path, tmp_path: Path, harm: Callable[[Path], None], reason: str
) -> None:
    shutil.copytree(source.parent, tmp_path / "bad")
    harm(tmp_path / "bad")
    manifest = tmp_path / "bad" / "manifest.toml"
    summary = run(manifest, tmp_path / "out", make_config(manifest))
    assert (summary.seen, summary.written) == (2 * FRAMES, 2 * FRAMES - 2)
    assert summary.seen == summary.written + summary.skipped + summary.failed
    word = "skipped" if summary.skipped else "failed"
    assert all(problem.startswith(f"{word} 2") for problem in summary.problems)
    assert summary.problems and all("\n" not in problem for problem in summary.problems)

    assert re.search(reason, summary.problems[0])
    lines = (tmp_path / "out/failures.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"].split("#")[0] for line in lines} == {"2"}


def test_a_run_tries_again_once_what_had_failed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(source.parent, tmp_path / "bad")
    _text(tmp_path / "bad")
    manifest, out = tmp_path / "bad" / "manifest.toml", tmp_path / "out"
    run(manifest, out, make_config(manifest))
    made: list[str] = []
    looks: list[list[dict[str, Any]]] = []
    make_shard, finished_records = synthesis.make_shard, synthesis.finished_records

    def counted(task: ShardTask) -> dict[str, float] | None:
        made.append(task.path.name)
        return make_shard(task)

    def meanwhile(*arguments: Any) -> list[dict[str, Any]]:
        looks.append(records := finished_records(*arguments))
        # Another run on this folder is trying it again just now, at the first look.
        return [record for record in records if len(looks) > 1 or not record["failures"]]

    monkeypatch.setattr(synthesis, "make_shard", counted)
    monkeypatch.setattr(synthesis, "finished_records", meanwhile)
    summary = run(manifest, out, make_config(manifest))
    assert len(made) == 1 and summary.index is not None and summary.failed == 2


def test_a_mended_frame_is_made_by_a_rerun(source: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(source.parent, tmp_path / "bad")
    _text(tmp_path / "bad")
    manifest = tmp_path / "bad" / "manifest.toml"
    assert run(manifest, tmp_path / "out", make_config(manifest)).failed == 2
    shutil.copy(source.parent / "visible/2.png", tmp_path / "bad/visible/2.png")
    assert run(manifest, tmp_path / "out", make_config(manifest)).failed == 0
    assert read_index(tmp_path / "out")["digest"] == read_index(dataset)["digest"]
