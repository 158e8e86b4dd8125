"""Colour of fused images: the network fuses luminance, this module decides on chroma.

Chroma is BT.601, full range, centred on 0. Where two inputs bring colour, each component is their average
weighted by its own distance from grey. Where a colour leaves the RGB cube at the fused luminance, both
components are reduced by one factor: hue and luminance stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import cv2
import numpy as np

from model.inputs.sources import Source, row_slices
from pipeline.images.ycbcr import apply_chroma, rgb_to_ycbcr, ycbcr_to_rgb

#: Which of the inputs bring colour; an image alone is every one of them.
Givers = Literal["all", "first", "second"]
#: True colour, or the arithmetic of the published test script (for comparison only).
COLOUR_MODES = ("true", "upstream")


@dataclass(frozen=True)
class Preset:
    """Who gives what in one kind of fusion. All inputs give structure."""

    givers: Givers
    summary: str


#: Presets by name. a is the first input.
TASKS = {
    "auto": Preset("all", "whatever the inputs are; every coloured one gives its share of the colour"),
    "ivif": Preset("second", "a infrared, b visible, which gives the colour"),
    "mfif": Preset("all", "near- and far-focused; both give the colour"),
    "meif": Preset("all", "over- and under-exposed; both give the colour"),
    "nir": Preset("second", "a near infrared, b visible, which gives the colour"),
    "medical": Preset("first", "a PET or SPECT in colour, b MRI or CT"),
    "pansharpen": Preset(
        "all", "a bands (of a folder: B2 before B10), b panchromatic, fused with every band"
    ),
}


class Input(Protocol):
    """What a :class:`Source` has in any library's arrays."""

    @property
    def image(self) -> Any: ...
    @property
    def profile(self) -> bytes | None: ...
    @property
    def coloured(self) -> bool: ...


_AnyInput = TypeVar("_AnyInput", bound=Input)


def colour_givers(sources: Sequence[_AnyInput], givers: Givers) -> list[_AnyInput]:
    """The inputs whose chroma counts, in order; empty if the result has one channel.

    Grey in three channels, as many cameras store infrared, counts where nothing else does: so is the result.
    """
    chosen = {"all": sources, "first": sources[:1], "second": sources[1:2] or sources}[givers]
    return [*filter(is_coloured, chosen)] or [source for source in chosen if source.image.ndim == 3]


def is_coloured(source: Input) -> bool:
    """Whether an input has colours."""
    return source.image.ndim == 3 and source.coloured


def result_profile(sources: Sequence[Input], givers: Givers) -> bytes | None:
    """The ICC profile of a result: that of the first source that gives colour; no value is converted.

    Of a grey result it is the first source's, if that is grey too.
    """
    if coloured := colour_givers(sources, givers):
        return coloured[0].profile
    return sources[0].profile if sources[0].image.ndim == 2 else None


def colourise(
    fused: np.ndarray, sources: Sequence[Source], *, mode: str = "true", bits: int = 8
) -> np.ndarray:
    """Fused luminance and the chroma of ``sources`` -> image.

    Args:
        fused: (H, W) float32 in [0, 1].
        sources: images (H, W, 3) that bring colour; none for a grey result.
        mode: ``true`` or ``upstream``.
        bits: 8 or 16.

    Returns:
        uint8 or uint16, (H, W) without sources, else (H, W, 3) RGB.
    """
    dtype = np.uint8 if bits == 8 else np.uint16
    if not sources:
        return _quantise(fused, dtype)
    if mode == "true" and not any(map(is_coloured, sources)):
        return np.dstack([_quantise(fused, dtype)] * 3)
    image = np.empty((*fused.shape, 3), dtype)
    for rows in row_slices(fused):
        chroma = [rgb_to_ycbcr(source.scaled(rows))[..., 1:] for source in sources]
        if mode == "upstream":
            rgb = _upstream(fused[rows], chroma)
        else:
            rgb = apply_chroma(fused[rows], merge_chroma(chroma))
        image[rows] = cv2.merge([_quantise(rgb[..., channel], dtype) for channel in range(3)])
    return image


def merge_chroma(chroma: Sequence[np.ndarray]) -> np.ndarray:
    """Fold (..., 2) chroma of several images, centred on 0: average weighted by |C|, each component apart.

    Grey has no weight, so grey and a colour give that colour.
    """
    merged = chroma[0]
    for other in chroma[1:]:
        weight, other_weight = np.abs(merged), np.abs(other)
        total = weight + other_weight
        merged = (merged * weight + other * other_weight) / np.where(total > 0, total, 1)
    return merged


def _upstream(luma: np.ndarray, chroma: Sequence[np.ndarray]) -> np.ndarray:
    """As published: weights |C - 128| of chroma that was never offset by 128, channels clipped."""
    merged = chroma[0]
    half = np.float32(128 / 255)
    for other in chroma[1:]:
        weight, other_weight = np.abs(merged - half), np.abs(other - half)
        merged = (merged * weight + other * other_weight) / (weight + other_weight)
    return ycbcr_to_rgb(np.concatenate([luma[..., None], merged], axis=-1))


def _quantise(values: np.ndarray, dtype: type[np.unsignedinteger]) -> np.ndarray:
    top = np.float32(np.iinfo(dtype).max)
    return np.rint(np.clip(values, 0, 1) * top).astype(dtype)
