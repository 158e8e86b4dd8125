"""Where the visible points of a traced scene lie: position, normal, texture coordinates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.scenes.tracing.geometry import Hits, View
from pipeline.scenes.tracing.solids import Solid, dot


@dataclass(frozen=True, eq=False)
class Points:
    """The pixels that see a solid, N of them in raster order; float32 unless stated."""

    position: np.ndarray  # (3, N) world, metres
    normal: np.ndarray  # (3, N) unit, towards the viewer
    ray: np.ndarray  # (3, N) unit, away from the viewer
    distance: np.ndarray  # (N,) metres from the viewer
    u: np.ndarray  # (N,) metres along the face
    v: np.ndarray  # (N,) metres up the face
    footprint: np.ndarray  # (N,) metres per pixel
    surface: np.ndarray  # (N,) int, index of the surface
    solid: np.ndarray  # (N,) int, index of the solid


def view_rays(view: View) -> np.ndarray:
    """Directions of a perspective view whose component along the optical axis is 1, (3, H, W) float32."""
    height, width = view.size_hw
    u = view.directions[:, :1] * np.arange(width) + view.directions[:, 2:]
    v = view.directions[:, 1:2] * np.arange(height)
    return v.astype(np.float32)[:, :, None] + u.astype(np.float32)[:, None, :]


def gather_points(view: View, hits: Hits, solids: list[Solid], rays: np.ndarray) -> Points:
    """Geometry at every pixel of a perspective view that sees a solid. ``rays`` is ``view_rays(view)``."""
    seen = hits.solid >= 0
    index, face, t = hits.solid[seen], hits.face[seen].astype(np.int32), hits.depth[seen]
    ray = rays[:, seen]
    position = view.origins[:, 2:].astype(np.float32) + t * ray
    length = np.sqrt(dot(ray, ray))
    ray /= length
    half_table = np.stack([np.linalg.norm(solid.axes, axis=0) for solid in solids]).astype(np.float32)
    half = half_table.T[:, index]
    inverse_axes = np.linalg.inv(np.stack([solid.axes for solid in solids]))
    to_local = _per_solid(list(inverse_axes.reshape(-1, 9)))[:, index]
    offset = position - _per_solid([solid.centre for solid in solids])[:, index]
    local = np.stack([dot(to_local[3 * k : 3 * k + 3], offset) for k in range(3)])
    normal_local, flat_end = _local_normals(solids, index, face, local)
    normal = np.stack([dot(to_local[k::3], normal_local) for k in range(3)])
    normal /= np.sqrt(dot(normal, normal)) + np.float32(1e-12)
    facing = -dot(normal, ray)
    normal *= np.sign(facing)
    u, v = _texture_coordinates(solids, index, position, local * half, normal_local / half, flat_end)
    pixel = np.float32(np.linalg.norm(view.directions[:, 0]))
    footprint = t * pixel / np.sqrt(np.maximum(np.abs(facing), np.float32(0.02)))
    counts = np.array([len(solid.surfaces) for solid in solids])
    table = np.zeros((len(solids), counts.max()), np.int32)
    for row, solid in enumerate(solids):
        table[row, : counts[row]] = solid.surfaces
    surface = table[index, np.minimum(face, counts[index] - 1)]
    return Points(position, normal, ray, t * length, u, v, footprint, surface, index)


def _per_solid(rows: list[np.ndarray]) -> np.ndarray:
    """One column for each solid, so that gathered components lie contiguously."""
    return np.ascontiguousarray(np.stack(rows, axis=1).astype(np.float32))


def _local_normals(
    solids: list[Solid], index: np.ndarray, face: np.ndarray, local: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the shapes in unit coordinates (3, N), and which points lie on the flat end of a cone."""
    convex = np.array([solid.kind == "convex" for solid in solids])[index]
    ground = np.array([solid.kind == "ground" for solid in solids])[index]
    cone = np.array([solid.kind == "cone" for solid in solids])[index]
    flat_end = cone & (face > 0)
    first_face = np.cumsum([0] + [len(solid.planes) for solid in solids])[:-1].astype(np.int32)
    planes = _per_solid([plane[:3] for solid in solids for plane in solid.planes])
    normal = np.where(convex, planes[:, np.where(convex, first_face[index] + face, 0)], local)
    slope = np.array([(solid.taper - 1) / 2 for solid in solids], np.float32)[index]
    side_y = -slope * (1 + slope + slope * local[1])  # gradient of x^2 + z^2 - radius(y)^2
    end_y = np.where(face == 2, np.float32(1), np.float32(-1))
    normal[1] = np.where(flat_end, end_y, np.where(cone, side_y, normal[1]))
    normal[0] *= ~flat_end
    normal[2] *= ~flat_end
    normal[:, ground] = np.array([[0], [1], [0]])
    return normal, flat_end


def _texture_coordinates(
    solids: list[Solid],
    index: np.ndarray,
    position: np.ndarray,
    metres: np.ndarray,
    lean: np.ndarray,
    flat_end: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Metres along and up each face, around a cone, or world x and z on the ground."""
    half_height = np.array([np.linalg.norm(solid.axes[:, 1]) for solid in solids], np.float32)[index]
    side = np.array([solid.kind == "cone" for solid in solids])[index] & ~flat_end
    lean = np.abs(lean)
    level = ((lean[1] > lean[0]) & (lean[1] > lean[2]) & ~side) | flat_end
    along_z = (lean[0] > lean[2]) & ~level
    u = np.where(along_z, metres[2], metres[0])
    v = np.where(level, metres[2], metres[1] + half_height)
    around = np.flatnonzero(side)
    x, z = metres[0, around], metres[2, around]
    u[around] = np.arctan2(x, z) * np.sqrt(x * x + z * z)
    # The ground reaches the horizon: texture that far away has faded out, and coordinates must stay finite.
    ground = np.flatnonzero(np.array([solid.kind == "ground" for solid in solids])[index])
    u[ground] = np.clip(position[0, ground], -2e4, 2e4)
    v[ground] = np.clip(position[2, ground], -2e4, 2e4)
    return u, v
