"""Luminance and colour of fused images as tensors, for where the network computes.

The formulas are those of :mod:`model.fusing.colour`, in the same order and in float32. A GPU may round their
last bits otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.fusing.colour import is_coloured
from pipeline.images.ycbcr import FAINT, LUMA

_RED, _GREEN, _BLUE = (float(weight) for weight in LUMA)
_FAINT = float(FAINT)
#: What a step of Cb adds to blue, and one of Cr to red.
_OF_CB, _OF_CR = 1.772, 1.402


@dataclass(frozen=True)
class DeviceSource:
    """One input image, uint8 or uint16, (H, W) or (H, W, 3) RGB; ``low`` and ``high`` become 0 and 1."""

    image: Tensor
    low: float
    high: float
    profile: bytes | None = None  # ICC
    coloured: bool = True  # RGB that is not grey; of (H, W) it means nothing

    def plane(self) -> Tensor:
        """Luminance, (H, W) float32 in [0, 1]."""
        channels = self._scaled()
        return channels[0] if len(channels) == 1 else _luminance(channels)

    def chroma(self) -> Tensor:
        """Cb and Cr of a colour image, (2, H, W) float32, centred on 0."""
        channels = self._scaled()
        y = _luminance(channels)
        return torch.stack([(channels[2] - y) / _OF_CB, (channels[0] - y) / _OF_CR])

    def _scaled(self) -> Tensor:
        """(C, H, W) float32 in [0, 1]."""
        channels = self.image[None] if self.image.ndim == 2 else self.image.permute(2, 0, 1)
        values = channels.to(torch.float32, memory_format=torch.contiguous_format)
        scaled = (values - self.low) / (self.high - self.low)
        return scaled if self.high - self.low == torch.iinfo(self.image.dtype).max else scaled.clamp(0, 1)


def colourise(fused: Tensor, sources: Sequence[DeviceSource]) -> Tensor:
    """Fused luminance and the chroma of ``sources`` -> image, as the mode ``true`` of the host in 8 bits.

    Args:
        fused: (H, W) float32 in [0, 1].
        sources: images (H, W, 3) that bring colour; none for a grey result.

    Returns:
        uint8, (H, W) without sources, else (H, W, 3) RGB.
    """
    if not sources:
        return _quantise(fused)
    if not any(map(is_coloured, sources)):
        return _quantise(fused)[..., None].repeat(1, 1, 3)
    merged = sources[0].chroma()
    for source in sources[1:]:
        merged = _merged(merged, source.chroma())
    return _quantise(_apply_chroma(fused, merged)).permute(1, 2, 0).contiguous()


def _luminance(channels: Tensor) -> Tensor:
    return channels[0] * _RED + channels[1] * _GREEN + channels[2] * _BLUE


def _merged(chroma: Tensor, other: Tensor) -> Tensor:
    """Average weighted by |C|, each component apart; where both are grey, grey."""
    weight, other_weight = chroma.abs(), other.abs()
    total = weight + other_weight
    return (chroma * weight + other * other_weight) / torch.where(total > 0, total, 1)


def _apply_chroma(luma: Tensor, chroma: Tensor) -> Tensor:
    """RGB (3, H, W) of that hue and luminance, with as much of the chroma as fits into the RGB cube."""
    red, blue = chroma[1] * _OF_CR, chroma[0] * _OF_CB
    offsets = torch.stack([red, -(red * _RED + blue * _BLUE) / _GREEN, blue])
    lowest, highest = torch.aminmax(offsets, dim=0)
    up, down = highest.clamp(min=_FAINT), (-lowest).clamp(min=_FAINT)
    fits = torch.minimum((1 - luma) / up, luma / down).clamp(max=1)
    return (luma + offsets * fits).clamp(0, 1)


def _quantise(values: Tensor) -> Tensor:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8)
