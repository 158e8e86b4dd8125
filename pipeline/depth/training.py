"""Training of the default depth network on procedural scenes: the command ``weights train-depth``.

Shortest useful call: ``train_depth(DepthTrainingConfig(scenes=200, steps=500), Path("depth.safetensors"))``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.depth.augmentation import random_view
from pipeline.depth.losses import data_loss, draw_pairs, gradient_loss, ordinal_error, ordinal_loss
from pipeline.depth.scenes import SceneSet, join_scene_sets, render_scene_set
from pipeline.depth.training_config import DepthTrainingConfig, learning_rate_at
from pipeline.depth.training_state import DepthTrainingState
from pipeline.device import computes_bfloat16, repeatable, resolve_device
from pipeline.files import InputError, check_output
from pipeline.progress import Progress
from pipeline.randomness import random_stream

#: Inverse depth below this share of a view's nearest point counts as this share: far is far.
FARTHEST = 0.03
#: Index of the first held-out scene; training scenes are counted from 0.
FIRST_HELD_OUT = 1_000_000


def train_depth(config: DepthTrainingConfig, out: Path | str) -> Path:
    """Train and write the weights to ``out`` (safetensors); returns the path.

    ``OUT.training/`` beside it keeps the rendered scenes, the last checkpoint and ``metrics.json``. Called
    again with the same config it goes on where it stopped, to the same weights bit for bit on one device and
    thread count. ``out`` itself is renewed at every checkpoint; its metadata says how many steps it has seen.

    Raises:
        InputError: an unknown encoder, an ``out`` that cannot be written, a damaged checkpoint or one of
            another config, or a loss that is not finite.
    """
    out = check_output(out)
    folder = out.with_name(out.stem + ".training")
    device = resolve_device(config.device)
    state = DepthTrainingState(config, device)
    state.restore(folder / "checkpoint.pt")
    training, held_out = _scene_sets(config, folder / "scenes")
    with (
        repeatable(device),
        Progress("train-depth", total=config.steps, unit="step", initial=state.step) as progress,
    ):
        losses: list[dict[str, float]] = []
        while state.step < config.steps:
            losses.append(_step(state, training))
            progress.advance(note=f"loss {losses[-1]['loss']:.3f}")
            if state.step % config.save_every == 0 or state.step == config.steps:
                state.history.append(
                    {
                        "step": state.step,
                        **_means(losses),
                        **{name: _validate(state, s) for name, s in held_out.items()},
                    }
                )
                losses = []
                state.export(out, folder / "metrics.json")
                state.save(folder / "checkpoint.pt")  # last: what a kill leaves undone is done again
    if not state.is_exported(out):
        state.export(out, folder / "metrics.json")
    return out


def _scene_sets(config: DepthTrainingConfig, folder: Path) -> tuple[SceneSet, dict[str, SceneSet]]:
    common: dict[str, Any] = {"seed": config.seed, "size_hw": config.render_size_hw, "jobs": config.jobs}
    randomised = round(config.randomised_share * config.scenes)
    natural = config.scenes - randomised
    parts = [
        render_scene_set(folder, first=first, count=count, randomised=flag, **common)
        for first, count, flag in ((0, natural, False), (natural, randomised, True))
        if count
    ]
    training = join_scene_sets(*parts) if len(parts) == 2 else parts[0]
    held_out = {
        f"ordinal_error_{name}": render_scene_set(
            folder, first=FIRST_HELD_OUT, count=config.held_out, randomised=flag, **common
        )
        for name, flag in (("natural", False), ("randomised", True))
    }
    return training, held_out


def _step(state: DepthTrainingState, scenes: SceneSet) -> dict[str, float]:
    config = state.config
    frames, target, pairs = _batch(config, scenes, state.step, state.device)
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate_at(state.step, config)
    mixed = config.mixed_precision and computes_bfloat16(state.device)
    with torch.autocast(state.device.type, torch.bfloat16, enabled=mixed):
        predicted = state.network(frames)
    parts = {
        "data": data_loss(predicted, target),
        "gradient": gradient_loss(predicted, target),
        "ordinal": ordinal_loss(predicted, target, pairs, margin=0.1),
    }
    loss = (
        parts["data"] + config.gradient_weight * parts["gradient"] + config.ordinal_weight * parts["ordinal"]
    )
    if not torch.isfinite(loss):
        raise InputError(
            f"train-depth: the loss is not finite at step {state.step}; use a lower learning_rate"
        )
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
    state.optimiser.step()
    state.step += 1
    state.follow()
    return {"loss": loss.item(), **{name: part.item() for name, part in parts.items()}}


def _batch(
    config: DepthTrainingConfig, scenes: SceneSet, step: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Frames (B, 3, H, W) in [0, 1], log inverse depth (B, 1, H, W) and point pairs (B, 2, P) of one step."""
    frames, targets, pairs = [], [], []
    for position in range(step * config.batch_size, (step + 1) * config.batch_size):
        epoch, place = divmod(position, len(scenes))
        order = random_stream(config.seed, "train-depth", str(epoch), "order").permutation(len(scenes))
        random = random_stream(config.seed, "train-depth", str(position), "view")
        scene = order[place]
        frame, inverse_depth = random_view(
            scenes.visible[scene], scenes.inverse_depth[scene], config.size_hw, random
        )
        frames.append(frame)
        targets.append(np.log(np.maximum(inverse_depth / max(float(inverse_depth.max()), 1e-6), FARTHEST)))
        pairs.append(draw_pairs(random, config.size_hw, config.pairs, config.row_share))
    return (
        torch.from_numpy(np.stack(frames)).to(device).permute(0, 3, 1, 2),  # channels_last in memory
        torch.from_numpy(np.stack(targets)[:, None]).to(device),
        torch.from_numpy(np.stack(pairs)).to(device),
    )


@torch.inference_mode()
def _validate(state: DepthTrainingState, scenes: SceneSet) -> float:
    """Mean ordinal error over whole held-out scenes."""
    errors = []
    height, width = state.config.inference_size_hw
    for index in range(len(scenes)):
        frame = cv2.resize(scenes.visible[index], (width, height), interpolation=cv2.INTER_AREA)
        tensor = torch.from_numpy(frame).to(state.device).permute(2, 0, 1)[None].float() / 255
        predicted = state.average(tensor)[0, 0].cpu().numpy()
        truth = cv2.resize(
            scenes.inverse_depth[index].astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST
        )
        random = random_stream(state.config.seed, "train-depth", str(index), "validate")
        errors.append(ordinal_error(predicted, truth, random))
    return float(np.mean(errors))


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
