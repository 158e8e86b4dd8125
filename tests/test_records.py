"""When a finished shard still stands: its sources, its record and its bytes are those it was made with."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from damaged_files import flip_a_bit
from tiny_source import FRAMES, make_config, run

from pipeline.files import InputError, read_json, write_json
from pipeline.shards.dataset import read_index, shard_name, verify
from pipeline.shards.inspection import iterate_samples
from pipeline.synthesis import records, work_units
from pipeline.synthesis.records import read_record
from pipeline.synthesis.samples import make_samples


def _times(folder: Path) -> list[int]:
    return [path.stat().st_mtime_ns for path in sorted(folder.glob("*.h5"))]


def _remade(before: list[int], after: list[int]) -> list[int]:
    return [shard for shard, times in enumerate(zip(before, after, strict=True)) if times[0] != times[1]]


def test_other_pixels_in_a_file_of_the_same_size_make_its_shard_again(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source.parent, tmp_path / "source")
    manifest = tmp_path / "source" / "manifest.toml"
    manifest.write_text(manifest.read_text().replace(".png", ".bmp"))
    for path in (tmp_path / "source").glob("[vi]*/*.png"):
        cv2.imwrite(str(path.with_suffix(".bmp")), cv2.imread(str(path)))
    config, out = make_config(manifest), tmp_path / "out"
    run(manifest, out, config)
    before = _times(out)
    changed = tmp_path / "source/visible/2.bmp"
    size = changed.stat().st_size
    cv2.imwrite(str(changed), 255 - cv2.imread(str(changed)))
    assert changed.stat().st_size == size
    run(manifest, out, config)
    assert _remade(before, _times(out)) == [1]
    for path in (tmp_path / "source").rglob("*.*"):
        os.utime(path, (1, 1))
    again = _times(out)
    run(manifest, out, config)
    assert _times(out) == again, "times of files do not count: nodes may hold copies"


def test_another_depth_map_makes_its_shard_again(source: Path, tmp_path: Path) -> None:
    shutil.copytree(source.parent, tmp_path / "source")
    manifest, out = tmp_path / "source" / "manifest.toml", tmp_path / "out"
    missing = (tmp_path / "source/depth/6.png").rename(tmp_path / "6.png")
    assert run(manifest, out).failed == 2
    before = _times(out)
    path = tmp_path / "source/depth/0.png"
    cv2.imwrite(str(path), 65535 - cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    missing.rename(tmp_path / "source/depth/6.png")
    assert run(manifest, out).failed == 0
    assert _remade(before, _times(out)) == [0, 3]
    samples = {sample["id"]: sample for sample in iterate_samples(out)}
    inverse = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) / 65535
    row, col = samples["0#0"]["tile_row"], samples["0#0"]["tile_col"]
    np.testing.assert_allclose(
        samples["0#0"]["inverse_depth"], inverse[row : row + 32, col : col + 32], atol=1e-3
    )
    assert "6#0" in samples


def test_sources_are_not_read_where_there_is_no_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "inputs_digest", lambda _: pytest.fail("the sources were read"))
    assert read_record(tmp_path / shard_name(0, 1), "digest", ()) is None
    write_json(tmp_path / "shard-00000-of-00001.json", {"plan_digest": "another"})
    assert read_record(tmp_path / shard_name(0, 1), "digest", ()) is None


@pytest.mark.parametrize("moments", [(0,), (3,), (0, 4)], ids=["at once", "later", "twice"])
def test_a_source_replaced_while_shards_are_made_makes_its_shard_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moments: tuple[int, ...]
) -> None:
    shutil.copytree(source.parent, tmp_path / "source")
    manifest, out, made = tmp_path / "source" / "manifest.toml", tmp_path / "out", []

    def replaced_meanwhile(frames: Any, *arguments: Any) -> Any:
        content = make_samples(frames, *arguments)
        if len(made) in moments:
            shutil.copy(source.parent / f"visible/{1 + len(made)}.png", tmp_path / "source/visible/0.png")
        made.append(frames[0].id)
        return content

    monkeypatch.setattr(work_units, "make_samples", replaced_meanwhile)
    summary = run(manifest, out)
    assert made == ["0", "2", "4", "6", "0"]
    if len(moments) == 2:
        says = f"{shard_name(0, 4)}: its sources changed while it was made; run it again"
        assert summary.problems == (says,) and summary.index is None
        summary = run(manifest, out)
    assert summary.index is not None and not summary.problems
    assert verify(out) == [] and made[5:] == ["0"] * (len(moments) - 1)


@pytest.mark.parametrize(
    "harm",
    [
        lambda record: record.pop("failures"),
        lambda record: record.pop("seen"),
        lambda record: record.update(failures=[3]),
        lambda record: record.update(failures=[{"id": "x"}], seen=5),
        lambda record: record.update(seen=7),
        lambda record: record["entry"].pop("sha256"),
        lambda record: record.update(entry=None),
        lambda record: record["entry"].update(name="../x.h5"),
        lambda record: record["entry"].update(arrays=5),
        lambda record: record["entry"].update(arrays={"visible": 5}),
        lambda record: (record.update(seen=4.0), record["entry"].update(samples=4.0)),
        lambda record: record.update(seen=4.0),
        lambda record: (record.update(seen=-1), record["entry"].update(samples=-1)),
        lambda record: record.update(seen=5, failures=[{"id": "x", "reason": 5}]),
    ],
)
def test_a_damaged_record_counts_as_absent(
    source: Path, dataset: Path, tmp_path: Path, harm: Callable[[dict[str, Any]], object]
) -> None:
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
    path = (tmp_path / shard_name(0, 4)).with_suffix(".json")
    record = read_json(path)
    harm(record)
    write_json(path, record)
    before = _times(tmp_path)
    assert run(source, tmp_path).written == 2 * FRAMES
    assert _remade(before, _times(tmp_path)) == [0]
    assert read_index(tmp_path) == read_index(dataset)


@pytest.mark.parametrize("content", ["", "[]", "null", "{"])
def test_a_record_of_anything_else_counts_as_absent(tmp_path: Path, content: str) -> None:
    (tmp_path / "shard-00000-of-00001.json").write_text(content)
    assert read_record(tmp_path / shard_name(0, 1), "digest", ()) is None


def test_the_index_is_written_last(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, _: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    with monkeypatch.context() as patch, pytest.raises(OSError, match=r"failures\.jsonl"):
        patch.setattr(records, "write_bytes", full)
        run(source, tmp_path)
    assert not (tmp_path / "index.json").exists()
    assert run(source, tmp_path).index is not None


def test_damaged_shards_are_made_anew_at_once(source: Path, dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
    for shard in (0, 3):
        flip_a_bit(tmp_path / shard_name(shard, 4))
    assert run(source, tmp_path).index is not None
    assert verify(tmp_path) == [] and read_index(tmp_path) == read_index(dataset)


@pytest.mark.parametrize("damaged", [(0, 3), (3,)])
def test_a_part_leaves_the_damaged_shards_of_others_and_names_them(
    source: Path, dataset: Path, tmp_path: Path, damaged: tuple[int, ...]
) -> None:
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
    for shard in damaged:
        flip_a_bit(tmp_path / shard_name(shard, 4))
    first = run(source, tmp_path, part=(1, 2))
    with pytest.raises(InputError, match=r"no index\.json; run synth again to finish it"):
        read_index(tmp_path)
    assert first.index is None and first.problems == (
        f"{shard_name(3, 4)}: damaged; run the part that makes it again",
    )
    assert (tmp_path / shard_name(0, 4)).read_bytes() == (dataset / shard_name(0, 4)).read_bytes()
    second = run(source, tmp_path, part=(2, 2))
    assert second.index is not None and not second.problems
    assert verify(tmp_path) == [] and read_index(tmp_path) == read_index(dataset)


def test_what_is_to_be_done_comes_before_frames_that_were_left_out(
    source: Path, dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(source.parent, tmp_path / "source")
    shutil.copytree(dataset, tmp_path / "out")
    shutil.copy(tmp_path / "source/visible/0.png", tmp_path / "source/visible/alone.png")
    flip_a_bit(tmp_path / "out" / shard_name(3, 4))
    first, *others = run(tmp_path / "source" / source.name, tmp_path / "out", part=(1, 2)).problems
    assert "damaged; run the part" in first
    assert len(others) == 1 and others[0].startswith("skipped alone: ")
