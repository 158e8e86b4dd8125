"""Radiance and temperature of every visible point: surfaces under sun, sky and lamps, shadows, haze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.scenes.light.sky import airlight, sky, sky_gradient, sky_temperature, sun_direction, zenith
from pipeline.scenes.surfaces.materials import PARAMS, Patch, Surface
from pipeline.scenes.surfaces.shaders import SHADERS
from pipeline.scenes.tracing.geometry import Hits, View, parallel_view, trace
from pipeline.scenes.tracing.points import Points, gather_points, view_rays
from pipeline.scenes.tracing.solids import Solid, dot
from pipeline.scenes.world import Light, Weather

_SHADOW_PIXELS = 420
_MAX_LIGHTS = 9
#: 1 - cosine at the edge of a spot light's beam.
_SPOT_SPREAD = np.float32(0.3)


@dataclass(frozen=True, eq=False)
class Radiance:
    """What reaches the two cameras, before their optics and electronics."""

    visible: np.ndarray  # (H, W, 3) float32, linear RGB
    temperature_c: np.ndarray  # (H, W) float32, apparent


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
    rays = view_rays(view)
    seen = hits.solid >= 0
    points = gather_points(view, hits, solids, rays)
    albedo, glow, gloss, temperature = _shade_surfaces(points, surfaces, weather.lit_share)
    sun = sun_direction(weather)
    shadow = _shadow(view, solids, points.position, sun, weather, reach_m)
    light, sun_share = _illuminate(points, lights, weather, sun, shadow, view.origins[:, 2])
    visible = albedo * light + glow
    # Sun-lit dark surfaces are the warmest of the lifeless ones.
    temperature += sun_share * 5 * (1 - (albedo[0] + albedo[1] + albedo[2]) / 3)
    glossy = np.flatnonzero(gloss > 0.005)
    mirrored, share = _mirror(points.ray[:, glossy], points.normal[:, glossy], gloss[glossy])
    visible[:, glossy] += share * sky_gradient(mirrored, weather, sun)
    temperature[glossy] -= 14 * share  # the mirrored sky is cold
    clear = np.exp(np.float32(-weather.haze_per_m) * points.distance)
    air = airlight(weather)[:, None]
    image = np.empty((3, height, width), np.float32)
    heat = np.empty((height, width), np.float32)
    image[:, seen] = air + (visible - air) * clear
    heat[seen] = (weather.air_c - 3) + (temperature - np.float32(weather.air_c - 3)) * clear
    empty = ~seen
    if empty.any():
        upward = rays[:, empty]
        upward /= np.sqrt(dot(upward, upward))
        image[:, empty] = sky(upward, weather, sun)
        heat[empty] = sky_temperature(upward, weather)
    return Radiance(np.ascontiguousarray(image.transpose(1, 2, 0)), heat)


def _mirror(ray: np.ndarray, normal: np.ndarray, gloss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirrored directions (3, N) and the share of the sky seen in them (N,)."""
    cosine = dot(ray, normal)
    mirrored = ray - 2 * cosine * normal
    fresnel = gloss * (0.35 + 0.65 * (1 - np.abs(cosine)) ** 3)
    # Low mirrored rays end on the houses across the street, not in the sky.
    return mirrored, fresnel * np.clip(mirrored[1] * 2.5 - 0.1, 0.12, 1)


def _shade_surfaces(
    points: Points, surfaces: list[Surface], lit_share: float
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
            salt=points.solid[here],
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
    at = light_view.project(position)
    step = 1.3 * reach_m / _SHADOW_PIXELS
    column, row, t = at
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
    points: Points,
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
    sky = zenith(weather)[:, None]
    ground_bounce = 0.25 * sky.mean() * np.array([[1.05], [1.0], [0.9]])
    light = (sky * up * open_sky + ground_bounce * (1 - up)).astype(np.float32)
    light *= 1 - 0.12 * low
    facing_sun = np.clip(dot(normal, sun.astype(np.float32)), 0, 1)
    if weather.night:
        facing_sun = np.zeros_like(facing_sun)
    warm = np.array(
        [1.0, 0.62 + 0.32 * min(1, weather.sun_elevation), 0.3 + 0.55 * min(1, weather.sun_elevation)]
    )
    if hard:
        light += (2.6 * (1 - weather.overcast) * warm).astype(np.float32)[:, None] * (facing_sun * shadow)
    nearest = sorted(
        lights, key=lambda lamp: float(np.linalg.norm(lamp.position - eye)) / lamp.colour.max() ** 0.25
    )
    for lamp in nearest[:_MAX_LIGHTS]:
        to_lamp = lamp.position.astype(np.float32)[:, None] - points.position
        squared = dot(to_lamp, to_lamp)
        distance = np.sqrt(squared)
        cosine = dot(to_lamp, normal) / distance
        strength = np.clip(0.12 + 0.88 * cosine, 0, 1) / (squared + 0.4)
        if lamp.direction is not None:
            off_axis = 1 + dot(to_lamp, lamp.direction.astype(np.float32)) / distance
            strength = strength * np.clip(1 - off_axis / _SPOT_SPREAD, 0, 1) ** 2
        light += lamp.colour.astype(np.float32)[:, None] * strength
    return light, facing_sun * np.float32(1 - weather.overcast)
