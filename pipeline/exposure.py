"""Over-/under-exposed pair of a picture: the probe (GIFNet, Section 3.2) or a camera's response.

The probe decides the luminance; the chroma is the source's own, so both pictures keep its hues.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline.camera_response import CameraConfig, CameraDraw, camera_pair, draw_camera
from pipeline.files import InputError
from pipeline.images import apply_chroma, luminance, rgb_to_ycbcr, to_uint8

if TYPE_CHECKING:
    from pipeline.probe import ExposureProbe

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


def draw_exposure(config: ExposureConfig, rng: np.random.Generator) -> CameraDraw | None:
    """What chance decides for one sample's pair: the camera, or None where the probe decides all."""
    return draw_camera(config.camera, rng) if config.mode == "camera-response" else None


def exposure_pair(
    visible: np.ndarray,
    probe: ExposureProbe,
    *,
    draw: CameraDraw | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Over- and under-exposed version of a picture, each (H, W, 3) uint8: by the drawn camera, or the probe.

    The pair is a function of the given pixels (and of the random stream, for the camera) alone: a tile gives
    the same bits whatever frame it was cut from and whatever else is computed.

    Args:
        visible: (H, W, 3) uint8 RGB.
        probe: used where there is no camera.
        draw: of :func:`draw_exposure`; None: the probe makes the pair.
        rng: the stream that ``draw`` was drawn from; a camera's noise needs it.
    """
    if draw is None:
        return probe_pair(visible, probe)
    assert rng is not None, "a camera draws noise"
    return camera_pair(visible, draw, rng)


def probe_pair(visible: np.ndarray, probe: ExposureProbe) -> tuple[np.ndarray, np.ndarray]:
    """Over- and under-exposed version of a picture by the probe, each (H, W, 3) uint8.

    Only within ``probe.reach_px`` of its borders, which are mirrored, does a tile differ from the cut of its
    processed frame.

    Args:
        visible: (H, W, 3) uint8 RGB.
        probe: from :func:`pipeline.probe.load_probe`; runs on the device where its weights are.
    """
    from pipeline.probe import probe_luminance  # needs torch, which help texts should not wait for

    rgb = visible.astype(np.float32) / 255
    over, under = probe_luminance(to_uint8(luminance(rgb)), probe)
    chroma = rgb_to_ycbcr(rgb)[..., 1:]
    return relight(over, chroma), relight(under, chroma)


def relight(luma: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Give chroma another luminance: (H, W, 3) uint8 RGB.

    Where the colour leaves the RGB cube, both chroma components are reduced by the same factor, the largest
    that fits: hue and luminance stay. Clipping the channels instead would shift both.

    Args:
        luma: (H, W) float32 in [0, 1].
        chroma: (H, W, 2) float32, Cb and Cr in [-0.5, 0.5].
    """
    return to_uint8(apply_chroma(luma, chroma))
