"""Fidelity losses: what a fused image keeps of its two sources, differentiable, without a ground truth.

Functions take float planes (B, 1, H, W) in [0, 1] and return one score per sample, (B,), that is higher the
more is kept. They follow the definitions of :mod:`model.metrics` and differ from them only where those have
no useful gradient: angles are compared as lines, histograms are soft, and small constants keep flat regions
finite. Call them outside autocast: differences of squares need the digits of float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from model.blocks.pyramid import base_of
from model.training.losses import C1, C2, WINDOW_SIDE, WINDOW_SIGMA_PX, window_mean

#: Windows of visual information fidelity, finest scale first; sigma is a fifth of the side.
_VIF_SIDES = (17, 9, 5, 3)
#: Variance of the visual noise: 2 grey levels squared, in [0, 1].
_VIF_NOISE = 2.0 / 255.0**2
#: Variances up to this, of a seventh of a grey level, may be rounding of what is flat.
_ROUNDING = 3e-7
#: Gradients below about a quarter of a grey level count as flat.
_FLAT = 1e-3
#: Deviations below this count as none in a correlation: what a fused focus pair differs from one of its
#: sources is next to nothing in places, and the slope of its correlation would be next to infinite.
_FAINT = 0.05
#: Bases whose difference has this root mean square or more are those of two exposures or of two cameras.
_BASES_APART = 0.05
#: Structure of unlike sources counts as behind the rival's until it is so much ahead.
STRUCTURE_AHEAD = 0.008
#: Of a focus pair structure, edges and mutual information count as behind until they are so much ahead.
FOCUS_AHEAD = 0.005
#: Levels of the soft histograms.
_BINS = 96


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Mean SSIM of two planes; 11x11 Gaussian, sigma 1.5, no padding.

    Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment", TIP 2004.
    """
    mean_x, mean_y, square_x, square_y, cross = _means(x, y, WINDOW_SIDE, WINDOW_SIGMA_PX)
    luminance = (2 * mean_x * mean_y + C1) / (mean_x.square() + mean_y.square() + C1)
    covariance = cross - mean_x * mean_y
    variances = square_x - mean_x.square() + square_y - mean_y.square()
    return (luminance * (2 * covariance + C2) / (variances + C2)).mean(dim=(1, 2, 3))


