"""Solids of the sample scenes and where a ray first meets them.

A solid is a unit shape (convex polyhedron, sphere, cone frustum) under an affine map, so that a ray stays a
straight line with the same parameter t in the solid's own coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pipeline.scenes.surfaces.textures import cutout_mask

#: Nothing is drawn nearer than this, in metres.
NEAR_M = 0.25

#: Half spaces n . p <= d of the unit cube, rows (nx, ny, nz, d): -x, +x, -y, +y, -z, +z.
CUBE = np.array(
    [[-1, 0, 0, 1], [1, 0, 0, 1], [0, -1, 0, 1], [0, 1, 0, 1], [0, 0, -1, 1], [0, 0, 1, 1]], float
)


Kind = Literal["convex", "ellipsoid", "cone", "ground"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Solid:
    """A unit shape in [-1, 1]^3 mapped into the world by ``centre + axes @ p``.

    ``convex`` is the intersection of the half spaces ``planes``; ``ellipsoid`` the unit sphere; ``cone`` a
    frustum about y whose radius runs from 1 at y = -1 to ``taper`` at y = 1; ``ground`` the plane y = 0.
    """

    kind: Kind
    centre: np.ndarray  # (3,)
    axes: np.ndarray  # (3, 3), columns are the half axes
    surfaces: tuple[int, ...]  # index of the surface of each face, or one for all
    planes: np.ndarray = field(default_factory=lambda: CUBE)  # (K, 4), convex only
    taper: float = 1.0  # in [0, 1], cone only
    cutout: str = ""  # name of a pattern of holes, see textures.cutout_mask


def first_hit(
    solid: Solid, origin: np.ndarray, direction: np.ndarray, limit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ray parameter (infinite = miss) and face of the first opaque point; it may lie beyond ``limit``."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if solid.kind == "ground":
            t = -origin[1] / direction[1]
            return np.where(t > NEAR_M, t, np.float32(np.inf)), np.zeros(t.shape, np.uint8)
        if solid.kind == "convex":
            enter, leave, enter_face, leave_face = _cross_convex(solid.planes, origin, direction)
        elif solid.kind == "ellipsoid":
            enter, leave = _cross_sphere(origin, direction)
            enter_face = leave_face = np.zeros((1, 1), np.uint8)
        else:
            enter, leave, enter_face, leave_face = _cross_cone(solid.taper, origin, direction)
        hit = (enter <= leave) & (leave > NEAR_M)
        front = hit & (enter > NEAR_M)
        if solid.cutout:
            front &= enter < limit
            front = _opaque(solid, origin, direction, enter, enter_face, front)
            back = _opaque(solid, origin, direction, leave, leave_face, hit & ~front & (leave < limit))
            hit = front | back
        t = np.where(front, enter, np.where(hit, leave, np.float32(np.inf)))
    return t, np.where(front, enter_face, leave_face)


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar product over the first axis, which has three components."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _opaque(
    solid: Solid,
    origin: np.ndarray,
    direction: np.ndarray,
    t: np.ndarray,
    face: np.ndarray,
    asked: np.ndarray,
) -> np.ndarray:
    """Where, among the pixels ``asked``, the solid's surface at ``t`` is not a hole."""
    result = np.zeros(asked.shape, bool)
    where = np.nonzero(asked)
    start = np.broadcast_to(origin, (3, *asked.shape))[:, where[0], where[1]]
    along = np.broadcast_to(direction, (3, *asked.shape))[:, where[0], where[1]]
    point = start + t[where] * along
    half_sizes = np.linalg.norm(solid.axes, axis=0).astype(np.float32)
    phase = float(solid.centre @ [12.9898, 4.1414, 78.233])
    faces = np.broadcast_to(face, asked.shape)[where]
    result[where] = ~cutout_mask(solid.cutout, point, half_sizes, faces, phase)
    return result


def _cross_convex(
    planes: np.ndarray, origin: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    shape = np.broadcast_shapes(origin.shape, direction.shape)[1:]
    enter, leave = np.full(shape, -np.inf, np.float32), np.full(shape, np.inf, np.float32)
    enter_face, leave_face = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for face, (a, b, c, d) in enumerate(planes.astype(np.float32)):
        gap = d - _weigh((a, b, c), origin)
        speed = _weigh((a, b, c), direction)
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


def _weigh(normal: tuple[np.float32, ...], vector: np.ndarray) -> np.ndarray:
    """Scalar product that skips the zeros of an axis-aligned normal."""
    total = np.float32(0)
    for weight, component in zip(normal, vector, strict=True):
        if weight:
            total = total + weight * component
    return np.asarray(total)


def _cross_sphere(origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Around the point of closest approach, which keeps float32 accurate for small far spheres.
    norm = dot(direction, direction)
    closest = -dot(origin, direction) / norm
    offset = origin + closest * direction
    inside = 1 - dot(offset, offset)
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
    # Where the ray is all but parallel to the side, a is next to 0 and one of -half_b +- root cancels.
    sum_ = -half_b - np.copysign(root, half_b)
    one, other = shift + sum_ / a, shift + c / sum_
    side_in, side_out = np.where(half_b >= 0, one, other), np.where(half_b >= 0, other, one)
    # A ray steeper than the side (a < 0) meets the mirrored cone too: keep the half with the wide end.
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
