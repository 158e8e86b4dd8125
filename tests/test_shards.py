"""The shard format: round trips, and no damage that goes unnoticed."""

from __future__ import annotations

import errno
import json
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
from pipeline.shard_file import open_shard, write_shard
from pipeline.shard_schema import ATTRIBUTES, FIELDS, FORMAT, FORMAT_VERSION, fields_of
from pipeline.shards import (
    INDEX_NAME,
    dataset_digest,
    each_shard,
    load_arrays,
    read_index,
    shard_name,
    verify,
)

TILE = 16
ATTRIBUTE_VALUES = {
    "plan_digest": "0" * 64,
    # The modes in which a dataset has every field there is.
    "config": {
        "tile": TILE,
        "focus": {"mode": "thin-lens"},
        "exposure": {"mode": "camera-response"},
        "source": {"manifest": "none"},
    },
    "shard": 0,
    "num_shards": 1,
    "versions": {"numpy": np.__version__},
}


def make_sample(number: int) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    shapes = {"(N,T,T)": (TILE, TILE), "(N,T,T,3)": (TILE, TILE, 3), "(N,)": ()}
    values: dict[str, Any] = {"id": f"folder/straße-{number}#0"}
    for name, spec in FIELDS.items():
        if spec.dtype != "str":
            scale = 255 if spec.dtype == "u1" else 1
            values[name] = (rng.random(shapes[spec.shape]) * scale).astype(spec.dtype)
        elif name != "id":
            values[name] = f"{name} {number}"
    return values


def make_dataset(folder: Path, counts: tuple[int, ...] = (3, 2), compress: str = "none") -> Path:
    entries, number = [], 0
    for shard, count in enumerate(counts):
        path = folder / shard_name(shard, len(counts))
        samples = [make_sample(number + i) for i in range(count)]
        number += count
        attributes = {**ATTRIBUTE_VALUES, "shard": shard, "num_shards": len(counts)}
        entries.append(write_shard(path, samples, tile=TILE, attributes=attributes, compress=compress))
    index = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        **{name: ATTRIBUTE_VALUES[name] for name in ("plan_digest", "config")},
        "source": {"manifest": "none"},
        "shards": entries,
        "num_samples": sum(counts),
        "digest": dataset_digest(entries),
        "seen": sum(counts) + 1,
        "written": sum(counts),
        "skipped": 0,
        "failed": 1,
        "failures": [{"id": "folder/broken#0", "reason": "broken"}],
    }
    write_json(folder / INDEX_NAME, index)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("dataset"))


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


def test_digest_does_not_depend_on_compression(tmp_path: Path) -> None:
    digests = [
        read_index(make_dataset(tmp_path / compress, compress=compress))["digest"]
        for compress in ("none", "gzip")
    ]
    assert digests[0] == digests[1]


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    first, second = (make_dataset(tmp_path / name) for name in "ab")
    for path in sorted(first.iterdir()):
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_layout_is_the_documented_one(dataset: Path) -> None:
    path = dataset / shard_name(0, 2)
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


@pytest.mark.parametrize("field", ["f_number", "under_ev"])
def test_a_draw_that_is_missing_or_unlisted_is_noticed(dataset: Path, tmp_path: Path, field: str) -> None:
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
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


def test_a_shard_may_be_empty(tmp_path: Path) -> None:
    make_dataset(tmp_path, (0, 2))
    assert len(load_arrays(tmp_path, ["visible"])["visible"]) == 2
    assert verify(tmp_path) == []


def test_a_dataset_may_not_be_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no samples"):
        load_arrays(make_dataset(tmp_path, (0,)), ["visible"])


