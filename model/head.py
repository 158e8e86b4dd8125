"""Heads: what the global decoder's last maps mean, and how they become the fused plane.

``plane``    the fused plane itself, as published.
``pyramid``  for every band of the inputs' Laplacian pyramids a share, a gain and how decidedly the stronger
             detail is taken. Untrained, it fuses about as a pyramid that takes the stronger detail does, and
             learns where to do better. What is in neither input cannot come in.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from model.pyramid import (
    BLOCK,
    LEVELS,
    base_of,
    blend_bases,
    blend_details,
    block_means,
    compose,
    decompose,
    likeness,
    make_room,
    spread,
    strengths,
    unlikeness,
)

#: Of the choice of the stronger detail, at first: of two details a factor 1.5 apart the stronger one gets
#: sigmoid(8 log 1.5) = 96 %.
SHARPNESS = 8.0
#: A map moves it by a factor between e**-2 and e**2: from a mean of both details to the choice of one.
SHARPNESS_SPAN = 2.0
#: Maps of shares, gains and sharpness are multiplied by it: a map of 1 decides, and is soon learned.
SCALE = 5.0
#: Weights of the cues are multiplied by it: they are few, and have far to go.
CUE_SCALE = 20.0
#: Strength of a detail that counts as 0 where it steers; e times as strong counts as 1/2.
MIDDLE_STRENGTH = 8 / 255
#: Pixels that are blended at a time where memory counts.
BAND_PIXELS = 1 << 21
#: Numbers that a blend holds for each of them.
BLEND_NUMBERS = 30
#: Rows around them that count, in whole blocks: bands of a pyramid see 56, room is made as far as 47 away.
REACH = 7 * BLOCK


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


class PyramidHead(nn.Module):
    """Of every band the first input's share, as a logit, and a gain; of every detail band the sharpness of
    the choice.

    Gain, sharpness and the window in which details are compared depend on cues too, by a few weights of
    their own: how alike the inputs are around a pixel, how far apart their bases, how strong the details.
    """

    #: Maps of each kind: shares, gains, sharpness.
    kinds = (LEVELS + 1, LEVELS + 1, LEVELS)
    channels = sum(kinds)
    #: Of each map :meth:`pooled` keeps one pixel for 2**level.
    levels = (*range(LEVELS + 1), *range(LEVELS + 1), *range(LEVELS))
    #: A decoder that learns from weights of 0 must not die of its first steps.
    slope = 0.1
    block = BLOCK

    def __init__(self) -> None:
        super().__init__()
        # Of a constant, likeness, distance, strength, and likeness times strength. Planes of one camera and
        # of two need different gains and choices; likeness tells them apart. Strength tells noise from edges.
        self.gain_by_cues = nn.Parameter(torch.zeros(LEVELS, 5))
        self.sharpness_by_cues = nn.Parameter(torch.zeros(LEVELS, 5))
        # At first the strength around a pixel decides between like planes, that of the pixel between others.
        self.window_by_cues = nn.Parameter(torch.tensor([[0, 3 / CUE_SCALE, 0, 0, 0]]).repeat(LEVELS, 1))
        # Of a constant, likeness, distance, and how little the bases agree over the image.
        self.base_gain_by_cues = nn.Parameter(torch.zeros(4))

    def pooled(self, decoded: Tensor) -> list[Tensor]:
        """Maps (B, channels, h, W) of a strip of rows -> what is to be kept of them."""
        halved = [maps.split(1, dim=1) for maps in block_means(SCALE * decoded)]
        return [halved[level][channel] for channel, level in enumerate(self.levels)]

    def forward(self, maps: list[Tensor], planes: Tensor) -> Tensor:
        """What :meth:`pooled` keeps of all rows, and the inputs (B, 2, H, W) -> (B, 1, H, W) in [0, 1]."""
        *details, bases = decompose(planes)
        cues = _cues(likeness(planes), bases)
        return self._blend(maps, planes, details, cues, self._base(maps, bases, cues))

    def fuse(self, maps: list[Tensor], planes: Tensor) -> Tensor:
        """The same in less memory: the base of the whole, then the details of some rows at a time."""
        height, width = planes.shape[2:]
        step = max(BLOCK, BAND_PIXELS // width // BLOCK * BLOCK)
        if height <= step:
            return self(maps, planes)
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
        cues = _cues(alike, bases)
        base = self._base(maps, bases, cues)
        for seen, goal, own in rows:
            *parts, cues_part, base_part = (
                map_[:, :, seen.start >> level : -(-seen.stop >> level)]
                for level, map_ in zip((*self.levels, LEVELS, LEVELS), (*maps, cues, base), strict=True)
            )
            strip = planes[:, :, seen]
            *details, _ = decompose(strip)
            fused[:, :, goal] = self._blend(parts, strip, details, cues_part, base_part)[:, :, own]
        return fused

    def working_numbers(self, height: int, width: int) -> int:
        """How many float32 :meth:`fuse` holds at a time beside its arguments."""
        blended = min(height * width, BAND_PIXELS + 2 * REACH * width)
        return height * width + BLEND_NUMBERS * blended

    def _by_kind(self, maps: list[Tensor]) -> list[list[Tensor]]:
        kept = iter(maps)
        return [list(itertools.islice(kept, count)) for count in self.kinds]

    def _base(self, maps: list[Tensor], bases: Tensor, cues: Tensor) -> Tensor:
        logits, gains, _ = self._by_kind(maps)
        like, distance = cues.split(1, dim=1)
        offset, of_like, of_distance, of_unlikeness = CUE_SCALE * self.base_gain_by_cues
        gain = gains[LEVELS] + offset + of_like * like + of_distance * distance
        gain = gain + of_unlikeness * (4 * unlikeness(bases)).clamp_max(1) * (1 - like)
        return blend_bases(bases, logits[LEVELS], gain)

    def _blend(
        self, maps: list[Tensor], planes: Tensor, details: list[Tensor], cues: Tensor, base: Tensor
    ) -> Tensor:
        logits, gains, moves = self._by_kind(maps)
        steering = spread(cues, details), logits[:LEVELS], gains[:LEVELS], moves
        bands = [
            self._blend_band(level, *band) for level, band in enumerate(zip(details, *steering, strict=True))
        ]
        return make_room(compose([*bands, base]), planes, details).clamp(0, 1)

    def _blend_band(
        self, level: int, details: Tensor, cues: Tensor, logit: Tensor, gain: Tensor, move: Tensor
    ) -> Tensor:
        like, distance = cues.split(1, dim=1)
        of_pixel, around = strengths(details)
        strength = (around.amax(dim=1, keepdim=True) - math.log(MIDDLE_STRENGTH)) / 2
        by_gain, by_sharpness, by_window = (
            offset + of_like * like + of_distance * distance + (of_strength + of_both * like) * strength
            for offset, of_like, of_distance, of_strength, of_both in (
                CUE_SCALE * weights[level]
                for weights in (self.gain_by_cues, self.sharpness_by_cues, self.window_by_cues)
            )
        )
        sharpness = (math.log(SHARPNESS) + SHARPNESS_SPAN * (move + by_sharpness).tanh()).exp()
        compared = torch.lerp(of_pixel, around, by_window.sigmoid())
        return blend_details(details, compared, logit, sharpness, gain + by_gain)


def _cues(alike: Tensor, bases: Tensor) -> Tensor:
    """Likeness and distance of the bases in [0, 1]: (B, 1, h, w) and (B, 2, h, w) -> (B, 2, h, w)."""
    return torch.cat([alike, (bases[:, :1] - bases[:, 1:]).abs()], dim=1)


Head = PlaneHead | PyramidHead

#: By the name that the configuration knows.
HEADS: dict[str, type[PlaneHead | PyramidHead]] = {"plane": PlaneHead, "pyramid": PyramidHead}
