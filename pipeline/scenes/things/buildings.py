"""Houses of the sample scenes: fronts, roofs, balconies, awnings, shop signs."""

from __future__ import annotations

import numpy as np

from pipeline.scenes.surfaces.materials import Colour
from pipeline.scenes.world import Frame, World

WALL: list[Colour] = [
    (0.55, 0.48, 0.38),
    (0.62, 0.60, 0.56),
    (0.36, 0.16, 0.11),
    (0.45, 0.33, 0.22),
    (0.30, 0.30, 0.31),
    (0.58, 0.42, 0.25),
    (0.40, 0.45, 0.48),
    (0.25, 0.13, 0.10),
    (0.66, 0.55, 0.45),
    (0.32, 0.38, 0.30),
]
STONE: list[Colour] = [(0.42, 0.37, 0.29), (0.50, 0.47, 0.42), (0.33, 0.31, 0.28), (0.48, 0.36, 0.26)]
_TRIM: list[Colour] = [
    (0.65, 0.63, 0.58),
    (0.12, 0.10, 0.09),
    (0.40, 0.36, 0.30),
    (0.08, 0.14, 0.12),
    (0.25, 0.08, 0.05),
]
_SIGN: list[Colour] = [
    (0.5, 0.04, 0.04),
    (0.04, 0.12, 0.4),
    (0.55, 0.4, 0.05),
    (0.05, 0.25, 0.12),
    (0.6, 0.6, 0.58),
    (0.03, 0.03, 0.03),
]


def facade(world: World, *, tall: bool = False) -> int:
    """A surface of one house front."""
    brick = world.uniform(0, 1)
    storey = world.uniform(2.8, 3.6)
    glassy = tall and world.chance(0.4)
    share = (
        (world.uniform(0.78, 0.95), world.uniform(0.7, 0.9))
        if glassy
        else (world.uniform(0.3, 0.6), world.uniform(0.45, 0.68))
    )
    return world.surface(
        "facade",
        world.pick(WALL),
        world.pick(_TRIM),
        contrast=world.uniform(0.08, 0.3),
        scale_m=world.uniform(1.0, 3.5),
        params=(storey, world.uniform(1.5, 4.2), *share, world.uniform(3.2, 4.6), brick),
        warmer_c=world.uniform(0, 4),
    )


def add_building(
    world: World, frame: Frame, width: float, depth: float, height: float, *, detail: bool = True
) -> None:
    """A house whose front centre stands at the frame's origin, facing the frame's -z."""
    front = facade(world, tall=height > 25)
    roof = world.surface(
        "blend",
        world.pick([(0.12, 0.11, 0.1), (0.3, 0.11, 0.07), (0.2, 0.2, 0.21)]),
        (0.06, 0.06, 0.06),
        contrast=0.3,
        scale_m=2.0,
        warmer_c=-2,
    )
    sides = (front, front, roof, roof, front, front)
    middle = (0.0, height / 2, depth / 2)
    world.box(frame, middle, (width / 2, height / 2, depth / 2), sides)
    trim = world.surface("plain", world.pick(_TRIM), contrast=0.2, warmer_c=1)
    top = world.uniform(0, 1)
    if top < 0.35 and height < 22:
        rise = world.uniform(0.25, 0.5) * depth
        tiles = world.surface(
            "masonry",
            world.pick([(0.32, 0.11, 0.07), (0.14, 0.12, 0.12), (0.22, 0.15, 0.1)]),
            (0.05, 0.04, 0.04),
            contrast=0.4,
            scale_m=0.35,
            params=(0.6, 0.2, 1.0),
            warmer_c=-2,
        )
        _add_gable(world, frame, width / 2 + 0.25, -0.45, depth + 0.3, height, rise, tiles, front)
    else:
        cornice = (0.0, height - 0.25, depth / 2)
        world.box(
            frame, cornice, (width / 2 + 0.3, 0.3, depth / 2 + 0.3), (trim, trim, trim, roof, trim, trim)
        )
        if height > 25 and world.chance(0.6):
            share, rise = world.uniform(0.5, 0.8), world.uniform(0.15, 0.5) * height
            half = (share * width / 2, rise / 2, share * depth / 2)
            world.box(frame, (0, height + rise / 2, depth / 2), half, sides)
        elif world.chance(0.6):
            x = world.uniform(-0.3, 0.3) * width
            world.box(frame, (x, height + 1.0, depth * 0.4), (1.4, 1.1, 1.3), trim)
    if detail:
        _add_front_detail(world, frame, width, height, world.surfaces[front].params, trim)