def test_shards_are_read_in_order_and_as_long_as_the_index_says(dataset: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(dataset, tmp_path / "copy")
    index = read_index(folder)
    whole = load_arrays(folder, ["visible", "id"])
    parts = list(each_shard(folder, index, ["visible", "id"], keep=lambda array: array[:1]))
    assert [part["id"][0] for part in parts] == [whole["id"][0], whole["id"][3]]
    np.testing.assert_array_equal(
        np.concatenate([part["visible"] for part in parts]), whole["visible"][[0, 3]]
    )
    index["shards"][1]["samples"] += 1
    with pytest.raises(InputError, match="not as long as the index says"):
        list(each_shard(folder, index, ["id"]))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_flipped_bit_is_noticed(
    dataset: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("flipped")
    shutil.copytree(dataset, folder, dirs_exist_ok=True)
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
    expected = load_arrays(dataset, list(FIELDS))
    for name in FIELDS:
        np.testing.assert_array_equal(arrays[name], expected[name])


@pytest.mark.parametrize("keep", [0, 100, 0.5, 0.99])
def test_truncated_shards_are_refused(dataset: Path, tmp_path: Path, keep: float) -> None:
    path = tmp_path / "shard.h5"
    content = (dataset / shard_name(0, 2)).read_bytes()
    path.write_bytes(content[: int(keep if keep > 1 or keep == 0 else keep * len(content))])
    with pytest.raises(InputError, match=str(path)), open_shard(path):
        pass


def test_missing_shard_and_missing_index_are_named(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
    (tmp_path / shard_name(1, 2)).unlink()
    assert "missing" in verify(tmp_path)[0]
    (tmp_path / INDEX_NAME).unlink()
    with pytest.raises(InputError, match="run synth again"):
        read_index(tmp_path)


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
    dataset: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], words: list[str]
) -> None:
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
    index = read_index(dataset)
    change(index)
    write_json(tmp_path / INDEX_NAME, index)
    problems = verify(tmp_path)
    assert len(problems) == len(words)
    for problem, word in zip(problems, words, strict=True):
        assert re.search(word, problem) and problem.endswith(("run synth again", "delete it"))
        assert "\n" not in problem


def test_a_shard_of_another_dataset_beside_them_is_named(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
    stranger = tmp_path / shard_name(2, 3)
    shutil.copy(dataset / shard_name(0, 2), stranger)
    assert verify(tmp_path) == [f"{stranger}: not in the index; delete it"]


@pytest.mark.parametrize(
    "entry", [{"samples": "3"}, {"bytes": None}, {"arrays": 5}, {"arrays": []}, {"sha256": 1}, {"name": 7}]
)
def test_damaged_entries_are_one_line(dataset: Path, tmp_path: Path, entry: dict[str, Any]) -> None:
    index = read_index(dataset)
    index["shards"][0] |= entry
    write_json(tmp_path / INDEX_NAME, index)
    with pytest.raises(InputError, match="damaged index"):
        read_index(tmp_path)


def test_newer_formats_are_refused_by_name(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path, dirs_exist_ok=True)
    with h5py.File(tmp_path / shard_name(0, 2), "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(InputError, match="format 2"), open_shard(tmp_path / shard_name(0, 2)):
        pass
    index = read_index(tmp_path)
    write_json(tmp_path / INDEX_NAME, {**index, "format_version": 2})
    with pytest.raises(InputError, match="format 2"):
        read_index(tmp_path)


def _external_link(file: h5py.File, secret: Path) -> None:
    del file["visible"]
    file["visible"] = h5py.ExternalLink(str(secret), "/visible")


def _soft_link(file: h5py.File, secret: Path) -> None:
    del file["visible_over"]
    file["visible_over"] = h5py.SoftLink("/visible")


def _external_storage(file: h5py.File, secret: Path) -> None:
    shape = file["infrared"].shape
    del file["infrared"]
    size = int(np.prod(shape))
    file.create_dataset("infrared", shape, "u1", external=[(str(secret), 0, size)])


def _virtual(file: h5py.File, secret: Path) -> None:
    shape = file["infrared"].shape
    del file["infrared"]
    layout = h5py.VirtualLayout(shape, "u1")
    layout[:] = h5py.VirtualSource(str(secret), "infrared", shape)
    file.create_virtual_dataset("infrared", layout)


def _wrong_type(file: h5py.File, secret: Path) -> None:
    values = file["visible"][:].astype("f4")
    del file["visible"]
    file.create_dataset("visible", data=values, chunks=(1, *values.shape[1:]), fletcher32=True)


def _huge_declaration(file: h5py.File, secret: Path) -> None:
    file.attrs["num_samples"] = 1 << 40
    for name in FIELDS:
        spec = file[name]
        shape, dtype, chunks = (1 << 40, *spec.shape[1:]), spec.dtype, spec.chunks
        del file[name]
        file.create_dataset(name, shape, dtype, chunks=chunks, fletcher32=True)


def _declaration_without_content(file: h5py.File, secret: Path) -> None:
    spec = file["visible"]
    shape, dtype, chunks = spec.shape, spec.dtype, spec.chunks
    del file["visible"]
    file.create_dataset("visible", shape, dtype, chunks=chunks, fletcher32=True)


def _config_that_is_no_table(file: h5py.File, secret: Path) -> None:
    file.attrs["config"] = np.array(b"[1, 2]", h5py.string_dtype("utf-8", 6))


def _unknown_field(file: h5py.File, secret: Path) -> None:
    file["extra"] = 1


@pytest.mark.parametrize(
    "attack",
    [
        _external_link,
        _soft_link,
        _external_storage,
        _virtual,
        _wrong_type,
        _huge_declaration,
        _declaration_without_content,
        _config_that_is_no_table,
        _unknown_field,
    ],
)
def test_hostile_shards_are_refused(dataset: Path, tmp_path: Path, attack: Any) -> None:
    path = tmp_path / "shard.h5"
    shutil.copy(dataset / shard_name(0, 2), path)
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    with h5py.File(path, "r+") as file:
        attack(file, secret)
    with pytest.raises(InputError, match=str(path)), open_shard(path):
        pass


def test_an_index_cannot_point_outside_its_folder(dataset: Path, tmp_path: Path) -> None:
    index = read_index(dataset)
    index["shards"][0]["name"] = "../elsewhere.h5"
    write_json(tmp_path / INDEX_NAME, index)
    with pytest.raises(InputError, match="leaves the folder"):
        read_index(tmp_path)
