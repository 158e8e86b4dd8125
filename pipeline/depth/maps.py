"""Arithmetic on inverse-depth maps: scaling to [0, 1] and edges that follow the frame."""

from __future__ import annotations

import functools

import cv2
import numpy as np

#: Share of the pixels at either end that an estimated map saturates, in per cent.
SATURATED_PERCENT = 0.5
#: What a map without any variation becomes: neither near nor far.
FLAT_VALUE = 0.5
#: Guided filter: half window as a share of the frame's longer side, and squared contrast of an edge.
REFINE_RADIUS = 1 / 80
REFINE_EPSILON = 0.02**2
#: Longer side, in pixels, of the pictures on which the filter's coefficients are found.
REFINE_SIDE_PX = 400


def unit_range(inverse_depth: np.ndarray, *, saturated_percent: float = 0.0) -> np.ndarray:
    """Scale an inverse-depth map of any unit to float32 in [0, 1], 1 = nearest.

    Linear between the percentiles ``saturated_percent`` and ``100 - saturated_percent``, clipped outside;
    with 0 these are the extremes, so that a map which already spans [0, 1] keeps its values. A flat map
    becomes ``FLAT_VALUE`` everywhere.

    Args:
        inverse_depth: (H, W), finite.
    """
    wide = inverse_depth.astype(np.float64)
    low, high = np.percentile(wide, [saturated_percent, 100.0 - saturated_percent])
    # Below the resolution of float32 a difference is rounding noise, not depth.
    if high - low <= 1e-6 * max(abs(low), abs(high)):
        return np.full(inverse_depth.shape, FLAT_VALUE, np.float32)
    return np.clip((wide - low) / (high - low), 0.0, 1.0).astype(np.float32)


def full_size(inverse_depth: np.ndarray, frame: np.ndarray, *, refine: bool) -> np.ndarray:
    """Turn a network's small map into that of its frame: scaled to [0, 1], enlarged, edges refined if wanted.

    Args:
        inverse_depth: (h, w) of any scale, finite.
        frame: (H, W, C) uint8, RGB and, of a pair, infrared.

    Returns:
        (H, W) float32 in [0, 1].
    """
    unit = unit_range(inverse_depth, saturated_percent=SATURATED_PERCENT)
    height, width = frame.shape[:2]
    full = cv2.resize(unit, (width, height), interpolation=cv2.INTER_LINEAR)
    if not refine:
        return full
    radius_px, subsampling = refine_scales(height, width)
    return refine_edges(full, frame, radius_px=radius_px, epsilon=REFINE_EPSILON, subsampling=subsampling)


def refine_scales(height: int, width: int) -> tuple[int, int]:
    """Of the guided filter for a frame: its half window in pixels, and the subsampling."""
    side = max(height, width)
    return max(1, round(REFINE_RADIUS * side)), max(1, round(side / REFINE_SIDE_PX))


def refine_edges(
    inverse_depth: np.ndarray, frame: np.ndarray, *, radius_px: int, epsilon: float, subsampling: int = 1
) -> np.ndarray:
    """Guided filter: pull the edges of a map onto those of the frame.

    K. He, J. Sun, X. Tang, "Guided Image Filtering", TPAMI 2013, with the colour guide of Eq. 19-21; with
    ``subsampling`` > 1 the coefficients are found on smaller pictures (He and Sun, arXiv 1505.00996).

    Args:
        inverse_depth: (H, W) float32 in [0, 1].
        frame: (H, W, C) uint8 guide, of colours or more.
        radius_px: half size of the square window, in pixels of the frame.
        epsilon: regularisation in squared units of [0, 1]; edges of less contrast than its root are smoothed.
        subsampling: factor by which both sides are divided for the coefficients.

    Returns:
        (H, W) float32 in [0, 1].
    """
    height, width = inverse_depth.shape
    guide = frame.astype(np.float32) / 255
    small_wh = (max(1, round(width / subsampling)), max(1, round(height / subsampling)))
    small_guide = cv2.resize(guide, small_wh, interpolation=cv2.INTER_AREA)
    small_map = cv2.resize(inverse_depth, small_wh, interpolation=cv2.INTER_AREA)
    side = 2 * max(1, round(radius_px / subsampling)) + 1

    def box(values: np.ndarray) -> np.ndarray:
        return cv2.blur(values, (side, side), borderType=cv2.BORDER_REFLECT)

    # Working around the mean of each picture keeps the float32 covariances accurate.
    small_guide = small_guide - (centre := small_guide.mean(axis=(0, 1)))
    mean_guide, mean_map = box(small_guide), box(small_map)
    covariance = box(small_guide * small_map[..., None]) - mean_guide * mean_map[..., None]
    channels = frame.shape[2]
    outer = [(i, j) for i in range(channels) for j in range(i, channels)]
    spread = np.empty((*mean_map.shape, channels, channels), np.float32)
    for i, j in outer:
        product = box(small_guide[..., i] * small_guide[..., j]) - mean_guide[..., i] * mean_guide[..., j]
        spread[..., i, j] = spread[..., j, i] = product
    spread += np.float32(epsilon) * np.eye(channels, dtype=np.float32)
    slope = np.linalg.solve(spread, covariance[..., None])[..., 0]  # Eq. 19
    offset = mean_map - (slope * mean_guide).sum(axis=-1)  # Eq. 20
    slope, offset = box(slope), box(offset)
    slope = cv2.resize(slope, (width, height), interpolation=cv2.INTER_LINEAR)
    offset = cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)
    slope *= guide - centre
    # Plane by plane: three times as fast as a sum over the last axis, in the same order.
    refined = functools.reduce(np.add, (slope[..., i] for i in range(channels))) + offset  # Eq. 21
    return np.clip(refined, 0.0, 1.0).astype(np.float32)
