"""Pan-sharpening: every band takes the detail of the panchromatic image and keeps its own values.

The network fuses each band with the panchromatic image. What the result has beyond the resolution of the band
is added to the band, as in the generalised Laplacian pyramid with filters matched to the sensor (Aiazzi et
al., "MTF-tailored multiscale fusion of high-resolution MS and Pan imagery", Photogrammetric Engineering &
Remote Sensing 2006).

As published, which ``--colour upstream`` reproduces, the fused image keeps its own coarse structure: a 3x3
Gaussian (sigma 0.5) parts it into base and detail, the base's histogram is matched to the band's, the detail
is added back. Where band and panchromatic image differ, colours change.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from model.blocks.transformer import Task
from model.engine.strips import FusionEngine
from model.fusing.multiband import Bands
from model.inputs.sources import Source, same_size, value_range
from pipeline.files import InputError
from pipeline.images import size_text
from pipeline.images.resampling import nearest_known

#: Side and sigma of the published Gaussian that parts base from detail, in pixels.
BASE_KERNEL_PX, BASE_SIGMA_PX = 3, 0.5
#: What a multispectral sensor passes at its Nyquist frequency, of amplitude 1 (0.2 to 0.35 are usual).
NYQUIST_GAIN = 0.3
#: Pixels of the panchromatic image in one of a band, along a side, where bands come enlarged already: that of
#: IKONOS, QuickBird, GeoEye, WorldView and Pleiades.
USUAL_RATIO = 4.0
#: Inputs whose sides differ by less than this factor count as equally large: the bands come enlarged.
_ABOUT_EQUAL = 1.25


def pansharpen(
    engine: FusionEngine,
    bands: Bands,
    panchromatic: Bands,
    *,
    main: Task = "dp",
    range_16bit: str = "full",
    resize: str | None = None,
    published: bool = False,
) -> Bands:
    """Sharpen bands with a panchromatic image.

    The result has the type and the no-data value of the bands, and the geographic tags of the panchromatic
    image, or of the bands if that has none; never those of an input that was resized, which do not fit.

    Pixels without data stay so, and bend no others: the network sees the nearest value of their band in their
    place, and histograms leave them out. Where only the panchromatic image has no data, bands keep their own
    values. Values that come out as the no-data value are moved by 1.

    Args:
        engine: of the network.
        bands: (B, H, W).
        panchromatic: (1, H, W).
        main: stream of the network that is decoded.
        range_16bit: as for :func:`model.inputs.sources.value_range`.
        resize: as for :func:`model.inputs.sources.same_size`. Bands that are enlarged so tell the ratio of
            resolutions; of inputs about equally large it is taken to be :data:`USUAL_RATIO`.
        published: match histograms, as the published script does, instead of keeping the bands' values.

    Raises:
        InputError: the sizes differ and ``resize`` does not say which one gives way, or what is left of the
            panchromatic image is no finer than the bands are.
    """
    assert panchromatic.values.shape[0] == 1
    ratio = USUAL_RATIO if published else _ratio(bands, panchromatic, resize)
    first, second = same_size(
        [np.moveaxis(_filled(bands), 0, 2), _filled(panchromatic)[0]], ["bands", "panchromatic"], resize
    )
    stack = np.moveaxis(first.reshape(*first.shape[:2], -1), 2, 0)
    size_hw, top, none = second.shape, np.iinfo(stack.dtype).max, bands.none()
    seen = _has_data(panchromatic.values[0], panchromatic.none(), size_hw)
    pan = Source(second, *value_range(second[seen], range_16bit)).plane() if seen.any() else None
    sharpened = stack.copy()
    for original, band, out in zip(bands.values, stack, sharpened, strict=True):
        valid = _has_data(original, none, size_hw)
        used = valid & seen
        if pan is not None and used.any():
            low, high = value_range(band[used], range_16bit)
            fused = engine.fuse_planes(Source(np.ascontiguousarray(band), low, high).plane(), pan, main=main)
            sharp = fused * np.float32(high - low) + np.float32(low)
            kept = give_back_values(sharp, band, used) if published else add_detail(sharp, band, ratio)[used]
            out[used] = np.rint(np.clip(kept, 0, top))
        if none is not None:
            out[out == none] = none + 1 if none < top else none - 1
            out[~valid] = none
    fitting = [one for one in (panchromatic, bands) if one.values.shape[1:] == sharpened.shape[1:]]
    geography = next((one.geography for one in fitting if one.geography), {})
    return Bands(sharpened, geography, bands.no_data)


def _ratio(bands: Bands, panchromatic: Bands, resize: str | None) -> float:
    """Pixels of the panchromatic image in one of a band, along a side."""
    coarse, fine = bands.values[0], panchromatic.values[0]
    ratio = math.sqrt(fine.size / coarse.size)
    if resize is None or 1 / _ABOUT_EQUAL < ratio < _ABOUT_EQUAL:
        return USUAL_RATIO
    if ratio > 1 and resize == "a":
        return ratio
    advice = "use --resize a" if ratio > 1 else "give the finer image as B"
    raise InputError(
        f"bands of {size_text(coarse)} and a panchromatic image of {size_text(fine)}: with --resize {resize} "
        f"it has nothing that the bands lack; {advice}"
    )


def add_detail(fused: np.ndarray, band: np.ndarray, ratio: float) -> np.ndarray:
    """A band plus what ``fused`` has beyond the resolution of that band, (H, W) float32.

    Args:
        fused, band: (H, W), one scale.
        ratio: pixels here in one of the band's own, along a side. The Gaussian that parts coarse from fine
            passes :data:`NYQUIST_GAIN` at the highest frequency that the band can hold.
    """
    sigma_px = ratio * math.sqrt(-2 * math.log(NYQUIST_GAIN)) / math.pi
    return band + (fused - cv2.GaussianBlur(fused, (0, 0), sigma_px))


def give_back_values(fused: np.ndarray, band: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Base of ``fused`` with the histogram of ``band``, plus the detail of ``fused``.

    Args:
        fused, band: (H, W), one scale.
        valid: (H, W) bool, the pixels whose histogram counts and which are returned in one row.
    """
    base = cv2.GaussianBlur(fused, (BASE_KERNEL_PX, BASE_KERNEL_PX), BASE_SIGMA_PX)
    return match_histogram(base[valid], band[valid]) + (fused - base)[valid]


def match_histogram(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Map ``values`` monotonically so that their distribution is that of ``target``; float32, same shape.

    Equal values stay equal: each goes to where the target's cumulative distribution reaches the middle of
    its own step.
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    target_levels, target_counts = np.unique(target, return_counts=True)
    middle = (np.cumsum(counts) - counts / 2) / values.size
    target_middle = (np.cumsum(target_counts) - target_counts / 2) / target.size
    mapped = np.interp(middle, target_middle, target_levels.astype(np.float64))
    return mapped[inverse].reshape(values.shape).astype(np.float32)


def _filled(bands: Bands) -> np.ndarray:
    """Values of bands, (B, H, W); a pixel without data has that of the nearest one with data in its band."""
    none = bands.none()
    if none is None:
        return bands.values
    known = bands.values != none
    return np.stack(
        [
            nearest_known(band, has)[0] if has.any() else band
            for band, has in zip(bands.values, known, strict=True)
        ]
    )


def _has_data(band: np.ndarray, none: int | None, size_hw: tuple[int, ...]) -> np.ndarray:
    """Where a band has data, bool, for the size that the band is given."""
    present = (band != none).astype(np.uint8)
    return cv2.resize(present, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST).astype(bool)