def structure(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Mean of :func:`ssim` to the two sources."""
    return ssim(*_beside_both(fused, a, b)).unflatten(0, (2, -1)).mean(dim=0)


def edges(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Qabf: share of the sources' edges kept, in strength and direction; 0 to 0.975.

    Xydeas and Petrovic, "Objective image fusion performance measure", Electronics Letters 2000.
    """
    beside, sources = _beside_both(fused, a, b)
    across_f, down_f = _sobel(beside)
    across, down = _sobel(sources)
    strength_f, strength = _length(across_f, down_f), _length(across, down)
    relative = torch.minimum(strength, strength_f) / torch.maximum(strength, strength_f)
    cosine = (across * across_f + down * down_f).abs()
    sine = (across * down_f - down * across_f).abs()
    aligned = 1 - torch.atan2(sine + _FLAT**2, cosine + _FLAT**2) / (torch.pi / 2)
    preserved = 0.9994 * torch.sigmoid(15 * (relative - 0.5)) * 0.9879
    preserved = preserved * torch.sigmoid(22 * (aligned - 0.8))
    kept, weight = (
        value.mean(dim=(1, 2, 3)).unflatten(0, (2, -1)).sum(dim=0)
        for value in (preserved * strength, strength)
    )
    return kept / weight


def gradient_error(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute error of the gradient against that of the source whose gradient is the longer one.

    It reaches further than :func:`edges`, whose gradient vanishes where an edge is missing. Lower is better.
    """
    across_a, down_a = _sobel(a)
    across_b, down_b = _sobel(b)
    of_a = (across_a.square() + down_a.square()) >= (across_b.square() + down_b.square())
    across, down = _sobel(fused)
    error = (across - torch.where(of_a, across_a, across_b)).abs()
    error = error + (down - torch.where(of_a, down_a, down_b)).abs()
    return error.mean(dim=(1, 2, 3))


def sharpness(fused: Tensor, rival: Tensor) -> Tensor:
    """Mean and RMS length of the gradient beside those of another image, (2, B)."""
    steepness = []
    for plane in (fused, rival):
        length = _length(*_sobel(plane))
        mean_square = length.square().mean(dim=(1, 2, 3))
        steepness.append(torch.stack([length.mean(dim=(1, 2, 3)), mean_square.sqrt()]))
    return steepness[0] / steepness[1]


def base_distance(a: Tensor, b: Tensor) -> Tensor:
    """How far the bases of the Laplacian pyramids are apart, (B,).

    0 where they agree, as those of two focus settings do, to 1 for two exposures or two cameras.
    """
    difference = base_of(a) - base_of(b)
    return (difference.square().mean(dim=(1, 2, 3)).sqrt() / _BASES_APART).clamp_max(1)


def visual_information(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Mean of VIFp to the two sources; 0 to 1, above where contrast is enhanced.

    Sheikh and Bovik, "Image information and visual quality", TIP 2006, in its pixel-domain form.
    """
    return _vifp(*_beside_both(fused, a, b)).unflatten(0, (2, -1)).mean(dim=0)


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's, in which deviations below 0.05 count as next to none; (B, 1, H, W) each -> (B,)."""
    x, y = x.flatten(1), y.flatten(1)
    x, y = x - x.mean(dim=1, keepdim=True), y - y.mean(dim=1, keepdim=True)
    variances = (x.square().mean(dim=1) + _FAINT**2) * (y.square().mean(dim=1) + _FAINT**2)
    return (x * y).mean(dim=1) / variances.sqrt()


def complement(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Half of SCD: mean of corr(fused - b, a) and corr(fused - a, b), -1 to 1.

    Aslantas and Bendes, "A new image quality metric for image fusion", AEU 2015.
    """
    return (correlation(fused - b, a) + correlation(fused - a, b)) / 2


def mutual_information(fused: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """I(A; F) + I(B; F) over H(A) + H(B), of soft histograms; 0 to about 1.

    Qu, Zhang and Yan, "Information measure for performance of image fusion", Electronics Letters 2002.
    """
    gained: Tensor | float = 0.0
    possible: Tensor | float = 0.0
    for source in (a, b):
        joint = _SoftHistogram.apply(fused, source)
        entropy = _entropy(joint.sum(dim=1))
        gained = gained + entropy + _entropy(joint.sum(dim=2)) - _entropy(joint.flatten(1))
        possible = possible + entropy
    assert isinstance(gained, Tensor) and isinstance(possible, Tensor)
    return gained / (possible + 0.1)


def _beside_both(fused: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The fused image twice, and both sources: (2B, 1, H, W) each."""
    return torch.cat([fused, fused]), torch.cat([a, b])


def _vifp(fused: Tensor, source: Tensor) -> Tensor:
    # Flat sources, of which there is nothing to keep, count as kept.
    kept: Tensor | float = 1e-3
    everything: Tensor | float = 1e-3
    for scale, side in enumerate(_VIF_SIDES):
        if scale > 0:
            both = window_mean(torch.cat([source, fused], dim=1), side, side / 5)[..., ::2, ::2]
            source, fused = both[:, :1], both[:, 1:]
        mean_s, mean_f, square_s, square_f, cross = _means(source, fused, side, side / 5)
        variance_s = (square_s - mean_s.square() - _ROUNDING).clamp_min(0)
        variance_f = (square_f - mean_f.square() - _ROUNDING).clamp_min(0)
        covariance = cross - mean_s * mean_f
        gain = (covariance / (variance_s + 1e-8)).clamp(0, 10)
        distortion = (variance_f - gain * covariance).clamp_min(0)
        kept = kept + torch.log1p(gain.square() * variance_s / (distortion + _VIF_NOISE)).sum(dim=(1, 2, 3))
        everything = everything + torch.log1p(variance_s / _VIF_NOISE).sum(dim=(1, 2, 3))
    assert isinstance(kept, Tensor)
    return kept / everything


class _SoftHistogram(torch.autograd.Function):
    """Joint histogram of planes in [0, 1], (B, levels of x, levels of y); a pixel counts for the two nearest
    levels of either plane, more for the nearer one. Only x gets a gradient.

    Its slope at a pixel has four terms; differentiating the memberships would keep and pass through
    ``_BINS`` numbers of each.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(x, y)
        of_x, of_y = _memberships(x), _memberships(y)
        return of_x.transpose(1, 2) @ of_y / of_x.shape[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, y = ((_BINS - 1) * plane.flatten(1) for plane in ctx.saved_tensors)
        x_below, y_below = (position.floor().clamp(0, _BINS - 2) for position in (x, y))
        rise = (_BINS - 1) / x.shape[1] * gradient.diff(dim=1).flatten(1)
        at = (_BINS * x_below + y_below).long()
        slope = torch.lerp(rise.gather(1, at), rise.gather(1, at + 1), y - y_below)
        return slope.view_as(ctx.saved_tensors[0]), None


def _memberships(plane: Tensor) -> Tensor:
    """Soft histogram of every pixel, linear between the two nearest levels: (B, pixels, levels)."""
    levels = torch.arange(_BINS, device=plane.device, dtype=plane.dtype)
    distance = (_BINS - 1) * plane.flatten(1)[..., None] - levels
    return distance.abs_().neg_().add_(1).clamp_min_(0)


def _entropy(shares: Tensor) -> Tensor:
    return -(shares * (shares + 1e-7).log()).sum(dim=1)


def _means(x: Tensor, y: Tensor, side: int, sigma_px: float) -> tuple[Tensor, ...]:
    """Window means of x, y, x^2, y^2 and xy."""
    planes = torch.cat([x, y, x.square(), y.square(), x * y], dim=1)
    return window_mean(planes, side, sigma_px).split(1, dim=1)


def _sobel(plane: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives across and down of (B, 1, H, W), without padding: (B, 1, H - 2, W - 2)."""
    down = plane[..., 2:, :] - plane[..., :-2, :]
    down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    across = plane[..., 2:] - plane[..., :-2]
    across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    return across, down


def _length(across: Tensor, down: Tensor) -> Tensor:
    return (across.square() + down.square() + _FLAT**2).sqrt()
