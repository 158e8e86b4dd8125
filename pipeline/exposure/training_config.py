"""How the exposure probe is trained. Imports no torch, so that help texts can show the defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.files import InputError


@dataclass(frozen=True, kw_only=True)
class ProbeTrainingConfig:
    """How the probe is trained."""

    steps: int = 2000  # optimiser steps
    scenes_per_step: int = 8  # each gives one term of the objective
    patches_per_scene: int = 16  # from all over the scene, so that they stand for all of it
    patch_px: int = 24  # side of a patch; the networks' reach is cut off its loss on every side
    learning_rate: float = 2e-3  # of Adam at the start; falls to 0 along a cosine
    average_decay: float = 0.998  # exponential moving average of the weights, which is what is saved
    held_out_every: int = 10  # every n-th scene, by id, is held out for the figures
    seed: int = 0  # of initial weights, scenes and patches
    device: str = "auto"  # auto, cpu, cuda or cuda:N

    def __post_init__(self) -> None:
        for name in ("steps", "scenes_per_step", "patches_per_scene"):
            if getattr(self, name) < 1:
                raise InputError(f"train-probe: {name} {getattr(self, name)} must be at least 1")
        if self.patch_px < 12:
            raise InputError(
                f"train-probe: patch_px {self.patch_px} leaves nothing to learn from; give 12 or more"
            )
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise InputError(f"train-probe: learning_rate {self.learning_rate} must be positive")
        if not 0 <= self.average_decay < 1:
            raise InputError(f"train-probe: average_decay {self.average_decay} must be within [0, 1)")
        if self.held_out_every < 2:
            raise InputError(f"train-probe: held_out_every {self.held_out_every} must be at least 2")
