"""Networks, inputs and checks that several tests of the network and its checkpoints use."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.blocks.attention import log_offsets
from model.blocks.transformer import Task
from model.checkpoint.digest import weights_digest
from model.checkpoint.published import OFFSET_NAMES, UNUSED_NAMES, published_names
from model.network import GIFNet, NetworkConfig
from pipeline.files import InputError


def random_network(seed: int, *, local_path_quirk: bool = False) -> GIFNet:
    """A network of the published shape whose every tensor is random, norms and gates included."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = GIFNet(NetworkConfig(local_path_quirk=local_path_quirk)).eval()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += 0.05 * torch.randn_like(parameter)
    return network


def planes(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Two random planes in [0, 1]; a ramp under the texture keeps windows from being alike."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.rand(2, *shape, generator=generator, dtype=torch.float64)
    ramp = torch.linspace(0, 1, shape[-1], dtype=torch.float64)
    return ((a + ramp) / 2).to(dtype), (b * 0.7).to(dtype)


def training_forward(
    network: GIFNet, mm_planes: tuple[Tensor, Tensor], dp_planes: tuple[Tensor, Tensor], main: Task
) -> tuple[Tensor, Tensor]:
    """Fused image and reconstruction; only the main task's encoder features carry a gradient."""
    if main == "mm":
        own = mm = network.encode(*mm_planes)
        with torch.no_grad():
            dp = network.encode(*dp_planes)
    else:
        own = dp = network.encode(*dp_planes)
        with torch.no_grad():
            mm = network.encode(*mm_planes)
    return network.fuse_features(mm, dp, main=main), network.reconstruct(own)


def to_published(name: str, value: Tensor) -> dict[str, Tensor]:
    """One of our tensors, or its gradient, as the tensors of the authors' layout that it is made of."""
    parts = published_names()[name]
    channels = value.shape[0] // 3  # [Q | K] and V
    sizes = [value.shape[0]] if len(parts) == 1 else [2 * channels, channels]
    return dict(zip(parts, value.split(sizes), strict=True))


def published_state(network: GIFNet) -> dict[str, Tensor]:
    """The 116 tensors of the authors' layout that hold this network."""
    state = {name: torch.full((1,), 0.25) for name in UNUSED_NAMES}
    state |= {name: log_offsets(network.config.window) for name in OFFSET_NAMES}
    for name, value in network.state_dict().items():
        for published, part in to_published(name, value).items():
            is_norm = published.rpartition(".")[0].endswith(("norm1", "norm1_mfif"))
            state[published] = part[None].clone() if is_norm else part.clone()
    return state


def refuses(load: Callable[[Path], object], path: Path, says: str) -> None:
    """Loading a file ends in one line that begins with its name."""
    with pytest.raises(InputError, match=says) as refusal:
        load(path)
    assert "\n" not in str(refusal.value) and str(refusal.value).startswith(str(path))


def survives_damage(path: Path, load: Callable[[Path], GIFNet], trials: int) -> None:
    """Truncated anywhere or with any bit flipped, a file is refused or holds exactly what was saved."""
    data, digest = path.read_bytes(), weights_digest(load(path))
    choice = random.Random(trials)
    damaged = path.with_name("damaged")
    for trial in range(trials):
        copy = bytearray(data)
        if trial % 2:
            # Half of the flips near the end, where the directory of a zip file lies.
            place = choice.randrange(len(copy)) if trial % 4 == 1 else -choice.randrange(1, 3000)
            copy[place] ^= 1 << choice.randrange(8)
        else:
            del copy[choice.randrange(len(copy)) :]
        damaged.write_bytes(copy)
        try:
            loaded = load(damaged)
        except InputError as refusal:
            assert "\n" not in str(refusal)
        else:
            assert weights_digest(loaded) == digest
