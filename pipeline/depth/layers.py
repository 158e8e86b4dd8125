"""Layers that the depth network and its correction share: convolution units, bottleneck, decoder steps."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Bottleneck(nn.Module):
    """Channels (B, channels, h, w) -> (B, width, h, w), with the means of every row, column and frame."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        inner = 2 * width
        self.project = unit(channels, inner, 1)
        self.rows, self.columns, self.frame = (nn.Conv2d(inner, inner, 1) for _ in range(3))
        self.mix = nn.Sequential(unit(inner, inner, 3), unit(inner, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        strips = self.rows(x.mean(dim=3, keepdim=True)) + self.columns(x.mean(dim=2, keepdim=True))
        return self.mix(F.relu(x + strips + self.frame(x.mean(dim=(2, 3), keepdim=True))))


class Join(nn.Module):
    """Bring coarse features to the size of the encoder's next finer ones and mix the two."""

    def __init__(self, coarse_width: int, channels: int, width: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(coarse_width, width, 1) if coarse_width != width else nn.Identity()
        self.lateral = nn.Conv2d(channels, width, 1)
        self.mix = unit(width, width, 3)

    def forward(self, coarse: Tensor, lateral: Tensor) -> Tensor:
        coarse = F.interpolate(self.narrow(coarse), lateral.shape[-2:], mode="bilinear", align_corners=False)
        return self.mix(coarse + self.lateral(lateral))


def unit(channels: int, width: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch normalisation, ReLU."""
    convolution = nn.Conv2d(channels, width, kernel, stride=stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU())


def standardise(frames: Tensor) -> Tensor:
    """Mean 0 and deviation 1 for each frame, so that gain and offset of the camera do not matter."""
    mean = frames.mean(dim=(1, 2, 3), keepdim=True)
    deviation = frames.std(dim=(1, 2, 3), keepdim=True, correction=0)
    # The floor leaves a flat frame flat instead of magnifying its noise.
    return (frames - mean) / (deviation + 0.02)
