"""Damaged shards, and an index that contradicts itself or them: nothing goes unnoticed."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.files import InputError, write_json
from pipeline.shards.dataset import INDEX_NAME, dataset_digest, load_arrays, read_index, shard_name, verify
from pipeline.shards.file import open_shard
from pipeline.shards.schema import FIELDS


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_flipped_bit_is_noticed(
    random_dataset: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    shutil.copytree(random_dataset, folder, dirs_exist_ok=True)
    path = folder / shard_name(0, 2)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    assert len(verify(folder)) == 1
    # Reading either raises, or the flipped bit lies outside all arrays and changes nothing.
    try:
        arrays = load_arrays(folder, list(FIELDS))
    except InputError:
        return
    expected = load_arrays(random_dataset, list(FIELDS))
    for name in FIELDS:
        np.testing.assert_array_equal(arrays[name], expected[name])


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_truncated_shards_are_refused(random_dataset: Path, tmp_path: Path, keep: float) -> None:
    path = tmp_path / "shard.h5"
    content = (random_dataset / shard_name(0, 2)).read_bytes()
    path.write_bytes(content[: int(keep if keep > 1 or keep == 0 else keep * len(content))])
    with pytest.raises(InputError, match=str(path)), open_shard(path):
        pass


def test_missing_shard_and_missing_index_are_named(random_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(random_dataset, tmp_path, dirs_exist_ok=True)
    (tmp_path / shard_name(1, 2)).unlink()
    assert "missing" in verify(tmp_path)[0]
    (tmp_path / INDEX_NAME).unlink()
    with pytest.raises(InputError, match="run synth again"):
        read_index(tmp_path)


@pytest.mark.parametrize("field", ["f_number", "under_ev"])
def test_a_draw_that_is_missing_or_unlisted_is_noticed(
    random_dataset: Path, tmp_path: Path, field: str
) -> None:
    shutil.copytree(random_dataset, tmp_path, dirs_exist_ok=True)
    index = read_index(tmp_path)
    del index["shards"][0]["arrays"][field]
    write_json(tmp_path / INDEX_NAME, {**index, "digest": dataset_digest(index["shards"])})
    (problem,) = verify(tmp_path)
    assert field in problem
    path = tmp_path / shard_name(0, 2)
    with h5py.File(path, "r+") as file:
        del file[field]
    with pytest.raises(InputError, match=field), open_shard(path):
        pass


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda index: index["shards"].pop(),
            ["says 5 samples, but 3", "digest", "00000.* its num_shards not as", "shard-00001.* not in"],
        ),
        (
            lambda index: index["shards"].reverse(),
            ["digest", "00001.* its shard not", "00000.* its shard not"],
        ),
        (lambda index: index.update(num_samples=6), ["says 6 samples, but 5", "says 5 .* written, but 6"]),
        (lambda index: index.pop("digest"), ["digest"]),
        (lambda index: index["shards"][0].update(samples=9), ["says 5 samples, but 11", "3 samples, .* 9"]),
        (lambda index: index.update(seen=5), ["seen 5, written 5, skipped 0, failed 1: does not add up"]),
        (lambda index: index.update(skipped="0"), ["skipped 0, failed 1: does not add up"]),
        (lambda index: index.update(written=4, seen=5), ["says 4 samples written, but 5 held"]),
        (lambda index: index.update(failures=[]), ["says 1 samples failed, but lists another number"]),
        (lambda index: index.pop("failures"), ["says 1 samples failed"]),
        (lambda index: index.update(source={"manifest": "other"}), ["source is not that of its config"]),
        (
            lambda index: index.update(plan_digest="1" * 64),
            ["00000.* its plan_digest not", "00001.* its plan"],
        ),
        (
            lambda index: index["config"].update(seed=9),
            ["00000.* its config not as", "00001.* its config not"],
        ),
    ],
)
def test_an_index_that_contradicts_itself_is_noticed(
    random_dataset: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], words: list[str]
) -> None:
    shutil.copytree(random_dataset, tmp_path, dirs_exist_ok=True)
    index = read_index(random_dataset)
    change(index)
    write_json(tmp_path / INDEX_NAME, index)
    problems = verify(tmp_path)
    assert len(problems) == len(words)
    for problem, word in zip(problems, words, strict=True):
        assert re.search(word, problem) and problem.endswith(("run synth again", "delete it"))
        assert "\n" not in problem


def test_a_shard_of_another_dataset_beside_them_is_named(random_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(random_dataset, tmp_path, dirs_exist_ok=True)
    stranger = tmp_path / shard_name(2, 3)
    shutil.copy(random_dataset / shard_name(0, 2), stranger)
    assert verify(tmp_path) == [f"{stranger}: not in the index; delete it"]


@pytest.mark.parametrize(
    "entry",
    [
        {"samples": "3"},
        {"bytes": None},
        {"arrays": 5},
        {"arrays": []},
        {"arrays": {"id": 5}},
        {"samples": True},
        {"sha256": 1},
        {"name": 7},
    ],
)
def test_damaged_entries_are_one_line(random_dataset: Path, tmp_path: Path, entry: dict[str, Any]) -> None:
    index = read_index(random_dataset)
    index["shards"][0] |= entry
    write_json(tmp_path / INDEX_NAME, index)
    with pytest.raises(InputError, match="damaged index"):
        read_index(tmp_path)
