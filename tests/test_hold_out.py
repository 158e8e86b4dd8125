"""What is held out for validation: whole scenes, each sample of them once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from joint_data import SHIFTS, write_joint
from training_runs import tiny

from model.training import start
from model.training.feed import TrainingData
from model.training.planes import load_joint, split_validation
from model.training.start import notices
from pipeline.files import InputError

CPU = torch.device("cpu")

Joint = Callable[..., Path]


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


@pytest.mark.parametrize(
    ("scenes", "share", "held_out"),
    [(["a", "a"], 0.5, 0), (["a", "b"], 0.01, 1), (["a", "b"], 0, 0)],
)
def test_hold_out_of_few_scenes(scenes: list[str], share: float, held_out: int) -> None:
    trained, validation = split_validation(scenes, share)
    assert len(validation) == held_out and len(trained) == 2 - held_out


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


def test_validation_shows_what_is_held_out_from_the_middle_for_each_task(make_joint: Joint) -> None:
    folder = make_joint(frames=5, tiles_per_frame=3)
    data = TrainingData(tiny(validation_share=0.1, dp_task="both"), [folder], device=CPU)
    trained = {sample_id for step in range(9) for sample_id in data.batch_ids(step)}
    stored = load_joint([folder], ("visible", *SHIFTS))
    held_out = [i for i, sample_id in enumerate(stored.ids) if sample_id not in trained]
    batches = list(data.validation_batches())
    for task, (a, b) in enumerate(((1, 2), (3, 4))):  # planes of the pair of focus, and of exposure
        for field, plane in (("visible", 0), ("dp_a", a), ("dp_b", b)):
            shown = torch.cat([getattr(batch, field) for batch in batches[task::2]])
            assert torch.equal(shown[:, 0], stored.planes[held_out, plane, 4:36, 4:36] / 255), (task, field)


def test_fidelity_validates_pairs_of_both_kinds_in_every_batch(make_joint: Joint) -> None:
    folder = make_joint(frames=3, tiles_per_frame=3, tile=48)
    config = tiny(objective="fidelity", crop=48, validation_share=0.001)
    data = TrainingData(config, [folder], device=CPU)
    first, last = data.validation_batches()
    assert data.num_validation == 3 and len(first) == len(last) == 2
    assert torch.equal(last.visible[0], last.visible[1])  # the third, twice


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


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_emulated_arithmetic_is_told(amp: str, make_joint: Joint, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, config = make_joint(), tiny(amp=amp)
    for has in (False, True):
        monkeypatch.setattr(start, "computes_bfloat16", lambda device, has=has: has)
        monkeypatch.setattr(start, "computes_float16", lambda device, has=has: has)
        lines = notices(config, TrainingData(config, [folder], device=CPU))
        assert [line for line in lines if f"--amp {amp}" in line and "emulates" in line] == lines
        assert bool(lines) != has
