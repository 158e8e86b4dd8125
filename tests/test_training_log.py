"""The log of a training and its summary: means at either end, validations, damage, TensorBoard."""

from __future__ import annotations

import errno
import math
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from training_runs import tiny

from model.checkpoint import read_metadata
from model.trainer import train
from model.training.curves import LOSSES, curves_figure, draw_curves, summarise
from model.training.feed import Batch
from model.training.run_folder import RunFolder
from model.training.step import AlternatingStep
from model.training.training_log import TrainingLog, read_metrics
from pipeline.files import InputError, read_json

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_summary_has_the_means_of_the_first_and_last_ten_steps() -> None:
    records = [{"step": step, **dict.fromkeys(LOSSES, float(step))} for step in range(1, 26)]
    ends = {"first_10_mean": 5.5, "last_10_mean": 20.5}
    assert summarise(records)["losses"] == dict.fromkeys(LOSSES, ends)


def test_overflowed_fp16_gradients_are_counted_and_written_as_null() -> None:
    base: dict[str, Any] = {"lambda_mm": 0.5, "lambda_dp": 0.5, "seconds": 1.0, **dict.fromkeys(LOSSES, 1.0)}
    records = [
        {**base, "step": 1, "mm_gradient_norm": None, "dp_gradient_norm": None},
        {**base, "step": 2, "mm_gradient_norm": 2.0, "dp_gradient_norm": 1.0},
    ]
    assert summarise(records)["skipped_updates"] == 2
    assert summarise([]) == {}


def test_validations_that_were_not_finite_do_not_count(tmp_path: Path) -> None:
    base: dict[str, Any] = {"lambda_mm": 0.5, "lambda_dp": 0.5, "seconds": 1.0, **dict.fromkeys(LOSSES, 1.0)}
    base |= {"mm_gradient_norm": 1.0, "dp_gradient_norm": 1.0}
    validations = [dict.fromkeys((f"validation_{name}" for name in (*LOSSES, "total")), v) for v in (None, 2)]
    records = [{**base, **losses, "step": step} for step, losses in enumerate(validations, 1)]
    assert summarise(records)["best_validation"] == {"step": 2, "total": 2}
    assert summarise(records[:1])["best_validation"] is None
    assert draw_curves(records, tmp_path / "curves.png").is_file()


@pytest.mark.parametrize(
    ("mean", "spread"),
    [
        *((1.0, 0.1), (0.05, 0.02), (0.055, 0.04), (3e-4, 1e-5)),  # less than a decade, or little more
        *((0.05, 0.048), (1.0, 1.02), (1.0, 1.04), (1.0, 1.0427)),  # one to four
    ],
    ids=str,
)
def test_axes_have_labels_that_differ_and_keep_to_their_panel(mean: float, spread: float) -> None:
    records = []
    for step in range(1, 10):
        swing = math.sin(step)
        losses = dict.fromkeys(LOSSES, mean + spread * swing)
        lambdas = {"lambda_mm": 0.5 - 1e-5 * step, "lambda_dp": 0.5 + 1e-5 * swing}
        records.append({"step": step, **losses, **lambdas})
    figure = curves_figure(records)
    FigureCanvasAgg(figure).draw()
    for panel in figure.axes:
        assert not panel.yaxis.get_offset_text().get_text()
        low, high = panel.get_ylim()
        places = {tick.get_loc(): tick.label1 for tick in (*panel.yaxis.majorTicks, *panel.yaxis.minorTicks)}
        labels = {at: label for at, label in places.items() if low <= at <= high and label.get_text()}
        assert len(labels) >= 3
        for at, label in labels.items():
            assert float(label.get_text().replace("−", "-")) == pytest.approx(at, rel=1e-9)
            box = label.get_window_extent()
            assert box.x0 >= 0 and not any(box.overlaps(other.bbox) for other in figure.axes)


def test_a_validation_that_is_not_finite_is_never_the_best(
    joint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    totals = iter((math.nan, 2.0))
    monkeypatch.setattr(AlternatingStep, "validate", lambda *_: {"total": next(totals)})
    train(tiny(steps=2, validate_every=1), joint, tmp_path)
    assert read_metadata(tmp_path / "best.safetensors")["step"] == 2
    assert read_json(tmp_path / "summary.json")["best_validation"] == {"step": 2, "total": 2.0}


def test_damaged_metrics_are_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for line, says in (
        (b"not json", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"5", "not the record of a step"),
        (b'{"stop": 5}', "not the record of a step"),
    ):
        path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
        with pytest.raises(InputError, match=rf"metrics.jsonl:2: {says}"):
            read_metrics(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_metrics(tmp_path / "absent.jsonl")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_a_full_disk_names_the_log(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as error, TrainingLog(RunFolder(tmp_path), 0) as log:
        log._file.close()
        log._file = open("/dev/full", "w")  # noqa: SIM115 - the log closes it
        log.write({"step": 1})
    assert error.value.filename == str(tmp_path / "metrics.jsonl")


def test_tensorboard_gets_the_scalars(joint: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    train(tiny(steps=2), joint, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(LOSSES) <= set(events.Tags()["scalars"])
    assert [event.step for event in events.Scalars("mm_task")] == [1, 2]
    with TrainingLog(RunFolder(tmp_path), 1) as log:  # a run that goes on from an earlier checkpoint
        log.write({"step": 2, "mm_task": 7.0})
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value == 7) for event in events.Scalars("mm_task")] == [(1, False), (2, True)]


def test_a_disk_that_is_full_for_tensorboard_is_one_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its files are written by a thread, whose end alone would be a report on standard error."""
    pytest.importorskip("tensorboard")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = threading.excepthook
    with pytest.raises(OSError, match="No space left") as error, TrainingLog(RunFolder(tmp_path), 0) as log:
        monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", full)
        for step in range(1, 1000):
            log.write({"step": step, "mm_task": 1.0})
            time.sleep(0.001)
    assert error.value.filename == str(tmp_path / "tensorboard")
    assert "Traceback" not in capsys.readouterr().err and threading.excepthook is before


def test_a_picture_shows_every_plane_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[dict[str, float]] = []

    def sheet(rows: list[list[np.ndarray]], titles: list[str]) -> np.ndarray:
        drawn.append({title: float(cell.mean()) for title, cell in zip(titles, rows[0], strict=True)})
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("model.training.training_log.contact_sheet", sheet)
    infrared, visible, dp_a, dp_b, *outputs = torch.full((8, 1, 1, 4, 4), 20 / 255) * torch.arange(1, 9).view(
        8, 1, 1, 1, 1
    )
    batch = Batch(infrared=infrared, visible=visible, dp_a=dp_a, dp_b=dp_b, dp_truth=visible)
    with TrainingLog(RunFolder(tmp_path), 0) as log:
        log.picture(3, batch, torch.cat(outputs[:2], dim=1), torch.cat(outputs[2:], dim=1))
    names = ("infrared", "visible", "DP a", "DP b", "fused MM", "REC of MM", "fused DP", "REC of DP")
    assert drawn == [{name: 20.0 * number for number, name in enumerate(names, 1)}]


@pytest.mark.parametrize("module", ["tensorboard.summary.writer.event_file_writer", "somewhere.else"])
def test_the_end_of_any_other_thread_is_reported(
    tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", told.append)
    log = TrainingLog(RunFolder(tmp_path), 0)
    thread = type("Writer", (threading.Thread,), {"__module__": module})()
    with log:
        threading.excepthook(threading.ExceptHookArgs((OSError, OSError("full"), None, thread)))
    assert bool(told) == (module == "somewhere.else")
