"""Training of the default depth network on procedural scenes: the command ``weights train-depth``.

Shortest useful call: ``train_depth(DepthTrainingConfig(scenes=200, steps=500), Path("depth.safetensors"))``.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.depth.augmentation import random_view
from pipeline.depth.losses import data_loss, draw_pairs, gradient_loss, ordinal_error, ordinal_loss
from pipeline.depth.network import DepthNetwork, save_depth_network
from pipeline.depth.scenes import SceneSet, join_scene_sets, render_scene_set
from pipeline.depth.training_config import DepthTrainingConfig, learning_rate_at
from pipeline.device import repeatable, resolve_device
from pipeline.files import InputError, write_bytes, write_json
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
        InputError: a checkpoint of another config lies there, or a loss is not finite.
    """
    out = Path(out)
    folder = out.with_name(out.stem + ".training")
    device = resolve_device(config.device)
    training, held_out = _scene_sets(config, folder / "scenes")
    state = _State(config, device)
    state.restore(folder / "checkpoint.pt")
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
                state.save(folder / "checkpoint.pt")
                write_json(folder / "metrics.json", state.history)
                facts = {"config": config.plain(), "steps_done": state.step, "metrics": state.history[-1]}
                size = config.inference_size_hw
                save_depth_network(out, state.average, encoder=config.encoder, size_hw=size, training=facts)
    return out


class _State:
    """All that changes during training."""

    def __init__(self, config: DepthTrainingConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random_stream(config.seed, "train-depth", "", "weights").integers(1 << 31)))
            self.network, self.average = DepthNetwork(config.encoder), DepthNetwork(config.encoder)
        self.network.to(device).to(memory_format=torch.channels_last).train()
        self.average.load_state_dict(self.network.state_dict())
        self.average.to(device).to(memory_format=torch.channels_last).eval()
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=config.learning_rate)
        self.step = 0
        self.history: list[dict[str, Any]] = []

    def save(self, path: Path) -> None:
        state = {
            "config": self.config.plain(),
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
        }
        content = io.BytesIO()  # torch would not tell a full disk from a defect
        torch.save(state, content)
        write_bytes(path, content.getvalue())

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one."""
        if not path.exists():
            return
        saved = torch.load(path, map_location=self.device, weights_only=True)
        mine = self.config.plain()
        changed = sorted(
            key for key in mine.keys() | saved["config"].keys() if mine.get(key) != saved["config"].get(key)
        )
        if changed:
            raise InputError(
                f"{path}: made with another {', '.join(changed)}; delete it or use another output name"
            )
        self.network.load_state_dict(saved["network"])
        self.average.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.history = saved["step"], saved["history"]

    def follow(self) -> None:
        """Move the average of the weights a little towards the weights."""
        # A short memory at first, so that the random start is soon forgotten.
        decay = min(self.config.average_decay, (1 + self.step) / (10 + self.step))
        for mean, value in zip(
            self.average.state_dict().values(), self.network.state_dict().values(), strict=True
        ):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - decay)


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


def _step(state: _State, scenes: SceneSet) -> dict[str, float]:
    config = state.config
    frames, target, pairs = _batch(config, scenes, state.step, state.device)
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate_at(state.step, config)
    with torch.autocast(state.device.type, torch.bfloat16, enabled=config.mixed_precision):
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
def _validate(state: _State, scenes: SceneSet) -> float:
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
