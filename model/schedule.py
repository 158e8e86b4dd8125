"""Learning rates as functions of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math

from model.train_config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """Learning rate of a step, counted from 0.

    ``warmup_steps`` steps rise linearly to ``lr``; after them it stays there (``constant``) or falls along
    half a cosine (``cosine``) to 0 after the last step.
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))
