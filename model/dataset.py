"""Samples of a finished dataset, one by one, for training code that is not ours.

Our own trainer does not use it: it keeps luminance planes on the device (:mod:`model.training.planes`).
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.files import InputError
from pipeline.shards.dataset import open_listed, read_index
from pipeline.shards.file import Shard
from pipeline.shards.schema import FIELDS

#: Files that a process keeps open; systems often allow a process 1024 of them.
_MAX_OPEN = 32


class JointDataset(Dataset[dict[str, Any]]):
    """The samples of a folder of shards, in order, as a map-style dataset.

    A sample is a dict by field name (README, "Shards"): images are uint8 tensors (3, T, T) or (1, T, T),
    ``inverse_depth`` is float32 (1, T, T), exactly as stored, so that ``inverse_depth > focus_threshold`` is
    the near mask; numbers are int or float, text is str. The default collation of ``DataLoader`` stacks them.

    It can be pickled, forked and used by any number of workers: each process opens files of its own, when it
    needs them. Every chunk's checksum is checked as it is read; ``inspect --verify`` compares whole files.
    One instance is not for several threads at once.
    """

    def __init__(self, folder: Path | str, fields: Sequence[str] | None = None) -> None:
        """
        Args:
            folder: of a finished dataset.
            fields: names of the fields to read; None = all that the dataset has.

        Raises:
            InputError: the dataset is unfinished, of another format or empty, or has no such field; or
                ``fields`` is a text.
        """
        self.folder = Path(folder)
        if isinstance(fields, str):  # a sequence of letters
            raise InputError(
                f"{self.folder}: fields is {fields!r}; give a list of names, such as [{fields!r}]"
            )
        shards = read_index(self.folder)["shards"]
        self._entries = [{key: entry[key] for key in ("name", "samples")} for entry in shards]
        self._ends = np.cumsum([entry["samples"] for entry in shards], dtype=np.int64)
        if not len(self):
            raise InputError(f"{self.folder}: the dataset holds no samples")
        present = [name for name in FIELDS if name in shards[0]["arrays"]]
        self.fields = tuple(present if fields is None else fields)
        if absent := [name for name in self.fields if name not in present]:
            raise InputError(f"{self.folder}: has no field {', '.join(absent)}; it has {', '.join(present)}")
        self._open: OrderedDict[int, tuple[ExitStack, Shard]] = OrderedDict()  # the latest used comes last
        self._owner = os.getpid()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One sample; negative numbers count from the end.

        Raises:
            IndexError: there is no such sample.
            InputError: its shard is missing or damaged.
        """
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        position = int(np.searchsorted(self._ends, number, side="right"))
        shard = self._shard(position)
        row = number - int(self._ends[position]) + shard.num_samples
        return {name: _value(name, shard.read(name, row, row + 1)) for name in self.fields}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}  # open files belong to one process

    def _shard(self, position: int) -> Shard:
        if self._owner != os.getpid():
            # After a fork the files are the parent's, which must not be closed here: leave them alone.
            self._open, self._owner = OrderedDict(), os.getpid()
        if position not in self._open:
            files = ExitStack()
            shard = files.enter_context(open_listed(self.folder, self._entries[position]))
            self._open[position] = files, shard
        self._open.move_to_end(position)
        while len(self._open) > _MAX_OPEN:
            self._open.popitem(last=False)[1][0].close()
        return self._open[position][1]


def _value(name: str, rows: np.ndarray) -> Tensor | int | float | str:
    """The one row of a field as the sample holds it."""
    row = rows[0]
    if not isinstance(row, np.ndarray):
        return row if isinstance(row, str) else row.item()
    if row.ndim == 3:
        return torch.from_numpy(np.ascontiguousarray(row.transpose(2, 0, 1)))
    plane = row.astype(np.float32) if FIELDS[name].dtype == "f2" else row
    return torch.from_numpy(plane[None])
