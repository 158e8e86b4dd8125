"""Depth sources with random weights, for tests of depth."""

from __future__ import annotations

from pathlib import Path

import torch

from pipeline.depth.network import DepthNetwork, save_depth_network

CPU = torch.device("cpu")
ENCODER = "regnetx_002"


def random_source(folder: Path, *, corrects: bool = False) -> str:
    """A depth source with random weights; untrained, its correction by infrared frames changes nothing."""
    torch.manual_seed(0)
    network = DepthNetwork(ENCODER)
    if corrects:
        assert network.correction is not None
        torch.nn.init.normal_(network.correction.head.weight, std=0.3)
    path = folder / "depth.safetensors"
    save_depth_network(path, network, encoder=ENCODER, size_hw=(64, 96), training={})
    return f"timm:{ENCODER}:{path}"
