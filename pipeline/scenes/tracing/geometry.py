"""Cameras and exact ray casting: which solid a pixel sees, and how far away.

World axes: x right, y up, z forward, in metres. Only the pixels under a solid's projected bounding box are
intersected, front to back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.scenes.tracing.solids import NEAR_M, Solid, first_hit

_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
_EDGES = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(_CORNERS[a] - _CORNERS[b]).sum() == 2]


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera."""

    position: tuple[float, float, float]  # world, metres
    yaw: float = 0.0  # radians, positive turns to the right
    pitch: float = 0.0  # radians, positive looks down
    roll: float = 0.0  # radians, positive turns the picture clockwise
    horizontal_fov: float = 1.0  # radians, over the width of the frame


@dataclass(frozen=True, eq=False)
class View:
    """Rays of a frame: pixel (u, v) starts at ``origins @ (u, v, 1)`` towards ``directions @ (u, v, 1)``."""

    origins: np.ndarray  # (3, 3)
    directions: np.ndarray  # (3, 3)
    size_hw: tuple[int, int]
    parallel: bool

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (3, ...) -> (3, ...): column u, row v and ray parameter t, in the points' dtype."""
        if self.parallel:
            basis = np.stack([self.origins[:, 0], self.origins[:, 1], self.directions[:, 2]], axis=1)
            return self._solve(basis, points)
        scaled = self._solve(self.directions, points)
        scaled[:2] /= scaled[2]
        return scaled

    def _solve(self, basis: np.ndarray, points: np.ndarray) -> np.ndarray:
        x, y, z = (points[k] - points.dtype.type(self.origins[k, 2]) for k in range(3))
        rows = np.linalg.inv(basis).astype(points.dtype)
        return np.stack([row[0] * x + row[1] * y + row[2] * z for row in rows])


@dataclass(frozen=True, eq=False)
class Hits:
    """What each pixel sees. ``depth`` is infinite and ``solid`` -1 where it sees the sky."""

    depth: np.ndarray  # (H, W) float32: t; for a perspective view the distance along the optical axis, metres
    solid: np.ndarray  # (H, W) int32, index into the traced solids
    face: np.ndarray  # (H, W) uint8, index of the half space (convex), of side/bottom/top (cone), else 0


def perspective_view(camera: Camera, size_hw: tuple[int, int]) -> View:
    """Rays of a pinhole camera through pixel centres; t is the distance along the optical axis."""
    height, width = size_hw
    focal_px = 0.5 * width / np.tan(0.5 * camera.horizontal_fov)
    pixel_to_camera = np.array(
        [
            [1 / focal_px, 0, (0.5 - width / 2) / focal_px],
            [0, -1 / focal_px, (height / 2 - 0.5) / focal_px],
            [0, 0, 1],
        ]
    )
    rotation = rotate_y(camera.yaw) @ rotate_x(camera.pitch) @ _rotate_z(camera.roll)
    origins = np.zeros((3, 3))
    origins[:, 2] = camera.position
    return View(origins, rotation @ pixel_to_camera, size_hw, parallel=False)


def parallel_view(direction: np.ndarray, centre: np.ndarray, extent_m: float, pixels: int) -> View:
    """Parallel rays along ``direction`` through a square of ``extent_m`` around ``centre``: a shadow map."""
    direction = direction / np.linalg.norm(direction)
    right = np.cross(direction, [0.31, 0.2, 0.93])
    right /= np.linalg.norm(right)
    up = np.cross(right, direction)
    step = extent_m / pixels
    corner = centre - 400 * direction - 0.5 * (extent_m - step) * (right + up)
    zero = np.zeros(3)
    origins = np.stack([right * step, up * step, corner], axis=1)
    return View(origins, np.stack([zero, zero, direction], axis=1), (pixels, pixels), parallel=True)


def trace(view: View, solids: list[Solid]) -> Hits:
    """Find the first solid along the ray of every pixel."""
    depth = np.full(view.size_hw, np.inf, np.float32)
    solid_map = np.full(view.size_hw, -1, np.int32)
    face_map = np.zeros(view.size_hw, np.uint8)
    inverse_axes = np.linalg.inv(np.stack([solid.axes for solid in solids]))
    for index, nearest, rows, columns in _visible_windows(view, solids):
        window = depth[rows, columns]
        if window.max() <= nearest:
            continue
        solid = solids[index]
        shifted = view.origins.copy()
        shifted[:, 2] -= solid.centre
        origin = _over_window(inverse_axes[index] @ shifted, rows, columns)
        direction = _over_window(inverse_axes[index] @ view.directions, rows, columns)
        t, face = first_hit(solid, origin, direction, window)
        closer = t < window
        if not closer.any():
            continue
        np.copyto(window, t, where=closer)
        np.copyto(solid_map[rows, columns], np.int32(index), where=closer)
        np.copyto(face_map[rows, columns], face, where=closer)
    return Hits(depth, solid_map, face_map)


