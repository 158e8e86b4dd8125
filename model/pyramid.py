"""Laplacian pyramids of torch planes, and the blend of two of them that the ``pyramid`` head steers.

Burt and Adelson, "The Laplacian pyramid as a compact image code", IEEE Trans. Communications 1983. The choice
of the stronger detail: Burt and Adelson, "Merging images through pattern decomposition", SPIE 1985; by its
strength around a pixel: Burt and Kolczynski, "Enhanced image capture through fusion", ICCV 1993.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Detail levels; the base lies on a grid of 1/16.
LEVELS = 4
#: Side of a block of pixels that has a base pixel of its own.
BLOCK = 2**LEVELS
#: Details below a quarter of a grey level count as equally strong.
FLAT = 0.25 / 255
#: A blended base gets at most this many times its contrast back.
MOST_CONTRAST = 2.0
#: Side of the window, in pixels of the band, in which the strength of a detail is measured.
WINDOW = 3


def decompose(planes: Tensor) -> list[Tensor]:
    """Details, finest first, and base: (B, P, H, W) -> ``LEVELS`` + 1 tensors, each half as large."""
    bands = []
    for _ in range(LEVELS):
        smaller = _reduce(planes)
        bands.append(planes - _expand(smaller, planes.shape))
        planes = smaller
    return [*bands, planes]


def compose(bands: list[Tensor]) -> Tensor:
    """Inverse of :func:`decompose`."""
    *details, planes = bands
    for detail in reversed(details):
        planes = _expand(planes, detail.shape) + detail
    return planes


def pooled(maps: Tensor) -> list[Tensor]:
    """Maps at full size, (B, P, H, W), one for each band, finest first, as the means over its pixels.

    Of a strip of rows that begins at a multiple of ``BLOCK``, the result is that strip of the result.
    """
    return [
        band if level == 0 else F.avg_pool2d(band, 2**level, ceil_mode=True, count_include_pad=False)
        for level, band in enumerate(maps.split(1, dim=1))
    ]


def blend(planes: Tensor, logits: list[Tensor], gains: list[Tensor], sharpness: Tensor) -> Tensor:
    """Blend two planes band by band.

    The first plane's share in a band is sigmoid(logit + sharpness * log(A / B)), where A and B are the root
    mean squares of the details around the pixel; in the base it is sigmoid(logit). Logits of 0 give the
    choice of the stronger detail, softened, and the mean of the bases.

    Where one base is bright and the other one dark, their blend has lost contrast: its contrast, about its
    mean over the image, is raised to that of what was blended. It and the blended details are then multiplied
    by e to the power of the tanh of their gain: by 0.4 to 2.7.

    Args:
        planes: (B, 2, H, W).
        logits: of every band, finest first, then of the base, (B, 1, h, w) each.
        gains: of the same bands, (B, 1, h, w) each.
        sharpness: of every detail band, (LEVELS,).

    Returns:
        (B, 1, H, W), not clipped.
    """
    *details, base = decompose(planes)
    bands = [
        _blend_details(detail, logit, gain, steepness)
        for detail, logit, gain, steepness in zip(details, logits[:-1], gains[:-1], sharpness, strict=True)
    ]
    return compose([*bands, _blend_bases(base, logits[-1], gains[-1])])


def _blend_details(details: Tensor, logit: Tensor, gain: Tensor, sharpness: Tensor) -> Tensor:
    power = F.avg_pool2d(details.square(), WINDOW, 1, WINDOW // 2, count_include_pad=False)
    strength = (power + FLAT**2).log() / 2
    share = (logit + sharpness * (strength[:, :1] - strength[:, 1:])).sigmoid()
    return torch.lerp(details[:, 1:], details[:, :1], share) * gain.tanh().exp()


def _blend_bases(bases: Tensor, logit: Tensor, gain: Tensor) -> Tensor:
    share = logit.sigmoid()
    blended = torch.lerp(bases[:, 1:], bases[:, :1], share)
    mean = _mean(blended)
    difference = blended - mean
    power = (bases - _mean(bases)).square()
    before = _mean(torch.lerp(power[:, 1:], power[:, :1], share))
    after = _mean(difference.square())
    contrast = ((before + FLAT**2) / (after + FLAT**2)).sqrt().clamp(1.0, MOST_CONTRAST)
    return mean + difference * contrast * gain.tanh().exp()


def _mean(planes: Tensor) -> Tensor:
    """Of every plane: (B, P, H, W) -> (B, P, 1, 1)."""
    return planes.mean(dim=(2, 3), keepdim=True)


def stronger_detail(planes: Tensor) -> Tensor:
    """Classic fusion: per pixel the detail of larger magnitude, and the mean of the bases.

    (B, 2, H, W) -> (B, 1, H, W), not clipped.
    """
    *details, base = decompose(planes)
    chosen = [torch.where(d[:, :1].abs() >= d[:, 1:].abs(), d[:, :1], d[:, 1:]) for d in details]
    return compose([*chosen, base.mean(dim=1, keepdim=True)])


def _reduce(planes: Tensor) -> Tensor:
    """Half size, rounded up, after a binomial filter."""
    filter_ = planes.new_tensor([1, 4, 6, 4, 1]) / 16
    flat = F.pad(planes.flatten(0, 1)[:, None], (2, 2, 2, 2), mode="replicate")
    flat = F.conv2d(flat, filter_.view(1, 1, 5, 1), stride=(2, 1))
    flat = F.conv2d(flat, filter_.view(1, 1, 1, 5), stride=(1, 2))
    return flat.unflatten(0, planes.shape[:2])[:, :, 0]


def _expand(planes: Tensor, shape: torch.Size) -> Tensor:
    """Twice the size, cut to ``shape``: the binomial filter on a grid with zeros between, without them."""
    even, odd = planes.new_tensor([1, 6, 1]) / 8, planes.new_tensor([0, 4, 4]) / 8
    filters = torch.stack([torch.outer(down, across) for down in (even, odd) for across in (even, odd)])
    flat = F.pad(planes.flatten(0, 1)[:, None], (1, 1, 1, 1), mode="replicate")
    return F.pixel_shuffle(F.conv2d(flat, filters[:, None]), 2)[..., : shape[2], : shape[3]].view(shape)
