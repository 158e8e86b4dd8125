"""Random views of a training scene: framing, photography and foreign detail.

So neither place nor tone nor texture tells depth. Rendered surfaces are plainer than real ones; the fine
detail of another picture, laid over a view, teaches a network not to take every edge for one of depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.images.ycbcr import luminance

#: Share of the views with an infrared frame whose visible one is dark.
NIGHT_SHARE = 0.7
#: Share of the views with the fine detail of another picture.
FOREIGN_DETAIL_SHARE = 0.4


@dataclass(frozen=True, eq=False)
class View:
    """What a network is trained on."""

    frame: np.ndarray  # (h, w, 3) float32 RGB in [0, 1]
    inverse_depth: np.ndarray  # (h, w) float32, in the units of the scene
    infrared: np.ndarray | None  # (h, w) float32 in [0, 1]


def random_view(
    visible: np.ndarray,
    inverse_depth: np.ndarray,
    infrared: np.ndarray | None,
    other: np.ndarray,
    size_hw: tuple[int, int],
    rng: np.random.Generator,
) -> View:
    """Crop, zoom, roll, stretch and mirror a scene, then texture and photograph it differently.

    Args:
        visible: (H, W, 3) uint8.
        inverse_depth: (H, W) float, any scale.
        infrared: (H, W) uint8, where the view shall have one; a pixel or two beside the visible frame.
        other: (H', W', 3) uint8, any picture whose fine detail the view may get.
        size_hw: size of the result.
        rng: of this view.
    """
    matrix = _framing((visible.shape[0], visible.shape[1]), size_hw, rng)
    frame = _warp(visible, matrix, size_hw)
    # Nearest neighbour: a mean of two depths is a depth that is not there.
    depth = cv2.warpAffine(
        inverse_depth.astype(np.float32),
        matrix,
        size_hw[::-1],
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    unit = frame.astype(np.float32) / 255
    if rng.random() < FOREIGN_DETAIL_SHARE:
        unit = with_detail(unit, _part(other, size_hw, rng).astype(np.float32) / 255, rng)
    # Half of the views stay close to the scene's own photography, or learning is slow.
    unit = photograph(unit, rng) if rng.random() < 0.5 else _expose(unit, rng)
    if infrared is None:
        return View(unit, depth, None)
    if rng.random() < NIGHT_SHARE:
        unit = at_night(unit, rng)
    beside = matrix + np.column_stack([np.zeros((2, 2)), rng.normal(0, 1.0, 2)])
    warm = _warp(infrared, beside, size_hw).astype(np.float32) / 255
    return View(unit, depth, photograph_infrared(warm, rng))


def photograph(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Photograph the scene differently: light, colour, veil, lens, sensor, compression; float32 in [0, 1]."""

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    frame = frame ** np.float32(np.exp(rng.uniform(-0.7, 0.7)))
    if chance(0.4):
        frame = frame * _light_field(frame.shape[:2], rng)[..., None]
    if chance(0.2):
        frame = _mix_channels(frame, rng)
    frame = frame * rng.uniform(0.7, 1.3, 3).astype(np.float32) * np.float32(np.exp(rng.uniform(-0.6, 0.3)))
    if chance(0.2):
        frame = np.repeat(luminance(frame)[..., None], 3, axis=2)
    else:
        grey = luminance(frame)[..., None]
        frame = grey + (frame - grey) * np.float32(rng.uniform(0.2, 1.5))
    if chance(0.25):  # veiling glare, washed-out contrast
        veil = np.float32(rng.uniform(0, 0.5))
        frame = frame * (1 - veil) + veil * rng.uniform(0.5, 1, 3).astype(np.float32)
    if chance(0.15):  # night: little light, the sensor's noise floor stays
        frame = frame * np.float32(rng.uniform(0.08, 0.4))
    if chance(0.5):
        frame = cv2.GaussianBlur(frame, (0, 0), rng.uniform(0.3, 1.4))
    if chance(0.6):
        frame = frame + _sensor_noise(frame, rng)
    frame = np.clip(frame, 0, 1)
    if chance(0.3):
        frame = _compress(frame, rng)
    return np.ascontiguousarray(frame, np.float32)


