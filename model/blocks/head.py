"""Heads: what the global decoder's last maps mean, and how they become the fused plane.

``plane``    the fused plane itself, as published.
``pyramid``  how to mix the inputs' Laplacian pyramids; see :mod:`model.blocks.pyramid_head`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.blocks.pyramid_head import PyramidHead


class PlaneHead(nn.Module):
    """One map x: the plane is tanh(x) / 2 + 1/2."""

    channels = 1
    levels = (0,)
    #: Of the decoder's ReLU below 0.
    slope = 0.0
    #: Strips for :meth:`pooled` begin at multiples of this many rows.
    block = 1

    def pooled(self, decoded: Tensor) -> list[Tensor]:
        """Maps (B, channels, h, W) of a strip of rows -> what is to be kept of them."""
        return [decoded]

    def forward(self, maps: list[Tensor], planes: Tensor) -> Tensor:
        """What :meth:`pooled` keeps of all rows, and the inputs (B, 2, H, W) -> (B, 1, H, W) in [0, 1]."""
        return torch.tanh(maps[0]) / 2 + 0.5

    #: The same in less memory.
    fuse = forward

    def working_numbers(self, height: int, width: int) -> int:
        """How many float32 :meth:`fuse` holds at a time beside its arguments."""
        return 2 * height * width


Head = PlaneHead | PyramidHead

#: By the name that the configuration knows.
HEADS: dict[str, type[PlaneHead | PyramidHead]] = {"plane": PlaneHead, "pyramid": PyramidHead}