def sign_surface(world: World, *, lit: bool) -> int:
    """A shop sign or poster; ``lit`` ones glow by night."""
    colour, accent = world.pick(_SIGN), world.pick(_SIGN)
    on = lit and world.weather.night
    strength = world.uniform(1.0, 3.5) if on else 0.0
    tint = world.pick([(1, 0.9, 0.7), (0.9, 0.2, 0.15), (0.25, 0.5, 1.0), (0.4, 1.0, 0.5), (1, 1, 1)])
    glow = (strength * tint[0], strength * tint[1], strength * tint[2])
    return world.surface(
        "panel",
        colour,
        accent,
        contrast=0.2,
        scale_m=world.uniform(0.3, 1.2),
        glow=glow,
        warmer_c=6 if on else 0,
    )


def _add_front_detail(
    world: World, frame: Frame, width: float, height: float, params: tuple[float, ...], trim: int
) -> None:
    """What sticks out of a front; ``params`` are those of its facade."""
    storey, ground = params[0], params[4]
    if world.chance(0.55):
        _add_shop_sign(world, frame, width, ground)
    if world.chance(0.35):
        _add_awning(world, frame, 0.35 * width, ground)
    if world.chance(0.35) and height > 2 * storey:
        floors = [ground + row * storey - 0.1 for row in range(1, min(6, int((height - ground) / storey)))]
        _add_balconies(world, frame, width, floors, trim)
    if world.chance(0.4):
        y = world.uniform(ground + 0.2, ground + 2.5)
        x = world.uniform(-0.45, 0.45) * width
        half = (0.06, world.uniform(0.4, 1.2), 0.5)
        world.box(frame, (x, y, -0.6), half, sign_surface(world, lit=True))


def _add_shop_sign(world: World, frame: Frame, width: float, ground: float) -> None:
    """A board above the ground floor, which by night mostly lights the pavement."""
    across, at = world.uniform(0.15, 0.45) * width, world.uniform(-0.2, 0.2) * width
    board = sign_surface(world, lit=True)
    world.box(frame, (at, ground - 0.35, -0.12), (across, 0.35, 0.12), board)
    if world.weather.night and world.chance(0.8):
        warm = world.pick([(1.0, 0.8, 0.5), (0.9, 0.95, 1.0), (1.0, 0.6, 0.3)])
        world.lamp(frame.point((at, ground - 0.8, -1.6)), warm, world.uniform(3, 9))


def _add_awning(world: World, frame: Frame, half: float, ground: float) -> None:
    top, low = ground - 0.5, ground - 1.5
    cloth = world.surface(
        "planks", world.pick(_SIGN), (0.6, 0.58, 0.55), contrast=0.1, scale_m=0.5, warmer_c=-1
    )
    planes = np.array(
        [
            [0, 0.45, -1.0, 0.45 * top],
            [0, -1, 0, -low],
            [0, 0, 1, 0.0],
            [-1, 0, 0, half],
            [1, 0, 0, half],
            [0, 1, 0, top],
            [0, 0, -1, 1.6],
        ]
    )
    world.convex(frame, planes, (-half, low, -1.6), (half, top, 0), cloth)


def _add_balconies(world: World, frame: Frame, width: float, floors: list[float], slab: int) -> None:
    """Two on each of the ``floors``, which are heights in metres."""
    railing = world.surface("plain", (0.05, 0.05, 0.05), warmer_c=-1)
    for floor in floors:
        for x in (-0.28 * width, 0.28 * width):
            world.box(frame, (x, floor, -0.55), (0.16 * width, 0.08, 0.55), slab)
            front, half = (x, floor + 0.55, -1.08), (0.16 * width, 0.5, 0.02)
            world.box(frame, front, half, railing, cutout="rails")


def _add_gable(
    world: World,
    frame: Frame,
    half_width: float,
    front: float,
    back: float,
    eaves: float,
    rise: float,
    tiles: int,
    wall: int,
) -> None:
    half = (back - front) / 2
    middle = (back + front) / 2
    slopes = [[0, half, -rise, half * eaves - rise * front], [0, half, rise, half * eaves + rise * back]]
    planes = np.array([*slopes, [0, -1, 0, -eaves], [-1, 0, 0, half_width], [1, 0, 0, half_width]], float)
    top = eaves + rise
    world.convex(
        frame,
        planes,
        (-half_width, eaves, middle - half),
        (half_width, top, middle + half),
        (tiles, tiles, wall, wall, wall),
    )
