"""Radiance and temperature of every visible point: materials under sun, sky and lamps, with shadows and haze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.scene_geometry import Hits, Solid, View, parallel_view, trace
from pipeline.scene_materials import PARAMS, SHADERS, Patch, Surface
from pipeline.scene_textures import fractal_noise
from pipeline.scene_world import Light, Weather

_SHADOW_PIXELS = 420
_MAX_LIGHTS = 9


@dataclass(frozen=True, eq=False)
class Radiance:
    """What reaches the two cameras, before their optics and electronics."""

    visible: np.ndarray  # (H, W, 3) float32, linear RGB
    temperature_c: np.ndarray  # (H, W) float32, apparent


@dataclass(frozen=True, eq=False)
class _Points:
    """The visible points of all solids; N points last."""

    position: np.ndarray  # (3, N) world, metres
    normal: np.ndarray  # (3, N) towards the viewer
    ray: np.ndarray  # (3, N) unit, away from the viewer
    u: np.ndarray  # (N,) metres along the face
    v: np.ndarray  # (N,) metres up the face
    footprint: np.ndarray  # (N,) metres per pixel
    surface: np.ndarray  # (N,) index
    salt: np.ndarray  # (N,) int


def shade(
    view: View,
    hits: Hits,
    solids: list[Solid],
    surfaces: list[Surface],
    lights: list[Light],
    weather: Weather,
    *,
    reach_m: float,
) -> Radiance:
    """Light the visible points. ``view`` is perspective; shadows are cast up to ``reach_m`` ahead of it."""
    height, width = view.size_hw
    rays = _unit_rays(view)
    seen = hits.solid >= 0
    points = _gather_points(view, hits, solids, seen, rays)
    albedo, glow, gloss, temperature = _shade_surfaces(points, surfaces, weather.lit_share)
    sun = _sun_direction(weather)
    shadow = _shadow(view, solids, points.position, sun, weather, reach_m)
    light, sun_share = _illuminate(points, lights, weather, sun, shadow, view.origins[:, 2])
    visible = albedo * light + glow
    mirrored = points.ray - 2 * (points.ray * points.normal).sum(axis=0) * points.normal
    fresnel = gloss * (0.35 + 0.65 * (1 - np.abs((points.ray * points.normal).sum(axis=0))) ** 3)
    visible += fresnel * _sky_gradient(mirrored, weather, sun)
    distance = hits.depth[seen] / (rays.reshape(3, -1)[:, seen.ravel()] * view.directions[:, 2:]).sum(axis=0)
    clear = np.exp(-weather.haze_per_m * distance)
    visible = visible * clear + _airlight(weather)[:, None] * (1 - clear)
    # Sun-lit dark surfaces are the warmest; polished and glass ones mirror the cold sky (kept from the shader).
    temperature += sun_share * 9 * (1 - albedo.mean(axis=0)) - 25 * fresnel * (mirrored[1] > 0)
    image = np.empty((3, height, width), np.float32)
    heat = np.empty((height, width), np.float32)
    image[:, seen], heat[seen] = visible, temperature * clear + (weather.air_c - 3) * (1 - clear)
    sky = ~seen
    if sky.any():
        image[:, sky] = _sky(rays[:, sky], weather, sun)
        heat[sky] = _sky_temperature(rays[:, sky], weather)
    return Radiance(np.ascontiguousarray(image.transpose(1, 2, 0)), heat)


def _unit_rays(view: View) -> np.ndarray:
    height, width = view.size_hw
    u = view.directions[:, :1] * np.arange(width) + view.directions[:, 2:]
    v = view.directions[:, 1:2] * np.arange(height)
    rays = (v[:, :, None] + u[:, None, :]).astype(np.float32)
    return rays / np.sqrt((rays * rays).sum(axis=0))


def _gather_points(
    view: View, hits: Hits, solids: list[Solid], seen: np.ndarray, rays: np.ndarray
) -> _Points:
    """Position, normal and texture coordinates, from the solid and face that each pixel hit."""
    index, face, t = hits.solid[seen], hits.face[seen], hits.depth[seen]
    ray = rays[:, seen]
    eye = view.origins[:, 2:].astype(np.float32)
    rows, columns = np.nonzero(seen)
    direction = (view.directions @ np.stack([columns, rows, np.ones_like(rows)])).astype(np.float32)
    position = eye + t * direction
    inverse = np.stack([np.linalg.inv(solid.axes) for solid in solids]).astype(np.float32)
    half = np.stack([np.linalg.norm(solid.axes, axis=0) for solid in solids]).astype(np.float32)
    centre = np.stack([solid.centre for solid in solids]).astype(np.float32)
    to_local = inverse.reshape(-1, 9)[index]
    offset = position - centre[index].T
    local = np.stack([(to_local[:, 3 * k : 3 * k + 3].T * offset).sum(axis=0) for k in range(3)])
    kind = np.array([("convex", "ground", "ellipsoid", "cone").index(solid.kind) for solid in solids])[index]
    first_face = np.cumsum([0] + [len(solid.planes) for solid in solids])[:-1]
    planes = np.concatenate([solid.planes[:, :3] for solid in solids]).astype(np.float32)
    flat_face = np.minimum(first_face[index] + face, len(planes) - 1)
    normal_local = np.where(kind < 2, planes[flat_face].T, local)
    normal_local = np.where(kind == 1, np.array([[0], [1], [0]], np.float32), normal_local)
    slope = np.array([(solid.taper - 1) / 2 for solid in solids], np.float32)[index]
    cone = kind == 3
    radius = (1 + slope) + slope * local[1]
    side = cone & (face == 0)
    normal_local[1] = np.where(
        side, -slope * radius, np.where(cone, np.where(face == 2, 1, -1), normal_local[1])
    )
    normal_local[0] = np.where(cone & ~side, 0, normal_local[0])
    normal_local[2] = np.where(cone & ~side, 0, normal_local[2])
    normal = np.stack([(to_local[:, k::3].T * normal_local).sum(axis=0) for k in range(3)])
    normal /= np.sqrt((normal * normal).sum(axis=0)) + 1e-12
    facing = -(normal * ray).sum(axis=0)
    normal *= np.sign(facing)
    metres = local * half[index].T
    lean = np.abs(normal_local / half[index].T)
    level = (lean[1] > lean[0]) & (lean[1] > lean[2]) & (kind != 2) | (cone & ~side)
    along_z = lean[0] > lean[2]
    around = np.arctan2(local[0], local[2]) * np.maximum(half[index, 0], half[index, 2])
    u = np.where(level, metres[0], np.where(along_z, metres[2], metres[0]))
    u = np.where((kind == 2) | side, around, u)
    v = np.where(level, metres[2], metres[1] + half[index, 1])
    ground = kind == 1
    # The ground reaches the horizon; texture that far away has faded out, and its coordinates must stay finite.
    far = np.clip(position, -2e4, 2e4)
    u, v = np.where(ground, far[0], u), np.where(ground, far[2], v)
    pixel = np.linalg.norm(view.directions[:, 0])
    footprint = t * np.float32(pixel) / np.sqrt(np.maximum(np.abs(facing), 0.02))
    counts = np.array([len(solid.surfaces) for solid in solids])
    table = np.zeros((len(solids), counts.max()), np.int32)
    for row, solid in enumerate(solids):
        table[row, : counts[row]] = solid.surfaces
    surface = table[index, np.minimum(face, counts[index] - 1)]
    return _Points(position, normal, ray, u, v, footprint.astype(np.float32), surface, index.astype(np.int32))


def _shade_surfaces(
    points: _Points, surfaces: list[Surface], lit_share: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Albedo (3, N), glow (3, N), gloss (N,) and temperature (N,) of all points, shader by shader."""
    count = points.u.size
    albedo, glow = np.empty((3, count), np.float32), np.empty((3, count), np.float32)
    gloss, temperature = np.empty(count, np.float32), np.empty(count, np.float32)
    names = list(SHADERS)
    shader = np.array([names.index(surface.shader) for surface in surfaces])[points.surface]
    numbers = np.zeros((PARAMS + 13, len(surfaces)), np.float32)
    for column, s in enumerate(surfaces):
        row = [*s.colour, *s.accent, *s.glow, s.contrast, s.scale_m, s.gloss, s.temperature_c, *s.params]
        numbers[: len(row), column] = row
    for place, name in enumerate(names):
        here = np.flatnonzero(shader == place)
        if here.size == 0:
            continue
        values = numbers[:, points.surface[here]]
        patch = Patch(
            u=points.u[here],
            v=points.v[here],
            footprint=points.footprint[here],
            salt=points.salt[here],
            colour=values[0:3],
            accent=values[3:6],
            glow=values[6:9],
            contrast=values[9],
            scale=values[10],
            gloss=values[11],
            params=values[13:],
            lit_share=lit_share,
        )
        shaded = SHADERS[name](patch)
        albedo[:, here], glow[:, here], gloss[here] = shaded.albedo, shaded.glow, shaded.gloss
        temperature[here] = values[12] + shaded.heat_c
    return albedo, glow, gloss, temperature


