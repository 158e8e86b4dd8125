"""The state of a training of the depth network: checkpoints to go on from, and the weights that it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pipeline.depth.network import DepthNetwork, InfraredCorrection, load_depth_network, save_depth_network
from pipeline.depth.training_config import DepthTrainingConfig
from pipeline.files import InputError, first_line, write_bytes, write_json
from pipeline.networks.optimizer_state import restore_adam
from pipeline.networks.saved_tensors import read_saved, saved_bytes
from pipeline.networks.schedules import follow
from pipeline.runtime.randomness import random_stream


class DepthTrainingState:
    """All that changes during training: network, average of its weights, optimiser, step and validations."""

    def __init__(self, config: DepthTrainingConfig, device: torch.device) -> None:
        self.config, self.device = config, device
        self._settings = config.plain()  # reads whole files
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(random_stream(config.seed, "train-depth", "", "weights").integers(1 << 31)))
            self.network, self.average = (
                DepthNetwork(config.encoder, sees_infrared=config.infrared_steps > 0) for _ in range(2)
            )
        _check_encoder(self.average.eval(), config)
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
        self.base_facts: Any = None  # how the network of config.base was made
        if config.base:
            self._keep(config.base)

    @property
    def correction(self) -> InfraredCorrection:
        """What the second stage trains."""
        assert self.network.correction is not None
        return self.network.correction

    @property
    def first_infrared_scene(self) -> int:
        """Index of the second stage's first scene, behind those that the first one's network has seen."""
        facts = self.base_facts if isinstance(self.base_facts, dict) else {}
        config = facts.get("config")
        seen = config.get("scenes") if isinstance(config, dict) else None
        return max(self.config.scenes, seen if isinstance(seen, int) else 0)

    def fix_base(self) -> None:
        """Begin the second stage, or go on with it: what sees the visible frame stays as its average is."""
        correction = {f"correction.{key}": value for key, value in self.correction.state_dict().items()}
        self.network.load_state_dict(self.average.state_dict() | correction)
        self.network.eval().requires_grad_(False)
        self.correction.train().requires_grad_(True)

    def save(self, path: Path) -> None:
        """Write the checkpoint from which :meth:`restore` goes on."""
        write_bytes(path, saved_bytes(self._content()))

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one.

        Raises:
            InputError: it is damaged, or of another config.
        """
        if not path.exists():
            return
        try:
            saved = read_saved(path, self.device)
        except InputError as error:
            raise InputError(f"{error}; delete it to begin anew") from None
        kinds = {"config": dict, "step": int, "history": list}
        if (
            not isinstance(saved, dict)
            or saved.keys() != self._content().keys()
            or any(not isinstance(saved[key], kind) for key, kind in kinds.items())
        ):
            raise InputError(f"{path}: not a checkpoint of train-depth; delete it to begin anew")
        mine, earlier = self._settings, saved["config"]
        changed = sorted(key for key in mine.keys() | earlier.keys() if mine.get(key) != earlier.get(key))
        if changed:
            raise InputError(
                f"{path}: made with another {', '.join(changed)}; delete it or use another output name"
            )
        try:
            self.network.load_state_dict(saved["network"])
            self.average.load_state_dict(saved["average"])
            restore_adam(self.optimiser, saved["optimiser"])
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            why = f"does not fit this version ({first_line(error)})"
            raise InputError(f"{path}: {why}; delete it to begin anew") from None
        self.step, self.history = saved["step"], saved["history"]

    def follow(self) -> None:
        """Move the average of the weights a little towards the weights."""
        done = self.step - self.config.steps if self.step > self.config.steps else self.step
        follow(self.average, self.network, done=done, most=self.config.average_decay)

    def export(self, out: Path, metrics: Path) -> None:
        """Write the average of the weights, and the metrics of all validations so far."""
        write_json(metrics, self.history)
        encoder, size = self.config.encoder, self.config.inference_size_hw
        save_depth_network(out, self.average, encoder=encoder, size_hw=size, training=self._facts())

    def is_exported(self, out: Path) -> bool:
        """Whether the weights at ``out`` are those of this state."""
        try:
            _, description = load_depth_network(out, self.config.encoder)
        except InputError:
            return False  # missing or damaged
        return bool(description.get("training") == self._facts())

    def _facts(self) -> dict[str, Any]:
        base = {"base": self.base_facts} if self.base_facts else {}
        return {
            "config": self._settings,
            "steps_done": self.step,
            "metrics": self.history[-1],
            **base,
        }

    def _keep(self, path: Path) -> None:
        """Take the network of a file as that of the first stage, which is over with it."""
        network, description = load_depth_network(path, self.config.encoder)
        visible = {key: value for key, value in network.state_dict().items() if "correction." not in key}
        self.average.load_state_dict(visible, strict=False)
        self.base_facts, self.step = description["training"], self.config.steps

    def _content(self) -> dict[str, Any]:
        return {
            "config": self._settings,
            "step": self.step,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "history": self.history,
        }


def _check_encoder(network: DepthNetwork, config: DepthTrainingConfig) -> None:
    """Some encoders of timm take one size alone, or give maps whose channels come last."""
    for size_hw in (config.size_hw, config.inference_size_hw):
        try:
            with torch.inference_mode():
                network(torch.zeros(1, 3, *size_hw))
        except (AssertionError, RuntimeError) as error:
            raise InputError(
                f"encoder {config.encoder}: does not take frames of {size_hw[0]}x{size_hw[1]} "
                f"({first_line(error)}); use one of convolutions"
            ) from None
