"""Training of the default depth network on procedural scenes: the command ``weights train-depth``.

Shortest useful call: ``train_depth(DepthTrainingConfig(scenes=200, steps=500), Path("depth.safetensors"))``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.depth.augmentation import random_view
from pipeline.depth.losses import data_loss, draw_pairs, gradient_loss, ordinal_error, ordinal_loss
from pipeline.depth.photographs import read_photographs
from pipeline.depth.scenes import SceneSet, join_scene_sets, render_scene_set
from pipeline.depth.training_config import DepthTrainingConfig, learning_rate_at
from pipeline.depth.training_state import DepthTrainingState
from pipeline.files import InputError, check_output
from pipeline.networks.device import computes_bfloat16, repeatable, resolve_device
from pipeline.runtime.progress import Progress
from pipeline.runtime.randomness import random_stream

#: Inverse depth below this share of a view's nearest point counts as this share: far is far.
FARTHEST = 0.03
#: Longest side to which photographs are shrunk: their detail is then about as fine as that of scenes.
PHOTOGRAPH_PX = 384
#: Index of the first held-out scene; training scenes are counted from 0.
FIRST_HELD_OUT = 1_000_000


def train_depth(config: DepthTrainingConfig, out: Path | str) -> Path:
    """Train and write the weights to ``out`` (safetensors); returns the path.

    First the network for visible frames; then, that being fixed, the correction by infrared ones, from other
    scenes, on which the estimates are as wrong as they will be.

    ``OUT.training/`` beside it keeps the rendered scenes, the last checkpoint and ``metrics.json``. Called
    again with the same config it goes on where it stopped, to the same weights bit for bit on one device and
    thread count. ``out`` itself is renewed at every checkpoint; its metadata says how many steps it has seen.

    Raises:
        InputError: an unknown encoder, an ``out`` that cannot be written, a damaged checkpoint or one of
            another config or other photographs, photographs that cannot be read, a base that does not fit,
            or a loss that is not finite.
    """
    out = check_output(out, config.base)
    folder = _work_folder(out)
    device = resolve_device(config.device)
    state = DepthTrainingState(config, device)
    state.restore(folder / "checkpoint.pt")
    photographs: Sequence[np.ndarray] = []
    if config.photographs and state.step < config.all_steps:
        photographs = read_photographs(config.photographs, PHOTOGRAPH_PX)
    held_out = _held_out(config, folder / "scenes")
    for end, first, count in (
        (config.steps, 0, config.scenes),
        (config.all_steps, state.first_infrared_scene, config.infrared_scenes),
    ):
        if state.step < end:
            if end > config.steps:
                state.fix_base()
            scenes = _mixed_scenes(config, folder / "scenes", first=first, count=count)
            _run_stage(state, scenes, photographs or list(scenes.visible), held_out, end, out)
    if not state.is_exported(out):
        state.export(out, folder / "metrics.json")
    return out


def _work_folder(out: Path) -> Path:
    return out.with_name(out.stem + ".training")


def _run_stage(
    state: DepthTrainingState,
    scenes: SceneSet,
    details: Sequence[np.ndarray],
    held_out: dict[str, SceneSet],
    end: int,
    out: Path,
) -> None:
    """Train to step ``end``, the end of a stage, with a checkpoint and an export now and then."""
    folder = _work_folder(out)
    losses: list[dict[str, float]] = []
    with (
        repeatable(state.device),
        Progress("train-depth", total=state.config.all_steps, unit="step", initial=state.step) as progress,
    ):
        while state.step < end:
            losses.append(_step(state, scenes, details))
            progress.advance(note=f"loss {losses[-1]['loss']:.3f}")
            if state.step % state.config.save_every == 0 or state.step == end:
                state.history.append(
                    {
                        "step": state.step,
                        **_means(losses),
                        **{f"ordinal_error_{name}": _validate(state, s) for name, s in held_out.items()},
                    }
                )
                losses = []
                state.export(out, folder / "metrics.json")
                state.save(folder / "checkpoint.pt")  # last: what a kill leaves undone is done again


def _mixed_scenes(config: DepthTrainingConfig, folder: Path, *, first: int, count: int) -> SceneSet:
    """Scenes with natural textures, then some with random ones."""
    randomised = round(config.randomised_share * count)
    natural = count - randomised
    return join_scene_sets(
        [
            render_scene_set(folder, first=start, count=number, randomised=flag, **_rendering(config))
            for start, number, flag in ((first, natural, False), (first + natural, randomised, True))
            if number
        ]
    )


def _held_out(config: DepthTrainingConfig, folder: Path) -> dict[str, SceneSet]:
    return {
        name: render_scene_set(
            folder, first=FIRST_HELD_OUT, count=config.held_out, randomised=flag, **_rendering(config)
        )
        for name, flag in (("natural", False), ("randomised", True))
    }


def _rendering(config: DepthTrainingConfig) -> dict[str, Any]:
    return {"seed": config.seed, "size_hw": config.render_size_hw, "jobs": config.jobs}


def _step(state: DepthTrainingState, scenes: SceneSet, details: Sequence[np.ndarray]) -> dict[str, float]:
    config = state.config
    frames, infrared, target, pairs = _batch(config, scenes, details, state.step, state.device)
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate_at(state.step, config)
    mixed = config.mixed_precision and computes_bfloat16(state.device)
    with torch.autocast(state.device.type, torch.bfloat16, enabled=mixed):
        predicted = state.network(frames, infrared)
    parts = {
        "data": data_loss(predicted, target),
        "gradient": gradient_loss(predicted, target),
        "ordinal": ordinal_loss(predicted, target, pairs, margin=0.1),
    }
    loss = (
        parts["data"] + config.gradient_weight * parts["gradient"] + config.ordinal_weight * parts["ordinal"]
    )
    if not torch.isfinite(loss):
        raise InputError(f"train-depth: the loss is not finite at step {state.step}; try another --seed")
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
    state.optimiser.step()
    state.step += 1
    state.follow()
    return {"loss": loss.item(), **{name: part.item() for name, part in parts.items()}}


def _batch(
    config: DepthTrainingConfig,
    scenes: SceneSet,
    details: Sequence[np.ndarray],
    step: int,
    device: torch.device,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """One step's frames (B, 3, H, W) and, in the second stage, infrared ones (B, 1, H, W), both in [0, 1],
    log inverse depth (B, 1, H, W) and point pairs (B, 2, P). Views may get the fine detail of ``details``.
    """
    views, targets, pairs = [], [], []
    for position in range(step * config.batch_size, (step + 1) * config.batch_size):
        epoch, place = divmod(position, len(scenes))
        order = random_stream(config.seed, "train-depth", str(epoch), "order").permutation(len(scenes))
        rng = random_stream(config.seed, "train-depth", str(position), "view")
        scene = order[place]
        infrared = scenes.infrared[scene] if step >= config.steps else None
        other = details[int(rng.integers(len(details)))]
        view = random_view(
            scenes.visible[scene], scenes.inverse_depth[scene], infrared, other, config.size_hw, rng
        )
        nearest = max(float(view.inverse_depth.max()), 1e-6)
        views.append(view)
        targets.append(np.log(np.maximum(view.inverse_depth / nearest, FARTHEST)))
        pairs.append(draw_pairs(rng, config.size_hw, config.pairs, config.row_share))
    frames = np.stack([view.frame for view in views])
    seen = [view.infrared[None] for view in views if view.infrared is not None]
    return (
        torch.from_numpy(frames).to(device).permute(0, 3, 1, 2),  # channels_last in memory
        torch.from_numpy(np.stack(seen)).to(device) if seen else None,
        torch.from_numpy(np.stack(targets)[:, None]).to(device),
        torch.from_numpy(np.stack(pairs)).to(device),
    )


@torch.inference_mode()
def _validate(state: DepthTrainingState, scenes: SceneSet) -> float:
    """Mean ordinal error over whole held-out scenes, with their infrared frames in the second stage."""
    errors = []
    height, width = state.config.inference_size_hw
    for index in range(len(scenes)):
        frame, infrared = (
            torch.from_numpy(cv2.resize(picture[index], (width, height), interpolation=cv2.INTER_AREA))
            for picture in (scenes.visible, scenes.infrared)
        )
        frame = frame.to(state.device).permute(2, 0, 1)[None].float() / 255
        infrared = infrared.to(state.device)[None, None].float() / 255
        corrects = state.step > state.config.steps
        predicted = state.average(frame, infrared if corrects else None)[0, 0].cpu().numpy()
        truth = cv2.resize(
            scenes.inverse_depth[index].astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST
        )
        rng = random_stream(state.config.seed, "train-depth", str(index), "validate")
        errors.append(ordinal_error(predicted, truth, rng))
    return float(np.mean(errors))


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
