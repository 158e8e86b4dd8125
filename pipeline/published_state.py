"""Published PyTorch weights of stage one's networks."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pipeline.files import InputError
from pipeline.saved_tensors import read_saved


def read_published_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a pickled state dict on the CPU, by key, without a ``module.`` prefix.

    Raises:
        InputError: the file is missing or damaged, or holds anything but tensors.
    """
    state = read_saved(path, torch.device("cpu"))
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: holds no plain state dict of tensors")
    return {str(key).removeprefix("module."): value for key, value in state.items()}
