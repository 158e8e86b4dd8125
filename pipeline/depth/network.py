"""The default depth network: an encoder from timm and a light decoder, frames -> log inverse depth.

What the infrared frame of a pair adds to that, people and cars in the dark, is a network of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.depth import STRIDE
from pipeline.files import InputError, parse_json
from pipeline.networks.saved_tensors import fill, read_tensors, write_tensors

FORMAT = "gifnet-depth"
FORMAT_VERSION = 1
#: Channels of the decoder from the coarsest scale to stride 8; half and a quarter of it at strides 4 and 2.
DECODER_WIDTH = 96
#: Channels of the correction at strides 2, 4, 8, 16 and 32.
_CORRECTION_WIDTHS = (16, 32, 64, 96, 128)
#: What the correction sees: red, green, blue, infrared, log inverse depth.
_CORRECTION_PLANES = 5


class DepthNetwork(nn.Module):
    """RGB in [0, 1] (B, 3, H, W), H and W multiples of 32 -> log inverse depth (B, 1, H, W).

    The scale is free: only differences of the output mean something. Each frame is standardised first, so
    that gain and offset of the camera do not matter. The decoder joins the encoder's scales from coarse to
    fine, as in feature pyramids (Lin et al., CVPR 2017), below a bottleneck that sees the means of every row,
    every column and the frame (strip pooling, Hou et al., CVPR 2020): where the horizon and the ground lie
    cannot be told from a neighbourhood.

    Args:
        encoder: name of a timm model that gives features at several strides.
        sees_infrared: have an :class:`InfraredCorrection`, for frames that come with an infrared one.
    """

    def __init__(self, encoder: str, *, sees_infrared: bool = True) -> None:
        super().__init__()
        if ":" in encoder:  # timm would look for it elsewhere, on a hub
            raise InputError(f"encoder {encoder}: give the name of a timm model alone")
        try:
            self.encoder = timm.create_model(encoder, pretrained=False, features_only=True)
        except (RuntimeError, AttributeError, TypeError, ValueError):
            raise InputError(
                f"encoder {encoder}: no timm model that gives feature maps by that name"
            ) from None
        info: Any = self.encoder.feature_info
        channels, strides = info.channels(), info.reduction()
        if strides[-1] != STRIDE:
            raise InputError(
                f"encoder {encoder}: coarsest stride {strides[-1]}, not {STRIDE}; use another one"
            )
        # Few channels where there are many pixels: each scale costs about the same.
        widths = [DECODER_WIDTH * min(8, stride) // 8 for stride in strides]
        self.bottleneck = _Bottleneck(channels[-1], widths[-1])
        self.joins = nn.ModuleList(
            _Join(widths[level + 1], channels[level], widths[level])
            for level in reversed(range(len(widths) - 1))
        )
        self.head = nn.Conv2d(widths[0], 1, 3, padding=1)
        self.correction = InfraredCorrection() if sees_infrared else None

    def forward(self, frames: Tensor, infrared: Tensor | None = None) -> Tensor:
        """Frames (B, 3, H, W) and, where there is one, infrared (B, 1, H, W) in [0, 1] -> (B, 1, H, W)."""
        log_inverse = self.of_visible(frames)
        if infrared is None or self.correction is None:
            return log_inverse
        return self.correction(frames, infrared, log_inverse)

    def of_visible(self, frames: Tensor) -> Tensor:
        """Log inverse depth of frames that come alone."""
        *finer, coarsest = self.encoder(_standardise(frames))
        features = self.bottleneck(coarsest)
        for join, lateral in zip(self.joins, reversed(finer), strict=True):
            features = join(features, lateral)
        with torch.autocast(frames.device.type, enabled=False):  # log depth needs more than bfloat16's 8 bits
            log_inverse = self.head(features.float())
            return F.interpolate(log_inverse, frames.shape[-2:], mode="bilinear", align_corners=False)


class InfraredCorrection(nn.Module):
    """Correct the log inverse depth of visible frames by their infrared ones; sides are multiples of 32.

    An encoder of plain convolutions and the decoder of :class:`DepthNetwork` see both frames, each
    standardised, and the estimate, less its mean. Untrained it corrects nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = _CORRECTION_WIDTHS
        self.levels = nn.ModuleList(
            nn.Sequential(_unit(before, width, 3, stride=2), _unit(width, width, 3))
            for before, width in pairwise((_CORRECTION_PLANES, *widths))
        )
        self.bottleneck = _Bottleneck(widths[-1], widths[-1])
        self.joins = nn.ModuleList(_Join(coarse, fine, fine) for coarse, fine in pairwise(reversed(widths)))
        self.head = nn.Conv2d(widths[0], 1, 3, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, frames: Tensor, infrared: Tensor, log_inverse: Tensor) -> Tensor:
        """Frames (B, 3, H, W) and infrared (B, 1, H, W) in [0, 1], estimate and result (B, 1, H, W)."""
        centred = log_inverse - log_inverse.mean(dim=(1, 2, 3), keepdim=True)
        x = torch.cat([_standardise(frames), _standardise(infrared), centred], dim=1)
        scales = []
        for level in self.levels:
            x = level(x)
            scales.append(x)
        x = self.bottleneck(x)
        for join, lateral in zip(self.joins, reversed(scales[:-1]), strict=True):
            x = join(x, lateral)
        with torch.autocast(frames.device.type, enabled=False):  # log depth needs more than bfloat16's 8 bits
            correction = self.head(x.float())
            return log_inverse + F.interpolate(
                correction, frames.shape[-2:], mode="bilinear", align_corners=False
            )


