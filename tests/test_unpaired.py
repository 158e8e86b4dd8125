"""Unpaired focus pairs beside a joint set: their own truth, what tells them apart, folders refused."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from training_runs import tiny

from model.training.feed import TrainingData
from model.training.planes import load_unpaired
from model.training.start import notices
from pipeline.files import InputError

CPU = torch.device("cpu")

Joint = Callable[..., Path]


@pytest.mark.parametrize("names", [("source_1", "source_2", "full_clear"), ("near", "far", "ground_truth")])
def test_unpaired_pairs_come_with_their_own_truth(
    tmp_path: Path, make_joint: Joint, names: tuple[str, ...]
) -> None:
    write_triples(tmp_path / "pairs", names, {"one": (85, 130), "two": (40, 40), "small": (39, 200)})
    stored = load_unpaired(tmp_path / "pairs", 40)
    assert len(stored.ids) == 2 * 3 + 1 and stored.planes.shape[1:] == (3, 40, 40)
    assert len(set(stored.ids)) == 7

    folder = make_joint()
    config = tiny(dp_folder=str(tmp_path / "pairs"))
    data = TrainingData(config, [folder], device=CPU)
    assert any("than a tile of the joint set: small" in line for line in notices(config, data))
    batch = data.batch(0)
    # The planes of a pair are 10 and 20 grey levels brighter than its truth, which is another scene.
    assert torch.allclose(batch.dp_a - batch.dp_truth, torch.tensor(10 / 255), atol=1e-6)
    assert torch.allclose(batch.dp_b - batch.dp_truth, torch.tensor(20 / 255), atol=1e-6)
    assert not torch.allclose(batch.dp_truth, batch.visible, atol=0.05)
    assert data.digest != TrainingData(tiny(), [folder], device=CPU).digest


@pytest.mark.parametrize(("frames", "pictures"), [(1, 2), (6, 1)])
def test_where_one_set_holds_out_nothing_all_samples_are_trained_on(
    tmp_path: Path, make_joint: Joint, frames: int, pictures: int
) -> None:
    sizes = dict.fromkeys(map(str, range(pictures)), (40, 80))
    write_triples(tmp_path / "pairs", ("near", "far", "ground_truth"), sizes)
    config = tiny(dp_folder=str(tmp_path / "pairs"), validation_share=0.5)
    data = TrainingData(config, [make_joint(frames=frames)], device=CPU)
    assert not list(data.validation_batches()) and "no validation" in notices(config, data)[-1]
    seen = {sample_id for step in range(2 * frames) for sample_id in data.batch_ids(step)}
    assert len(seen) == 2 * (frames + pictures)


def test_unpaired_pairs_are_known_by_what_they_show(tmp_path: Path, make_joint: Joint) -> None:
    folder = make_joint()

    def digest(pairs: str) -> str:
        return TrainingData(tiny(dp_folder=str(tmp_path / pairs)), [folder], device=CPU).digest

    names = ("near", "far", "ground_truth")
    write_triples(tmp_path / "pairs", names, {"one": (40, 40), "two": (40, 40)})
    shutil.copytree(tmp_path / "pairs", tmp_path / "moved")
    write_triples(tmp_path / "others", names, {"two": (40, 40), "one": (40, 40)})
    assert digest("pairs") == digest("moved") != digest("others")
    # What is held out goes by the names.
    for path in (tmp_path / "moved").glob("*/two.png"):
        path.rename(path.with_name("three.png"))
    assert digest("moved") != digest("pairs")


def test_unpaired_pairs_are_shuffled_on_their_own(tmp_path: Path, make_joint: Joint) -> None:
    frames = 12
    write_triples(
        tmp_path / "pairs", ("near", "far", "ground_truth"), {f"{i:03d}": (40, 40) for i in range(frames)}
    )
    config = tiny(dp_folder=str(tmp_path / "pairs"), validation_share=0)
    data = TrainingData(config, [make_joint(frames=frames, tiles_per_frame=1)], device=CPU)
    numbers = [
        int(sample_id.split("#")[0][-3:]) for step in range(frames // 2) for sample_id in data.batch_ids(step)
    ]
    joint, unpaired = (
        [number for place, number in enumerate(numbers) if place % 4 // 2 == side] for side in (0, 1)
    )
    assert joint != unpaired and sorted(joint) == sorted(unpaired) == list(range(frames))


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems have no such names")
def test_names_that_are_no_utf8_are_trained_on(tmp_path: Path, make_joint: Joint) -> None:
    write_triples(tmp_path / "pairs", ("near", "far", "ground_truth"), {"one": (40, 40), "two": (40, 40)})
    for path in (tmp_path / "pairs").glob("*/one.png"):
        path.rename(path.with_name(os.fsdecode(b"\xff.png")))
    data = TrainingData(tiny(dp_folder=str(tmp_path / "pairs")), [make_joint()], device=CPU)
    assert data.num_validation == 1


def test_bad_unpaired_folders_are_named(tmp_path: Path) -> None:
    names = ("near", "far", "ground_truth")
    write_triples(tmp_path, names, {"one": (30, 30)})
    with pytest.raises(InputError, match="no image holds a tile of 40"):
        load_unpaired(tmp_path, 40)
    cv2.imwrite(str(tmp_path / "far/one.png"), np.zeros((31, 30), np.uint8))
    with pytest.raises(InputError, match=r"one has images of different sizes, near \d+x\d+, far \d+x\d+"):
        load_unpaired(tmp_path, 40)
    (tmp_path / "far/one.png").unlink()
    with pytest.raises(InputError, match="far"):
        load_unpaired(tmp_path, 40)
    (tmp_path / "far").rmdir()
    says = r"--dp-folder .*: no focus pairs; give .* source_1 and .*, or near and far and ground_truth$"
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match=says):
            load_unpaired(folder, 40)


def write_triples(folder: Path, names: tuple[str, ...], sizes: dict[str, tuple[int, int]]) -> None:
    """Pairs whose first two images are the third one, 10 and 20 grey levels brighter."""
    rng = np.random.default_rng(1)
    for stem, size in sizes.items():
        truth = rng.integers(0, 200, size, dtype=np.uint8)
        for name, lift in zip(names, (10, 20, 0), strict=True):
            (folder / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name / f"{stem}.png"), truth + np.uint8(lift))
