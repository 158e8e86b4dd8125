"""Exact ray casting of simple solids: which solid a pixel sees, where, and how far away.

World axes: x right, y up, z forward, in metres. A solid is a unit shape (convex polyhedron, sphere, cone
frustum) under an affine map, so that a ray stays a straight line with the same parameter t in the solid's own
coordinates. Only the pixels under a solid's projected bounding box are intersected, front to back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pipeline.scene_textures import cutout_mask

#: Nothing is drawn nearer than this, in metres.
NEAR_M = 0.25

#: Half spaces n . p <= d of the unit cube, rows (nx, ny, nz, d): -x, +x, -y, +y, -z, +z.
CUBE = np.array(
    [[-1, 0, 0, 1], [1, 0, 0, 1], [0, -1, 0, 1], [0, 1, 0, 1], [0, 0, -1, 1], [0, 0, 1, 1]], float
)

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


@dataclass(frozen=True, kw_only=True, eq=False)
class Solid:
    """A unit shape in [-1, 1]^3 mapped into the world by ``centre + axes @ p``.

    ``convex`` is the intersection of the half spaces ``planes``; ``ellipsoid`` the unit sphere; ``cone`` a frustum
    about y whose radius runs from 1 at y = -1 to ``taper`` at y = 1; ``ground`` the infinite plane y = 0.
    """

    kind: Literal["convex", "ellipsoid", "cone", "ground"]
    centre: np.ndarray  # (3,)
    axes: np.ndarray  # (3, 3), columns are the half axes
    surfaces: tuple[int, ...]  # index of the surface of each face, or one for all
    planes: np.ndarray = field(default_factory=lambda: CUBE)  # (K, 4), convex only
    taper: float = 1.0  # cone only
    cutout: str = ""  # name of a pattern of holes, see scene_textures.cutout_mask
    label: str = ""  # what it is part of: "person", "vehicle", "tree", ...


@dataclass(frozen=True, eq=False)
class View:
    """Rays of a frame: pixel (u, v) has origin ``origins @ (u, v, 1)`` and direction ``directions @ (u, v, 1)``."""

    origins: np.ndarray  # (3, 3)
    directions: np.ndarray  # (3, 3)
    size_hw: tuple[int, int]
    parallel: bool

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points (..., 3) -> (..., 3) holding column u, row v and ray parameter t."""
        if self.parallel:
            basis = np.stack([self.origins[:, 0], self.origins[:, 1], self.directions[:, 2]], axis=1)
            return (points - self.origins[:, 2]) @ np.linalg.inv(basis).T
        scaled = (points - self.origins[:, 2]) @ np.linalg.inv(self.directions).T
        return np.concatenate([scaled[..., :2] / scaled[..., 2:], scaled[..., 2:]], axis=-1)


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
    for index, nearest, rows, columns in _visible_windows(view, solids):
        window = depth[rows, columns]
        if window.max() <= nearest:
            continue
        solid = solids[index]
        to_local = np.linalg.inv(solid.axes)
        shifted = view.origins.copy()
        shifted[:, 2] -= solid.centre
        origin = _over_window(to_local @ shifted, rows, columns)
        direction = _over_window(to_local @ view.directions, rows, columns)
        t, face = _first_hit(solid, origin, direction)
        closer = t < window
        if not closer.any():
            continue
        np.copyto(window, t, where=closer)
        np.copyto(solid_map[rows, columns], np.int32(index), where=closer)
        np.copyto(face_map[rows, columns], face, where=closer)
    return Hits(depth, solid_map, face_map)


def inverse_depth(depth: np.ndarray) -> np.ndarray:
    """Depth in metres (infinite = sky) -> float32 in [0, 1]: 1 = nearest visible point, 0 = infinitely far."""
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
    """(index, least t, rows, columns) of the bounding box of every solid in the frame, nearest first."""
    height, width = view.size_hw
    axes = np.stack([solid.axes for solid in solids])
    corners = np.stack([solid.centre for solid in solids])[:, None] + _CORNERS @ axes.transpose(0, 2, 1)
    projected = view.project(corners)
    least = np.maximum(projected[..., 2].min(axis=1), NEAR_M)
    windows = []
    for index, solid in enumerate(solids):
        points = projected[index]
        if solid.kind == "ground":
            windows.append((index, NEAR_M, slice(0, height), slice(0, width)))
            continue
        if not view.parallel and points[:, 2].min() < NEAR_M:
            points = _clip_to_near(view, corners[index])
            if len(points) == 0:
                continue
        low = np.floor(points[:, :2].min(axis=0))
        high = np.ceil(points[:, :2].max(axis=0)) + 1
        left, right = max(int(max(low[0], 0)), 0), int(min(high[0], width))
        top, bottom = max(int(max(low[1], 0)), 0), int(min(high[1], height))
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
    return view.project(np.array(points)) if points else np.empty((0, 3))


