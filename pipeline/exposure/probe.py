"""The exposure probe: luminance as an over-exposed and as an under-exposed picture would show it.

Two small networks of one form, one per role: the information probe of FusionBooster (Cheng et al., IJCV
2024), which GIFNet (Section 3.2) uses to turn a well-exposed picture into a multi-exposure pair.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.files import WEIGHTS_DIR, InputError
from pipeline.networks.device import repeatable_kernels
from pipeline.networks.padding import ReflectedConv2d
from pipeline.networks.saved_tensors import fill, read_published_state, read_tensors, write_tensors

DEFAULT_WEIGHTS = WEIGHTS_DIR / "probe.safetensors"
WEIGHTS_FORMAT = "gifnet-probe"
ROLES = ("over", "under")
#: The authors' two files and their key stems: their "ir" is the over-exposed source, "vis" the under-exposed.
PUBLISHED_FILES = {"over": "InformationProbe_ir.model", "under": "InformationProbe_vis.model"}
_PUBLISHED_STEMS = {"over": "CIR", "under": "CVIS"}
#: Channels between the 3x3 convolutions of each network, as published.
CHANNELS = (16, 32, 16)
#: The same as JSON: digests begin with it, and files hold it.
_FORM = json.dumps({"channels": CHANNELS})
#: Pixels that go through the network at once; bounds the memory for pictures of any size.
_STRIP_PIXELS = 1 << 18
#: Pixels of a batch of tiles on a GPU: 40 tiles of 160, in 130 MB a layer at most.
_BATCH_PIXELS = 1 << 20


class ExposureProbe(nn.Module):
    """Luminance (B, 1, H, W) in [0, 1] -> over- and under-exposed luminance, each (B, 1, H, W) in (0, 1).

    3x3 convolutions with mirrored borders and ReLU between them, then tanh(x) / 2 + 0.5.
    """

    #: How far away a pixel can change the result, in pixels.
    reach_px = len(CHANNELS) + 1

    def __init__(self) -> None:
        super().__init__()
        self.over, self.under = _curve(), _curve()

    @property
    def digest(self) -> str:
        """SHA-256 of form and weights; equal digests mean equal results on one machine."""
        digest = hashlib.sha256(_FORM.encode())
        for key, value in sorted(self.state_dict().items()):
            digest.update(f"{key}{tuple(value.shape)}".encode())
            digest.update(value.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
        return digest.hexdigest()

    def forward(self, luminance: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(self.over(luminance)) / 2 + 0.5, torch.tanh(self.under(luminance)) / 2 + 0.5


def probe_luminance(luminance: np.ndarray, probe: ExposureProbe) -> tuple[np.ndarray, np.ndarray]:
    """Over- and under-exposed luminance of one plane, computed strip by strip on the probe's device.

    Args:
        luminance: (H, W) uint8.

    Returns:
        Two (H, W) float32 planes in [0, 1]. They depend on the plane alone; strips overlap by the networks'
        reach, so a picture is the same whole or in strips up to float rounding.
    """
    height, width = luminance.shape
    device = next(probe.parameters()).device
    halo, rows = probe.reach_px, max(_STRIP_PIXELS // width, 1)
    if min(height, width) < 2:
        raise InputError(f"picture of {width}x{height}: the probe needs 2 pixels each way")
    planes = (np.empty((height, width), np.float32), np.empty((height, width), np.float32))
    with torch.inference_mode(), repeatable_kernels():
        for start in range(0, height, rows):
            stop = min(start + rows, height)
            top, bottom = max(start - halo, 0), min(stop + halo, height)
            strip = torch.from_numpy(luminance[top:bottom]).to(device)
            # channels_last throughout: four times faster on a CPU.
            strip = (strip[None, None].float() / 255).contiguous(memory_format=torch.channels_last)
            for plane, result in zip(planes, probe(strip), strict=True):
                plane[start:stop] = result[0, 0, start - top : stop - top].cpu().numpy()
    return planes


def probe_tiles(tiles: np.ndarray, probe: ExposureProbe) -> tuple[np.ndarray, np.ndarray]:
    """Over- and under-exposed luminance of many tiles, in batches on a GPU and one by one on the CPU.

    A batch has a fixed number of tiles, which their size decides; one that is not full is filled up, because
    kernels are chosen by its size. So a tile has the same bits in any company.

    Args:
        tiles: (N, H, W) uint8.

    Returns:
        Two (N, H, W) float32 arrays in [0, 1].
    """
    device = next(probe.parameters()).device
    batch = _tiles_at_once(device, tiles.shape[1] * tiles.shape[2])
    results = (np.empty(tiles.shape, np.float32), np.empty(tiles.shape, np.float32))
    if batch == 1:
        for number, tile in enumerate(tiles):
            results[0][number], results[1][number] = probe_luminance(tile, probe)
        return results
    with torch.inference_mode(), repeatable_kernels():
        for start in range(0, len(tiles), batch):
            chunk = torch.from_numpy(tiles[start : start + batch]).to(device)
            filled = torch.cat([chunk, chunk[-1:].expand(batch - len(chunk), -1, -1)])
            planes = (filled[:, None].float() / 255).contiguous(memory_format=torch.channels_last)
            for result, exposed in zip(results, probe(planes), strict=True):
                result[start : start + batch] = exposed[: len(chunk), 0].cpu().numpy()
    return results


def load_probe(path: Path | str | None = None, *, device: torch.device | str = "cpu") -> ExposureProbe:
    """Load a probe in eval mode.

    Args:
        path: our weights (safetensors), a folder that holds the authors' ``InformationProbe_ir.model`` and
            ``InformationProbe_vis.model``, or None for the weights shipped with this package.

    Raises:
        InputError: the file is missing, damaged or belongs to another network.
    """
    path = DEFAULT_WEIGHTS if path is None else Path(path)
    probe = _load_published(path) if path.is_dir() else _load_weights(path)
    return probe.to(device).to(memory_format=torch.channels_last).eval()


def save_probe(path: Path | str, probe: ExposureProbe, metadata: Mapping[str, str]) -> Path:
    """Write weights (float16) and form as safetensors, atomically; ``metadata``: further strings.

    Raises:
        InputError: the weights are not finite in float16.
    """
    tensors = {
        key: value.detach().to("cpu", torch.float16).contiguous() for key, value in probe.state_dict().items()
    }
    header = {"format": WEIGHTS_FORMAT, "config": _FORM, **metadata}
    return write_tensors(path, tensors, header)


def _tiles_at_once(device: torch.device, pixels: int) -> int:
    return 1 if device.type == "cpu" else max(1, _BATCH_PIXELS // pixels)


def _curve() -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((1, *CHANNELS, 1)):
        layers += [ReflectedConv2d(inputs, outputs, 3), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _load_weights(path: Path) -> ExposureProbe:
    state, header = read_tensors(path)
    if header.get("format") != WEIGHTS_FORMAT:
        raise InputError(
            f"{path}: holds other weights (format {header.get('format')!r}), not {WEIGHTS_FORMAT}"
        )
    probe = ExposureProbe()
    fill(probe, state, path, "an exposure probe")
    return probe


def _load_published(folder: Path) -> ExposureProbe:
    state: dict[str, Tensor] = {}
    for role, name in PUBLISHED_FILES.items():
        for key, value in read_published_state(folder / name).items():
            # CIR2.conv.1.weight: layer 2 of 4; conv.0 is the padding, which holds nothing.
            stem, *rest = key.split(".")
            number = stem.removeprefix(_PUBLISHED_STEMS[role])
            if not number.isdecimal() or rest[:-1] != ["conv", "1"]:
                raise InputError(f"{folder / name}: unexpected tensor {key}; not the {role}-exposed probe")
            state[f"{role}.{2 * (int(number) - 1)}.{rest[-1]}"] = value
    probe = ExposureProbe()
    fill(probe, state, folder, "the published exposure probe")
    return probe
