"""States of optimizers and gradient scalers from files, which are not trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def restore_adam(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Give Adam, or AdamW, the steps and moments of a state dict; its settings stay.

    PyTorch compares no shapes, and writes beyond moments that are too short.

    Raises:
        AttributeError, LookupError, TypeError, ValueError: it is no state of these parameters.
    """
    parameters = dict(enumerate(p for group in optimizer.param_groups for p in group["params"]))
    state = {}
    for index, values in saved["state"].items():
        due = {"step": torch.zeros(()), "exp_avg": parameters[index], "exp_avg_sq": parameters[index]}
        forms, forms_due = (
            {name: (value.shape, value.dtype) for name, value in one.items()} for one in (values, due)
        )
        if forms != forms_due:
            raise ValueError(f"the optimizer's state of parameter {index} is not of its shape or type")
        # Strides, too, are those of the parameter.
        state[index] = {name: torch.empty_like(value).copy_(values[name]) for name, value in due.items()}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def restore_scaler(scaler: torch.amp.GradScaler, saved: Mapping[str, Any]) -> None:
    """Give a gradient scaler the scale of a state dict, and its count of steps; its settings stay.

    Raises:
        LookupError, ValueError: it is no state of a scaler.
    """
    own = scaler.state_dict()
    if not (saved and own):  # one of the two scales nothing
        return
    scale, count = saved["scale"], saved["_growth_tracker"]
    if not (type(scale) is float and 0 < scale < torch.inf):
        raise ValueError(f"the scale of gradients is {scale!r}")
    if not (type(count) is int and 0 <= count <= own["growth_interval"]):
        raise ValueError(f"the steps since the last change of the scale are {count!r}")
    scaler.load_state_dict({**own, "scale": scale, "_growth_tracker": count})
