"""Published PyTorch weights of stage one's networks, read without running anything that they hold."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from pipeline.files import InputError


def read_published_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a pickled state dict on the CPU, by key, without a ``module.`` prefix.

    Raises:
        InputError: the file is missing or damaged, or holds anything but tensors.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError):
        raise InputError(f"{path}: not a PyTorch weights file, or damaged") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no plain state dict of tensors")
    return {str(key).removeprefix("module."): value for key, value in state.items()}
