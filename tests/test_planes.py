"""Training data: planes, order, crops, hold-out, unpaired pairs."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joint_data import SHIFTS, write_joint
from pretended_gpu import pretended_gpu

from model.training.feed import TrainingData
from model.training.planes import cut_crops, load_joint, load_unpaired, split_validation, to_luminance
from model.training.sampling import Crops, SampleOrder, centre_crops
from model.training.start import notices
from model.training.train_config import TrainConfig
from pipeline.files import InputError
from pipeline.shards import dataset_digest, load_arrays, read_index

CPU = torch.device("cpu")
Joint = Callable[..., Path]


@pytest.fixture
def make_joint(tmp_path: Path) -> Joint:
    """Writes a data set, see :func:`joint_data.write_joint`."""
    return partial(write_joint, tmp_path / "joint")


def tiny(**settings: Any) -> TrainConfig:
    tiny: dict[str, Any] = {"batch_size": 2, "crop": 32, "device": "cpu"}
    return TrainConfig(**tiny | settings)


def test_luminance_is_bt601_rounded() -> None:
    # BT.601: 0.299, 0.587, 0.114 of 255 are 76.2, 149.7, 29.1.
    tiles = np.zeros((1, 2, 2, 3), np.uint8)
    tiles[0, 0, 0], tiles[0, 0, 1], tiles[0, 1, 0], tiles[0, 1, 1] = (
        (255, 0, 0),
        (0, 255, 0),
        (0, 0, 255),
        255,
    )
    assert to_luminance(tiles)[0].tolist() == [[76, 150], [29, 255]]
    grey = np.arange(256, dtype=np.uint8).reshape(1, 16, 16)
    assert np.array_equal(to_luminance(np.repeat(grey[..., None], 3, axis=-1)), grey)
    assert to_luminance(grey) is grey


def test_joint_set_holds_the_named_planes_of_all_samples_in_order(make_joint: Joint) -> None:
    folder = make_joint(frames=3, tiles_per_frame=2, samples_per_shard=4)
    arrays = load_arrays(folder, ("id", "infrared", "visible_under"))
    stored = load_joint([folder], ("infrared", "visible_under"))
    assert stored.planes.shape == (6, 2, 40, 40) and stored.planes.dtype == torch.uint8
    assert stored.ids == tuple(arrays["id"]) and stored.tile == 40
    assert stored.digest == dataset_digest(read_index(folder)["shards"])
    assert np.array_equal(stored.planes[:, 0].numpy(), arrays["infrared"])
    exact = arrays["visible_under"] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(stored.planes[:, 1].numpy() - exact).max() <= 0.5 + 1e-3


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 20),
    batch=st.integers(1, 9),
    seed=st.integers(0, 2**32),
    crop=st.sampled_from([32, 40]),
)
def test_every_epoch_shows_every_sample_once_whatever_the_batch(
    count: int, batch: int, seed: int, crop: int
) -> None:
    order = SampleOrder(count, tile=40, crop=crop, seed=seed, flip=True)
    steps = -(-3 * count // batch)
    batches = [order.batch(step, batch) for step in range(steps)]
    samples = np.concatenate([one.samples for one in batches])[: 3 * count]
    for epoch in samples.reshape(3, count):
        assert sorted(epoch) == list(range(count))
    for one in batches:
        assert len(one.samples) == batch
        for offsets in (one.tops, one.lefts):
            assert offsets.min() >= 0 and offsets.max() <= 40 - crop
    # The sequence is the same one sample at a time, and from a fresh object asked for a later step first.
    single = SampleOrder(count, tile=40, crop=crop, seed=seed, flip=True)
    last = batches[-1]
    for place in reversed(range(batch)):
        one = single.batch((steps - 1) * batch + place, 1)
        assert [one.samples[0], one.tops[0], one.lefts[0], one.flips[0]] == [
            last.samples[place],
            last.tops[place],
            last.lefts[place],
            last.flips[place],
        ]


def test_order_depends_on_seed_epoch_and_name() -> None:
    def first(**changes: Any) -> list[int]:
        order: dict[str, Any] = {"tile": 40, "crop": 32, "seed": 0, "flip": True, "name": "joint"}
        return SampleOrder(50, **order | changes).batch(0, 50).samples.tolist()

    order = SampleOrder(50, tile=40, crop=32, seed=0, flip=True)
    assert first() == first() == order.batch(0, 50).samples.tolist()
    assert first() != first(seed=1)
    assert first() != first(name="unpaired")
    assert first() != order.batch(1, 50).samples.tolist()
    assert set(order.batch(0, 50).flips) == {0, 1, 2, 3}
    assert set(SampleOrder(50, tile=40, crop=32, seed=0, flip=False).batch(0, 50).flips) == {0}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_cut_crops_are_slices_and_mirrors(device: str) -> None:
    rng = np.random.default_rng(0)
    planes = rng.integers(0, 256, (7, 3, 40, 40), dtype=np.uint8)
    crops = Crops(
        samples=np.array([6, 0, 3, 3]),
        tops=np.array([0, 8, 5, 5]),
        lefts=np.array([8, 0, 1, 1]),
        flips=np.array([0, 1, 2, 3]),
    )
    middle = centre_crops(np.array([2]), tile=40, crop=32)
    with pretended_gpu() if device == "cuda" else nullcontext():
        stored = torch.from_numpy(planes).to(device)
        cut, centre = (cut_crops(stored, chosen, 32).cpu().numpy() for chosen in (crops, middle))
    assert np.array_equal(cut[0], planes[6, :, 0:32, 8:40])
    assert np.array_equal(cut[1], planes[0, :, 8:40, 0:32][:, ::-1])
    assert np.array_equal(cut[2], planes[3, :, 5:37, 1:33][:, :, ::-1])
    assert np.array_equal(cut[3], planes[3, :, 5:37, 1:33][:, ::-1, ::-1])
    assert np.array_equal(centre[0], planes[2, :, 4:36, 4:36])


def test_hold_out_takes_whole_scenes() -> None:
    scenes = [f"night/{scene}" for scene in range(40) for _ in range(3)]
    trained, held_out = split_validation(scenes, 0.1)
    sides = [{scenes[i] for i in part} for part in (trained, held_out)]
    assert not sides[0] & sides[1] and 1 <= len(sides[1]) <= 10
    assert sorted([*trained, *held_out]) == list(range(120))
    # A scene stays where it is when the data set grows, and their number comes out near the share.
    grown = [*scenes, *(f"day/{scene}" for scene in range(2000))]
    _, grown_held_out = split_validation(grown, 0.1)
    assert {grown[i] for i in grown_held_out} & set(scenes) == sides[1]
    assert 150 <= len({grown[i] for i in grown_held_out}) <= 260


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (None, {"night/000", "night/001", "night/012"}),
        ("night/[0-9]{2}", {"night/00", "night/01"}),
        ("day/[0-9]{2}", {"night/000", "night/001", "night/012"}),  # says nothing of these ids
        ("night", {"night/000", "night/001", "night/012"}),  # one scene alone: held out by frames
    ],
)
def test_the_manifest_says_what_a_scene_is(tmp_path: Path, scene: str | None, expected: set[str]) -> None:
    folder = write_joint(tmp_path / "joint", frames=13, tiles_per_frame=2, scene=scene)
    stored = load_joint([folder], ("infrared",))
    assert len(stored.scenes) == 26 and expected <= set(stored.scenes)
    assert len(set(stored.scenes)) == (2 if len(expected) == 2 else 13)
    # The digest tells whether what is held out may differ.
    by_frames = load_joint([write_joint(tmp_path / "plain", frames=13)], ("infrared",))
    assert (stored.digest == by_frames.digest) == (len(expected) == 3)
    assert len({stored.scenes[i] for i, name in enumerate(stored.ids) if name.startswith("night/003")}) == 1


@pytest.mark.parametrize("scene", ["(", "(n+)+$"])
def test_an_index_whose_scene_is_no_expression_is_damaged(tmp_path: Path, scene: str) -> None:
    with pytest.raises(InputError, match=r"index\.json: damaged index"):
        load_joint([write_joint(tmp_path / "joint", scene=scene)], ("infrared",))


def test_sets_mix_in_the_order_given(tmp_path: Path) -> None:
    folders = [write_joint(tmp_path / "one"), write_joint(tmp_path / "two", frames=9, seed=1)]
    alone = [load_joint([folder], ("infrared", "visible")) for folder in folders]
    mixed = load_joint(folders, ("infrared", "visible"))
    assert mixed.ids == alone[0].ids + alone[1].ids
    assert torch.equal(mixed.planes, torch.cat([one.planes for one in alone]))
    assert len({mixed.digest, *(one.digest for one in alone)}) == 3
    assert mixed.digest != load_joint(folders[::-1], ("infrared", "visible")).digest
    with pytest.raises(InputError, match="tiles differ in size"):
        load_joint([folders[0], write_joint(tmp_path / "three", tile=48)], ("visible",))


@pytest.mark.parametrize(
    ("scenes", "share", "held_out"),
    [(["a", "a"], 0.5, 0), (["a", "b"], 0.01, 1), (["a", "b"], 0, 0)],
)
def test_hold_out_of_few_scenes(scenes: list[str], share: float, held_out: int) -> None:
    trained, validation = split_validation(scenes, share)
    assert len(validation) == held_out and len(trained) == 2 - held_out


def test_batches_are_the_same_scene_in_every_plane(make_joint: Joint) -> None:
    """The derived images differ from the visible one by a constant each, so crops and flips must agree."""
    data = TrainingData(tiny(dp_task="both"), [make_joint()], device=CPU)
    near, far, over, under = SHIFTS.values()
    for step, shifts in ((0, (near, far)), (1, (over, under)), (2, (near, far))):
        batch = data.batch(step)
        assert len(batch) == 2 and batch.visible.shape == (2, 1, 32, 32)
        assert batch.visible.dtype == torch.float32 and 0 <= batch.visible.min() <= batch.visible.max() <= 1
        for plane, shift in zip((batch.dp_a, batch.dp_b), shifts, strict=True):
            assert torch.allclose(plane - batch.visible, torch.tensor(shift / 255), atol=1e-6)
        assert torch.equal(batch.dp_truth, batch.visible)
        assert torch.allclose(batch.infrared, batch.visible / 2, atol=1 / 255)


def test_overfit_repeats_the_first_batch(make_joint: Joint) -> None:
    folder = make_joint()
    data = TrainingData(tiny(overfit=True), [folder], device=CPU)
    assert torch.equal(data.batch(7).visible, data.batch(0).visible)
    assert data.batch_ids(7) == data.batch_ids(0)
    assert torch.equal(data.batch(7).visible, TrainingData(tiny(), [folder], device=CPU).batch(0).visible)


def test_validation_shows_each_held_out_sample_once(make_joint: Joint) -> None:
    folder = make_joint(frames=5, tiles_per_frame=3)
    data = TrainingData(tiny(validation_share=0.1, batch_size=4), [folder], device=CPU)
    batches = list(data.validation_batches())
    # Two of the five frames have ids that hold them out.
    assert [len(batch) for batch in batches] == [4, 2] and data.num_samples == 9
    seen = {sample_id.split("#")[0] for step in range(6) for sample_id in data.batch_ids(step)}
    assert len(seen) == 3
    assert data.num_validation == 6
    # Objectives may take even samples of a batch for one thing and odd ones for another.
    odd = TrainingData(tiny(validation_share=0.1, batch_size=3), [folder], device=CPU)
    assert [len(batch) for batch in odd.validation_batches()] == [4, 2]
    everything = TrainingData(tiny(validation_share=0), [folder], device=CPU)
    assert everything.num_validation == 0 and not list(everything.validation_batches())


def test_what_a_run_does_otherwise_is_told(tmp_path: Path, make_joint: Joint) -> None:
    alone = write_joint(tmp_path / "alone", scene="night", frames=13)
    several = make_joint()

    def told(folder: Path, **settings: Any) -> list[str]:
        config = tiny(**settings)
        return notices(config, TrainingData(config, [folder], device=CPU))

    assert told(several, steps=100) == told(alone, validation_share=0) == []
    (line,) = told(alone)
    assert "one scene" in line
    frame = write_joint(tmp_path / "frame", frames=1)
    (line,) = told(frame)
    assert "no validation" in line and told(frame, validation_share=0) == []
    (line,) = told(several, warmup_steps=100, steps=10, lr=1e-3)
    assert "only reaches 0.0001: warm-up of 100 steps in a run of 10" in line


def test_crop_larger_than_the_tiles_is_refused(make_joint: Joint) -> None:
    with pytest.raises(InputError, match="tiles of 40 pixels"):
        TrainingData(tiny(crop=48), [make_joint()], device=CPU)


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
