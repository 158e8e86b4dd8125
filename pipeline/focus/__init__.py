"""Near-/far-focused pair from inverse depth: GIFNet supplement, Eq. 1-3, or a thin lens.

A threshold on inverse depth splits the frame into a near and a far side; the near-focused picture keeps
the near side and blurs the other, the far-focused picture does the opposite. Together they hold every
pixel of the visible image once sharp and once blurred, so the visible image is their ground truth. With the
thin lens each picture is focused on the middle depth of its side, and blur grows with distance from there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from pipeline.files import InputError
from pipeline.focus.thin_lens import ThinLens, defocus

#: How a pair is made; the first is the default.
FOCUS_MODES = ("paper", "thin-lens")

#: Bounds of the blur; below the lower one a Gaussian is a single pixel.
_LEAST_SIGMA_PX, _LARGEST_SIGMA_PX = 0.1, 50.0
#: The Gaussian is cut at this many standard deviations: less than 1e-4 of its mass lies beyond.
_TRUNCATE_SIGMAS = 4.0
#: Kernel weights are integers over 2^16, so that sums are exact. See :func:`gaussian_blur`.
_KERNEL_SCALE = 1 << 16


class SampleFailure(Exception):
    """A sample that cannot be made from its frame. The message is the reason; the synthesis counts it."""


@dataclass(frozen=True, kw_only=True)
class FocusConfig:
    """How focus pairs are drawn and rendered."""

    #: ``paper``: hard mask and one Gaussian (Eq. 1-3). ``thin-lens``: defocus by depth, with occlusion.
    mode: str = "paper"
    #: Smallest standard deviation of the defocus blur, pixels. Below about 1.5 the blur drowns in the
    #: softness that JPEG and demosaicing leave in the sharp side: the pair teaches nothing about focus.
    blur_sigma_min_px: float = 1.5
    #: Largest standard deviation, pixels. At 5 the blurred disc (2 sigma each way) is 20 pixels wide, still
    #: inside what the fusion network sees around a pixel (24 each way), so that it can tell the sides apart.
    blur_sigma_max_px: float = 5.0
    #: Least share of pixels on either side of the threshold, in the frame and in the tile.
    min_side_share: float = 0.05
    #: Draws of threshold and tile position before the sample is given up.
    max_draws: int = 1000
    #: Camera and depth range of the mode ``thin-lens``.
    lens: ThinLens = field(default_factory=ThinLens)

    def __post_init__(self) -> None:
        if self.mode not in FOCUS_MODES:
            raise InputError(f"focus mode {self.mode!r} is unknown; use one of {', '.join(FOCUS_MODES)}")
        if not _LEAST_SIGMA_PX <= self.blur_sigma_min_px <= self.blur_sigma_max_px <= _LARGEST_SIGMA_PX:
            given = f"{self.blur_sigma_min_px}..{self.blur_sigma_max_px} px"
            limits = f"{_LEAST_SIGMA_PX:g} <= least <= largest <= {_LARGEST_SIGMA_PX:g}"
            raise InputError(f"blur sigma {given}: give {limits}")
        if not 0 < self.min_side_share < 0.5:
            raise InputError(f"min_side_share {self.min_side_share}: each side's share lies in (0, 0.5)")
        if self.max_draws < 1:
            raise InputError(f"max_draws {self.max_draws}: at least one draw is needed")


@dataclass(frozen=True, kw_only=True)
class LensDraw:
    """Settings of the camera for one sample's pair of pictures; float32 values, as they are stored."""

    lens: ThinLens  # the camera
    f_number: float  # of both pictures
    near_focus_m: float  # of the near-focused picture: the median distance of the near side of the tile
    far_focus_m: float  # of the far-focused picture, likewise


@dataclass(frozen=True, kw_only=True)
class FocusDraw:
    """What chance decides for one sample; it is stored beside the sample.

    Threshold and sigma are float32 values, the type of their shard fields, so that a reader of the
    shard computes the very same mask.
    """

    threshold: float  # alpha of Eq. 1: inverse depth above it is near; in (0, 1)
    #: Standard deviation of the Gaussian, pixels. With the thin lens: that (half the radius) of the disc
    #: which the far focus distance has in the near-focused picture.
    blur_sigma_px: float
    row: int  # first row of the tile in the frame
    col: int  # its first column
    lens: LensDraw | None = None  # set in the mode ``thin-lens``