def _sun_direction(weather: Weather) -> np.ndarray:
    """Unit vector towards the sun."""
    flat = np.cos(weather.sun_elevation)
    return np.array(
        [
            flat * np.sin(weather.sun_azimuth),
            np.sin(weather.sun_elevation),
            flat * np.cos(weather.sun_azimuth),
        ]
    )


def _shadow(
    view: View, solids: list[Solid], position: np.ndarray, sun: np.ndarray, weather: Weather, reach_m: float
) -> np.ndarray:
    """Share of the sun (clear day) or of the sky overhead (overcast, night) that reaches each point."""
    hard = not weather.night and weather.overcast < 0.5
    towards = sun if hard else np.array([0.09, 1.0, 0.06])
    ahead = view.directions @ [view.size_hw[1] / 2, view.size_hw[0] / 2, 1]
    ahead[1] = 0
    centre = view.origins[:, 2] + ahead / (np.linalg.norm(ahead) + 1e-9) * 0.45 * reach_m
    centre[1] = 0
    light_view = parallel_view(-towards, centre, 1.3 * reach_m, _SHADOW_PIXELS)
    depth = trace(light_view, solids).depth
    at = light_view.project(position.T.astype(np.float64)).astype(np.float32)
    step = 1.3 * reach_m / _SHADOW_PIXELS
    column, row, t = at[:, 0], at[:, 1], at[:, 2]
    lit = np.zeros(t.shape, np.float32)
    spread = 0.5 if hard else 2.5
    taps = ((-1, -0.4), (0.4, -1), (1, 0.4), (-0.4, 1))
    for dx, dy in taps:
        c = np.clip(np.rint(column + spread * dx), 0, _SHADOW_PIXELS - 1).astype(np.int32)
        r = np.clip(np.rint(row + spread * dy), 0, _SHADOW_PIXELS - 1).astype(np.int32)
        blocker = depth.take(r * _SHADOW_PIXELS + c)
        if hard:
            lit += t < blocker + 2.2 * step
        else:  # the higher what covers a point, the more sky still reaches it from the sides
            lit += 1 - np.clip((t - blocker - 1.5 * step) / 1.0, 0, 1) * np.exp(
                -np.clip(t - blocker, 0, 40) / 12
            )
    inside = (column > 0) & (column < _SHADOW_PIXELS - 1) & (row > 0) & (row < _SHADOW_PIXELS - 1)
    return np.where(inside, lit / len(taps), 1).astype(np.float32)


