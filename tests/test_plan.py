"""The plan of a dataset: what another run on the same folder may change, and what it may not."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_source import make_config, run

from pipeline.depth.network import DepthNetwork, save_depth_network
from pipeline.exposure.probe import ExposureProbe, save_probe
from pipeline.files import InputError, read_json, write_json
from pipeline.shards.dataset import read_index
from pipeline.synthesis import plan
from pipeline.synthesis.plan import PLAN_NAME, SynthesisConfig, _write_new, make_plan, settle_plan


def _with_splits(source: Path, folder: Path, *splits: str) -> Path:
    """The manifest of a dataset whose splits are copies of the source."""
    for split in splits:
        shutil.copytree(source.parent, folder / split)
    text = (
        source.read_text()
        .replace('"visible/', '"{split}/visible/')
        .replace('"infrared/', '"{split}/infrared/')
    )
    manifest = folder / "manifest.toml"
    manifest.write_text(text.replace("[roles]", f"splits = {list(splits)}\n[roles]"))
    return manifest


def test_another_split_on_the_same_folder_stops(source: Path, tmp_path: Path) -> None:
    manifest = _with_splits(source, tmp_path, "train", "test")
    config, out = make_config(source), tmp_path / "out"
    run(manifest, out, config, split="train")
    assert read_index(out)["source"] == {"manifest": "tiny", "split": "train"}
    before = {path: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError, match=r"another plan \(source\.split: train then, test now\)"):
        run(manifest, out, config, split="test")
    manifest.write_text(manifest.read_text().replace('"tiny"', '"other"'))
    with pytest.raises(InputError, match=r"source\.manifest: tiny then, other now"):
        run(manifest, out, config, split="train")
    assert {path: path.read_bytes() for path in out.iterdir()} == before


def test_a_version_that_makes_other_bytes_does_not_go_on(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make_config(source)
    run(source, tmp_path / "out", config)
    before = plan.REVISIONS["paper"]
    monkeypatch.setitem(plan.REVISIONS, "paper", before + 1)
    with pytest.raises(InputError, match=rf"revision: {before} then, {before + 1} now"):
        run(source, tmp_path / "out", config)


def test_a_frame_that_was_completed_is_told(source: Path, tmp_path: Path) -> None:
    infrared = tmp_path / "source/infrared/3.png"
    shutil.copytree(source.parent, tmp_path / "source")
    infrared.rename(tmp_path / "3.png")
    manifest, config = tmp_path / "source/manifest.toml", make_config(source)
    run(manifest, tmp_path / "out", config)
    (tmp_path / "3.png").rename(infrared)
    says = r"frames: 1 added \(or completed by a partner that was missing\), such as 3\); delete it or choose"
    with pytest.raises(InputError, match=says):
        run(manifest, tmp_path / "out", config)


def test_the_only_split_need_not_be_named(source: Path, tmp_path: Path) -> None:
    manifest = _with_splits(source, tmp_path, "all")
    for split in (None, "all"):
        run(manifest, tmp_path / "out", make_config(source), split=split)
    assert read_index(tmp_path / "out")["source"]["split"] == "all"


def test_weights_count_by_their_content_not_their_place(source: Path, tmp_path: Path) -> None:
    depth, probe = tmp_path / "depth.safetensors", tmp_path / "probe.safetensors"

    def write(seed: int) -> None:
        torch.manual_seed(seed)
        network = DepthNetwork("regnetx_002")
        save_depth_network(depth, network, encoder="regnetx_002", size_hw=(64, 96), training={})
        save_probe(probe, ExposureProbe(), {})

    def config(folder: Path) -> SynthesisConfig:
        depth_source = f"timm:regnetx_002:{folder / depth.name}"
        return replace(make_config(source), depth=depth_source, probe=str(folder / probe.name))

    write(seed=1)
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    run(source, out, config(tmp_path))
    elsewhere.mkdir()
    for path in (depth, probe):
        shutil.copy(path, elsewhere)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.h5")}
    run(source, out, config(elsewhere))
    run(source, out, config(tmp_path / "elsewhere" / ".."))
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.h5")} == times
    settings = read_index(out)["config"]
    assert settings["depth"] == "timm:regnetx_002" and str(tmp_path) not in json.dumps(settings)
    with pytest.raises(InputError, match="probe: weights then, default now"):
        run(source, out, replace(config(tmp_path), probe="default"))


def test_of_two_plans_at_the_same_time_one_is_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (make_plan(SynthesisConfig(seed=seed), (), {}, {}) for seed in (1, 2))

    def overtaken(path: Path, data: bytes) -> bool:
        monkeypatch.undo()
        settle_plan(first, tmp_path)
        return _write_new(path, data)

    monkeypatch.setattr(plan, "_write_new", overtaken)
    with pytest.raises(InputError, match=r"another plan \(seed: 1 then, 2 now\)"):
        settle_plan(second, tmp_path)
    settle_plan(first, tmp_path)
    (tmp_path / PLAN_NAME).rename(tmp_path / "shard-of-nobody")
    with pytest.raises(InputError, match="holds shard-of-nobody but no"):
        settle_plan(first, tmp_path)


@pytest.mark.parametrize("name", ["index.json", "failures.jsonl"])
def test_files_of_another_program_are_not_replaced(source: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(
        InputError, match=rf"holds {re.escape(name)} but no plan\.json; choose an empty folder$"
    ):
        run(source, tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_an_empty_probe_is_none() -> None:
    with pytest.raises(InputError, match=r"^probe: empty; give default"):
        SynthesisConfig(probe="")


@pytest.mark.parametrize("hard_links", [True, False])
def test_the_first_of_several_writers_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hard_links: bool
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not hard_links:
        monkeypatch.setattr(os, "link", refused)
    path = tmp_path / "x.bin"
    assert _write_new(path, b"first") and not _write_new(path, b"second")
    assert path.read_bytes() == b"first" and list(tmp_path.iterdir()) == [path]


def test_depth_maps_count_by_their_content_not_their_place(
    source: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(dataset, tmp_path / "out")
    shutil.copytree(source.parent / "depth", tmp_path / "maps")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.h5")}
    monkeypatch.chdir(tmp_path)
    for folder in ("maps", "maps/../maps", tmp_path / "maps"):
        run(source, tmp_path / "out", replace(make_config(source), depth=f"files:{folder}"))
    assert {path: path.stat().st_mtime_ns for path in times} == times
    shutil.copy("maps/1.png", "maps/0.png")
    run(source, tmp_path / "out", replace(make_config(source), depth="files:maps"))
    assert sum(path.stat().st_mtime_ns != before for path, before in times.items()) == 1


def test_a_plan_that_is_just_being_written_is_waited_for(tmp_path: Path) -> None:
    """Without hard links its file is there before its content."""
    first, second = (make_plan(SynthesisConfig(seed=seed), (), {}, {}) for seed in (1, 2))
    settle_plan(first, tmp_path / "first")
    (tmp_path / PLAN_NAME).touch()
    writer = threading.Timer(0.3, os.replace, (tmp_path / "first" / PLAN_NAME, tmp_path / PLAN_NAME))
    writer.start()
    with pytest.raises(InputError, match=r"another plan \(seed: 1 then, 2 now\)"):
        settle_plan(second, tmp_path)
    writer.join()


def test_a_plan_that_stays_empty_does_not_block_the_folder(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process was killed before it wrote the content, and therefore before it made a shard."""
    monkeypatch.setattr(plan, "_WRITING_S", 0.2)
    (tmp_path / PLAN_NAME).touch()
    assert run(source, tmp_path).index is not None