def draw_focus(
    inverse_depth: np.ndarray, *, tile: int, config: FocusConfig, rng: np.random.Generator
) -> FocusDraw:
    """Draw threshold, blur and tile position so that both sides are there to be seen.

    Threshold (uniform in (0, 1)) and position (uniform over the frame) are redrawn together until the
    near and the far side each cover ``config.min_side_share`` of the frame and of the tile. With the thin
    lens the blur asks for an f-number; blur is redrawn as well if no aperture of the lens gives it.

    Args:
        inverse_depth: (H, W) float32 in [0, 1], 1 = nearest. To make the mask reproducible from a shard,
            pass the values as the shard stores them (rounded to float16).
        tile: side of the square tile, pixels; no larger than the frame.
        rng: the sample's own stream for this purpose.

    Raises:
        SampleFailure: no draw met the shares or the lens's f-numbers.
    """
    height, width = inverse_depth.shape
    sigma = np.float32(rng.uniform(config.blur_sigma_min_px, config.blur_sigma_max_px))
    asked: list[float] = []  # f-numbers that the lens does not have
    for _ in range(config.max_draws):
        threshold = np.float32(rng.random(dtype=np.float32))
        row = int(rng.integers(height - tile + 1))
        col = int(rng.integers(width - tile + 1))
        if threshold == 0:  # the stream's interval is [0, 1), Eq. 1 asks for (0, 1)
            continue
        # The tile first: it fails more often than the frame and costs a fiftieth.
        crop = inverse_depth[row : row + tile, col : col + tile]
        if _both_sides(crop, threshold, config) and _both_sides(inverse_depth, threshold, config):
            draw = FocusDraw(threshold=float(threshold), blur_sigma_px=float(sigma), row=row, col=col)
            if config.mode == "paper":
                return draw
            lens = _set_lens(crop, draw, config.lens, width)
            if config.lens.f_number_min <= lens.f_number <= config.lens.f_number_max:
                return replace(draw, lens=lens)
            asked.append(lens.f_number)
            sigma = np.float32(rng.uniform(config.blur_sigma_min_px, config.blur_sigma_max_px))
    if asked:
        raise SampleFailure(
            f"no blur of {config.blur_sigma_min_px:g}..{config.blur_sigma_max_px:g} px within the lens's "
            f"f-numbers: it asks for f/{min(asked):.3g} to f/{max(asked):.3g}, --f-number-min and "
            f"--f-number-max allow f/{config.lens.f_number_min:g} to f/{config.lens.f_number_max:g}"
        )
    share = f"{config.min_side_share:.0%} of frame and tile"
    raise SampleFailure(f"no depth threshold leaves {share} on both sides in {config.max_draws} draws")


def focus_pair(
    visible: np.ndarray, inverse_depth: np.ndarray, draw: FocusDraw, *, tile: int
) -> tuple[np.ndarray, np.ndarray]:
    """Near- and far-focused tile of one frame, each (tile, tile, 3) uint8.

    The tile is processed with as much of its surroundings as the blur reaches. In the mode ``paper`` the
    result equals cutting the tile from :func:`split_focus` of the whole frame, bit for bit.

    Args:
        visible: the frame, (H, W, 3) uint8.
        inverse_depth: (H, W) float32, the array that ``draw`` was drawn from.
    """
    if draw.lens is not None:
        return _lens_pair(visible, inverse_depth, draw, draw.lens, tile)
    around, inner = _around(draw, tile, _kernel_radius(draw.blur_sigma_px))
    near, far = split_focus(
        visible[around],
        inverse_depth[around],
        threshold=draw.threshold,
        blur_sigma_px=draw.blur_sigma_px,
    )
    return near[inner].copy(), far[inner].copy()


