"""What the infrared frame of a pair adds to the depth of its visible one: people and cars in the dark."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.depth.layers import Bottleneck, Join, standardise, unit

#: Channels at strides 2, 4, 8, 16 and 32.
WIDTHS = (16, 32, 64, 96, 128)
#: Red, green, blue, infrared, log inverse depth.
_PLANES = 5


class InfraredCorrection(nn.Module):
    """Correct the log inverse depth of visible frames by their infrared ones; sides are multiples of 32.

    An encoder of plain convolutions and the decoder of :class:`pipeline.depth.network.DepthNetwork` see both
    frames, each standardised, and the estimate, less its mean. Untrained it corrects nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = (_PLANES, *WIDTHS)
        self.levels = nn.ModuleList(
            nn.Sequential(unit(before, width, 3, stride=2), unit(width, width, 3))
            for before, width in zip(channels[:-1], WIDTHS, strict=True)
        )
        self.bottleneck = Bottleneck(WIDTHS[-1], WIDTHS[-1])
        self.joins = nn.ModuleList(
            Join(coarse, fine, fine) for fine, coarse in zip(WIDTHS[-2::-1], WIDTHS[:0:-1], strict=True)
        )
        self.head = nn.Conv2d(WIDTHS[0], 1, 3, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)

    def forward(self, frames: Tensor, infrared: Tensor, log_inverse: Tensor) -> Tensor:
        """Frames (B, 3, H, W) and infrared (B, 1, H, W) in [0, 1], estimate and result (B, 1, H, W)."""
        centred = log_inverse - log_inverse.mean(dim=(1, 2, 3), keepdim=True)
        x = torch.cat([standardise(frames), standardise(infrared), centred], dim=1)
        scales = []
        for level in self.levels:
            x = level(x)
            scales.append(x)
        x = self.bottleneck(x)
        for join, lateral in zip(self.joins, reversed(scales[:-1]), strict=True):
            x = join(x, lateral)
        with torch.autocast(frames.device.type, enabled=False):  # log depth needs more than bfloat16's 8 bits
            correction = self.head(x.float())
            return log_inverse + nn.functional.interpolate(
                correction, frames.shape[-2:], mode="bilinear", align_corners=False
            )
