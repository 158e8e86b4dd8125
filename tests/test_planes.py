"""Training data: planes, their order and their crops."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from operator import eq
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from joint_data import SHIFTS, write_joint
from pretended_gpu import pretended_gpu
from training_runs import tiny

from model.training.feed import TrainingData
from model.training.planes import cut_crops, load_joint, to_luminance
from model.training.sampling import Crops, SampleOrder, centre_crops
from pipeline.files import InputError
from pipeline.shards.dataset import dataset_digest, load_arrays, read_index

CPU = torch.device("cpu")

Joint = Callable[..., Path]


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
    many = np.random.default_rng(0).integers(0, 256, (150, 4, 4, 3), np.uint8)
    assert np.array_equal(to_luminance(many), np.concatenate([to_luminance(one[None]) for one in many]))


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


def test_where_a_sample_is_cropped_depends_on_seed_epoch_and_name_but_not_on_its_turn() -> None:
    def places(epoch: int = 0, count: int = 50, **changes: Any) -> list[tuple[int, ...]]:
        settings: dict[str, Any] = {"tile": 160, "crop": 32, "seed": 0, "flip": True, "name": "joint"}
        crops = SampleOrder(count, **settings | changes).batch(epoch, count)
        turns = np.argsort(crops.samples)
        return list(
            zip(*(field[turns].tolist() for field in (crops.tops, crops.lefts, crops.flips)), strict=True)
        )

    assert places() == places() and places()[:20] == places(count=20)
    for other in (places(seed=1), places(epoch=1), places(name="unpaired")):
        assert sum(map(eq, places(), other)) < 5


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


def test_crop_larger_than_the_tiles_is_refused(make_joint: Joint) -> None:
    with pytest.raises(InputError, match="tiles of 40 pixels"):
        TrainingData(tiny(crop=48), [make_joint()], device=CPU)