def split_focus(
    visible: np.ndarray, inverse_depth: np.ndarray, *, threshold: float, blur_sigma_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Near- and far-focused version of a whole picture (supplement, Eq. 1-3).

    Args:
        visible: (H, W, 3) or (H, W) uint8.
        inverse_depth: (H, W) float32, 1 = nearest.

    Returns:
        Two uint8 arrays of the shape of ``visible``: at each pixel one is ``visible``, the other its blur.
    """
    near_mask = inverse_depth > np.float32(threshold)  # Eq. 1, B_n
    if visible.ndim == 3:
        near_mask = near_mask[..., None]
    blurred = gaussian_blur(visible, blur_sigma_px)
    near = np.where(near_mask, visible, blurred)  # Eq. 2
    far = np.where(near_mask, blurred, visible)  # Eq. 3
    return near, far


def gaussian_blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian blur of (H, W[, C]) uint8 with mirrored borders (reflect 101), the same bits everywhere.

    The separable kernel is cut at 4 sigma and its weights are rounded to integers over 2^16, so that float64
    sums of 8-bit values are exact in any order: neither vector width, position in the picture nor the
    number of threads shows in the result. The one rounding, to the nearest 8-bit value, comes last.
    """
    kernel = _gaussian_kernel(sigma_px)
    total = cv2.sepFilter2D(image, cv2.CV_64F, kernel, kernel, borderType=cv2.BORDER_REFLECT_101)
    return np.rint(total / float(_KERNEL_SCALE**2)).astype(np.uint8)


def _set_lens(tile_depth: np.ndarray, draw: FocusDraw, lens: ThinLens, frame_width: int) -> LensDraw:
    """Focus each picture on the middle of its side; the blur decides the f-number."""
    near_mask = tile_depth > np.float32(draw.threshold)
    near, far = np.median(tile_depth[near_mask]), np.median(tile_depth[~near_mask])
    near_m, far_m = (float(np.float32(lens.distance_m(float(side)))) for side in (near, far))
    radius = lens.blur_radius_px(far, focus_m=near_m, f_number=1.0, frame_width=frame_width)
    # A disc of radius r has the standard deviation r/2 along each axis; r is inverse to the f-number.
    f_number = float(np.float32(abs(float(radius)) / 2 / draw.blur_sigma_px))
    return LensDraw(lens=lens, f_number=f_number, near_focus_m=near_m, far_focus_m=far_m)


def _lens_pair(
    visible: np.ndarray, inverse_depth: np.ndarray, draw: FocusDraw, settings: LensDraw, tile: int
) -> tuple[np.ndarray, np.ndarray]:
    pair = []
    for focus_m in (settings.near_focus_m, settings.far_focus_m):
        radius = settings.lens.blur_radius_px(
            inverse_depth, focus_m=focus_m, f_number=settings.f_number, frame_width=visible.shape[1]
        )
        around, inner = _around(draw, tile, _halo(np.abs(radius), draw, tile))
        pair.append(defocus(visible[around], radius[around])[inner].copy())
    return pair[0], pair[1]


def _around(draw: FocusDraw, tile: int, halo: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns of the tile with ``halo`` pixels around it in the frame, and of the tile in that."""
    top, left = max(draw.row - halo, 0), max(draw.col - halo, 0)
    around = np.s_[top : draw.row + tile + halo, left : draw.col + tile + halo]
    row, col = draw.row - top, draw.col - left
    return around, np.s_[row : row + tile, col : col + tile]


def _halo(radius_px: np.ndarray, draw: FocusDraw, tile: int) -> int:
    """How far around the tile pixels lie whose blur reaches into it."""
    rows, cols = (np.arange(side) for side in radius_px.shape)
    beside = np.maximum(np.maximum(draw.row - rows, rows - (draw.row + tile - 1)), 0)[:, None]
    distance = np.maximum(beside, np.maximum(draw.col - cols, cols - (draw.col + tile - 1)))
    return int(distance[radius_px + 1 >= distance].max()) + 1


def _gaussian_kernel(sigma_px: float) -> np.ndarray:
    radius = _kernel_radius(sigma_px)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)
    kernel = np.rint(weights / weights.sum() * _KERNEL_SCALE)
    kernel[radius] += _KERNEL_SCALE - kernel.sum()  # grey stays grey
    return kernel


def _kernel_radius(sigma_px: float) -> int:
    return math.ceil(_TRUNCATE_SIGMAS * sigma_px)


def _both_sides(inverse_depth: np.ndarray, threshold: np.float32, config: FocusConfig) -> bool:
    near_share = np.count_nonzero(inverse_depth > threshold) / inverse_depth.size
    return bool(config.min_side_share <= near_share <= 1 - config.min_side_share)
