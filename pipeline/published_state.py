"""Files of ``torch.save``, such as published weights, read without running anything that they hold."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.files import InputError

#: What ``torch.load`` raises for files that are damaged or not its own.
_UNREADABLE = (
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    struct.error,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    AssertionError,
)


def read_published_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a pickled state dict on the CPU, by key, without a ``module.`` prefix.

    Raises:
        InputError: the file is missing or damaged, or holds anything but tensors.
    """
    state = read_saved(path, torch.device("cpu"))
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no plain state dict of tensors")
    return {str(key).removeprefix("module."): value for key, value in state.items()}


def read_saved(path: Path, device: torch.device) -> Any:
    """Tensors, on ``device``, and plain values, as they were given to ``torch.save``.

    Raises:
        InputError: the file is missing or damaged, or holds anything else.
    """
    try:
        if zipfile.is_zipfile(path):  # torch.load itself compares no checksum
            with zipfile.ZipFile(path) as archive:
                if archive.testzip():
                    raise zipfile.BadZipFile
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except _UNREADABLE:
        raise InputError(f"{path}: not a PyTorch weights file, or damaged") from None