def _lose_plan(out: Path, content: str | None) -> None:
    (out / PLAN_NAME).unlink()
    if content is not None:
        (out / PLAN_NAME).write_text(content)


@pytest.mark.parametrize("content", [None, "", "{", "[1]", '{"digest": "x", "settings": null, "frames": []}'])
def test_the_records_of_shards_vouch_for_a_lost_plan(
    source: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    monkeypatch.setattr(plan, "_WRITING_S", 0.2)
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
    damaged, *whole = sorted(tmp_path.glob("shard-*.json"))
    damaged.write_text("counts as absent")
    times = {path: path.with_suffix(".h5").stat().st_mtime_ns for path in whole}
    _lose_plan(tmp_path, content)
    assert run(source, tmp_path).index is not None
    assert (tmp_path / PLAN_NAME).read_bytes() == (dataset / PLAN_NAME).read_bytes()
    assert {path: path.with_suffix(".h5").stat().st_mtime_ns for path in whole} == times
    assert read_index(tmp_path) == read_index(dataset)


@pytest.mark.parametrize("content", [None, "", "{"])
@pytest.mark.parametrize("vouching", ["none", "one of them for another plan"])
def test_a_lost_plan_that_no_record_vouches_for_blocks_the_folder(
    source: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None,
    vouching: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(plan, "_WRITING_S", 0.2)
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
    first, *others = sorted(tmp_path.glob("shard-*.json"))
    write_json(first, {**read_json(first), "plan_digest": "another"})
    if vouching == "none":
        for path in (first, *others):
            path.unlink()
    _lose_plan(tmp_path, content)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        InputError, match=r"no plan\.json; choose an empty|plan\.json: damaged; choose another"
    ):
        run(source, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    "content",
    ["[1]", "{}", '{"digest": "x", "settings": null, "frames": []}', '{"digest": 1, "settings": {}}', "7"],
)
def test_a_damaged_plan_is_one_line(source: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / PLAN_NAME).write_text(content)
    with pytest.raises(InputError, match=r"plan\.json: damaged; choose another folder$"):
        run(source, tmp_path)
