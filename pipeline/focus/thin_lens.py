"""Defocus of a thin lens from one sharp picture and its inverse depth.

Linear light, signed circle of confusion, disc kernels, and layers of depth that are composited back to front
with premultiplied colour (as in SYNDOF, Lee et al., CVPR 2019). So a defocused foreground spills outward over
what is behind it, which shows through its rim and is filled in there, and a defocused background never takes
colour from a sharp foreground.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.files import InputError
from pipeline.images.resampling import nearest_known

#: Blur discs of a smaller radius lie within the pixel: in focus.
IN_FOCUS_PX = 0.5
#: Layers are half a pixel of blur radius apart, and 15 % where that is more.
_LAYER_STEP_PX = 0.5
_LAYER_STEP_SHARE = 0.15
#: This many layers nearer, at least two pixels of radius, an object's blur covers the pixels along its edge.
_CLEARLY_NEARER = 4
#: Sub-pixels each way of a pixel that the rim of a disc runs through.
_FINE = 8


@dataclass(frozen=True, kw_only=True)
class ThinLens:
    """The camera, and how far away inverse depth 1 and 0 are; both together give blur in pixels.

    The defaults are a short telephoto lens on a full-frame sensor in a street. Monocular inverse depth has
    no scale, so nearest and farthest are a choice; they decide which f-numbers a blur in pixels asks for.
    """

    focal_length_mm: float = 85.0
    sensor_width_mm: float = 36.0  # of the whole frame
    nearest_m: float = 2.0  # distance at inverse depth 1
    farthest_m: float = 200.0  # distance at inverse depth 0
    f_number_min: float = 1.0  # widest aperture that may be drawn
    f_number_max: float = 22.0  # narrowest

    def __post_init__(self) -> None:
        if not 0 < self.focal_length_mm / 1000 < self.nearest_m < self.farthest_m < math.inf:
            raise InputError(
                f"thin lens: focal length {self.focal_length_mm} mm, nearest {self.nearest_m} m, farthest "
                f"{self.farthest_m} m must rise in this order"
            )
        if not 0 < self.sensor_width_mm < math.inf:
            raise InputError(f"thin lens: sensor width {self.sensor_width_mm} mm must be positive")
        if not 0 < self.f_number_min <= self.f_number_max < math.inf:
            raise InputError(
                f"thin lens: f-numbers {self.f_number_min}..{self.f_number_max} must rise from above 0"
            )

    def distance_m(self, inverse_depth: float) -> float:
        """Distance of a relative inverse depth in [0, 1]: 1/d is affine in it."""
        return 1 / (inverse_depth / self.nearest_m + (1 - inverse_depth) / self.farthest_m)

    def blur_radius_px(
        self, inverse_depth: np.ndarray, *, focus_m: float, f_number: float, frame_width: int
    ) -> np.ndarray:
        """Signed radius of the circle of confusion, pixels; positive nearer than the focus distance.

        With aperture A = f/N, object distance d and focus distance s the circle's diameter on the sensor is
        A f |d - s| / (d (s - f)) = f^2/N |1/d - 1/s| / (1 - f/s): linear in inverse depth.

        Args:
            inverse_depth: relative inverse depth in [0, 1], any shape.
            frame_width: pixels that the sensor's width is divided into.
        """
        focal_m = self.focal_length_mm / 1000
        inverse_m = inverse_depth / self.nearest_m + (1 - inverse_depth) / self.farthest_m
        diameter_m = focal_m**2 / f_number * (inverse_m - 1 / focus_m) / (1 - focal_m / focus_m)
        return diameter_m / 2 / (self.sensor_width_mm / 1000 / frame_width)


def defocus(visible: np.ndarray, radius_px: np.ndarray) -> np.ndarray:
    """Blur a sharp picture as a lens would, (H, W, 3) uint8.

    Pixels in focus keep their exact values unless a defocused nearer object spills over them.

    Args:
        visible: (H, W, 3) uint8 sRGB, sharp everywhere.
        radius_px: (H, W) signed blur radius, larger = nearer (:meth:`ThinLens.blur_radius_px`).
    """
    light = _SRGB_TO_LINEAR[visible]
    layers = _layer_numbers(radius_px)
    size = np.abs(radius_px)
    result = np.zeros_like(light)
    farthest, nearest = layers.min(), layers.max()
    for number in range(farthest, nearest + 1):  # back to front
        own = layers == number
        if not own.any():
            continue
        # Exact for a plane parallel to the sensor, whatever the layers' steps.
        radius = float(size[own].mean())
        covered = np.ones_like(own)
        if number > farthest:
            rim = size[layers > number].max(initial=0) + radius + 2  # nearer layers are opaque beyond it
            covered = _extent(layers, number, rim)
        window = _window(covered, math.ceil(radius) + 1)
        colour = _filled(light[window], _own_colour(layers[window], number))
        result[window] = _composite(result[window], colour, covered[window], radius)
    return np.searchsorted(_LINEAR_THRESHOLDS, result).astype(np.uint8)


def disc_kernel(radius_px: float) -> np.ndarray:
    """Anti-aliased disc: the share of each pixel that it covers, (K, K) float32, K odd, sum 1.

    Spreading over whole pixels adds to the disc's variance of r^2/4 along each axis. The disc is drawn so
    much smaller that the kernel has that variance, which is what the blur of an edge shows. Below 1 px, where
    discs that are drawn have it in coarse steps alone, the kernel is made of that variance itself.
    """
    if radius_px < 1:
        variance = radius_px**2 / 4
        profile = np.array([variance / 2, 1 - variance, variance / 2])
        return np.outer(profile, profile).astype(np.float32)
    low, high = 0.0, radius_px
    for _ in range(12):  # to 1/4000 of the radius
        middle = (low + high) / 2
        kernel = _coverage(middle)
        place = np.arange(len(kernel)) - len(kernel) // 2
        low, high = (middle, high) if kernel.sum(0) @ place**2 < radius_px**2 / 4 else (low, middle)
    return _coverage(high).astype(np.float32)


def _coverage(radius_px: float) -> np.ndarray:
    """Shares of a disc that is drawn with this radius, (K, K) float64; of one quadrant, and mirrored."""
    place = np.arange(max(math.ceil(radius_px - 0.5), 0) + 1)
    far, near = (place + 0.5) ** 2, np.maximum(place - 0.5, 0) ** 2  # borders of a pixel
    covered = np.where(far[:, None] + far <= radius_px**2, float(_FINE**2), 0)
    # Only the rim is divided: its work grows with the radius, not with the area.
    rows, cols = np.nonzero((covered == 0) & (near[:, None] + near <= radius_px**2))
    within = (np.arange(_FINE) + 0.5) / _FINE - 0.5
    y, x = (((at[:, None] + within) ** 2) for at in (rows, cols))
    covered[rows, cols] = (y[:, :, None] + x[:, None, :] <= radius_px**2).sum((1, 2))
    covered = np.pad(covered, ((len(place) - 1, 0), (len(place) - 1, 0)), mode="reflect")
    return covered / max(covered.sum(), 1)


def _layer_numbers(radius_px: np.ndarray) -> np.ndarray:
    """Layer of each pixel, int32: 0 in focus, positive nearer, negative farther."""
    size = np.abs(radius_px)
    knee = _LAYER_STEP_PX / _LAYER_STEP_SHARE  # where 15 % is more than half a pixel
    steps = size / _LAYER_STEP_PX
    steps = np.where(size < knee, steps, (1 + np.log(np.maximum(size, knee) / knee)) / _LAYER_STEP_SHARE)
    return (np.sign(radius_px) * np.floor(steps)).astype(np.int32)


def _own_colour(layers: np.ndarray, number: int) -> np.ndarray:
    """Where the picture shows a layer's colour: in it and the next ones, mostly the same surface, but not in
    the outermost pixels along an object that is clearly nearer, whose colour is mixed with that object's."""
    known = np.abs(layers - number) <= 1
    nearer = (layers >= number + _CLEARLY_NEARER).astype(np.uint8)
    clean = known & (cv2.dilate(nearer, np.ones((3, 3), np.uint8)) == 0)
    return clean if clean.any() else known