def _over_window(matrix: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """``matrix @ (u, v, 1)`` over a window, (3, h, w) float32, or (3, 1, 1) where it does not depend on u, v."""
    if not matrix[:, :2].any():
        return matrix[:, 2, None, None].astype(np.float32)
    u = np.arange(columns.start, columns.stop) * matrix[:, :1] + matrix[:, 2:]
    v = np.arange(rows.start, rows.stop) * matrix[:, 1:2]
    return v.astype(np.float32)[:, :, None] + u.astype(np.float32)[:, None, :]


def _first_hit(solid: Solid, origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ray parameter (infinite = miss) and face of the first opaque point."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if solid.kind == "ground":
            t = -origin[1] / direction[1]
            return np.where(t > NEAR_M, t, np.float32(np.inf)), np.zeros(t.shape, np.uint8)
        if solid.kind == "convex":
            enter, leave, enter_face, leave_face = _cross_convex(solid.planes, origin, direction)
        elif solid.kind == "ellipsoid":
            enter, leave = _cross_sphere(origin, direction)
            enter_face = leave_face = np.uint8(0)
        else:
            enter, leave, enter_face, leave_face = _cross_cone(solid.taper, origin, direction)
        hit = (enter <= leave) & (leave > NEAR_M)
        front = hit & (enter > NEAR_M)
        if solid.cutout:
            front &= ~_is_hole(solid, origin, direction, np.where(front, enter, 0), enter_face)
            hit &= front | ~_is_hole(solid, origin, direction, np.where(hit, leave, 0), leave_face)
        t = np.where(front, enter, np.where(hit, leave, np.float32(np.inf)))
    return t, np.where(front, enter_face, leave_face)


def _is_hole(
    solid: Solid, origin: np.ndarray, direction: np.ndarray, t: np.ndarray, face: np.ndarray
) -> np.ndarray:
    point = origin + t * direction
    half_sizes = np.linalg.norm(solid.axes, axis=0).astype(np.float32)
    phase = float(solid.centre @ [12.9898, 4.1414, 78.233])
    return cutout_mask(solid.cutout, point, half_sizes, np.broadcast_to(face, t.shape), phase)


def _cross_convex(
    planes: np.ndarray, origin: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    shape = np.broadcast_shapes(origin.shape, direction.shape)[1:]
    enter, leave = np.full(shape, -np.inf, np.float32), np.full(shape, np.inf, np.float32)
    enter_face, leave_face = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for face, (a, b, c, d) in enumerate(planes.astype(np.float32)):
        gap = d - _dot((a, b, c), origin)
        speed = _dot((a, b, c), direction)
        t = gap / speed
        # A ray parallel to a face is inside its half space all along, or never.
        t = np.where((speed == 0) & (gap < 0), np.float32(np.inf), t)
        entering = (speed < 0) | ((speed == 0) & (gap < 0))
        later = entering & (t > enter)
        sooner = (speed > 0) & (t < leave)
        np.copyto(enter, t, where=later)
        np.copyto(enter_face, np.uint8(face), where=later)
        np.copyto(leave, t, where=sooner)
        np.copyto(leave_face, np.uint8(face), where=sooner)
    return enter, leave, enter_face, leave_face


def _dot(normal: tuple[np.float32, ...], vector: np.ndarray) -> np.ndarray:
    """Scalar product that skips the zeros of an axis-aligned normal."""
    total = np.float32(0)
    for weight, component in zip(normal, vector, strict=True):
        if weight:
            total = total + weight * component
    return np.asarray(total)


def _cross_sphere(origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Around the point of closest approach, which keeps float32 accurate for small far spheres.
    norm = (direction * direction).sum(axis=0)
    closest = -(origin * direction).sum(axis=0) / norm
    offset = origin + closest * direction
    inside = 1 - (offset * offset).sum(axis=0)
    reach = np.sqrt(inside / norm)  # not a number where the ray misses, which no comparison accepts
    return closest - reach, closest + reach


def _cross_cone(
    taper: float, origin: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    # Radius mean + slope * y; the side is where x^2 + z^2 = radius^2. Faces: 0 side, 1 bottom, 2 top.
    mean, slope = np.float32((1 + taper) / 2), np.float32((taper - 1) / 2)
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    shift = -(ox * dx + oz * dz) / (dx * dx + dz * dz)
    ox, oy, oz = ox + shift * dx, oy + shift * dy, oz + shift * dz
    radius, growth = mean + slope * oy, slope * dy
    a = dx * dx + dz * dz - growth * growth
    half_b = ox * dx + oz * dz - radius * growth
    c = ox * ox + oz * oz - radius * radius
    root = np.sqrt(half_b * half_b - a * c)
    side_in, side_out = shift + (-half_b - root) / a, shift + (-half_b + root) / a
    # A ray steeper than the side (a < 0) leaves the wide end and then meets only the mirrored cone, or vice versa.
    steep, narrowing = a < 0, growth < 0
    side_in, side_out = (
        np.where(steep, np.where(narrowing, -np.inf, side_in), side_in),
        np.where(steep, np.where(narrowing, side_out, np.inf), side_out),
    )
    t_low, t_high = shift + (-1 - oy) / dy, shift + (1 - oy) / dy
    cap_in, cap_out = np.minimum(t_low, t_high), np.maximum(t_low, t_high)
    enter, leave = np.maximum(side_in, cap_in), np.minimum(side_out, cap_out)
    first_cap, last_cap = np.where(dy > 0, 1, 2), np.where(dy > 0, 2, 1)
    return (
        enter,
        leave,
        np.where(cap_in > side_in, first_cap, 0).astype(np.uint8),
        np.where(cap_out < side_out, last_cap, 0).astype(np.uint8),
    )
