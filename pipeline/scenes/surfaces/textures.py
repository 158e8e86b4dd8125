"""Building blocks of textures: band-limited noise, hashes, anti-aliased grids, patterns of holes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np

from pipeline.runtime.randomness import random_stream

_CELLS, _TEXELS = 128, 8  # the noise repeats after 128 cells, of 8 samples each
_GAIN, _SHRINK = 0.7, 0.43  # of amplitude and wavelength, from one octave to the next


def noise(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Smooth noise of zero mean, unit deviation and features of about one unit; float32, shape of ``u``."""
    size = _CELLS * _TEXELS
    column = (u * np.float32(_TEXELS)).astype(np.int32) & (size - 1)
    row = (v * np.float32(_TEXELS)).astype(np.int32) & (size - 1)
    return _noise_table().take(row * size + column)


def fractal_noise(
    u: np.ndarray, v: np.ndarray, footprint: np.ndarray, *, wavelength: float, octaves: int
) -> np.ndarray:
    """Sum of noise octaves, the longest of ``wavelength`` (units of u, v); unit deviation when close.

    Octaves finer than a pixel's ``footprint`` (units of u, v) fade out, as in a mip-mapped texture.
    """
    total = np.zeros(u.shape, np.float32)
    amplitude, energy = 1.0, 0.0
    for octave in range(octaves):
        scale = np.float32(1 / wavelength)
        fade = np.clip(1.5 - footprint * (1.5 * scale), 0, 1)
        total += np.float32(amplitude) * fade * noise(u * scale + 7.3 * octave, v * scale + 3.1 * octave)
        energy += amplitude**2
        amplitude, wavelength = amplitude * _GAIN, wavelength * _SHRINK
    return total / np.float32(np.sqrt(energy))


def cell_hash(i: np.ndarray, j: np.ndarray, salt: np.ndarray | int) -> np.ndarray:
    """Pseudo-random float32 in [0, 1) of integer cells."""
    h = i.astype(np.int32).view(np.uint32) * np.uint32(73856093)
    h = h ^ (j.astype(np.int32).view(np.uint32) * np.uint32(19349663))
    h = h ^ (np.asarray(salt).astype(np.uint32) * np.uint32(83492791))
    h = (h ^ (h >> np.uint32(15))) * np.uint32(0x2C1B3C6D)
    h = (h ^ (h >> np.uint32(12))) * np.uint32(0x297A2D39)
    return ((h ^ (h >> np.uint32(15))) >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)


def stripe(
    x: np.ndarray, centre: np.ndarray | float, width: np.ndarray | float, footprint: np.ndarray
) -> np.ndarray:
    """Coverage in [0, 1] of a band of ``width`` around ``centre`` by a pixel of ``footprint``."""
    return np.clip((0.5 * width - np.abs(x - centre)) / footprint + 0.5, 0, 1)


def grid_line(
    x: np.ndarray, period: np.ndarray | float, width: np.ndarray | float, footprint: np.ndarray
) -> np.ndarray:
    """Coverage of lines of ``width`` at the multiples of ``period``; far away their mean share."""
    distance = np.abs(x / period - np.rint(x / period)) * period
    line = np.clip((0.5 * width - distance) / footprint + 0.5, 0, 1)
    sharp = np.clip(period / footprint - 1.0, 0, 1)
    return line * sharp + (width / period) * (1 - sharp)


def cutout_mask(
    pattern: str, point: np.ndarray, half_sizes: np.ndarray, face: np.ndarray, phase: float
) -> np.ndarray:
    """Where a solid's surface is a hole; (N,) bool.

    Args:
        pattern: ``leaves``, ``rails``, ``mesh``, ``spokes`` or ``arches``.
        point: (3, N) surface points in the solid's unit coordinates.
        half_sizes: (3,) half sizes of the solid in metres.
        face: (N,) index of the face hit.
        phase: shifts ``leaves`` from one solid to the next.
    """
    if pattern == "leaves":
        return _leaves(point, half_sizes, phase)
    if pattern == "spokes":
        return _spokes(point) & (face > 0)  # only the flat faces of a wheel have holes
    x, y, z = point * half_sizes[:, None]
    along = x if half_sizes[0] > half_sizes[2] else z
    return _LATTICES[pattern](along, y, half_sizes[1])


def _leaves(point: np.ndarray, half_sizes: np.ndarray, phase: float) -> np.ndarray:
    x, y, z = point * half_sizes[:, None]
    turn = np.float32(phase % 61.7)
    # In the plane that the surface faces most, which no direction of it is seen edge-on from.
    across, level, ahead = np.abs(point) / half_sizes[:, None]
    upward, sideways = (level > across) & (level > ahead), across > ahead
    u = np.where(upward | ~sideways, x, z) + turn
    v = np.where(upward, z, y) + turn
    return 0.6 * noise(u * 2.3, v * 2.3) + 0.8 * noise(u * 6.1, v * 6.1) + 0.7 * noise(u * 15, v * 15) > 0.25


def _spokes(point: np.ndarray) -> np.ndarray:
    """All of a wheel but its tyre, hub and thin spokes."""
    radius = np.hypot(point[0], point[2])
    spokes = np.abs(np.sin(6 * np.arctan2(point[0], point[2]))) * radius < 0.1
    return (radius < 0.9) & (radius > 0.1) & ~spokes


def _rails(along: np.ndarray, y: np.ndarray, half_height: float) -> np.ndarray:
    bars = np.abs(along / 0.16 - np.rint(along / 0.16)) < 0.14
    rails = (np.abs(y) > half_height - 0.06) | (np.abs(along / 2.4 - np.rint(along / 2.4)) < 0.02)
    return ~(bars | rails)


def _mesh(along: np.ndarray, y: np.ndarray, half_height: float) -> np.ndarray:
    a, b = (along + y) / 0.22, (along - y) / 0.22
    wire = (np.abs(a - np.rint(a)) < 0.09) | (np.abs(b - np.rint(b)) < 0.09)
    frame = (np.abs(y) > half_height - 0.05) | (np.abs(along / 3 - np.rint(along / 3)) < 0.02)
    return ~(wire | frame)


def _arches(along: np.ndarray, y: np.ndarray, half_height: float) -> np.ndarray:
    tier_height = 2 * half_height / max(1, round(float(half_height) / 2.4))
    bay = 0.72 * tier_height
    across = (along / bay - np.rint(along / bay)) * bay
    up = np.mod(y + half_height, tier_height)
    radius = 0.3 * bay
    spring = 0.55 * tier_height
    below = (up < spring) & (np.abs(across) < radius)
    return below | (across**2 + (up - spring) ** 2 < radius**2) & (up >= spring)


#: Pattern -> holes at metres along a wall, metres up from its middle, and its half height.
_LATTICES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "rails": _rails,
    "mesh": _mesh,
    "arches": _arches,
}


@lru_cache(maxsize=1)
def _noise_table() -> np.ndarray:
    values = random_stream(0, "scenes", "noise", "table").standard_normal((_CELLS, _CELLS)).astype(np.float32)
    border = 4
    padded = np.pad(values, border, mode="wrap")
    smooth = cv2.resize(padded, None, fx=_TEXELS, fy=_TEXELS, interpolation=cv2.INTER_CUBIC)
    smooth = smooth[border * _TEXELS : -border * _TEXELS, border * _TEXELS : -border * _TEXELS]
    smooth = (smooth - smooth.mean()) / smooth.std()
    return np.ascontiguousarray(np.clip(smooth, -2.5, 2.5)).ravel()