def outlines(hits: Hits) -> np.ndarray:
    """Pixels beside another solid or face, (H, W) bool: where a picture without anti-aliasing is jagged."""
    identity = hits.solid * 16 + hits.face
    across, down = identity[:, 1:] != identity[:, :-1], identity[1:] != identity[:-1]
    result = np.zeros(identity.shape, bool)
    result[:, 1:] |= across
    result[:, :-1] |= across
    result[1:] |= down
    result[:-1] |= down
    return result


def inverse_depth(depth: np.ndarray) -> np.ndarray:
    """Depth in metres (infinite = sky) -> float32 in [0, 1], 1 = nearest visible point, 0 = infinite."""
    nearest = depth.min()
    if not np.isfinite(nearest):
        return np.zeros(depth.shape, np.float32)
    return (nearest / depth).astype(np.float32)


def rotate_y(angle: float) -> np.ndarray:
    """Rotation about the vertical; a positive angle turns +z towards +x."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])


def rotate_x(angle: float) -> np.ndarray:
    """Rotation about x; a positive angle turns +z towards -y."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def _rotate_z(angle: float) -> np.ndarray:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


def _visible_windows(view: View, solids: list[Solid]) -> list[tuple[int, float, slice, slice]]:
    """(index, least t, rows, columns) of the bounding box of every solid in view, nearest first."""
    height, width = view.size_hw
    axes = np.stack([solid.axes for solid in solids])
    corners = np.stack([solid.centre for solid in solids])[:, None] + _CORNERS @ axes.transpose(0, 2, 1)
    projected = view.project(corners.transpose(2, 0, 1)).transpose(1, 0, 2)
    least = np.maximum(projected[:, 2].min(axis=1), NEAR_M)
    windows = []
    for index, solid in enumerate(solids):
        points = projected[index]
        if solid.kind == "ground":
            windows.append((index, NEAR_M, slice(0, height), slice(0, width)))
            continue
        if not view.parallel and points[2].min() < NEAR_M:
            points = _clip_to_near(view, corners[index])
            if points.size == 0:
                continue
        low = np.floor(points[:2].min(axis=1))
        high = np.ceil(points[:2].max(axis=1)) + 1
        left, right = int(max(low[0], 0)), int(min(high[0], width))
        top, bottom = int(max(low[1], 0)), int(min(high[1], height))
        if left < right and top < bottom:
            windows.append((index, float(least[index]), slice(top, bottom), slice(left, right)))
    # The ground last: it covers the frame and is hidden in most of it.
    return sorted(windows, key=lambda item: (solids[item[0]].kind == "ground", item[1], item[0]))


def _clip_to_near(view: View, corners: np.ndarray) -> np.ndarray:
    """Projected outline of the part of a box that lies beyond the near plane; empty if there is none."""
    t = (corners - view.origins[:, 2]) @ np.linalg.inv(view.directions)[2]
    points = [corner for corner, depth in zip(corners, t, strict=True) if depth >= NEAR_M]
    for a, b in _EDGES:
        if (t[a] < NEAR_M) != (t[b] < NEAR_M):
            share = (NEAR_M - t[a]) / (t[b] - t[a])
            points.append(corners[a] + share * (corners[b] - corners[a]))
    return view.project(np.array(points).T) if points else np.empty((3, 0))


def _over_window(matrix: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """``matrix @ (u, v, 1)`` over a window, (3, h, w) float32, or (3, 1, 1) where it is constant."""
    if not matrix[:, :2].any():
        return matrix[:, 2, None, None].astype(np.float32)
    u = np.arange(columns.start, columns.stop) * matrix[:, :1] + matrix[:, 2:]
    v = np.arange(rows.start, rows.stop) * matrix[:, 1:2]
    return v.astype(np.float32)[:, :, None] + u.astype(np.float32)[:, None, :]
