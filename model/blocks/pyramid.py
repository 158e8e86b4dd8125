"""Laplacian pyramids of torch planes, and the blend of their bands that the ``pyramid`` head steers.

Burt and Adelson, "The Laplacian pyramid as a compact image code", IEEE Trans. Communications 1983. The choice
of the stronger detail: Burt and Adelson, "Merging images through pattern decomposition", SPIE 1985.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.networks.padding import replication_pad

#: Detail levels; the base lies on a grid of 1/16.
LEVELS = 4
#: Side of a block of pixels that has a base pixel of its own.
BLOCK = 2**LEVELS
#: Details below a quarter of a grey level count as equally strong.
FLAT = 0.25 / 255
#: Pixels this near to black, or white, in both planes give way the less, the nearer they are.
NEARLY = 8 / 255
#: A blended base gets at most this many times its contrast back.
MOST_CONTRAST = 2.0


def decompose(planes: Tensor) -> list[Tensor]:
    """Details, finest first, and base: (B, P, H, W) -> ``LEVELS`` + 1 tensors, each half as large."""
    bands = []
    for _ in range(LEVELS):
        smaller = _reduce(planes)
        bands.append(planes - doubled(smaller, planes.shape))
        planes = smaller
    return [*bands, planes]


def compose(bands: list[Tensor]) -> Tensor:
    """Inverse of :func:`decompose`."""
    *details, planes = bands
    for detail in reversed(details):
        planes = doubled(planes, detail.shape) + detail
    return planes


def block_means(planes: Tensor) -> list[Tensor]:
    """Means over blocks of 1, 2, 4 ... ``BLOCK`` pixels a side; at the far borders blocks may be cut.

    (B, P, H, W) -> ``LEVELS`` + 1 tensors, each half as large. Of a strip of rows that begins at a multiple
    of ``BLOCK``, the result is that strip of the result. Halved again and again, because in one large window
    a GPU has one thread add all.
    """
    parts = [planes]
    for _ in range(LEVELS):
        rows, columns = (size % 2 for size in parts[-1].shape[2:])
        whole = F.pad(parts[-1], (0, columns, 0, rows)) if rows or columns else parts[-1]
        parts.append(F.avg_pool2d(whole, 2))
    for level, part in enumerate(parts):
        for dim in (2, 3):
            if rest := planes.shape[dim] % 2**level:
                factor = part.new_ones(part.shape[dim])
                factor[-1:] = 2**level / rest
                part = part * (factor[:, None] if dim == 2 else factor)
        parts[level] = part
    return parts


def base_of(planes: Tensor) -> Tensor:
    """The last band of :func:`decompose` alone."""
    for _ in range(LEVELS):
        planes = _reduce(planes)
    return planes


def blend_details(details: Tensor, choice: Tensor, least: Tensor, gain: Tensor) -> Tensor:
    """Blend a detail band of two planes: (B, 2, h, w) -> (B, 1, h, w).

    The first plane's share is sigmoid(choice), but neither plane's is less than the least share. The blend is
    multiplied by e to the power of the tanh of its gain: by 0.4 to 2.7.

    Args:
        choice, least, gain: (B, 1, h, w); ``least`` from 0 to 1/2.
    """
    share = least + (1 - 2 * least) * choice.sigmoid()
    return torch.lerp(details[:, 1:], details[:, :1], share) * gain.tanh().exp()


def halved(planes: Tensor) -> Tensor:
    """Means over blocks of 2x2 pixels, cut at the far borders: a map of a band at the size of the next."""
    return F.avg_pool2d(planes, 2, ceil_mode=True)


def blend_bases(bases: Tensor, logit: Tensor, gain: Tensor) -> Tensor:
    """Blend the bases of two planes: (B, 2, h, w), (B, 1, h, w) and (B, 1, h, w) -> (B, 1, h, w).

    The first one's share is sigmoid(logit). Where one base is bright and the other one dark, their blend has
    lost contrast: its deviation from its mean over the image is raised to the mean of theirs, and multiplied
    by e to the power of the tanh of the gain. Two exposures of one scene lose none.
    """
    share = logit.sigmoid()
    blended = torch.lerp(bases[:, 1:], bases[:, :1], share)
    mean = plane_means(blended)
    difference = blended - mean
    deviations = (plane_means((bases - plane_means(bases)).square()) + FLAT**2).sqrt()
    before = torch.lerp(deviations[:, 1:], deviations[:, :1], plane_means(share))
    after = (plane_means(difference.square()) + FLAT**2).sqrt()
    return mean + difference * (before / after).clamp(1.0, MOST_CONTRAST) * gain.tanh().exp()


def make_room(fused: Tensor, planes: Tensor, bands: list[Tensor]) -> Tensor:
    """Darken where a blend exceeds 1 and brighten where it falls below 0, so that fewer details are clipped.

    Of each block the root mean square of what leaves the range is taken off smoothly. What is black, or
    white, in both planes has nothing to lose there: it neither asks for room nor makes any.

    Args:
        fused: the blend, (B, 1, H, W).
        planes: what was blended, (B, 2, H, W) in [0, 1].
        bands: details of :func:`decompose` of that size; their shapes alone count.

    Returns:
        (B, 1, H, W), not clipped.
    """

    # Above white and below black, side by side.
    room = torch.cat([1 - planes.amin(dim=1, keepdim=True), planes.amax(dim=1, keepdim=True)], dim=1)
    over = torch.minimum(torch.cat([fused - 1, -fused], dim=1).clamp_min(0), room)
    power = block_means(over.square())[-1]
    shift = (power + FLAT**2).sqrt() - FLAT  # with a slope at 0
    darker, brighter = (spread(shift, bands)[0] * (room / NEARLY).clamp_max(1)).split(1, dim=1)
    return fused - darker + brighter


def plane_means(planes: Tensor) -> Tensor:
    """Of every plane: (B, P, H, W) -> (B, P, 1, 1)."""
    return planes.mean(dim=(2, 3), keepdim=True)


def spread(base: Tensor, bands: list[Tensor]) -> list[Tensor]:
    """Maps of the base, (B, P, h, w), at the size of each detail band, finest first."""
    found: list[Tensor] = []
    for band in reversed(bands):
        base = doubled(base, band.shape)
        found.insert(0, base)
    return found


def stronger_detail(planes: Tensor) -> Tensor:
    """Classic fusion: per pixel the detail of larger magnitude, and the mean of the bases.

    (B, 2, H, W) -> (B, 1, H, W), not clipped.
    """
    *details, base = decompose(planes)
    chosen = [torch.where(d[:, :1].abs() >= d[:, 1:].abs(), d[:, :1], d[:, 1:]) for d in details]
    return compose([*chosen, base.mean(dim=1, keepdim=True)])


# On a CPU sums of slices, not convolutions: oneDNN holds a plane of one channel sixteen times. On a GPU the
# slices would be kernels, and some more for each one's gradient.
def _reduce(planes: Tensor) -> Tensor:
    """Half size, rounded up, after a binomial filter."""
    planes = replication_pad(planes, 2)
    if planes.is_cuda:
        return _by_convolution(planes, F.conv2d, 16)
    for _ in range(2):  # down the rows, then along the columns
        planes = planes.mT
        size = planes.shape[3] - 4
        far, near, own, next_, last = (planes[..., start : start + size : 2] for start in range(5))
        planes = (far + last + 4 * (near + next_) + 6 * own) / 16
    return planes


def doubled(planes: Tensor, shape: torch.Size) -> Tensor:
    """Twice the size, cut to ``shape``: the binomial filter on a grid with zeros between, without them."""
    planes = replication_pad(planes, 1)
    if planes.is_cuda:
        grown = _by_convolution(planes, F.conv_transpose2d, 8)
        return grown[:, :, 4 : 4 + shape[2], 4 : 4 + shape[3]]
    for dim in (2, 3):
        before, own, after = (planes.narrow(dim, start, planes.shape[dim] - 2) for start in range(3))
        pairs = torch.stack([(before + 6 * own + after) / 8, (own + after) / 2], dim=dim + 1)
        planes = pairs.flatten(dim, dim + 1).narrow(dim, 0, shape[dim])
    return planes


def _by_convolution(planes: Tensor, convolve: Callable[..., Tensor], total: int) -> Tensor:
    """Both axes with the binomial filter of that sum, in steps of two pixels."""
    distance = (torch.arange(5, dtype=planes.dtype, device=planes.device) - 2).abs()
    taps = (6 - 2 * distance - (distance == 2).to(distance)) / total  # 1 4 6 4 1
    flat = planes.flatten(0, 1)[:, None]
    flat = convolve(flat, taps.view(1, 1, 5, 1), stride=(2, 1))
    flat = convolve(flat, taps.view(1, 1, 1, 5), stride=(1, 2))
    return flat[:, 0].unflatten(0, planes.shape[:2])
