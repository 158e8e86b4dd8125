"""A head that says for every band of the inputs' Laplacian pyramids how to mix it.

Untrained, it fuses about as a pyramid does that takes the stronger detail, and learns where to do better.
What is in neither input cannot come in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.blocks.cues import (
    CUE_SCALE,
    DETAIL_CUES,
    base_cues,
    detail_cues,
    likeness,
    strengths,
    unlikeness,
    weighted,
)
from model.blocks.pyramid import (
    BLOCK,
    LEVELS,
    base_of,
    blend_bases,
    blend_details,
    block_means,
    compose,
    decompose,
    doubled,
    halved,
    make_room,
    spread,
)

#: Of the choice of the stronger detail, at first: of two details a factor 1.5 apart the stronger one gets
#: sigmoid(8 log 1.5) = 96 %.
SHARPNESS = 8.0
#: A map moves it by a factor between e**-2 and e**2: from a mean of both details to the choice of one.
SHARPNESS_SPAN = 2.0
#: Maps of shares, gains and sharpness are multiplied by it: a map of 1 decides, and is soon learned.
SCALE = 5.0
#: No band counts more than the one that chooses: from band to band, rounding would grow with them.
_TELLING = (-1.0, 1.0)
#: Details tell like bases apart which are no farther from each other than this.
NEAR_BASES = 1 / 16
#: Pixels that are blended at a time where memory counts.
BAND_PIXELS = 1 << 21
#: Numbers that a blend holds for each of them.
BLEND_NUMBERS = 48
#: Rows around them that count, in whole blocks: bands of a pyramid see 56, room is made as far as 47 away.
REACH = 7 * BLOCK


class PyramidHead(nn.Module):
    """Of every band the first input's share, as a logit, and a gain; of every detail band the sharpness of
    the choice.

    The first input's share of a detail is sigmoid(logit + sharpness * evidence). The evidence is log(A / B)
    of the strengths of both details, and what the next finer and the next coarser band tell counts with it:
    what is sharper is so at all scales, noise is not. Gain, sharpness, the window in which details are
    compared, how much other bands tell and the least share of either input depend on cues by a few weights of
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
        # Of a constant, likeness, distance, strength, and each of these two times strength. Planes of one
        # camera and of two need different gains and choices, and so do a focus pair and two exposures:
        # likeness and distance tell them apart. Strength tells noise from edges.
        self.gain_by_cues = nn.Parameter(torch.zeros(LEVELS, DETAIL_CUES))
        self.sharpness_by_cues = nn.Parameter(torch.zeros(LEVELS, DETAIL_CUES))
        # At first the strength around a pixel decides between like planes, that of the pixel between others.
        self.window_by_cues = nn.Parameter(torch.tensor([[0, 3 / CUE_SCALE, 0, 0, 0, 0]]).repeat(LEVELS, 1))
        # How much it counts for a band what the next finer one tells, and the next coarser one: of like
        # planes the sharper one is so at all scales.
        telling = torch.tensor([[0.15, 0.55, 0, 0, 0, 0]]).repeat(LEVELS - 1, 1) / CUE_SCALE
        self.finer_by_cues, self.coarser_by_cues = nn.Parameter(telling), nn.Parameter(telling.clone())
        # The least share of either plane.
        self.least_by_cues = nn.Parameter(torch.tensor([[0.04 / CUE_SCALE, 0, 0, 0, 0, 0]]).repeat(LEVELS, 1))
        # Of a constant, likeness, distance, and how little the bases agree over the image.
        self.base_gain_by_cues = nn.Parameter(torch.zeros(4))
        # How much it counts for the base what the details tell: where it is the same in both planes, where
        # they are unlike, and of an image whose bases do not agree.
        self.base_choice_by_cues = nn.Parameter(torch.tensor([2 / CUE_SCALE, 0, 0]))

    def pooled(self, decoded: Tensor) -> list[Tensor]:
        """Maps (B, channels, h, W) of a strip of rows -> what is to be kept of them."""
        means = [maps.split(1, dim=1) for maps in block_means(SCALE * decoded)]
        return [means[level][channel] for channel, level in enumerate(self.levels)]

    def forward(self, maps: list[Tensor], planes: Tensor) -> Tensor:
        """What :meth:`pooled` keeps of all rows, and the inputs (B, 2, H, W) -> (B, 1, H, W) in [0, 1]."""
        *details, bases = decompose(planes)
        cues = base_cues(likeness(planes), bases)
        found = self._found(details, cues)
        base = self._base(maps, bases, cues, halved(found[-1].told))
        return self._blend(maps, planes, details, found, base)

    def fuse(self, maps: list[Tensor], planes: Tensor) -> Tensor:
        """The same in less memory: the base of the whole, then the details of some rows at a time."""
        height, width = planes.shape[2:]
        if height * width <= BAND_PIXELS:
            return self(maps, planes)
        if _turns(height, width):
            return self.fuse([map_.mT for map_ in maps], planes.mT).mT.contiguous()
        step = max(BLOCK, BAND_PIXELS // width // BLOCK * BLOCK)
        edges = [*range(0, height, step), height]
        strips = [
            _Rows(max(0, first - REACH), first, stop, min(stop + REACH, height))
            for first, stop in itertools.pairwise(edges)
        ]

        def whole(reduce: Callable[[_Rows], Tensor]) -> Tensor:
            return torch.cat([rows.own(reduce(rows), LEVELS) for rows in strips], dim=2)

        def found(rows: _Rows) -> tuple[list[Tensor], list[_Found]]:
            *details, _ = decompose(rows.seen(planes))
            return details, self._found(details, rows.seen(cues, LEVELS))

        bases = whole(lambda rows: base_of(rows.seen(planes)))
        cues = base_cues(whole(lambda rows: likeness(rows.seen(planes))), bases)
        base = self._base(maps, bases, cues, whole(lambda rows: halved(found(rows)[1][-1].told)))
        fused = planes.new_empty((len(planes), 1, height, width))
        for rows in strips:
            parts = [rows.seen(map_, level) for level, map_ in zip(self.levels, maps, strict=True)]
            strip = self._blend(parts, rows.seen(planes), *found(rows), rows.seen(base, LEVELS))
            fused[:, :, rows.first : rows.stop] = rows.own(strip)
        return fused

    def working_numbers(self, height: int, width: int) -> int:
        """How many float32 :meth:`fuse` holds at a time beside its arguments."""
        turned = _turns(height, width)
        blended = min(height * width, BAND_PIXELS + 2 * REACH * (height if turned else width))
        # The result of a turned image is turned back at the end.
        return (2 if turned else 1) * height * width + BLEND_NUMBERS * blended

    def _by_kind(self, maps: list[Tensor]) -> list[list[Tensor]]:
        kept = iter(maps)
        return [list(itertools.islice(kept, count)) for count in self.kinds]

    def _base(self, maps: list[Tensor], bases: Tensor, cues: Tensor, evidence: Tensor) -> Tensor:
        logits, gains, _ = self._by_kind(maps)
        like, distance = cues.split(1, dim=1)
        unlike = (4 * unlikeness(bases)).clamp_max(1) * (1 - like)
        same = like * (1 - distance / NEAR_BASES).clamp_min(0)
        of_gain = torch.cat([torch.ones_like(like), like, distance, unlike], dim=1)
        of_choice = torch.cat([same, 1 - like, unlike], dim=1)
        gain = gains[LEVELS] + weighted(self.base_gain_by_cues[None], of_gain)
        choice = weighted(self.base_choice_by_cues[None], of_choice)
        return blend_bases(bases, logits[LEVELS] + choice * evidence, gain)

    def _found(self, details: list[Tensor], cues: Tensor) -> list[_Found]:
        """What each band and the finer ones tell, finest first."""
        found: list[_Found] = []
        for level, (detail, spread_cues) in enumerate(zip(details, spread(cues, details), strict=True)):
            of_pixel, around = strengths(detail)
            steered = self._steered(level, detail_cues(spread_cues, around))
            compared = torch.lerp(of_pixel, around, steered["window"].sigmoid())
            own, told = (strength[:, :1] - strength[:, 1:] for strength in (compared, around))
            if found:
                finer = steered["finer"].clamp(*_TELLING) * halved(found[-1].told)
                own, told = own + finer, told + finer
            found.append(_Found(own, told, steered))
        return found

    def _steered(self, level: int, cues: Tensor) -> dict[str, Tensor]:
        """What cues (B, DETAIL_CUES, h, w) say of a band, (B, 1, h, w) each."""
        weights = {
            "gain": self.gain_by_cues[level],
            "sharpness": self.sharpness_by_cues[level],
            "window": self.window_by_cues[level],
            "least": self.least_by_cues[level],
        }
        if level > 0:
            weights["finer"] = self.finer_by_cues[level - 1]
        if level < LEVELS - 1:
            weights["coarser"] = self.coarser_by_cues[level]
        sums = weighted(torch.stack([*weights.values()]), cues)
        return dict(zip(weights, sums.split(1, dim=1), strict=True))

    def _blend(
        self, maps: list[Tensor], planes: Tensor, details: list[Tensor], found: list[_Found], base: Tensor
    ) -> Tensor:
        logits, gains, moves = self._by_kind(maps)
        bands = [base]
        before: Tensor | None = None
        for level in reversed(range(LEVELS)):
            evidence, told, steered = found[level]
            if before is not None:
                coarser = steered["coarser"].clamp(*_TELLING) * doubled(before, evidence.shape)
                evidence, told = evidence + coarser, told + coarser
            sharpness = (moves[level] + steered["sharpness"]).tanh()
            band = blend_details(
                details[level],
                logits[level] + SHARPNESS * (SHARPNESS_SPAN * sharpness).exp() * evidence,
                steered["least"].clamp(0.0, 0.5),
                gains[level] + steered["gain"],
            )
            bands.insert(0, band)
            before = told
        return make_room(compose(bands), planes, details).clamp(0, 1)


def _turns(height: int, width: int) -> bool:
    """Whether an image is blended by columns: else more pixels would be read around rows than in them."""
    return width > height and 2 * REACH * width > BAND_PIXELS


class _Found(NamedTuple):
    """Of a band: logarithms of A's strength over B's, (B, 1, h, w), for its own choice and for other bands,
    and what its cues say.

    Others are told of the strength around a pixel: that of one pixel, where a detail may pass through 0, is
    half chance, and would decide details that are not small.
    """

    evidence: Tensor
    told: Tensor
    steered: dict[str, Tensor]


class _Rows(NamedTuple):
    """Rows ``first`` to ``stop`` of an image, of which ``start`` to ``end`` are read."""

    start: int
    first: int
    stop: int
    end: int

    def seen(self, map_: Tensor, level: int = 0) -> Tensor:
        """The rows that are read, of a map of the whole whose pixels are 2**level rows high."""
        return map_[:, :, self.start >> level : -(-self.end >> level)]

    def own(self, map_: Tensor, level: int = 0) -> Tensor:
        """The rows from ``first`` to ``stop`` of such a map of the rows that are read."""
        offset = self.start >> level
        return map_[:, :, (self.first >> level) - offset : -(-self.stop >> level) - offset]