class _Bottleneck(nn.Module):
    """Channels (B, channels, h, w) -> (B, width, h, w), with the means of every row, column and frame."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        inner = 2 * width
        self.project = _unit(channels, inner, 1)
        self.rows, self.columns, self.frame = (nn.Conv2d(inner, inner, 1) for _ in range(3))
        self.mix = nn.Sequential(_unit(inner, inner, 3), _unit(inner, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        strips = self.rows(x.mean(dim=3, keepdim=True)) + self.columns(x.mean(dim=2, keepdim=True))
        return self.mix(F.relu(x + strips + self.frame(x.mean(dim=(2, 3), keepdim=True))))


class _Join(nn.Module):
    """Bring coarse features to the size of the encoder's next finer ones and mix the two."""

    def __init__(self, coarse_width: int, channels: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(coarse_width, width, 1) if coarse_width != width else nn.Identity()
        self.lateral = nn.Conv2d(channels, width, 1)
        self.mix = _unit(width, width, 3)

    def forward(self, coarse: Tensor, lateral: Tensor) -> Tensor:
        coarse = F.interpolate(self.narrow(coarse), lateral.shape[-2:], mode="bilinear", align_corners=False)
        return self.mix(coarse + self.lateral(lateral))


def save_depth_network(
    path: Path | str, network: DepthNetwork, *, encoder: str, size_hw: tuple[int, int], training: Any
) -> Path:
    """Write weights as safetensors: float16, statistics and biases (1-d) float32; returns the path.

    The metadata holds all that :func:`load_depth_network` needs, and ``training``, the facts (as JSON) of how
    the weights were made.

    Raises:
        InputError: the weights are not finite.
    """
    state = {
        key: value.detach().to("cpu", torch.float16 if value.ndim > 1 else torch.float32).contiguous()
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "encoder": encoder,
        "size_hw": list(size_hw),
        "training": training,
    }
    metadata = {"description": json.dumps(description, sort_keys=True)}
    return write_tensors(path, state, metadata)


def load_depth_network(path: Path | str, encoder: str | None = None) -> tuple[DepthNetwork, dict[str, Any]]:
    """Rebuild a network (eval mode, float32) and its description from a file of :func:`save_depth_network`.

    Args:
        path: of the file.
        encoder: the one that the file has to be of; None for any. No other is built, which may be huge.

    Raises:
        InputError: the file is missing, damaged, of another kind or encoder, or of a newer format.
    """
    state, metadata = read_tensors(path)
    description = _description(metadata, path)
    found = description["encoder"]
    if encoder not in (None, found):
        raise InputError(f"{path}: weights of encoder {found}, not {encoder}; give the one that they are of")
    sees_infrared = any(key.startswith("correction.") for key in state)
    network = DepthNetwork(found, sees_infrared=sees_infrared)
    fill(network, state, path, f"depth weights of {found}")
    return network.eval(), description


def _description(metadata: Mapping[str, str], path: Path | str) -> dict[str, Any]:
    try:
        description = parse_json(metadata.get("description", ""))
    except ValueError:
        description = None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        raise InputError(f"{path}: not depth weights of this program (no format {FORMAT} in its metadata)")
    if description.get("format_version") != FORMAT_VERSION:
        version = description.get("format_version")
        raise InputError(f"{path}: depth weights of format {version}; this version reads {FORMAT_VERSION}")
    size = description.get("size_hw")
    if not (
        isinstance(description.get("encoder"), str)
        and isinstance(size, list)
        and len(size) == 2
        and all(isinstance(side, int) and side > 0 for side in size)
    ):
        raise InputError(f"{path}: its metadata lacks the encoder or the input size")
    return description


def _unit(channels: int, width: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU."""
    convolution = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


def _standardise(frames: Tensor) -> Tensor:
    """Mean 0 and deviation 1 for each frame, so that gain and offset of the camera do not matter."""
    mean = frames.mean(dim=(1, 2, 3), keepdim=True)
    deviation = frames.std(dim=(1, 2, 3), keepdim=True, correction=0)
    # The floor leaves a flat frame flat instead of magnifying its noise.
    return (frames - mean) / (deviation + 0.02)
