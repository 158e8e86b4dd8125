"""Over-/under-exposed pair of a picture: the probe (GIFNet, Section 3.2) or a camera's response.

The probe decides the luminance; the chroma is the source's own, so both pictures keep its hues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline.exposure.camera_response import CameraConfig, CameraDraw, camera_pair, draw_camera
from pipeline.files import InputError
from pipeline.images import to_uint8
from pipeline.images.ycbcr import apply_chroma, luminance, rgb_to_ycbcr

if TYPE_CHECKING:
    from pipeline.exposure.probe import ExposureProbe

#: How a pair is made; the first is the default.
EXPOSURE_MODES = ("probe", "camera-response")


@dataclass(frozen=True, kw_only=True)
class ExposureConfig:
    """How exposure pairs are made."""

    #: ``probe``: the information probe decides the luminance of both pictures. ``camera-response``: other
    #: exposure times of a simulated camera.
    mode: str = "probe"
    #: The camera of the mode ``camera-response``.
    camera: CameraConfig = field(default_factory=CameraConfig)

    def __post_init__(self) -> None:
        if self.mode not in EXPOSURE_MODES:
            modes = ", ".join(EXPOSURE_MODES)
            raise InputError(f"exposure mode {self.mode!r} is unknown; use one of {modes}")


@dataclass(frozen=True, kw_only=True, eq=False)
class ExposurePair:
    """Over- and under-exposed version of a picture, and the camera that took them, if one did."""

    over: np.ndarray  # (H, W, 3) uint8 RGB
    under: np.ndarray  # likewise
    camera: CameraDraw | None = None


def exposure_pairs(
    tiles: Sequence[np.ndarray],
    probe: ExposureProbe,
    *,
    config: ExposureConfig,
    streams: Sequence[np.random.Generator],
) -> list[ExposurePair]:
    """Over- and under-exposed versions of pictures, in the config's mode.

    A pair is a function of the pixels of its tile (and of its stream, for the camera) alone: it has the same
    bits whatever frame the tile was cut from and whatever else is computed.

    Args:
        tiles: each (H, W, 3) uint8 RGB, all of one size.
        probe: used in the mode ``probe``.
        streams: one for each tile, the sample's own for this purpose; used in the mode ``camera-response``.
    """
    if config.mode == "probe":
        return probe_pairs(tiles, probe)
    pairs = []
    for tile, rng in zip(tiles, streams, strict=True):
        camera = draw_camera(config.camera, rng)
        over, under = camera_pair(tile, camera, rng)
        pairs.append(ExposurePair(over=over, under=under, camera=camera))
    return pairs


def probe_pairs(tiles: Sequence[np.ndarray], probe: ExposureProbe) -> list[ExposurePair]:
    """Over- and under-exposed versions of pictures by the probe, in batches if it is on a GPU.

    Only within ``probe.reach_px`` of its borders, which are mirrored, does a tile differ from the cut of its
    processed frame.

    Args:
        tiles: each (H, W, 3) uint8 RGB, all of one size.
        probe: from :func:`pipeline.exposure.probe.load_probe`; runs on the device where its weights are.
    """
    from pipeline.exposure.probe import probe_tiles  # needs torch, which help texts should not wait for

    if not tiles:
        return []
    colours = [tile.astype(np.float32) / 255 for tile in tiles]
    lumas = probe_tiles(np.stack([to_uint8(luminance(rgb)) for rgb in colours]), probe)
    pairs = []
    for rgb, over, under in zip(colours, *lumas, strict=True):
        chroma = rgb_to_ycbcr(rgb)[..., 1:]
        pairs.append(ExposurePair(over=relight(over, chroma), under=relight(under, chroma)))
    return pairs


def relight(luma: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Give chroma another luminance: (H, W, 3) uint8 RGB.

    Where the colour leaves the RGB cube, both chroma components are reduced by the same factor, the largest
    that fits: hue and luminance stay. Clipping the channels instead would shift both.

    Args:
        luma: (H, W) float32 in [0, 1].
        chroma: (H, W, 2) float32, Cb and Cr in [-0.5, 0.5].
    """
    return to_uint8(apply_chroma(luma, chroma))
