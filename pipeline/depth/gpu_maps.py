"""What a GPU does with frames and maps around a depth network, so that nothing goes back and forth.

The arithmetic of :mod:`pipeline.depth.maps` and :mod:`pipeline.depth.details` on tensors: their results
differ by rounding alone. Batches have a constant number of frames, so that a frame's bits do not depend on
its company; no kernel adds in an order that changes, and nothing here waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.depth.details import blend_weights, part_places, part_sides
from pipeline.depth.maps import FLAT_VALUE, REFINE_EPSILON, SATURATED_PERCENT, refine_scales
from pipeline.depth.separable import area_average, filtered, mirrored_box


def shrunk(picture: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """A picture (C, H, W) uint8 at the size that a network sees, (1, C, h, w) float32, whole numbers."""
    height, width = picture.shape[1:]
    if size_hw[0] <= height and size_hw[1] <= width:
        return _averaged(picture, [slice(0, height)], [slice(0, width)], size_hw)
    left, right = (
        weights * picture.int()[:, :, places]
        for places, weights in _linear_steps(width, size_hw[1], picture.device)
    )
    wide = (left + right) >> 4
    above, below = (
        (weights[:, None] * wide[:, places]) >> 16
        for places, weights in _linear_steps(height, size_hw[0], picture.device)
    )
    return ((above + below + 2) >> 2).float()[None]


def shrunk_parts(picture: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Its nine parts in the order of :func:`pipeline.depth.details.part_windows`, (9, C, h, w) float32."""
    return _averaged(picture, part_sides(picture.shape[1]), part_sides(picture.shape[2]), size_hw)


def merge(wholes: Tensor, parts: Tensor) -> Tensor:
    """Fit parts (B, 9, h', w') to the wholes (B, h, w) and blend: :func:`pipeline.depth.details.merge`.

    Returns:
        (B, 2h, 2w) float32.
    """
    height, width = wholes.shape[1:]
    large = _enlarged(wholes[:, None], (2 * height, 2 * width))[:, 0].double()
    seen = _enlarged(parts, (height, width)).double()
    places = part_places(2 * height, 2 * width)
    under = torch.stack([large[:, row, column] for row, column in places], dim=1)
    deviation, under_mean = seen - _mean(seen), _mean(under)
    variance = _mean(deviation * deviation)
    scale = (_mean(deviation * (under - under_mean)) / variance).clamp(min=0)
    fitted = deviation * torch.where(variance > 0, scale, 0.0) + under_mean
    shares = fitted * _shares(height, width, wholes.device)
    blended = torch.zeros_like(large)
    for (row, column), share in zip(places, shares.unbind(1), strict=True):
        blended[:, row, column] += share
    return blended.float()


def full_size(inverse_depth: Tensor, pictures: Sequence[Tensor], *, refine: bool) -> list[Tensor]:
    """Scale maps to [0, 1] and enlarge them to their pictures: :func:`pipeline.depth.maps.full_size`.

    Args:
        inverse_depth: (B, h, w).
        pictures: (C, H, W) uint8, of one size, at most B; maps without a picture are left out.

    Returns:
        (H, W) float32 in [0, 1] of each picture.
    """
    full = _enlarged(_unit_range(inverse_depth)[:, None], pictures[0].shape[1:])
    if not refine:
        return [one[0] for one, _ in zip(full, pictures, strict=False)]
    return _refined(full, pictures)


def filled(batch: Tensor, count: int) -> Tensor:
    """A batch (B, ...) filled up to a count with its last: kernels are chosen by the size of a batch."""
    return torch.cat([batch, batch[-1:].expand(count - len(batch), *batch.shape[1:])])


