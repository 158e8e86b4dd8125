"""Training of the exposure probe from over-/under-exposed pairs: the command ``weights train-probe``.

The published recipe minimises L1. Here the objective is the mean logarithm of each scene's mean squared
error, its PSNR up to a factor: exposure steps differ from scene to scene, and under L1 or MSE the few scenes
with the widest steps pull the curve away from all the others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.exposure.photographs import ExposureScene, probe_figures, read_scenes, split_scenes
from pipeline.exposure.probe import ROLES, ExposureProbe, save_probe
from pipeline.exposure.training_config import ProbeTrainingConfig
from pipeline.files import InputError, check_output
from pipeline.networks.device import repeatable, resolve_device
from pipeline.networks.schedules import cosine_share, follow
from pipeline.runtime.progress import Progress
from pipeline.runtime.randomness import random_stream

#: Keeps a scene that is learnt well from taking over the objective: an RMS error of 4 %, 28 dB.
_ERROR_FLOOR = 1.6e-3


def train_probe(
    config: ProbeTrainingConfig,
    manifest: Path | str,
    root: Path | str | None,
    out: Path | str,
    *,
    split: str | None = None,
) -> Path:
    """Train a probe of the published form on a manifest's over/under pairs; write safetensors to ``out``.

    The header of the file carries config, ids of the held-out scenes and figures (:func:`probe_figures`).
    Same config and data give the same bytes on one device with one number of threads.

    Raises:
        InputError: unusable manifest or data, too few scenes, an ``out`` that cannot be written, or a loss
            that is not finite.
    """
    device = resolve_device(config.device)
    check_output(out)
    scenes = read_scenes(manifest, root, split, least_px=config.patch_px, out=out)
    training, held_out = split_scenes(scenes, config.held_out_every)
    with repeatable(device):
        probe = fit_probe(config, training, device)
    facts = {
        "training": json.dumps(asdict(config)),
        "held_out": json.dumps([scene.id for scene in held_out]),
        "figures": json.dumps(probe_figures(probe, training, held_out)),
    }
    return save_probe(out, probe, facts)


def fit_probe(
    config: ProbeTrainingConfig, scenes: Sequence[ExposureScene], device: torch.device
) -> ExposureProbe:
    """Train on all given scenes and return the averaged network in eval mode.

    Raises:
        InputError: the loss is not finite.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(random_stream(config.seed, "train-probe", "", "weights").integers(1 << 31)))
        probe, average = ExposureProbe().to(device), ExposureProbe().to(device)
    average.load_state_dict(probe.state_dict())
    optimiser = torch.optim.Adam(probe.parameters())
    with Progress("train-probe", total=config.steps, unit="step") as progress:
        for step in range(config.steps):
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * cosine_share(step, steps=config.steps)
            loss = _objective(probe, _patches(config, scenes, step).to(device), config.scenes_per_step)
            if not torch.isfinite(loss):
                raise InputError(
                    f"train-probe: the loss is not finite at step {step}; use a lower learning_rate"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            follow(average, probe, done=step, most=config.average_decay)
            progress.advance(note=f"loss {loss.item():.3f}")
    return average.eval()


def _objective(probe: ExposureProbe, patches: Tensor, scenes: int) -> Tensor:
    """Mean over scenes and roles of the log mean squared error.

    Args:
        patches: (scenes * n, 3, P, P) in [0, 1]: fused, over, under.
    """
    inner = np.s_[probe.reach_px : -probe.reach_px]  # what the mirrored border of a patch cannot reach
    loss = patches.new_zeros(())
    for predicted, truth in zip(probe(patches[:, :1]), (patches[:, 1:2], patches[:, 2:3]), strict=True):
        error = (predicted - truth)[..., inner, inner].square()
        loss = loss + (error.reshape(scenes, -1).mean(1) + _ERROR_FLOOR).log().mean()
    return loss / len(ROLES)


def _patches(config: ProbeTrainingConfig, scenes: Sequence[ExposureScene], step: int) -> Tensor:
    """Patches (scenes * n, 3, P, P) float32 in [0, 1] of one step, each turned or mirrored at random."""
    rng = random_stream(config.seed, "train-probe", str(step), "patches")
    size, stack = config.patch_px, []
    for number in rng.integers(len(scenes), size=config.scenes_per_step):
        scene = scenes[number]
        height, width = scene.fused.shape
        rows = rng.integers(height - size + 1, size=config.patches_per_scene)
        cols = rng.integers(width - size + 1, size=config.patches_per_scene)
        for row, col in zip(rows, cols, strict=True):
            cut = np.s_[row : row + size, col : col + size]
            patch = np.stack([scene.fused[cut], scene.over[cut], scene.under[cut]])
            patch = np.rot90(patch, int(rng.integers(4)), axes=(1, 2))
            stack.append(patch[..., ::-1] if rng.integers(2) else patch)
    return torch.from_numpy(np.stack(stack)).float() / 255
