"""What a run records while it goes: ``metrics.jsonl``, TensorBoard if it is installed, and pictures."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.training.curves import draw_curves
from model.training.feed import Batch
from model.training.run_folder import RunFolder
from pipeline.files import InputError, errors_name, parse_json, write_bytes
from pipeline.images import to_uint8, write_image
from pipeline.images.contact_sheet import contact_sheet
from pipeline.runtime.log_files import copy_aside

#: Seconds between two drawings of the curves at least.
CURVES_EVERY_S = 60
#: Rows of a picture.
PICTURE_ROWS = 4


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Records of ``metrics.jsonl``, one per step: finite numbers, or None for what was not finite.

    Beside the step a record may lack any. A last line that a kill cut short is left out.

    Raises:
        InputError: the file is missing or another line is damaged.
    """
    records, damage = _read_records(path)
    if damage:
        raise InputError(f"{damage}; restore the file, or resume the run, which leaves out damaged lines")
    return records


def progress_note(record: dict[str, Any]) -> str:
    """A step's losses and gates, for the line of progress."""
    mm, dp = (record[f"{task}_task"] + record[f"{task}_public"] for task in ("mm", "dp"))
    return f"mm {mm:.4f} dp {dp:.4f} lambda {record['lambda_mm']:.3f} {record['lambda_dp']:.3f}"


class TrainingLog:
    """The open log of a run. A context manager.

    Args:
        folder: of the run.
        step: steps that are done; records of later steps, of a run that was killed, are taken back, and
            damaged lines left out, with a word.
    """

    def __init__(self, folder: RunFolder, step: int) -> None:
        records, damage = _read_records(folder.metrics) if folder.metrics.is_file() else ([], "")
        if damage:
            copy = copy_aside(folder.metrics)
            print(f"{damage}; damaged lines are left out, the file as it was is {copy}", file=sys.stderr)
        kept = [record for record in records if record["step"] <= step]
        if step and [record["step"] for record in kept] != list(range(1, step + 1)):
            print(
                f"{folder.metrics}: lacks steps of the {step} that are done; it goes on without",
                file=sys.stderr,
            )
        write_bytes(folder.metrics, "".join(_line(record) for record in kept).encode())
        self._folder = folder
        self._held: dict[str, Any] | None = None
        self._drawn = time.monotonic()  # when the curves were
        self._file = open(folder.metrics, "a", encoding="utf-8")  # noqa: SIM115 - closed in __exit__
        self._board = None
        if importlib.util.find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            with suppress(UnicodeEncodeError):  # it writes to no path that is not UTF-8; the run itself does
                self._board = SummaryWriter(str(folder.tensorboard), purge_step=step + 1)

    def hold(self, record: dict[str, Any]) -> None:
        """Take a step's record, for :meth:`tell`."""
        self._held = record

    def tell(self) -> None:
        """Write the record that is held, if there is one; at the latest this is done at the end.

        Raises:
            InputError: another process has taken over the folder.
        """
        if self._held is not None:
            record, self._held = self._held, None
            self._folder.check_in_use()
            self.write(record)

    def write(self, record: dict[str, Any]) -> None:
        """Append one step's record. It is in the file when the call returns."""
        with errors_name(self._folder.metrics):
            self._file.write(_line(record))
            self._file.flush()
        if self._board is not None:
            with errors_name(self._folder.tensorboard):
                for name, value in record.items():
                    if isinstance(value, (int, float)) and name != "step":
                        self._board.add_scalar(name, value, record["step"])

    def sync(self) -> None:
        """Return when the disk has what was written."""
        with errors_name(self._folder.metrics):
            os.fsync(self._file.fileno())

    @property
    def curves_are_due(self) -> bool:
        """Whether they were drawn a while ago: it takes as long as many steps."""
        return time.monotonic() - self._drawn > CURVES_EVERY_S

    def draw(self) -> list[dict[str, Any]]:
        """Draw the curves of all steps, and return their records."""
        self._drawn = time.monotonic()
        if records := read_metrics(self._folder.metrics):  # else they were lost
            draw_curves(records, self._folder.curves)
        return records

    def picture(self, step: int, batch: Batch, mm: Tensor, dp: Tensor) -> None:
        """Write validation samples: inputs, fused and reconstructed planes.

        Args:
            batch: (B, 1, H, W) planes; the first few samples are shown.
            mm, dp: fused image and reconstruction of each task's pair, (B, 2, H, W) in about [0, 1].
        """
        columns = {
            "infrared": batch.infrared,
            "visible": batch.visible,
            "DP a": batch.dp_a,
            "DP b": batch.dp_b,
            "fused MM": mm[:, :1],
            "fused DP": dp[:, :1],
            "REC of MM": mm[:, 1:],
            "REC of DP": dp[:, 1:],
        }
        count = min(PICTURE_ROWS, len(batch))
        rows = [[_picture(plane[i, 0]) for plane in columns.values()] for i in range(count)]
        sheet = contact_sheet(rows, titles=list(columns))
        write_image(self._folder.pictures / f"step-{step:08d}.png", sheet)
        if self._board is not None:
            with errors_name(self._folder.tensorboard):
                self._board.add_image("validation", sheet, step, dataformats="HWC")

    def __enter__(self) -> TrainingLog:
        self._told, threading.excepthook = threading.excepthook, self._tell_of_thread
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.tell()
        finally:
            try:
                if self._board is not None:
                    with errors_name(self._folder.tensorboard):
                        self._board.close()
            finally:
                threading.excepthook = self._told
                with errors_name(self._folder.metrics):
                    self._file.close()

    def _tell_of_thread(self, end: threading.ExceptHookArgs) -> None:
        """What the system refuses TensorBoard's thread is raised by the next call; no report beside it."""
        of_tensorboard = type(end.thread).__module__.startswith("tensorboard.")
        if not (of_tensorboard and isinstance(end.exc_value, OSError)):
            self._told(end)


def _read_records(path: Path) -> tuple[list[dict[str, Any]], str]:
    """The records of whole lines, and what is wrong with the first other line, if there is one."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    records, damage = [], ""
    for number, line in enumerate(lines[:-1], 1):  # what follows the last newline is incomplete
        try:
            record = parse_json(line)
        except ValueError:
            damage = damage or f"{path}:{number}: not JSON"
            continue
        if _is_record(record):
            records.append(record)
        else:
            damage = damage or f"{path}:{number}: not the record of a step"
    return records, damage


def _is_record(value: Any) -> bool:
    if not isinstance(value, dict) or type(value.get("step")) is not int:
        return False
    numbers = [number for number in value.values() if number is not None]
    return all(type(number) in (int, float) and abs(number) <= sys.float_info.max for number in numbers)


def _line(record: dict[str, Any]) -> str:
    """JSON knows no infinity: an overflowed gradient norm is written as null."""
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}
    return json.dumps(finite) + "\n"


def _picture(plane: Tensor) -> np.ndarray:
    return to_uint8(plane.detach().to("cpu", torch.float32).numpy())