@lru_cache(maxsize=64)
def _linear_steps(side: int, size: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Places (int64) and weights (int32) of the two pixels between which each of ``size`` lies along an axis.

    The weights are in 2048ths, and what they give is cut and rounded as OpenCV does for uint8: by rounding a
    float, an eighth of the pixels of noise would be a level off.
    """
    at = ((np.arange(size) + 0.5) * (side / size) - 0.5).astype(np.float32)
    first = np.floor(at)
    steps = ((first, 1 - (at - first)), (first + 1, at - first))
    return [
        (
            torch.from_numpy(np.clip(place, 0, side - 1).astype(np.int64)).to(device),
            torch.from_numpy(np.rint(weight * 2048).astype(np.int32)).to(device),
        )
        for place, weight in steps
    ]


def _averaged(
    picture: Tensor, rows: Sequence[slice], columns: Sequence[slice], size_hw: tuple[int, int]
) -> Tensor:
    """Each window of these rows and columns averaged down, (windows, C, h, w), rounded as uint8 is."""
    weights = (
        area_average(tuple((one.start, one.stop) for one in sides), total, size, picture.device)
        for sides, total, size in zip((rows, columns), picture.shape[1:], size_hw, strict=True)
    )
    grid = filtered(_float(picture), *weights).unflatten(2, (len(columns), -1)).unflatten(1, (len(rows), -1))
    return grid.permute(1, 3, 0, 2, 4).flatten(0, 1).round()


def _float(picture: Tensor) -> Tensor:
    return picture.to(torch.float32, memory_format=torch.contiguous_format)


def _enlarged(maps: Tensor, size_hw: tuple[int, int] | torch.Size) -> Tensor:
    """(B, C, h, w) -> (B, C, H, W), bilinear."""
    return F.interpolate(maps, size_hw, mode="bilinear", align_corners=False)


def _mean(maps: Tensor) -> Tensor:
    return maps.mean(dim=(-2, -1), keepdim=True)


@lru_cache(maxsize=16)
def _shares(height: int, width: int, device: torch.device) -> Tensor:
    """Share that each part has in the merged map, (9, h, w) float64."""
    weight = torch.from_numpy(blend_weights((height, width)))
    total = torch.zeros(2 * height, 2 * width, dtype=torch.float64)
    for place in (places := part_places(2 * height, 2 * width)):
        total[place] += weight
    return torch.stack([weight / total[place] for place in places]).to(device)


def _unit_range(inverse_depth: Tensor) -> Tensor:
    """:func:`pipeline.depth.maps.unit_range` of each (B, h, w), between an estimate's percentiles."""
    ordered = inverse_depth.flatten(1).sort(dim=1).values
    low, high = (
        _percentile(ordered, percent)[:, None, None]
        for percent in (SATURATED_PERCENT, 100 - SATURATED_PERCENT)
    )
    flat = high - low <= 1e-6 * torch.maximum(low.abs(), high.abs())
    scaled = ((inverse_depth.double() - low) / (high - low)).clamp(0, 1)
    return torch.where(flat, FLAT_VALUE, scaled).float()


def _percentile(ordered: Tensor, percent: float) -> Tensor:
    """Of sorted values (B, N), linear between the two next to it, (B,) float64."""
    last = ordered.shape[1] - 1
    place = percent / 100 * last
    before = math.floor(place)
    below, above = ordered[:, before].double(), ordered[:, min(before + 1, last)].double()
    return below + (above - below) * (place - before)


def _refined(full: Tensor, pictures: Sequence[Tensor]) -> list[Tensor]:
    """:func:`pipeline.depth.maps.refine_edges` of maps (B, 1, H, W), with the settings of ``full_size``.

    What is as large as the frames and has colours is handled one by one: there may be little memory.
    """
    device, hw = full.device, (full.shape[2], full.shape[3])
    radius_px, subsampling = refine_scales(*hw)
    small_hw = [max(1, round(side / subsampling)) for side in hw]
    shrink = [
        area_average(((0, side),), side, small, device) for side, small in zip(hw, small_hw, strict=True)
    ]
    boxes = [mirrored_box(side, max(1, round(radius_px / subsampling)), device) for side in small_hw]
    guides = filled(torch.stack([filtered(_float(one) / 255, *shrink) for one in pictures]), len(full))
    # Working around the mean of each picture keeps the float32 covariances accurate.
    guides = guides - (centres := _mean(guides))
    # Of each colour with each other one and, last, with the map: (B, C, C + 1, h, w).
    factors = torch.cat([guides, filtered(full, *shrink)], dim=1)
    means = filtered(factors, *boxes)
    covariance = filtered(guides[:, :, None] * factors[:, None], *boxes)
    covariance -= means[:, :-1, None] * means[:, None]
    slope = _solved(covariance, REFINE_EPSILON)  # Eq. 19
    offset = means[:, -1:] - (slope * means[:, :-1]).sum(dim=1, keepdim=True)  # Eq. 20
    coefficients = filtered(torch.cat([slope, offset], dim=1), *boxes)
    refined = []
    for picture, centre, small in zip(pictures, centres, coefficients, strict=False):
        large = _enlarged(small[None], hw)[0]
        terms = large[:-1] * (_float(picture) / 255 - centre)
        refined.append((terms.sum(dim=0) + large[-1]).clamp(0, 1))  # Eq. 21
    return refined


def _solved(systems: Tensor, epsilon: float) -> Tensor:
    """x of (A + epsilon I) x = b at each pixel, (B, C, h, w); ``systems`` holds [A | b], (B, C, C + 1, h, w).

    A is a covariance, so elimination needs no pivots, and few colours make it a few kernels over all pixels.
    """
    for index in range(systems.shape[1]):
        systems[:, index, index] += epsilon
    for index in range(systems.shape[1]):
        row = systems[:, index] / systems[:, index, index, None]
        systems = systems - systems[:, :, index, None] * row[:, None]
        systems[:, index] = row
    return systems[:, :, -1]
