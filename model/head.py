"""Heads: what the global decoder's last maps mean, and how they become the fused plane.

``plane``    the fused plane itself, as published.
``pyramid``  for every band of the inputs' Laplacian pyramids a share, a gain and how decidedly the stronger
             detail is taken, and a correction. Untrained, it fuses about as a pyramid that takes the stronger
             detail does, and learns where to do better.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from model.pyramid import BLOCK, LEVELS, base_of, blend, blend_bases, likeness, pooled, spread

#: Of the choice of the stronger detail, at first: of two details a factor 1.5 apart the stronger one gets
#: sigmoid(8 log 1.5) = 96 %.
SHARPNESS = 8.0
#: A map moves it by a factor between e**-2 and e**2: from a mean of both details to the choice of one.
SHARPNESS_SPAN = 2.0
#: Maps of shares, gains and sharpness are multiplied by it: a map of 1 decides, and is soon learned.
SCALE = 5.0
#: Pixels that are blended at a time where memory counts: oneDNN's convolutions hold a plane 16 times.
BAND_PIXELS = 1 << 21
#: Rows around them that the bands of a pyramid see, in whole blocks: 56 and the rest of a block.
REACH = 4 * BLOCK


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


class PyramidHead(nn.Module):
    """Of every band the first input's share, as a logit, and a gain; of every detail band the sharpness of
    the choice; and a correction of the whole.

    Gains, sharpness and the window in which details are compared depend on the likeness of the inputs around
    a pixel too, by a few weights of their own.
    """

    #: Maps of each kind: shares, gains, sharpness, correction.
    kinds = (LEVELS + 1, LEVELS + 1, LEVELS, 1)
    channels = sum(kinds)
    #: Of each map :meth:`pooled` keeps one pixel for 2**level.
    levels = (*range(LEVELS + 1), *range(LEVELS + 1), *range(LEVELS), 0)
    #: A decoder that learns from weights of 0 must not die of its first steps.
    slope = 0.1
    block = BLOCK

    def __init__(self) -> None:
        super().__init__()
        # As a logarithm: it moves by factors, as fast as the weights do.
        self.log_sharpness = nn.Parameter(torch.full((LEVELS,), math.log(SHARPNESS)))
        # Planes of one camera and of two need different gains and choices; likeness tells them apart.
        self.gain_by_likeness = nn.Parameter(torch.zeros(LEVELS + 1, 2))
        self.sharpness_by_likeness = nn.Parameter(torch.zeros(LEVELS))
        # At first the strength around a pixel decides between like planes, that of the pixel between others.
        self.window_by_likeness = nn.Parameter(torch.tensor([[0.0, 3.0 / SCALE]]).repeat(LEVELS, 1))

    def pooled(self, decoded: Tensor) -> list[Tensor]:
        """Maps (B, channels, h, W) of a strip of rows -> what is to be kept of them."""
        *steering, correction = decoded.split(self.kinds, dim=1)
        return [*(band for maps in steering for band in pooled(SCALE * maps)), correction]

    def forward(self, maps: list[Tensor], planes: Tensor) -> Tensor:
        """What :meth:`pooled` keeps of all rows, and the inputs (B, 2, H, W) -> (B, 1, H, W) in [0, 1]."""
        alike = likeness(planes)
        return self._blend(maps, planes, alike, self._base(maps, base_of(planes), alike))

    def fuse(self, maps: list[Tensor], planes: Tensor) -> Tensor:
        """The same in less memory: the base of the whole, then the details of some rows at a time."""
        height, width = planes.shape[2:]
        step = max(BLOCK, BAND_PIXELS // width // BLOCK * BLOCK)
        fused = planes.new_empty((len(planes), 1, height, width))
        rows = []
        for first in range(0, height, step):
            stop = min(first + step, height)
            start, end = max(0, first - REACH), min(height, stop + REACH)
            rows.append((slice(start, end), slice(first, stop), slice(first - start, stop - start)))
        alike, bases = (
            torch.cat(
                [
                    reduce(planes[:, :, seen])[:, :, own.start // BLOCK : -(-own.stop // BLOCK)]
                    for seen, _, own in rows
                ],
                dim=2,
            )
            for reduce in (likeness, base_of)
        )
        base = self._base(maps, bases, alike)
        for seen, goal, own in rows:
            *parts, alike_part, base_part = (
                map_[:, :, seen.start >> level : -(-seen.stop >> level)]
                for level, map_ in zip((*self.levels, LEVELS, LEVELS), (*maps, alike, base), strict=True)
            )
            fused[:, :, goal] = self._blend(parts, planes[:, :, seen], alike_part, base_part)[:, :, own]
        return fused

    def _by_kind(self, maps: list[Tensor]) -> list[list[Tensor]]:
        kept = iter(maps)
        return [list(itertools.islice(kept, count)) for count in self.kinds]

    def _base(self, maps: list[Tensor], bases: Tensor, alike: Tensor) -> Tensor:
        logits, gains, *_ = self._by_kind(maps)
        offset, slope = self.gain_by_likeness[LEVELS]
        return blend_bases(bases, logits[LEVELS], gains[LEVELS] + SCALE * (offset + slope * alike))

    def _blend(self, maps: list[Tensor], planes: Tensor, alike: Tensor, base: Tensor) -> Tensor:
        logits, gains, moved, (correction,) = self._by_kind(maps)
        likes = spread(alike, gains[:LEVELS])
        gains = [
            gain + SCALE * (offset + slope * like)
            for gain, like, (offset, slope) in zip(
                gains[:LEVELS], likes, self.gain_by_likeness[:LEVELS], strict=True
            )
        ]
        moved = [
            move + SCALE * slope * like
            for move, like, slope in zip(moved, likes, self.sharpness_by_likeness, strict=True)
        ]
        sharpness = [
            (start + SHARPNESS_SPAN * move.tanh()).exp()
            for start, move in zip(self.log_sharpness, moved, strict=True)
        ]
        windows = [
            (SCALE * (offset + slope * like)).sigmoid()
            for like, (offset, slope) in zip(likes, self.window_by_likeness, strict=True)
        ]
        fused = blend(planes, base, logits[:LEVELS], gains, sharpness, windows)
        return (fused + correction).clamp(0, 1)


Head = PlaneHead | PyramidHead

#: By the name that the configuration knows.
HEADS: dict[str, type[PlaneHead | PyramidHead]] = {"plane": PlaneHead, "pyramid": PyramidHead}
