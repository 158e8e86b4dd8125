"""What a training begins with: a network, fresh or taught already, and words about what may surprise."""

from __future__ import annotations

from pathlib import Path

import torch

from model.checkpoint import load_network
from model.network import GIFNet, NetworkConfig
from model.training.feed import TrainingData
from model.training.train_config import SHAPE, TrainConfig
from pipeline.files import InputError, enumerate_some
from pipeline.networks.device import computes_bfloat16, computes_float16


def start_network(config: TrainConfig) -> GIFNet:
    """A network drawn from the seed, or that of ``config.init``, on the CPU.

    Raises:
        InputError: the weights cannot be used, or are not of the shape that was asked for.
    """
    if config.init:
        network = load_network(Path(config.init))
        for name in SHAPE:
            asked, there = getattr(config, name), getattr(network.config, name)
            if asked not in (None, there):
                raise InputError(f"train: {name} is {asked!r}, but {config.init} has {there!r}; leave it out")
        return network
    with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
        torch.manual_seed(config.seed)
        return GIFNet(NetworkConfig(**config.fresh_shape()))


#: What is told where :func:`learns_nothing`.
STILLBORN = (
    "train: the fused image is a constant, whatever the inner layers do: these first weights will learn "
    "little; try another --seed, or more --decoder-channels"
)


def notices(config: TrainConfig, data: TrainingData) -> list[str]:
    """What a run does otherwise than its settings suggest, a line each."""
    lines = []
    computes = {"bf16": computes_bfloat16, "fp16": computes_float16}.get(config.amp)
    if computes and not computes(data.device):
        lines.append(
            f"train: --amp {config.amp}: this processor has no such arithmetic and emulates it, which takes "
            "several times as long as --amp off"
        )
    if config.steps < config.warmup_steps:
        highest = config.learning_rate(config.steps - 1)
        lines.append(
            f"train: the learning rate only reaches {highest:.3g}: warm-up of {config.warmup_steps} steps in "
            f"a run of {config.steps}; --warmup-steps changes that"
        )
    if config.validation_share and not data.num_validation:
        lines.append(
            "train: no validation: a single frame, or a single picture in --dp-folder, leaves none to hold "
            "out; all samples are trained on"
        )
    if data.validates_on_trained_scene:
        lines.append(
            "train: all samples show one scene: frames of it are held out, so that validation sees the scene "
            "that is trained on"
        )
    if data.too_small:
        names = enumerate_some(data.too_small, most=3)
        lines.append(f"train: left out of --dp-folder, smaller than a tile of the joint set: {names}")
    return lines


def learns_nothing(network: GIFNet) -> bool:
    """Whether the last update sent no gradient to the gates between the streams.

    Narrow networks may begin with last layers whose ReLU is 0 everywhere, and stay so. Not so the pyramid
    head: it begins with weights of 0, which pass nothing on at first, and learns all the same.
    """
    if network.config.head != "plane":
        return False
    gradients = [gate.grad for gate in (network.transformer.lambda_mm, network.transformer.lambda_dp)]
    return any(gradient is not None and not gradient.any() for gradient in gradients)
