"""Pan-sharpening: every band takes the detail of the panchromatic image and keeps its own values.

As published: the network fuses each band with the panchromatic image; a 3x3 Gaussian (sigma 0.5) splits the
result into base and detail; the base's histogram is matched to the original band's; the detail is added back.
"""

from __future__ import annotations

import cv2
import numpy as np

from model.colour import Source
from model.multiband import Bands
from model.sources import same_size, value_range
from model.strips import FusionEngine
from model.transformer import Task

#: Side and sigma of the Gaussian that parts base from detail, in pixels.
BASE_KERNEL_PX, BASE_SIGMA_PX = 3, 0.5


def pansharpen(
    engine: FusionEngine,
    bands: Bands,
    panchromatic: Bands,
    *,
    main: Task = "dp",
    range_16bit: str = "full",
    resize: str | None = None,
) -> Bands:
    """Sharpen (B, H, W) bands with a panchromatic image (1, H, W).

    The result has the type and the no-data value of the bands, and the geographic tags of the panchromatic
    image, or of the bands if that has none; never those of an input that was resized, which do not fit.

    Raises:
        InputError: the sizes differ and ``resize`` does not say which one gives way.
    """
    assert panchromatic.values.shape[0] == 1
    first, second = same_size(
        [np.moveaxis(bands.values, 0, 2), panchromatic.values[0]], ["bands", "panchromatic"], resize
    )
    stack = np.moveaxis(first.reshape(*first.shape[:2], -1), 2, 0)
    pan = Source(second, *value_range(second, range_16bit)).plane()
    top = np.iinfo(stack.dtype).max
    sharpened = np.empty(stack.shape, stack.dtype)
    for band, out in zip(stack, sharpened, strict=True):
        low, high = value_range(band, range_16bit)
        fused = engine.fuse_planes(Source(np.ascontiguousarray(band), low, high).plane(), pan, main=main)
        values = give_back_values(fused * np.float32(high - low) + np.float32(low), band)
        out[...] = np.rint(np.clip(values, 0, top)).astype(stack.dtype)
    fitting = [one for one in (panchromatic, bands) if one.values.shape[1:] == sharpened.shape[1:]]
    geography = next((one.geography for one in fitting if one.geography), {})
    return Bands(sharpened, geography, bands.no_data)


def give_back_values(fused: np.ndarray, band: np.ndarray) -> np.ndarray:
    """Base of ``fused`` with the histogram of ``band``, plus the detail of ``fused``; (H, W), one scale."""
    base = cv2.GaussianBlur(fused, (BASE_KERNEL_PX, BASE_KERNEL_PX), BASE_SIGMA_PX)
    return match_histogram(base, band) + (fused - base)


def match_histogram(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Map ``values`` monotonically so that their distribution is that of ``target``; float32, same shape.

    Equal values stay equal: each goes to where the target's cumulative distribution reaches the middle of
    its own step.
    """
    levels, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    target_levels, target_counts = np.unique(target, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / values.size
    target_middle = (np.cumsum(target_counts) - target_counts / 2) / target.size
    mapped = np.interp(middle, target_middle, target_levels.astype(np.float64))
    assert levels.shape == mapped.shape
    return mapped[inverse].reshape(values.shape).astype(np.float32)
