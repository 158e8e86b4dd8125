"""What every training here does beside its losses: learning rates and averages of weights, by the step.

Functions of the step's number, so that nothing of them has to be saved or restored. Configurations use them,
which help texts show, so torch is only imported by what needs it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def cosine_share(step: int, *, steps: float, warmup: int = 0) -> float:
    """Share of the highest learning rate in a step, counted from 0.

    It rises linearly over the first ``warmup`` steps and then falls along half a cosine, to 0 after the last
    of ``steps``; with endless ones it stays.
    """
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def average_decay(done: int, most: float) -> float:
    """Decay of a moving average after ``done`` steps: it rises from 0.1 to ``most``.

    The first weights are not worth averaging, and the random start is soon forgotten.
    """
    return min(most, (1 + done) / (10 + done))


def follow(average: nn.Module, live: nn.Module, *, done: int, most: float) -> None:
    """Move a moving average of a network's weights and statistics; see :func:`average_decay`."""
    import torch

    pairs = zip(average.state_dict().values(), live.state_dict().values(), strict=True)
    moving = [(mean, value) for mean, value in pairs if mean.is_floating_point()]
    means, values = (list(tensors) for tensors in zip(*moving, strict=True))
    torch._foreach_lerp_(means, values, 1 - average_decay(done, most))
