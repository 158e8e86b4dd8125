"""The network that a training begins with: a fresh one, or one that has learned already."""

from __future__ import annotations

from pathlib import Path

import torch

from model.checkpoint import load_network
from model.network import GIFNet, NetworkConfig
from model.train_config import SHAPE, TrainConfig
from pipeline.files import InputError


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
        return GIFNet(NetworkConfig(**{name: getattr(config, name) for name in SHAPE}))
