"""How the default depth network is trained: settings, their ranges and the learning rate."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.depth import STRIDE
from pipeline.depth.photographs import photographs_digest
from pipeline.files import InputError, sha256_file
from pipeline.networks.schedules import cosine_share
from pipeline.runtime.workers import check_jobs


@dataclass(frozen=True, kw_only=True)
class DepthTrainingConfig:
    """How the depth network is trained. The defaults are those that made the shipped weights."""

    encoder: str = "resnet10t"  # timm model that gives feature maps down to stride 32
    size_hw: tuple[int, int] = (128, 160)  # input of the network in training, multiples of 32
    inference_size_hw: tuple[int, int] = (160, 192)  # what the weights are then run at, multiples of 32
    render_size_hw: tuple[int, int] = (240, 320)  # scenes as rendered; views are cut from them
    scenes: int = 1200  # rendered scenes
    randomised_share: float = 0.5  # of them, with random instead of natural textures
    photographs: Path | None = None  # folder of those whose fine detail views get; else that of other scenes
    held_out: int = 16  # scenes of each kind that validation uses and training never sees
    steps: int = 4000  # optimiser steps of the network for visible frames
    base: Path | None = None  # weights whose network is kept, instead of taking these steps
    infrared_scenes: int = 1000  # further rendered scenes, from which the infrared correction learns
    infrared_steps: int = 4000  # optimiser steps of the correction, all else fixed; 0 = none
    batch_size: int = 12  # views per step
    learning_rate: float = 2e-3  # peak, after the warm-up; falls to 0 along a cosine
    warmup_steps: int = 200  # linear rise of the learning rate
    weight_decay: float = 0.02  # AdamW
    gradient_weight: float = 0.5  # MegaDepth's alpha
    ordinal_weight: float = 0.5  # MegaDepth's beta
    pairs: int = 1000  # point pairs per view of the ordinal term
    row_share: float = 0.5  # of them, within one row
    average_decay: float = 0.998  # exponential moving average of the weights, which is what is saved
    mixed_precision: bool = True  # bfloat16 autocast, where the device has it; losses stay float32
    save_every: int = 250  # steps between checkpoints, validations and exports
    seed: int = 0  # of scenes, views, pairs and initial weights
    device: str = "auto"  # auto, cpu, cuda or cuda:N; a stopped run may go on on another
    jobs: int = 1  # rendering processes, -1 = one for each core; changes no result

    def __post_init__(self) -> None:
        for name in ("scenes", "held_out", "steps", "batch_size", "pairs", "save_every"):
            if getattr(self, name) < 1:
                raise InputError(f"train-depth: {name} {getattr(self, name)} must be at least 1")
        check_jobs(self.jobs)
        for name in ("size_hw", "inference_size_hw"):
            if any(side < STRIDE or side % STRIDE for side in getattr(self, name)):
                raise InputError(
                    f"train-depth: {name} {getattr(self, name)} must be two multiples of {STRIDE}"
                )
        if self.infrared_steps < 0 or self.infrared_scenes < 1:
            raise InputError("train-depth: infrared_steps must be at least 0, infrared_scenes at least 1")
        if self.base and not self.infrared_steps:
            raise InputError("train-depth: base: with infrared_steps 0 nothing is left to train")
        for name in ("randomised_share", "row_share", "average_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"train-depth: {name} {getattr(self, name)} must be within [0, 1]")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise InputError(f"train-depth: learning_rate {self.learning_rate} must be positive")
        for name in ("warmup_steps", "weight_decay", "gradient_weight", "ordinal_weight"):
            if not getattr(self, name) >= 0:
                raise InputError(f"train-depth: {name} {getattr(self, name)} must not be negative")

    @property
    def all_steps(self) -> int:
        """Optimiser steps of both stages."""
        return self.steps + self.infrared_steps

    def plain(self) -> dict[str, Any]:
        """What a stopped run must go on with, in JSON's types: not where it runs; of files the SHA-256."""
        fields = asdict(self)
        del fields["jobs"], fields["device"]
        fields["base"] = sha256_file(self.base) if self.base else None
        fields["photographs"] = photographs_digest(self.photographs) if self.photographs else None
        return {key: list(value) if isinstance(value, tuple) else value for key, value in fields.items()}


def learning_rate_at(step: int, config: DepthTrainingConfig) -> float:
    """Linear warm-up, then half a cosine down to 0, in each stage: a function of the step, for resuming."""
    steps = config.steps
    if step >= steps:
        step, steps = step - steps, config.infrared_steps
    return config.learning_rate * cosine_share(step, steps=steps, warmup=config.warmup_steps)
