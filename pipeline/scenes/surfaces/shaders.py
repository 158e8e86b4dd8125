"""Shaders of the sample scenes: procedural albedo, gloss, glow and warmth at every visible point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.scenes.surfaces.house_fronts import facade
from pipeline.scenes.surfaces.materials import Patch, Shaded, matt, scaled_noise
from pipeline.scenes.surfaces.textures import cell_hash, fractal_noise, grid_line, noise, stripe


def _plain(p: Patch) -> Shaded:
    """One colour with noise: paint, cloth, plaster, concrete."""
    detail = scaled_noise(p, octaves=6)
    return matt(p, p.colour * np.clip(1 + p.contrast * detail, 0.15, 2.0), heat=0.3 * detail)


def _blend(p: Patch) -> Shaded:
    """Two colours mixed by noise: grass, foliage, soil, hills, rock, rust."""
    detail = scaled_noise(p, octaves=6)
    mix = np.clip(0.5 + 0.9 * detail * p.contrast / 0.5, 0, 1)
    shade = np.clip(1 + p.contrast * _fine_noise(p), 0.2, 2)
    return matt(p, (p.colour + (p.accent - p.colour) * mix) * shade, heat=0.8 * detail)


def _masonry(p: Patch) -> Shaded:
    """Courses of cells of ``scale``; params: height share, joint share, courses offset by (0 = grid)."""
    height = p.scale * (0.25 + 0.75 * p.params[0])
    joint = 0.01 + 0.05 * p.params[1] * p.scale
    row = np.floor(p.v / height)
    u = p.u + p.scale * np.where(p.params[2] > 0.25, 0.5 * np.mod(row, 2), 0)
    column = np.floor(u / p.scale)
    lines = np.maximum(grid_line(u, p.scale, joint, p.footprint), grid_line(p.v, height, joint, p.footprint))
    fade = np.clip(height / p.footprint - 0.5, 0, 1)
    tone = (cell_hash(column, row, p.salt) - 0.5) * fade
    detail = scaled_noise(p, octaves=5)
    face = p.colour * np.clip(1 + p.contrast * (1.6 * tone + 0.8 * detail), 0.2, 2)
    return matt(p, face + (p.accent - face) * lines, heat=0.3 * detail + 0.6 * tone)


def _planks(p: Patch) -> Shaded:
    """Upright boards or corrugation of width ``scale``."""
    width = np.clip(p.scale, 0.06, 0.6)
    line = grid_line(p.u, width, 0.18 * width, p.footprint)
    board = cell_hash(np.floor(p.u / width), np.zeros_like(p.u), p.salt) - 0.5
    grain = noise(p.u * 9, p.v * 0.8) * np.clip(1.2 - 9 * p.footprint, 0, 1)
    face = p.colour * np.clip(1 + p.contrast * (grain + board + 0.5 * scaled_noise(p, octaves=4)), 0.2, 2)
    return matt(p, face + (p.accent - face) * (0.8 * line), heat=grain)


def _panel(p: Patch) -> Shaded:
    """A poster or shop sign: lines of strokes that look like writing, maybe lit."""
    size = np.maximum(p.scale * 0.4, 0.05)
    line, letter = np.floor(p.v / size), np.floor(p.u / (0.7 * size))
    up, across = p.v / size - line, p.u / (0.7 * size) - letter
    inside = (up > 0.15) & (up < 0.85) & (across > 0.1) & (across < 0.85)
    written = (cell_hash(line, line, p.salt) > 0.35) & (cell_hash(letter, line, p.salt + 2) > 0.2)
    strokes = cell_hash(np.floor(across * 4) + 7 * letter, np.floor(up * 7) + 9 * line, p.salt + 1) > 0.45
    sharp = np.clip(0.4 * size / p.footprint - 0.3, 0, 1)
    ink = (inside & written & strokes) * sharp + 0.16 * (1 - sharp)
    albedo = p.colour + (p.accent - p.colour) * ink.astype(np.float32)
    shaded = matt(p, albedo * np.clip(1 + 0.3 * p.contrast * scaled_noise(p, octaves=3), 0.3, 2), heat=ink)
    shaded.glow = p.glow * (0.25 + albedo)
    return shaded


def _road(p: Patch) -> Shaded:
    """Asphalt with patches, cracks and paint.

    params: half width of the street, centre line (0 none, 1 dashed, 2 double), where along it the crossing
    street's centre lies, half width of that street (0 none), zebra (0 or 1), wetness.
    """
    half_width, line_kind, cross, cross_half, zebra, wet = p.params
    albedo = np.clip(1 + p.contrast * scaled_noise(p, octaves=6) + 0.5 * p.contrast * _fine_noise(p), 0.3, 2)
    cracks = np.abs(noise(p.u * 0.45, p.v * 0.3) + 0.25 * noise(p.u * 2.3, p.v * 2.1)) < 0.035
    repairs = cell_hash(np.floor(p.u / 1.7), np.floor(p.v / 5.3), p.salt) > 0.88
    lane = np.abs(p.u) < half_width
    tone = albedo * (1 - 0.45 * (cracks & (p.footprint < 0.08))) * np.where(repairs & lane, 0.72, 1)
    tracks = np.exp(-((np.abs(np.abs(p.u) - 0.5 * half_width) - 0.75) ** 2) * 6)
    tone = tone * np.where(lane, 1 - 0.15 * tracks, 1)
    inside = np.abs(p.v - cross) < cross_half
    away = ~inside & lane
    foot = p.footprint
    dashes = stripe(np.mod(p.v, 9.0), 4.0, 3.0, foot)
    centre = np.where(
        line_kind > 1.5, stripe(np.abs(p.u), 0.14, 0.11, foot), stripe(p.u, 0, 0.13, foot) * dashes
    )
    paint = np.where(away & (line_kind > 0.5), centre, 0)
    paint = np.maximum(paint, np.where(away, stripe(np.abs(p.u), half_width - 0.35, 0.12, foot), 0))
    from_crossing = np.abs(p.v - cross) - cross_half
    bars = stripe(np.mod(p.u, 1.0), 0.5, 0.5, foot)
    zebra_here = (zebra > 0.5) & lane & (from_crossing > 1.0) & (from_crossing < 4.2)
    stop = (cross_half > 0) & lane & (from_crossing > 5.2) & (from_crossing < 5.6)
    paint = np.where(zebra_here, bars, np.where(stop, 1.0, np.where(from_crossing < 5.2, 0 * paint, paint)))
    worn = np.clip(0.8 + 0.2 * noise(p.u * 2.1, p.v * 2.1) + 0.25 * noise(p.u * 9, p.v * 9), 0.3, 1) * paint
    colour = p.colour * tone
    manhole = np.hypot(np.mod(p.u, 5.9) - 1.3, np.mod(p.v, 17.0) - 6.0)
    colour = np.where((manhole < 0.36) & lane, colour * np.where(manhole < 0.31, 0.6, 0.35), colour)
    shaded = matt(p, colour + (p.accent - colour) * worn, heat=0.35 * scaled_noise(p, octaves=4) - 1.2 * worn)
    shaded.heat_c += np.where(lane, 1.5 * tracks, 0) + np.where((manhole < 0.33) & lane, 3.0, 0)
    shaded.gloss = wet * np.clip(0.5 + 0.6 * noise(p.u * 0.35, p.v * 0.35), 0, 1)
    return shaded


def _glass(p: Patch) -> Shaded:
    """Vehicle glass with pillars; params: pillar spacing (0 none), offset, height of the sill."""
    spacing = np.maximum(p.params[0], 1e-3)
    pillar = np.where(p.params[0] > 0, grid_line(p.u - p.params[1], spacing, 0.09, p.footprint), 0)
    pillar = np.maximum(pillar, p.v < p.params[2])
    shaded = matt(p, p.accent + (p.colour - p.accent) * pillar, heat=0.3 * scaled_noise(p, octaves=2))
    shaded.gloss = np.where(pillar > 0.5, 0.15, p.gloss)
    shaded.heat_c += np.where(pillar > 0.5, 2.0, 0.0)
    return shaded


def _fine_noise(p: Patch) -> np.ndarray:
    return fractal_noise(p.u, p.v, p.footprint, wavelength=0.07, octaves=2)


#: Surface.shader -> function.
SHADERS: dict[str, Callable[[Patch], Shaded]] = {
    "plain": _plain,
    "blend": _blend,
    "masonry": _masonry,
    "planks": _planks,
    "panel": _panel,
    "road": _road,
    "facade": facade,
    "glass": _glass,
}