def with_detail(frame: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A frame as if its surfaces had the texture of another one; (H, W, 3) float32 in [0, 1] each.

    What the other one has beyond a random blur, relative to its brightness, scales that of the frame.
    """
    smooth = cv2.GaussianBlur(other, (0, 0), rng.uniform(1.5, 8))
    relative = (other - smooth) / (smooth + np.float32(0.15))  # noise of black regions counts for little
    return np.clip(frame * (1 + np.float32(rng.uniform(0.3, 1.2)) * relative), 0, 1)


def photograph_infrared(infrared: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another infrared camera: range, polarity, optics, noise, compression; (H, W) float32 in [0, 1]."""

    def chance(probability: float) -> bool:
        return bool(rng.random() < probability)

    infrared = infrared ** np.float32(np.exp(rng.uniform(-0.6, 0.6)))
    infrared = infrared * np.float32(rng.uniform(0.5, 1.6)) + np.float32(rng.uniform(-0.15, 0.15))
    infrared = np.clip(infrared, 0, 1)
    if chance(0.05):  # black is hot
        infrared = 1 - infrared
    if chance(0.3):
        infrared = infrared * _light_field(infrared.shape[:2], rng)
    if chance(0.5):
        infrared = cv2.GaussianBlur(infrared, (0, 0), rng.uniform(0.3, 1.4))
    if chance(0.5):
        level = np.float32(np.exp(rng.uniform(np.log(0.003), np.log(0.04))))
        infrared = infrared + level * rng.standard_normal(infrared.shape, np.float32)
    infrared = np.clip(infrared, 0, 1)
    return _compress(infrared, rng) if chance(0.3) else infrared


def at_night(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """So little light that much is lost in noise and in the steps of 8 bits; (H, W, 3) float32 in [0, 1]."""
    if rng.random() < 0.5:
        frame = frame * np.minimum(_light_field(frame.shape[:2], rng), 3)[..., None]
    frame = frame * np.float32(np.exp(rng.uniform(np.log(0.02), np.log(0.4))))
    noise = np.float32(np.exp(rng.uniform(np.log(0.002), np.log(0.03))))
    frame = frame + noise * rng.standard_normal(frame.shape, np.float32)
    return np.rint(np.clip(frame, 0, 1) * 255) / np.float32(255)


def _part(picture: np.ndarray, size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A random part of a picture, enlarged or shrunk up to twice, maybe mirrored."""
    zoom = np.exp(rng.uniform(np.log(0.5), np.log(2)))
    rows, columns = (
        min(side, max(1, round(zoom * wanted)))
        for side, wanted in zip(picture.shape[:2], size_hw, strict=True)
    )
    top = int(rng.integers(picture.shape[0] - rows + 1))
    left = int(rng.integers(picture.shape[1] - columns + 1))
    part = picture[top : top + rows, left : left + columns]
    part = part[:: 1 if rng.random() < 0.7 else -1, :: 1 if rng.random() < 0.5 else -1]
    return cv2.resize(np.ascontiguousarray(part), size_hw[::-1], interpolation=cv2.INTER_AREA)


def _compress(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """What JPEG leaves of a frame in [0, 1], grey or RGB."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 90))]
    data = cv2.imencode(".jpg", np.rint(frame * 255).astype(np.uint8), quality)[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.float32) / 255


def _expose(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A slightly different exposure and white balance."""
    gains = rng.uniform(0.8, 1.2, 3).astype(np.float32)
    return np.clip(gains * frame ** np.float32(np.exp(rng.uniform(-0.3, 0.3))), 0, 1)


def _warp(picture: np.ndarray, matrix: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """The view of a picture; ``matrix`` (2, 3) leads from the view's pixels to the picture's."""
    step = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))  # pixels of the picture per pixel of the view
    if step > 1.2:  # shrinking needs a low-pass filter first
        picture = cv2.GaussianBlur(picture, (0, 0), 0.4 * step)
    return cv2.warpAffine(
        picture,
        matrix,
        size_hw[::-1],
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )


def _framing(source_hw: tuple[int, int], size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Affine map (2, 3) from the view's pixels to the scene's."""
    (rows, columns), (height, width) = source_hw, size_hw
    share = np.exp(rng.uniform(np.log(0.65), 0.0))  # of the largest frame that fits
    stretch = np.exp(rng.uniform(-0.15, 0.15))
    largest = min(rows / height, columns / width)
    step_x, step_y = largest * share * min(1, stretch), largest * share * min(1, 1 / stretch)
    roll = np.deg2rad(rng.normal(0, 4.0))
    mirror = -1.0 if rng.random() < 0.5 else 1.0
    free_x, free_y = columns - step_x * width, rows - step_y * height
    centre = np.array(
        [columns / 2 + rng.uniform(-0.5, 0.5) * free_x, rows / 2 + rng.uniform(-0.5, 0.5) * free_y]
    )
    rotation = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    linear = rotation @ np.diag([step_x * mirror, step_y])
    offset = centre - 0.5 - linear @ (np.array([width, height]) / 2 - 0.5)
    return np.column_stack([linear, offset])


def _light_field(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Smooth uneven illumination, factors from about 0.2 to 2."""
    cells = int(rng.integers(2, 7))
    logs = rng.normal(0, 0.6, (cells, cells)).astype(np.float32)
    return np.exp(cv2.resize(logs, size_hw[::-1], interpolation=cv2.INTER_CUBIC))


def _mix_channels(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    weights = rng.dirichlet(np.full(3, 0.5), 3).astype(np.float32)
    return frame @ weights.T


def _sensor_noise(frame: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Read and shot noise; sometimes of a coarser grain, as after demosaicking and upscaling."""
    height, width = frame.shape[:2]
    grain = 2 if rng.random() < 0.3 else 1
    noise = rng.standard_normal((height // grain, width // grain, 3), np.float32)
    if grain > 1:
        noise = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(1.4)
    read, shot = np.exp(rng.uniform(np.log(0.003), np.log(0.06))), rng.uniform(0, 0.06)
    return noise * np.sqrt(np.float32(read**2) + np.float32(shot**2) * np.clip(frame, 0, 1))