def _illuminate(
    points: _Points,
    lights: list[Light],
    weather: Weather,
    sun: np.ndarray,
    shadow: np.ndarray,
    eye: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Irradiance over pi (3, N), and the share of full sun on each point (N,) that ignores shadows."""
    normal = points.normal
    up = 0.5 + 0.5 * normal[1]
    hard = not weather.night and weather.overcast < 0.5
    open_sky = 1.0 if hard else 0.35 + 0.65 * shadow
    low = np.float32(1.5 * np.exp(-np.maximum(points.position[1], 0) * 0.9))
    sky = _zenith(weather)[:, None]
    ground_bounce = 0.25 * sky.mean() * np.array([[1.05], [1.0], [0.9]])
    light = (sky * up * open_sky + ground_bounce * (1 - up)).astype(np.float32)
    light *= 1 - 0.12 * low
    facing_sun = np.clip((normal * sun.astype(np.float32)[:, None]).sum(axis=0), 0, 1)
    if weather.night:
        facing_sun = np.zeros_like(facing_sun)
    warm = np.array(
        [1.0, 0.62 + 0.32 * min(1, weather.sun_elevation), 0.3 + 0.55 * min(1, weather.sun_elevation)]
    )
    if hard:
        light += (1.6 * (1 - weather.overcast) * warm).astype(np.float32)[:, None] * (facing_sun * shadow)
    nearest = sorted(
        lights, key=lambda lamp: float(np.linalg.norm(lamp.position - eye)) / lamp.colour.max() ** 0.25
    )
    for lamp in nearest[:_MAX_LIGHTS]:
        to_lamp = lamp.position.astype(np.float32)[:, None] - points.position
        squared = (to_lamp * to_lamp).sum(axis=0)
        distance = np.sqrt(squared)
        cosine = (to_lamp * normal).sum(axis=0) / distance
        strength = np.clip(0.12 + 0.88 * cosine, 0, 1) / (squared + 0.4)
        if lamp.direction is not None:
            off_axis = 1 + (to_lamp * lamp.direction.astype(np.float32)[:, None]).sum(axis=0) / distance
            strength = strength * np.clip(1 - off_axis / np.float32(lamp.spread), 0, 1) ** 2
        light += lamp.colour.astype(np.float32)[:, None] * strength
    return light, facing_sun * np.float32(1 - weather.overcast)


def _zenith(weather: Weather) -> np.ndarray:
    """Mean radiance of the sky above."""
    if weather.night:
        return np.array([0.030, 0.027, 0.026])
    blue = np.array([0.42, 0.56, 0.78])
    return blue + weather.overcast * (np.array([0.85, 0.88, 0.92]) - blue)


def _airlight(weather: Weather) -> np.ndarray:
    if weather.night:
        return np.array([0.045, 0.036, 0.028], np.float32)
    clear = np.array([0.72, 0.80, 0.92])
    return (clear + weather.overcast * (np.array([0.85, 0.87, 0.9]) - clear)).astype(np.float32)


def _sky_gradient(direction: np.ndarray, weather: Weather, sun: np.ndarray) -> np.ndarray:
    """Radiance (3, N) of the cloudless sky, or of the street where a mirrored ray goes down."""
    rise = np.clip(direction[1], 0, 1) ** np.float32(0.55)
    horizon, zenith = _airlight(weather)[:, None], (0.9 * _zenith(weather)).astype(np.float32)[:, None]
    colour = horizon + (zenith - horizon) * rise
    if not weather.night:
        glare = np.clip((direction * sun.astype(np.float32)[:, None]).sum(axis=0), 0, 1)
        colour = colour + np.float32(1 - weather.overcast) * (0.5 * glare**12 + 6.0 * glare**600)
    return np.where(direction[1] < 0, 0.3 * horizon, colour)


def _sky(direction: np.ndarray, weather: Weather, sun: np.ndarray) -> np.ndarray:
    """The sky as seen: gradient, sun, and clouds on a plane overhead."""
    colour = _sky_gradient(direction, weather, sun)
    rise = np.maximum(direction[1], 0.02)
    u, v = direction[0] / (rise + 0.12), direction[2] / (rise + 0.12)
    shift = np.float32(10 * weather.sun_azimuth)
    cover = fractal_noise(u + shift, v + shift, 0.02 / rise, wavelength=1.6, octaves=6)
    share = np.clip(0.9 * cover + 2.4 * weather.overcast - 0.6, 0, 1)
    thickness = 0.85 + 0.15 * fractal_noise(u, v + shift, 0.02 / rise, wavelength=0.9, octaves=4)
    cloud = (0.06 if weather.night else 1.15 - 0.25 * weather.overcast) * thickness
    tint = _airlight(weather)[:, None] / _airlight(weather).max()
    return np.maximum(colour + (cloud * tint - colour) * share, 0.0)


def _sky_temperature(direction: np.ndarray, weather: Weather) -> np.ndarray:
    rise = np.clip(direction[1], 0, 1)
    clear = weather.air_c - 8 - 30 * rise**0.6
    cloud = fractal_noise(direction[0] * 6, direction[2] * 6, 0 * rise, wavelength=1.6, octaves=4)
    return clear + weather.overcast * (weather.air_c - 7 - clear) + 1.2 * cloud
