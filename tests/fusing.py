"""A tiny network and image files for tests of fusing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from model.checkpoint import save_weights
from model.engine.strips import FusionEngine
from model.fusing.fuse_config import FuseConfig
from model.network import GIFNet, NetworkConfig
from pipeline.images import write_image

#: Shapes of tiny networks that differ in one thing each.
SHAPES = {
    "tiny": {},
    "quirk": {"local_path_quirk": True},
    "shallow": {"depth": 1},
    "deep": {"depth": 3},
    "small windows": {"window": 4},
    "pyramid": {"head": "pyramid"},
    "a head that fills a piece": {"heads": 1},
}


def tiny_network(seed: int = 0, **shape: object) -> GIFNet:
    """A few channels; fast, and as irregular as the published shape."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GIFNet(NetworkConfig(feature_growth=2, **shape)).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
            if network.config.head == "pyramid":
                # As large as trained ones: what the head takes exponentials of is some units, not hundreds.
                network.global_decoder.decoder[-1].weight *= 0.1
                for parameter in network.head.parameters():
                    parameter *= 0.3
    return network


def tiny_weights(folder: Path, seed: int = 0) -> Path:
    return save_weights(folder / f"tiny{seed}.safetensors", tiny_network(seed), {})


def on_cpu(weights: Path, **settings: object) -> FuseConfig:
    """Settings whose results are exact: on a GPU the default is half precision."""
    return FuseConfig(weights=weights, device="cpu", **settings)


def picture(
    path: Path, seed: int, *, size_hw: tuple[int, int] = (20, 24), channels: int = 1, dtype: str = "uint8"
) -> np.ndarray:
    """Write a random image and return it."""
    shape = size_hw if channels == 1 else (*size_hw, channels)
    top = np.iinfo(dtype).max
    image = np.random.default_rng(seed).integers(0, top, shape, dtype, endpoint=True)
    write_image(path, image)
    return image


def fused_plane(*planes: np.ndarray) -> np.ndarray:
    """What the tiny network makes of uint8 or uint16 planes, folded in order."""
    engine = FusionEngine(tiny_network())
    scaled = [(plane / np.iinfo(plane.dtype).max).astype(np.float32) for plane in planes]
    fused = scaled[0]
    for plane in scaled[1:] or scaled:
        fused = engine.fuse_planes(fused, plane)
    return fused