def _extent(layers: np.ndarray, number: int, rim_px: float) -> np.ndarray:
    """Where a layer lies: its own pixels, and hidden by nearer ones where it is the closest thing in sight.

    Surfaces that run through several layers thus stay closed, and a layer does not turn up under objects that
    it is nowhere next to.
    """
    closest, distance_px = nearest_known(layers, layers <= number)
    return (closest == number) & (distance_px <= rim_px)


def _window(covered: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The rectangle around what is covered, with a margin."""
    rows, cols = np.flatnonzero(covered.any(1)), np.flatnonzero(covered.any(0))
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + margin + 1),
        slice(max(int(cols[0]) - margin, 0), int(cols[-1]) + margin + 1),
    )


def _composite(behind: np.ndarray, colour: np.ndarray, covered: np.ndarray, radius: float) -> np.ndarray:
    """Blur a layer and lay it over what is behind it."""
    if covered.all():
        return _blurred(colour, radius)
    alpha = covered.astype(np.float32)[..., None]
    layer = _blurred(np.concatenate([colour * alpha, alpha], axis=-1), radius)
    return layer[..., :3] + (1 - layer[..., 3:]) * behind


def _blurred(image: np.ndarray, radius: float) -> np.ndarray:
    if radius < IN_FOCUS_PX:
        return image
    return cv2.filter2D(image, cv2.CV_32F, disc_kernel(radius), borderType=cv2.BORDER_REFLECT_101)


def _filled(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill the unknown pixels from the known ones around them (pull-push over a pyramid)."""
    if known.all():
        return image
    weight = known.astype(np.float32)[..., None]
    fill = _pull_push(np.concatenate([image * weight, weight], axis=-1))
    return np.where(known[..., None], image, fill)


def _pull_push(premultiplied: np.ndarray) -> np.ndarray:
    """Colour everywhere from (H, W, 4) premultiplied colour and weight, at least one weight positive."""
    weight = premultiplied[..., 3:]
    colour = premultiplied[..., :3] / np.maximum(weight, np.float32(1e-12))
    height, width = weight.shape[:2]
    if max(height, width) == 1 or weight.min() >= 1:
        return colour
    half = cv2.resize(premultiplied, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    # Weights above 1/4 of a block count as whole: what is known well is not thinned out on the way up.
    half = half * (np.minimum(1, 4 * half[..., 3:]) / np.maximum(half[..., 3:], np.float32(1e-12)))
    coarse = cv2.resize(_pull_push(half), (width, height), interpolation=cv2.INTER_LINEAR)
    mix = np.minimum(weight, 1)
    return colour * mix + coarse * (1 - mix)


def _srgb_to_linear(encoded: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


_SRGB_TO_LINEAR = _srgb_to_linear(np.arange(256) / 255).astype(np.float32)
#: Linear light halfway (in code values) between two neighbouring 8-bit codes.
_LINEAR_THRESHOLDS = _srgb_to_linear((np.arange(255) + 0.5) / 255).astype(np.float32)
