"""Samples for training code that is not ours: what is stored, in any process, and the README's own reader."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from joint_data import write_joint
from torch.utils.data import DataLoader

from model import dataset as dataset_module
from model.dataset import JointDataset
from pipeline.files import InputError
from pipeline.shards.dataset import INDEX_NAME, load_arrays, read_index
from pipeline.shards.schema import FIELDS

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
TILE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten samples in three shards, the last of two."""
    out = tmp_path_factory.mktemp("joint")
    return write_joint(out, frames=5, tiles_per_frame=2, tile=TILE, samples_per_shard=4)


def test_samples_are_those_of_the_shards_in_order(folder: Path) -> None:
    dataset = JointDataset(folder)
    names = [name for name, field in FIELDS.items() if field.only is None]
    arrays = load_arrays(folder, names)
    assert len(dataset) == 10 and list(dataset.fields) == names
    for number in (0, 3, 4, 9, -1):
        sample = dataset[number]
        assert list(sample) == names
        for name in names:
            stored, value = arrays[name][number], sample[name]
            if FIELDS[name].shape == "(N,)":
                assert value == stored and not isinstance(value, np.generic)
                continue
            assert value.dtype == (torch.float32 if name == "inverse_depth" else torch.uint8)
            assert value.shape == (3 if stored.ndim == 3 else 1, TILE, TILE) and value.is_contiguous()
            np.testing.assert_array_equal(value.permute(1, 2, 0).squeeze(-1), stored)
    for beyond in (10, -11):
        with pytest.raises(IndexError):
            dataset[beyond]


def test_fields_are_chosen(folder: Path) -> None:
    assert list(JointDataset(folder, ["id", "visible"])[0]) == ["id", "visible"]
    with pytest.raises(InputError, match="no field f_number; it has infrared"):
        JointDataset(folder, ["visible", "f_number"])
    with pytest.raises(InputError, match=r"fields is 'id'; give a list of names, such as \['id'\]"):
        JointDataset(folder, "id")


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_read_files_of_their_own(folder: Path, context: str) -> None:
    dataset = JointDataset(folder, ["visible", "focus_threshold", "tile_row", "id"])
    expected = [dataset[number] for number in range(10)]  # and files are open before there are workers
    loader = DataLoader(dataset, batch_size=5, num_workers=2, multiprocessing_context=context)
    batches = list(loader)
    assert [sample_id for batch in batches for sample_id in batch["id"]] == [x["id"] for x in expected]
    assert torch.equal(
        torch.cat([b["visible"] for b in batches]), torch.stack([x["visible"] for x in expected])
    )
    assert batches[0]["focus_threshold"].tolist() == [0.5] * 5 and batches[0]["tile_row"].dtype == torch.int64
    assert torch.equal(dataset[7]["visible"], expected[7]["visible"]), "the parent's files stay usable"


def test_pickles_hold_no_files_and_few_stay_open(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_module, "_MAX_OPEN", 1)
    dataset = JointDataset(folder, ["visible"])
    expected = [dataset[number]["visible"] for number in (0, 9, 1)]
    again = pickle.loads(pickle.dumps(dataset))
    assert all(torch.equal(again[n]["visible"], x) for n, x in zip((0, 9, 1), expected, strict=True))
    assert len(dataset._open) == 1


def test_damage_is_an_error_that_names_the_shard(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    victim = tmp_path / read_index(tmp_path)["shards"][1]["name"]
    with h5py.File(victim) as file:
        offset = file["visible"].id.get_chunk_info(0).byte_offset
    content = bytearray(victim.read_bytes())
    content[offset + 9] ^= 4
    victim.write_bytes(content)
    dataset = JointDataset(tmp_path)
    assert dataset[3]["visible"].any()
    with pytest.raises(InputError, match=victim.name):
        dataset[4]
    (tmp_path / INDEX_NAME).unlink()
    with pytest.raises(InputError, match="run synth again"):
        JointDataset(tmp_path)


@pytest.fixture
def beside(folder: Path, tmp_path: Path) -> Path:
    """A folder in which the dataset is named as in the README."""
    (tmp_path / "dataset").symlink_to(folder, target_is_directory=True)
    return tmp_path


def readme_code(word: str) -> str:
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", README, flags=re.S) if word in block)
    return code


def test_the_reader_in_the_readme_runs(
    beside: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = readme_code("h5py")
    assert len(list(filter(None, code.splitlines()))) == 5
    monkeypatch.chdir(beside)
    names: dict[str, Any] = {}
    exec(code, names)
    assert capsys.readouterr().out.splitlines() == [f"{(TILE, TILE, 3)} " * 2 + f"{(TILE, TILE, 3)}"] * 10
    arrays = load_arrays(beside / "dataset", ["visible_focus_near", "visible_focus_far", "visible"])
    for name, stored in zip(("near", "far", "sharp"), arrays.values(), strict=True):
        np.testing.assert_array_equal(names[name], stored[-1])


def test_the_loader_in_the_readme_runs(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(beside)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(readme_code("JointDataset").replace("num_workers=4", "num_workers=0"), names)
    assert names["batch"]["visible"].shape[1:] == (3, TILE, TILE)
