"""The shard format: round trips, and a layout that is the documented one."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from random_shards import ATTRIBUTE_VALUES, TILE, make_dataset, make_sample

from pipeline.files import InputError, write_json
from pipeline.shards import file as shard_file
from pipeline.shards.dataset import (
    INDEX_NAME,
    MAX_READERS,
    each_shard,
    load_arrays,
    read_index,
    shard_name,
    verify,
)
from pipeline.shards.file import open_shard, write_shard
from pipeline.shards.schema import ATTRIBUTES, FIELDS, fields_of


@pytest.mark.parametrize("compress", ["none", "gzip"])
def test_round_trip(tmp_path: Path, compress: str) -> None:
    make_dataset(tmp_path, (3, 2), compress)
    arrays = load_arrays(tmp_path, list(FIELDS))
    for number in range(5):
        for name, value in make_sample(number).items():
            np.testing.assert_array_equal(arrays[name][number], value)
            dtype = FIELDS[name].dtype
            assert arrays[name].dtype == (object if dtype == "str" else np.dtype(dtype))
    assert verify(tmp_path) == []


def test_a_full_disk_is_an_error_of_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"No space left.*shard-00000-of-00002\.h5"):
        make_dataset(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_that_is_read_back_differently_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = shard_file._write_dataset

    def disorderly(h5: h5py.File, name: str, array: np.ndarray, compress: str) -> None:
        write(h5, name, array[::-1] if name == "visible" else array, compress)

    monkeypatch.setattr(shard_file, "_write_dataset", disorderly)
    with pytest.raises(OSError, match=r"of-00002\.h5: visible read back differently"):
        make_dataset(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_digest_does_not_depend_on_compression(tmp_path: Path) -> None:
    digests = [
        read_index(make_dataset(tmp_path / compress, compress=compress))["digest"]
        for compress in ("none", "gzip")
    ]
    assert digests[0] == digests[1]


def test_equal_samples_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where another thread lets the written arrays go later."""
    create, held = h5py.Group.create_dataset, []

    def hold(*arguments: object, **options: object) -> h5py.Dataset:
        held.append(create(*arguments, **options))
        return held[-1]

    first = make_dataset(tmp_path / "a")
    monkeypatch.setattr(h5py.Group, "create_dataset", hold)
    second = make_dataset(tmp_path / "b")
    for path in sorted(first.iterdir()):
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_layout_is_the_documented_one(random_dataset: Path) -> None:
    path = random_dataset / shard_name(0, 2)
    assert path.read_bytes()[8] == 3, "superblock 3 is the first whose metadata carries checksums"
    with h5py.File(path) as file:
        assert set(file.attrs) == set(ATTRIBUTES)
        assert json.loads(file.attrs["config"]) == ATTRIBUTE_VALUES["config"]
        for name in FIELDS:
            assert file[name].fletcher32
        assert file["visible"].chunks == (1, TILE, TILE, 3)


@pytest.mark.parametrize(
    ("focus", "exposure", "extra"),
    [
        ("paper", "probe", set()),
        ("thin-lens", "probe", {"f_number", "focal_length_mm", "near_focus_m", "far_focus_m"}),
        ("paper", "camera-response", {"over_ev", "under_ev", "response_curve"}),
    ],
)
def test_draws_of_a_mode_are_stored_in_that_mode_alone(
    tmp_path: Path, focus: str, exposure: str, extra: set[str]
) -> None:
    config = {"focus": {"mode": focus}, "exposure": {"mode": exposure}}
    path = tmp_path / "shard.h5"
    attributes = {**ATTRIBUTE_VALUES, "config": config}
    entry = write_shard(path, [make_sample(0)], tile=TILE, attributes=attributes)
    always = {name for name, field in FIELDS.items() if field.only is None}
    with h5py.File(path) as file:
        assert set(file) == set(entry["arrays"]) == set(fields_of(config)) == always | extra
    absent = ({"f_number", "over_ev"} - extra).pop()
    with open_shard(path) as shard, pytest.raises(InputError, match=f"no field {absent}"):
        shard.read(absent)


def test_a_shard_may_be_empty(tmp_path: Path) -> None:
    make_dataset(tmp_path, (0, 2))
    assert len(load_arrays(tmp_path, ["visible"])["visible"]) == 2
    assert verify(tmp_path) == []


def test_a_dataset_may_not_be_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no samples"):
        load_arrays(make_dataset(tmp_path, (0,)), ["visible"])


def test_shards_are_read_in_order_and_as_long_as_the_index_says(random_dataset: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(random_dataset, tmp_path / "copy")
    index = read_index(folder)
    whole = load_arrays(folder, ["visible", "id"])
    parts = list(each_shard(folder, index, ["visible", "id"], keep=lambda array: array[:1]))
    assert [part["id"][0] for part in parts] == [whole["id"][0], whole["id"][3]]
    np.testing.assert_array_equal(
        np.concatenate([part["visible"] for part in parts]), whole["visible"][[0, 3]]
    )
    index["shards"][1]["samples"] += 1
    with pytest.raises(InputError, match="2 samples, the index says 3"):
        list(each_shard(folder, index, ["id"]))


def test_no_more_is_read_ahead_than_there_are_readers(tmp_path: Path) -> None:
    folder = make_dataset(tmp_path, (1,) * (3 * MAX_READERS))
    read: list[np.ndarray] = []

    def keep(array: np.ndarray) -> np.ndarray:
        read.append(array)
        return array

    parts = each_shard(folder, read_index(folder), ["id"], keep=keep)
    for taken, _ in enumerate(parts, start=1):
        assert len(read) <= taken + MAX_READERS
    assert len(read) == 3 * MAX_READERS


def test_newer_formats_are_refused_by_name(random_dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(random_dataset, tmp_path, dirs_exist_ok=True)
    with h5py.File(tmp_path / shard_name(0, 2), "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(InputError, match="format 2"), open_shard(tmp_path / shard_name(0, 2)):
        pass
    index = read_index(tmp_path)
    write_json(tmp_path / INDEX_NAME, {**index, "format_version": 2})
    with pytest.raises(InputError, match="format 2"):
        read_index(tmp_path)
