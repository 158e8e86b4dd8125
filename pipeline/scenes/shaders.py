"""Shaders of the sample scenes: procedural albedo, gloss, glow and warmth at every visible point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.scenes.materials import Patch, Shaded
from pipeline.scenes.textures import cell_hash, fractal_noise, grid_line, noise, stripe


def _plain(p: Patch) -> Shaded:
    """One colour with noise: paint, cloth, plaster, concrete."""
    detail = _scaled_noise(p, octaves=6)
    return _matt(p, p.colour * np.clip(1 + p.contrast * detail, 0.15, 2.0), heat=0.3 * detail)


def _blend(p: Patch) -> Shaded:
    """Two colours mixed by noise: grass, foliage, soil, hills, rock, rust."""
    detail = _scaled_noise(p, octaves=6)
    mix = np.clip(0.5 + 0.9 * detail * p.contrast / 0.5, 0, 1)
    shade = np.clip(1 + p.contrast * _fine_noise(p), 0.2, 2)
    return _matt(p, (p.colour + (p.accent - p.colour) * mix) * shade, heat=0.8 * detail)


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
    detail = _scaled_noise(p, octaves=5)
    face = p.colour * np.clip(1 + p.contrast * (1.6 * tone + 0.8 * detail), 0.2, 2)
    return _matt(p, face + (p.accent - face) * lines, heat=0.3 * detail + 0.6 * tone)


def _planks(p: Patch) -> Shaded:
    """Upright boards or corrugation of width ``scale``."""
    width = np.clip(p.scale, 0.06, 0.6)
    line = grid_line(p.u, width, 0.18 * width, p.footprint)
    board = cell_hash(np.floor(p.u / width), np.zeros_like(p.u), p.salt) - 0.5
    grain = noise(p.u * 9, p.v * 0.8) * np.clip(1.2 - 9 * p.footprint, 0, 1)
    face = p.colour * np.clip(1 + p.contrast * (grain + board + 0.5 * _scaled_noise(p, octaves=4)), 0.2, 2)
    return _matt(p, face + (p.accent - face) * (0.8 * line), heat=grain)


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
    shaded = _matt(p, albedo * np.clip(1 + 0.3 * p.contrast * _scaled_noise(p, octaves=3), 0.3, 2), heat=ink)
    shaded.glow = p.glow * (0.25 + albedo)
    return shaded


def _road(p: Patch) -> Shaded:
    """Asphalt with patches, cracks and paint.

    params: half width of the street, centre line (0 none, 1 dashed, 2 double), where along it the crossing
    street's centre lies, half width of that street (0 none), zebra (0 or 1), wetness.
    """
    half_width, line_kind, cross, cross_half, zebra, wet = p.params
    albedo = np.clip(1 + p.contrast * _scaled_noise(p, octaves=6) + 0.5 * p.contrast * _fine_noise(p), 0.3, 2)
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
    shaded = _matt(
        p, colour + (p.accent - colour) * worn, heat=0.35 * _scaled_noise(p, octaves=4) - 1.2 * worn
    )
    shaded.heat_c += np.where(lane, 1.5 * tracks, 0) + np.where((manhole < 0.33) & lane, 3.0, 0)
    shaded.gloss = wet * np.clip(0.5 + 0.6 * noise(p.u * 0.35, p.v * 0.35), 0, 1)
    return shaded


def _facade(p: Patch) -> Shaded:
    """A house front: wall, rows of framed windows, a ground floor of doors and shop windows, string courses.

    params: storey height, bay width, window width share, window height share, ground floor height, wall kind
    (below 0.5 plaster or concrete, else brick courses).
    """
    storey, bay, wide, high, ground, brick = p.params
    foot = p.footprint
    upper = p.v > ground
    row = np.where(upper, np.floor((p.v - ground) / storey), -1)
    shop_bay = np.where(upper, bay, bay * 1.5)
    column = np.floor(p.u / shop_bay)
    x = p.u - (column + 0.5) * shop_bay
    y = np.where(upper, p.v - ground - row * storey - 0.52 * storey, p.v - 0.5 * ground)
    kind = cell_hash(column, row, p.salt)
    other = cell_hash(column, row, p.salt + 7)
    door = ~upper & (kind < 0.3)
    width = np.where(upper, wide * bay, np.where(door, np.minimum(1.3, 0.5 * shop_bay), 0.8 * shop_bay))
    tall = np.where(upper, high * storey, 0.84 * ground)
    y = np.where(upper, y, y + 0.06 * ground)
    x_in, y_in = 0.5 * width - np.abs(x), 0.5 * tall - np.abs(y)
    depth_in = np.minimum(x_in, y_in)
    opening = np.clip(depth_in / foot + 0.5, 0, 1)
    frame_width = 0.08
    bars = np.maximum(stripe(x, 0, 0.06, foot), stripe(y, 0.12 * tall, 0.06, foot)) * ~door
    frame = np.maximum(np.clip((frame_width - depth_in) / foot + 0.5, 0, 1), bars)
    reveal = np.clip(1 - (0.5 * tall - y) / 0.35, 0, 1)  # shadow of the lintel
    relief = _scaled_noise(p, octaves=5)
    courses = grid_line(p.v, 0.075 + 0 * p.v, 0.012, foot) * (brick > 0.5)
    bricks = (
        cell_hash(np.floor(p.u / 0.24 + 0.5 * np.floor(p.v / 0.075)), np.floor(p.v / 0.075), p.salt) - 0.5
    )
    fade = np.clip(0.1 / foot - 0.3, 0, 1) * (brick > 0.5)
    grime = np.clip(1 - p.v / 2.5, 0, 1) * 0.25 + 0.12 * np.clip(noise(p.u * 1.7, p.v * 0.15), 0, 2)
    wall = p.colour * np.clip(
        1 + p.contrast * (relief + 1.5 * bricks * fade) - grime - 0.25 * courses, 0.2, 2
    )
    band = np.maximum(
        stripe(np.mod(p.v - ground, storey), 0.04, 0.14, foot) * upper, stripe(p.v, ground, 0.3, foot)
    )
    sill = stripe(y, -0.5 * tall - 0.06, 0.12, foot) * (np.abs(x) < 0.5 * width + 0.12) * upper
    trim = np.maximum(0.6 * band, sill)
    surround = np.clip((0.14 + depth_in) / foot + 0.5, 0, 1) * (brick > 0.25)
    wall = wall + (p.accent - wall) * np.maximum(trim, 0.8 * surround)
    curtain = np.clip((np.abs(x) / (0.5 * width) - 0.9 + 0.7 * other) * 8, 0, 1) * upper
    folds = 0.75 + 0.25 * np.sin(x * 40) * np.clip(0.1 / foot, 0, 1)
    inside = 0.03 + 0.28 * curtain * folds + 0.05 * np.clip(noise(p.u * 1.9, p.v * 1.9), 0, 2)
    pane = np.stack([inside, inside, inside * 0.95])
    leaf = np.where(kind < 0.15, 0.5, 1.3) * p.accent * (0.8 + 0.2 * grid_line(x, 0.3 + 0 * x, 0.03, foot))
    pane = np.where(door, leaf, pane * (1 - 0.6 * reveal))
    framed = pane + ((0.6 * p.accent + 0.25) - pane) * frame
    sharp = np.clip(0.7 * bay / foot - 0.5, 0.25, 1)
    opening = opening * sharp
    lit = (other < np.where(upper, p.lit_share, 2.2 * p.lit_share)) & ~door
    warm = np.stack([1.0 + 0 * kind, 0.55 + 0.3 * kind, 0.2 + 0.55 * kind])
    goods = cell_hash(np.floor(p.u / 0.41), np.floor(p.v / 0.63), p.salt + 3) * np.clip(0.3 / foot, 0, 1)
    content = (
        0.35 + 0.5 * curtain + 0.25 * noise(p.u * 1.3 + 40 * other, p.v * 0.9) * (1 - curtain) + 0.5 * goods
    )
    strength = np.where(upper, 0.2 + 0.7 * kind, 0.7) * np.clip(content, 0.08, 2)
    shaded = _matt(p, wall + (framed - wall) * opening, heat=0.4 * relief)
    glass = opening * (1 - frame) * ~door
    shaded.glow = warm * (strength * lit * glass * (p.lit_share > 0.02))
    shaded.gloss = 0.45 * glass * (1 - 0.7 * curtain)
    shaded.heat_c += glass * np.where(lit, 2.0, -4.0) + 1.5 * frame * opening
    return shaded


def _glass(p: Patch) -> Shaded:
    """Vehicle glass with pillars; params: pillar spacing (0 none), offset, height of the sill."""
    spacing = np.maximum(p.params[0], 1e-3)
    pillar = np.where(p.params[0] > 0, grid_line(p.u - p.params[1], spacing, 0.09, p.footprint), 0)
    pillar = np.maximum(pillar, p.v < p.params[2])
    shaded = _matt(p, p.accent + (p.colour - p.accent) * pillar, heat=0.3 * _scaled_noise(p, octaves=2))
    shaded.gloss = np.where(pillar > 0.5, 0.15, p.gloss)
    shaded.heat_c += np.where(pillar > 0.5, 2.0, 0.0)
    return shaded


def _matt(p: Patch, albedo: np.ndarray, *, heat: np.ndarray) -> Shaded:
    return Shaded(np.clip(albedo, 0.005, 0.95).astype(np.float32), p.glow, p.gloss, heat.astype(np.float32))


def _scaled_noise(p: Patch, *, octaves: int) -> np.ndarray:
    scale = 1 / p.scale
    shift = (p.salt % 97).astype(np.float32)
    return fractal_noise(
        p.u * scale + shift, p.v * scale, p.footprint * scale, wavelength=1.0, octaves=octaves
    )


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
    "facade": _facade,
    "glass": _glass,
}
