"""The losses of GIFNet, each a pure function of float planes (B, 1, H, W) that returns a scalar.

Every loss is computed in float32 (float64 stays float64), also inside autocast: MS-SSIM subtracts squares
that nearly cancel, which half precision turns into noise.

    MM step: mm_loss(fused, infrared, visible, w_ir, w_vis) + public_loss(reconstruction, visible)
    DP step: dp_loss(fused, visible)                         + public_loss(reconstruction, visible)
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from model.blocks.transformer import precise
from model.metrics.windows import MS_SSIM_WEIGHTS

#: Side and sigma in pixels of the Gaussian window; the side shrinks where a scale is smaller.
WINDOW_SIDE = 11
WINDOW_SIGMA_PX = 1.5
#: Stabilising constants (K1 L)^2 and (K2 L)^2 for data range L = 1.
C1, C2 = 0.01**2, 0.03**2
#: Shortest side in pixels that leaves a pixel on the coarsest scale.
MIN_SIDE = 2 ** (len(MS_SSIM_WEIGHTS) - 1)


def public_loss(
    reconstruction: Tensor, visible: Tensor, *, ssim_weight: float = 1.0, mse_weight: float = 1.0
) -> Tensor:
    """Loss of the REC branch, shared by both tasks: 1 - MS-SSIM, and mean squared error."""
    loss = ssim_weight * ms_dissimilarity(reconstruction, visible)
    return loss + mse_weight * mean_squared_error(reconstruction, visible)


def mm_loss(fused: Tensor, infrared: Tensor, visible: Tensor, w_ir: Tensor, w_vis: Tensor) -> Tensor:
    """Loss of the MM task: the squared errors to both sources, weighted by their information.

    Args:
        fused, infrared, visible: (B, 1, H, W).
        w_ir, w_vis: one weight per sample, (B,); the two weights of a sample sum to 1.
    """
    to_infrared = mean_squared_error(fused, infrared, per_sample=True)
    to_visible = mean_squared_error(fused, visible, per_sample=True)
    return (w_ir.to(to_infrared) * to_infrared + w_vis.to(to_visible) * to_visible).mean()


def dp_loss(fused: Tensor, visible: Tensor) -> Tensor:
    """Loss of the DP task: mean squared error to the image that both of its sources were made from."""
    return mean_squared_error(fused, visible)


def mean_squared_error(x: Tensor, y: Tensor, *, per_sample: bool = False) -> Tensor:
    """Mean squared error over everything, or (B,) over each sample."""
    error = (precise(x) - precise(y)).square()
    return error.mean(dim=(1, 2, 3)) if per_sample else error.mean()


def ms_dissimilarity(x: Tensor, y: Tensor) -> Tensor:
    """1 - multi-scale structural similarity as the published weights were trained with; 0 for equal images.

    Five scales, 2x2 average pooling between them, Gaussian windows without padding, data range 1. It differs
    from the definition of 2003 in two points. The mean contrast and mean SSIM of each scale, taken over the
    whole batch, are mapped from [-1, 1] to [0, 1]; and the coarsest scale's factor enters to the fourth
    power, since the published product multiplies each of the four contrasts by it.

    Args:
        x, y: (B, 1, H, W) with values in about [0, 1]; sides of at least 16 pixels (``MIN_SIDE``).

    Nowhere is it computed as 1 - something: float32 keeps its digits for nearly equal images.
    """
    if x.shape != y.shape or min(x.shape[-2:]) < MIN_SIDE:
        raise ValueError(f"MS-SSIM needs equal shapes, sides >= {MIN_SIDE}: {x.shape}, {y.shape}")
    with torch.autocast(x.device.type, enabled=False):
        x, y = precise(x), precise(y)
        # Sum and difference carry the same moments as x and y; equal images have an exact 0 in the latter.
        planes = torch.cat([x + y, x - y])
        log_similarity = planes.new_zeros(())
        for weight in MS_SSIM_WEIGHTS[:-1]:
            _, contrast = _dissimilarities(planes)
            log_similarity = log_similarity + weight * torch.log1p(-contrast)
            planes = F.avg_pool2d(planes, 2)
        ssim, _ = _dissimilarities(planes)
        power = MS_SSIM_WEIGHTS[-1] * (len(MS_SSIM_WEIGHTS) - 1)
        return -torch.expm1(log_similarity + power * torch.log1p(-ssim))


def window_mean(planes: Tensor, side: int = WINDOW_SIDE, sigma_px: float = WINDOW_SIGMA_PX) -> Tensor:
    """Means under a Gaussian window, without padding: (B, P, H, W) -> (B, P, H - side + 1, W - side + 1)."""
    rows, columns = (
        _window_matrix(size, side, sigma_px, planes.dtype, planes.device) for size in planes.shape[-2:]
    )
    return rows @ (planes @ columns.t())


def _dissimilarities(planes: Tensor) -> tuple[Tensor, Tensor]:
    """(1 - v) / 2 for the mean SSIM v and for the mean contrast v of one scale.

    ``planes``: x + y and x - y, (2B, 1, H, W). With s and d for them, SSIM = luminance * contrast and

        (1 - luminance) / 2 = mean(d)^2 / (mean(s)^2 + mean(d)^2 + 2 C1)
        (1 - contrast)  / 2 = var(d)    / (var(s)    + var(d)    + 2 C2)
    """
    side = min(WINDOW_SIDE, *planes.shape[-2:])
    means = window_mean(torch.cat([planes, planes.square()]), side)
    mean_s, mean_d, square_s, square_d = means.chunk(4)
    mean_s2, mean_d2 = mean_s.square(), mean_d.square()
    variance_d = square_d - mean_d2
    luminance = mean_d2 / (mean_s2 + mean_d2 + 2 * C1)
    contrast = variance_d / (square_s - mean_s2 + variance_d + 2 * C2)
    return (luminance + contrast - 2 * luminance * contrast).mean(), contrast.mean()


@cache  # for good: a CUDA graph may read it
def _window_matrix(size: int, side: int, sigma_px: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A Gaussian window at each of its places along an axis, (size - side + 1, size).

    Products with it take a seventh of the time of convolutions of single planes, which no kernel is made for.
    """
    places = torch.arange(size, device=device)
    distance = places - places[: size - side + 1, None] - (side - 1) / 2
    window = torch.exp(-distance.to(dtype).square() / (2 * sigma_px**2))
    window = window.where(distance.abs() < side / 2, 0.0)
    return window / window.sum(dim=1, keepdim=True)
