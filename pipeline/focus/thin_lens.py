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
from pipeline.images.resampling import filled, nearest_known

#: Blur discs of a smaller radius lie within the pixel: in focus.
IN_FOCUS_PX = 0.5
#: Layers are half a pixel of blur radius apart, and 15 % where that is more.
_LAYER_STEP_PX = 0.5
_LAYER_STEP_SHARE = 0.15
#: This many layers nearer, at least two pixels of radius, an object's blur covers the pixels along its edge.
_CLEARLY_NEARER = 4
#: Sub-pixels each way of a pixel that the rim of a disc runs through.
_FINE = 8
#: As good as infinity for any lens.
_FARTHEST_M = 1e6
#: Shares below it are none.
_LEAST = np.float32(1e-6)


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
        if not 0 < self.focal_length_mm / 1000 < self.nearest_m < self.farthest_m <= _FARTHEST_M:
            raise InputError(
                f"thin lens: focal length {self.focal_length_mm} mm, nearest {self.nearest_m} m, farthest "
                f"{self.farthest_m} m must rise in this order, to {_FARTHEST_M:g} m at most"
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


class _LastLayer:
    """The layer that was laid last over a scene, everywhere: nothing of it lies outside of its window."""

    def __init__(self, scene: np.ndarray) -> None:
        self.number: int | None = None
        self.covered = np.zeros(scene.shape[:2], bool)  # where it lies, sharp
        self.alpha = np.zeros((*scene.shape[:2], 1), np.float32)  # blurred
        self.colour = np.zeros_like(scene)  # linear, premultiplied, blurred
        self.behind = scene.copy()  # linear, what shows where the layer does not
        self._scene, self._window = scene, np.s_[:0, :0]

    def lay(
        self,
        number: int,
        covered: np.ndarray,
        window: tuple[slice, slice],
        alpha: np.ndarray,
        colour: np.ndarray,
        behind: np.ndarray,
    ) -> None:
        """Lay the next one over the scene; the last three are of its window."""
        self.alpha[self._window], self.colour[self._window] = 0, 0
        self.behind[self._window] = self._scene[self._window]
        self.number, self.covered, self._window = number, covered, window
        self.alpha[window], self.colour[window], self.behind[window] = alpha, colour, behind
        self._scene[window] = colour + (1 - alpha) * behind


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
    scene = np.zeros_like(light)
    last = _LastLayer(scene)
    for number in np.unique(layers):  # back to front
        own = layers == number
        # Exact for a plane parallel to the sensor, whatever the layers' steps.
        radius = float(size[own].mean())
        covered = np.ones_like(own)
        if last.number is not None:
            rim = size[layers > number].max(initial=0) + radius + 2  # nearer layers are opaque beyond it
            covered = _extent(layers, number, rim)
        window = _window(covered, math.ceil(radius) + 1)
        colour = filled(light[window], _own_colour(layers[window], number))
        alpha, colour = _blurred_layer(colour, covered[window], radius)
        behind = scene[window].copy()
        if last.number == number - 1:
            both = (covered & last.covered)[window].astype(np.float32)
            shared = _blurred(both, radius)[..., None] if both.any() else both[..., None]
            behind = _beside(alpha, shared, last, window)
        last.lay(number, covered, window, alpha, colour, behind)
    return np.searchsorted(_LINEAR_THRESHOLDS, scene).astype(np.uint8)


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


def _blurred_layer(colour: np.ndarray, covered: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Alpha (H, W, 1) and premultiplied colour (H, W, 3) of a layer, out of focus."""
    alpha = covered.astype(np.float32)[..., None]
    blurred = _blurred(np.concatenate([colour * alpha, alpha], axis=-1), radius)
    return blurred[..., 3:], blurred[..., :3]


def _beside(
    alpha: np.ndarray, shared: np.ndarray, last: _LastLayer, window: tuple[slice, slice]
) -> np.ndarray:
    """What shows in a window where a layer is not, (H, W, 3), if the last one was the next farther one.

    The two are mostly one surface, or objects side by side: what a disc sees of them does not overlap. So it
    sees of the last one what that covers less what both do, and of what is behind only what neither covers.
    (As if one were by chance before the other, a rim that runs through both would be too opaque.)

    Args:
        alpha: of the layer, (H, W, 1).
        shared: the same of what both cover, the last one hidden by the layer.
    """
    share = np.clip((last.alpha[window] - shared) / np.maximum(1 - alpha, _LEAST), 0, 1)
    colour = last.colour[window] / np.maximum(last.alpha[window], _LEAST)
    return share * colour + (1 - share) * last.behind[window]


def _blurred(image: np.ndarray, radius: float) -> np.ndarray:
    if radius < IN_FOCUS_PX:
        return image
    return cv2.filter2D(image, cv2.CV_32F, disc_kernel(radius), borderType=cv2.BORDER_REFLECT_101)


def _srgb_to_linear(encoded: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


_SRGB_TO_LINEAR = _srgb_to_linear(np.arange(256) / 255).astype(np.float32)
#: Linear light halfway (in code values) between two neighbouring 8-bit codes.
_LINEAR_THRESHOLDS = _srgb_to_linear((np.arange(255) + 0.5) / 255).astype(np.float32)
