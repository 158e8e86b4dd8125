"""What damage, loss and odd sizes do to a training run and its page: a word, not the end of it."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from damaged_files import flip_a_bit
from joint_data import write_joint
from training_runs import digest, stop_at, tiny

import model.training.objectives
from model.checkpoint import load_network, read_metadata
from model.trainer import train
from model.training.curves import draw_curves, summarise
from model.training.feed import TrainingData
from model.training.information import load_measure
from model.training.objectives import FidelityObjective
from model.training.run_folder import RunFolder
from model.training.training_log import read_metrics
from pipeline.files import InputError, read_json
from pipeline.images import read_image

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
#: Lines that no step writes.
NO_RECORDS = (
    "garbage",
    "[1]",
    '{"stop": 2}',
    '{"step": true}',
    '{"step": 2, "mm_task": NaN}',
    '{"step": 2, "mm_task": 1e999}',
    '{"step": 2, "mm_task": "x"}',
    '{"step": 2, "lambda_mm": [0.5]}',
    '{"step": 2, "anything": false}',
    f'{{"step": 2, "seconds": 1{"0" * 400}}}',
)


@pytest.fixture
def run(straight: Path, tmp_path: Path) -> Path:
    """A finished run of four steps, validated at 2 and 4."""
    return shutil.copytree(straight, tmp_path / "run")


def replace_line(path: Path, number: int, line: str) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = line
    path.write_text("".join(f"{one}\n" for one in lines))


@pytest.mark.parametrize(("held_out", "batch_size"), [(1, 2), (3, 2), (5, 3), (4, 4)])
def test_fidelity_validates_pairs_of_both_kinds(tmp_path: Path, held_out: int, batch_size: int) -> None:
    joint = write_joint(tmp_path, frames=2, tiles_per_frame=held_out, tile=48)  # one frame is held out
    settings: dict[str, Any] = {"crop": 48, "batch_size": batch_size, "validation_share": 0.5}
    published, fidelity = (
        list(TrainingData(tiny(objective=name, **settings), [joint], device=CPU).validation_batches())
        for name in ("published", "fidelity")
    )
    once, even = (torch.cat([batch.visible for batch in batches]) for batches in (published, fidelity))
    assert len(once) == held_out and torch.equal(even[:held_out], once)
    assert len(even) % 2 == 0 and all(torch.equal(plane, once[-1]) for plane in even[held_out:])
    for batch in fidelity:
        seen = FidelityObjective().select(batch, "dp", whole=True)
        digital = [not torch.equal(*pair) for pair in zip(seen.visible, batch.visible, strict=True)]
        assert sum(digital) == len(batch) / 2


def test_the_sample_that_is_scored_twice_is_shown_once(tmp_path: Path) -> None:
    joint = write_joint(tmp_path / "joint", frames=2, tiles_per_frame=1, tile=48)
    heights = []
    for objective in ("published", "fidelity"):
        run = tmp_path / objective
        train(tiny(steps=1, objective=objective, crop=48, validation_share=0.5), joint, run)
        heights.append(read_image(run / "pictures/step-00000001.png").shape[0])
    assert heights[0] == heights[1] and read_metadata(tmp_path / "fidelity/best.safetensors")["step"] == 1


def test_weights_are_those_of_the_end(
    joint: Path, run: Path, monkeypatch: pytest.MonkeyPatch, straight: Path
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, 4, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="after step 5"):
            train(tiny(steps=8), joint, run, resume=True)
    assert not (run / "weights.safetensors").exists() and not (run / "summary.json").exists()
    # As an earlier version left them; the checkpoints are gone too.
    shutil.copy(straight / "weights.safetensors", run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(InputError, match=r"checkpoints are gone; .*safetensors, of step 4 of 8$"):
        train(tiny(steps=8), joint, run, resume=True)
    flip_a_bit(run / "weights.safetensors")
    with pytest.raises(InputError, match=r"checkpoints are gone; .* with another -o$"):
        train(tiny(steps=8), joint, run, resume=True)


@pytest.mark.parametrize("lost", [True, False])
def test_lost_or_damaged_best_weights_are_replaced(
    joint: Path, run: Path, lost: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    best = run / "best.safetensors"
    if lost:
        best.unlink()
    else:
        flip_a_bit(best)
    # Worse than what is lost, and still the best that there is.
    monkeypatch.setattr("model.training.step.AlternatingStep.validate", lambda *_: {"total": 1e6})
    train(tiny(steps=6), joint, run, resume=True)
    said = capsys.readouterr().err
    assert f"{best}: lost; the next validation writes it anew" in said
    assert (f"passed over: {best}" in said) is not lost
    assert read_metadata(best)["step"] == 6
    assert load_network(best).config == load_network(run / "weights.safetensors").config


@pytest.mark.parametrize("line", NO_RECORDS)
def test_a_damaged_log_is_refused_in_one_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 3, "lambda_mm": null, "new": 7}}\n')
    with pytest.raises(
        InputError, match=r"metrics\.jsonl:2: not .*; restore the file, or resume the run"
    ) as error:
        read_metrics(path)
    assert "\n" not in str(error.value)


def test_a_run_goes_on_with_a_damaged_log(
    joint: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny(steps=6), joint, shutil.copytree(run, tmp_path / "whole"), resume=True)
    log = run / "metrics.jsonl"
    earlier = run / "metrics.jsonl.damaged"
    earlier.write_text("of an earlier time")
    for line in (2, 3):
        replace_line(log, line, NO_RECORDS[4])
    before = log.read_bytes()
    train(tiny(steps=6), joint, run, resume=True)
    said = capsys.readouterr().err
    assert f"{log}:2: not the record of a step; damaged lines are left out" in said
    assert f"{log}: lacks steps of the 4" in said
    assert (run / "metrics.jsonl.damaged1").read_bytes() == before
    assert earlier.read_text() == "of an earlier time"
    assert [record["step"] for record in read_metrics(log)] == [1, 4, 5, 6]
    assert digest(run) == digest(tmp_path / "whole") and (run / "summary.json").is_file()


def test_records_that_lack_numbers_are_left_out_of_curves_and_summary(joint: Path, run: Path) -> None:
    log = run / "metrics.jsonl"
    whole = read_metrics(log)
    replace_line(log, 1, json.dumps(whole[0] | {"lambda_mm": None, "mm_task": None}))
    replace_line(log, 2, '{"step": 2}')
    train(tiny(steps=4), joint, run, resume=True)
    losses = read_json(run / "summary.json")["losses"]
    assert losses["mm_task"]["last_10_mean"] == pytest.approx(
        math.fsum(record["mm_task"] for record in whole[2:]) / 2
    )
    assert losses["dp_task"]["first_10_mean"] == pytest.approx(
        math.fsum(record["dp_task"] for record in (whole[0], *whole[2:])) / 3
    )
    bare = [{"step": 1}, {"step": 2}]
    assert summarise(bare)["losses"] == {} and summarise(bare)["skipped_updates"] == 0
    assert read_image(draw_curves(bare, run / "bare.png")).shape == read_image(run / "curves.png").shape


@pytest.mark.parametrize("amp", ["off", "auto", "bf16"])
def test_float32_is_no_advice_to_float32(
    joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amp: str
) -> None:
    monkeypatch.setattr(model.training.objectives, "dp_loss", lambda fused, truth: fused.mean() * math.nan)
    ends = "a lower --lr, or with --amp off$" if amp == "bf16" else "a lower --lr$"
    with pytest.raises(InputError, match=ends):
        train(tiny(steps=1, amp=amp), joint, tmp_path)
    assert RunFolder(tmp_path).checkpoint(0).is_file()


def test_files_that_are_no_weights_are_told_in_words(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong (old).txt"
    wrong.write_text("hello there")
    with pytest.raises(InputError) as error:
        load_network(wrong)
    assert str(error.value) == f"{wrong}: not a GIFNet file, or damaged; name another file"
    with pytest.raises(InputError) as error:
        load_measure("densenet121", weights=str(wrong), device=CPU)
    assert str(error.value) == f"{wrong}: not a PyTorch weights file, or damaged; name another file"
    torch.save({"conv0.weight": torch.zeros(3)}, other := tmp_path / "other.pth")
    with pytest.raises(
        InputError, match=r"not weights of DenseNet-121 \(.* tensors differ, the first is \w+"
    ):
        load_measure("densenet121", weights=str(other), device=CPU)
