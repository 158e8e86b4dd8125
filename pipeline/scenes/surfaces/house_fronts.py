"""The shader of house fronts: walls, framed windows, doors, shop windows, light behind them by night."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.scenes.surfaces.materials import Patch, Shaded, matt, scaled_noise
from pipeline.scenes.surfaces.textures import cell_hash, grid_line, noise, stripe


@dataclass(frozen=True, kw_only=True, eq=False)
class _Openings:
    """The window or door whose bay each point lies in; every array is (N,), lengths in metres."""

    upper: np.ndarray  # bool: above the ground floor
    door: np.ndarray  # bool
    kind: np.ndarray  # [0, 1), random for each opening
    other: np.ndarray  # as ``kind``, independent of it
    x: np.ndarray  # from the middle of the opening
    y: np.ndarray
    width: np.ndarray
    tall: np.ndarray
    depth_in: np.ndarray  # from the nearest edge, positive inside


def facade(p: Patch) -> Shaded:
    """A house front: wall, rows of framed windows, a ground floor of doors and shop windows, string courses.

    params: storey height, bay width, window width share, window height share, ground floor height, wall kind
    (below 0.5 plaster or concrete, else brick courses). Heights and widths are in metres.
    """
    foot, bay = p.footprint, p.params[1]
    o = _find_openings(p)
    relief = scaled_noise(p, octaves=5)
    bars = np.maximum(stripe(o.x, 0, 0.06, foot), stripe(o.y, 0.12 * o.tall, 0.06, foot)) * ~o.door
    frame = np.maximum(np.clip((0.08 - o.depth_in) / foot + 0.5, 0, 1), bars)
    curtain = np.clip((np.abs(o.x) / (0.5 * o.width) - 0.9 + 0.7 * o.other) * 8, 0, 1) * o.upper
    wall = _wall(p, o, relief)
    pane = _pane(p, o, curtain)
    framed = pane + ((0.6 * p.accent + 0.25) - pane) * frame
    opening = np.clip(o.depth_in / foot + 0.5, 0, 1)
    opening = opening * np.clip(0.7 * bay / foot - 0.5, 0.25, 1)  # far windows blur into the wall
    glass = opening * (1 - frame) * ~o.door
    lit = (o.other < np.where(o.upper, p.lit_share, 2.2 * p.lit_share)) & ~o.door
    shaded = matt(p, wall + (framed - wall) * opening, heat=0.4 * relief)
    shaded.glow = _light(p, o, curtain, lit, glass)
    shaded.gloss = 0.45 * glass * (1 - 0.7 * curtain)
    shaded.heat_c += glass * np.where(lit, 2.0, -4.0) + 1.5 * frame * opening
    return shaded


def _find_openings(p: Patch) -> _Openings:
    storey, bay, wide, high, ground, _ = p.params
    upper = p.v > ground
    row = np.where(upper, np.floor((p.v - ground) / storey), -1)
    shop_bay = np.where(upper, bay, bay * 1.5)
    column = np.floor(p.u / shop_bay)
    kind = cell_hash(column, row, p.salt)
    door = ~upper & (kind < 0.3)
    width = np.where(upper, wide * bay, np.where(door, np.minimum(1.3, 0.5 * shop_bay), 0.8 * shop_bay))
    tall = np.where(upper, high * storey, 0.84 * ground)
    x = p.u - (column + 0.5) * shop_bay
    y = np.where(upper, p.v - ground - row * storey - 0.52 * storey, p.v - 0.5 * ground)
    y = np.where(upper, y, y + 0.06 * ground)
    return _Openings(
        upper=upper,
        door=door,
        kind=kind,
        other=cell_hash(column, row, p.salt + 7),
        x=x,
        y=y,
        width=width,
        tall=tall,
        depth_in=np.minimum(0.5 * width - np.abs(x), 0.5 * tall - np.abs(y)),
    )


def _wall(p: Patch, o: _Openings, relief: np.ndarray) -> np.ndarray:
    """(3, N) albedo of bricks or plaster, with string courses, sills and surrounds of windows."""
    storey, _, _, _, ground, brick = p.params
    foot = p.footprint
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
        stripe(np.mod(p.v - ground, storey), 0.04, 0.14, foot) * o.upper, stripe(p.v, ground, 0.3, foot)
    )
    below = stripe(o.y, -0.5 * o.tall - 0.06, 0.12, foot)
    sill = below * (np.abs(o.x) < 0.5 * o.width + 0.12) * o.upper
    trim = np.maximum(0.6 * band, sill)
    surround = np.clip((0.14 + o.depth_in) / foot + 0.5, 0, 1) * (brick > 0.25)
    return wall + (p.accent - wall) * np.maximum(trim, 0.8 * surround)


def _pane(p: Patch, o: _Openings, curtain: np.ndarray) -> np.ndarray:
    """(3, N) albedo of doors, and of what is seen through windows."""
    foot = p.footprint
    folds = 0.75 + 0.25 * np.sin(o.x * 40) * np.clip(0.1 / foot, 0, 1)
    inside = 0.03 + 0.28 * curtain * folds + 0.05 * np.clip(noise(p.u * 1.9, p.v * 1.9), 0, 2)
    room = np.stack([inside, inside, inside * 0.95])
    shadow = np.clip(1 - (0.5 * o.tall - o.y) / 0.35, 0, 1)  # of the lintel
    planks = 0.8 + 0.2 * grid_line(o.x, 0.3 + 0 * o.x, 0.03, foot)
    leaf = np.where(o.kind < 0.15, 0.5, 1.3) * p.accent * planks
    return np.where(o.door, leaf, room * (1 - 0.6 * shadow))


def _light(p: Patch, o: _Openings, curtain: np.ndarray, lit: np.ndarray, glass: np.ndarray) -> np.ndarray:
    """(3, N) glow of lit rooms and shops, uneven by their curtains and goods."""
    tint = np.stack([1.0 + 0 * o.kind, 0.55 + 0.3 * o.kind, 0.2 + 0.55 * o.kind])
    shelves = cell_hash(np.floor(p.u / 0.41), np.floor(p.v / 0.63), p.salt + 3)
    goods = shelves * np.clip(0.3 / p.footprint, 0, 1)
    content = (
        0.35 + 0.5 * curtain + 0.25 * noise(p.u * 1.3 + 40 * o.other, p.v * 0.9) * (1 - curtain) + 0.5 * goods
    )
    strength = np.where(o.upper, 0.2 + 0.7 * o.kind, 0.7) * np.clip(content, 0.08, 2)
    return tint * (strength * lit * glass * (p.lit_share > 0.02))
