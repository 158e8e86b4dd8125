"""What is built in a sample scene: houses, towers, monuments, arcades and walls."""

from __future__ import annotations

import numpy as np

from pipeline.scene_actors import add_person
from pipeline.scene_materials import Colour
from pipeline.scene_world import Frame, World

_WALL: list[Colour] = [
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
_TRIM: list[Colour] = [
    (0.65, 0.63, 0.58),
    (0.12, 0.10, 0.09),
    (0.40, 0.36, 0.30),
    (0.08, 0.14, 0.12),
    (0.25, 0.08, 0.05),
]
_STONE: list[Colour] = [(0.42, 0.37, 0.29), (0.50, 0.47, 0.42), (0.33, 0.31, 0.28), (0.48, 0.36, 0.26)]
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
        world.pick(_WALL),
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
    world.box(frame, middle, (width / 2, height / 2, depth / 2), sides, label="building")
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
            frame,
            cornice,
            (width / 2 + 0.3, 0.3, depth / 2 + 0.3),
            (trim, trim, trim, roof, trim, trim),
            label="building",
        )
        if height > 25 and world.chance(0.6):
            share, rise = world.uniform(0.5, 0.8), world.uniform(0.15, 0.5) * height
            half = (share * width / 2, rise / 2, share * depth / 2)
            world.box(frame, (0, height + rise / 2, depth / 2), half, sides, label="building")
        elif world.chance(0.6):
            x = world.uniform(-0.3, 0.3) * width
            world.box(frame, (x, height + 1.0, depth * 0.4), (1.4, 1.1, 1.3), trim, label="building")
    if detail:
        _add_front_detail(world, frame, width, height, world.surfaces[front].params, trim)


def add_wall(
    world: World,
    frame: Frame,
    length: float,
    height: float,
    *,
    thickness: float = 0.3,
    arches: bool = False,
    surface: int = -1,
) -> None:
    """A free-standing wall along the frame's x, of brick, stone or planks, possibly pierced by tiers of arches."""
    if surface < 0:
        surface = wall_surface(world)
    world.box(
        frame,
        (0, height / 2, 0),
        (length / 2, height / 2, thickness / 2),
        surface,
        label="wall",
        cutout="arches" if arches else "",
    )
    if not arches:
        cap = world.surface("plain", world.pick(_STONE), contrast=0.3, warmer_c=0)
        world.box(frame, (0, height, 0), (length / 2 + 0.05, 0.06, thickness / 2 + 0.06), cap, label="wall")


def wall_surface(world: World) -> int:
    """Brick, stone blocks, plaster with graffiti stains, or boards."""
    kind = world.uniform(0, 1)
    if kind < 0.35:
        return world.surface(
            "masonry",
            world.pick([(0.35, 0.15, 0.1), (0.27, 0.13, 0.09), (0.45, 0.3, 0.2)]),
            (0.4, 0.37, 0.33),
            contrast=0.4,
            scale_m=0.26,
            params=(0.1, 0.6, 1.0),
            warmer_c=1,
        )
    if kind < 0.7:
        return world.surface(
            "masonry",
            world.pick(_STONE),
            (0.16, 0.14, 0.12),
            contrast=0.45,
            scale_m=world.uniform(0.4, 1.1),
            params=(world.uniform(0.2, 0.6), 0.4, 1.0),
            warmer_c=1,
        )
    if kind < 0.88:
        return world.surface(
            "blend",
            world.pick(_WALL),
            world.pick(_STONE),
            contrast=world.uniform(0.2, 0.5),
            scale_m=world.uniform(1.0, 3.0),
            warmer_c=1,
        )
    return world.surface(
        "planks",
        world.pick([(0.25, 0.15, 0.08), (0.14, 0.18, 0.12), (0.35, 0.33, 0.3)]),
        (0.03, 0.025, 0.02),
        contrast=0.35,
        scale_m=0.18,
        warmer_c=0,
    )


def add_landmark(world: World, frame: Frame) -> None:
    """One tall monument: tower, obelisk, statue, column, dome or triumphal arch."""
    kind = str(world.stream.choice(["tower", "obelisk", "statue", "column", "dome", "arch"]))
    stone = world.surface(
        "masonry",
        world.pick(_STONE),
        (0.14, 0.13, 0.11),
        contrast=0.4,
        scale_m=world.uniform(0.7, 1.6),
        params=(0.35, 0.3, 1.0),
        warmer_c=1.5,
    )
    plain = world.surface(
        "blend", world.pick(_STONE), (0.2, 0.18, 0.16), contrast=0.25, scale_m=1.2, warmer_c=1
    )
    metal = world.surface(
        "blend",
        world.pick([(0.16, 0.32, 0.26), (0.45, 0.33, 0.08), (0.13, 0.14, 0.16)]),
        (0.1, 0.1, 0.09),
        contrast=0.3,
        scale_m=1.5,
        gloss=0.1,
        warmer_c=-3,
    )
    if kind == "tower":
        half, height, base = world.uniform(2.5, 5), 0.0, facade(world, tall=True)
        for _ in range(int(world.stream.integers(2, 5))):
            rise = world.uniform(5, 13)
            world.box(
                frame,
                (0, height + rise / 2, 0),
                (half, rise / 2, half),
                base if world.chance(0.6) else stone,
                label="landmark",
            )
            height += rise
            world.box(frame, (0, height, 0), (half + 0.35, 0.3, half + 0.35), plain, label="landmark")
            half *= world.uniform(0.68, 0.95)
        world.limb(
            frame,
            (0, height, 0),
            (0, height + world.uniform(2.5, 5) * half, 0),
            1.3 * half,
            0.02,
            metal,
            label="landmark",
        )
    elif kind == "obelisk":
        half, height = world.uniform(0.8, 1.8), world.uniform(12, 26)
        _add_steps(world, frame, 3 * half, plain)
        world.limb(frame, (0, 0.9, 0), (0, height, 0), half, 0.6, stone, label="landmark")
        world.limb(
            frame, (0, height, 0), (0, height + 1.5 * half, 0), 0.6 * half, 0.02, metal, label="landmark"
        )
    elif kind in ("statue", "column"):
        half = world.uniform(0.8, 1.6)
        height = world.uniform(1.5, 3.5) if kind == "statue" else world.uniform(8, 18)
        _add_steps(world, frame, 2.2 * half, plain)
        if kind == "statue":
            world.box(
                frame, (0, height / 2 + 0.5, 0), (half, height / 2 + 0.4, half), stone, label="landmark"
            )
        else:
            world.limb(frame, (0, 0.5, 0), (0, height + 0.5, 0), 0.7 * half, 0.82, plain, label="landmark")
        world.box(frame, (0, height + 1.0, 0), (1.1 * half, 0.18, 1.1 * half), plain, label="landmark")
        turn = (
            float(np.arctan2(frame.rotation[0, 2], frame.rotation[2, 2])) + np.pi + world.uniform(-0.7, 0.7)
        )
        scale = world.uniform(1.6, 2.6)
        add_person(
            world,
            frame.origin[0],
            frame.origin[2],
            heading=turn,
            y=frame.origin[1] + height + 1.15,
            statue_scale=scale,
        )
    elif kind == "dome":
        radius, height = world.uniform(6, 11), world.uniform(8, 13)
        world.box(
            frame, (0, height / 2, 0), (1.3 * radius, height / 2, radius), facade(world), label="landmark"
        )
        world.limb(
            frame,
            (0, height, 0),
            (0, height + 0.5 * radius, 0),
            0.85 * radius,
            1.0,
            facade(world),
            label="landmark",
        )
        world.ball(
            frame,
            (0, height + 0.5 * radius, 0),
            (0.85 * radius, 0.9 * radius, 0.85 * radius),
            metal,
            label="landmark",
        )
        world.limb(
            frame,
            (0, height + 1.3 * radius, 0),
            (0, height + 1.9 * radius, 0),
            0.14 * radius,
            0.6,
            plain,
            label="landmark",
        )
        for k in range(-3, 4):
            world.limb(
                frame,
                (0.38 * k * radius, 0, -1.25 * radius),
                (0.38 * k * radius, 0.8 * height, -1.25 * radius),
                0.45,
                0.85,
                plain,
                label="landmark",
            )
        world.box(
            frame,
            (0, 0.87 * height, -1.1 * radius),
            (1.35 * radius, 0.07 * height, 0.28 * radius),
            plain,
            label="landmark",
        )
    else:
        half, height = world.uniform(4, 7), world.uniform(9, 14)
        for side in (-1, 1):
            world.box(
                frame,
                (side * 0.72 * half, 0.36 * height, 0),
                (0.28 * half, 0.36 * height, 0.3 * half),
                stone,
                label="landmark",
            )
        world.box(frame, (0, 0.86 * height, 0), (half, 0.14 * height, 0.3 * half), stone, label="landmark")
        world.box(frame, (0, height, 0), (1.05 * half, 0.3, 0.36 * half), plain, label="landmark")


def add_arcade(world: World, frame: Frame, length: float, width: float, height: float) -> None:
    """A vaulted passage along the frame's z: floor to ceiling walls, columns, beams and hanging lamps."""
    wall, ceiling = (
        wall_surface(world),
        world.surface("planks", world.pick(_WALL), (0.1, 0.09, 0.08), contrast=0.2, scale_m=0.5, warmer_c=2),
    )
    column = world.surface(
        "blend", world.pick(_STONE), world.pick(_STONE), contrast=0.3, scale_m=0.8, warmer_c=1
    )
    open_side = world.chance(0.7)
    for side in (-1, 1):
        pierced = side == 1 and open_side
        surface = facade(world) if not pierced and world.chance(0.4) else wall
        world.box(
            frame,
            (side * width / 2, height / 2, length / 2 - 6),
            (0.2, height / 2, length / 2),
            surface,
            label="wall",
            cutout="arches" if pierced else "",
        )
    world.box(
        frame,
        (0, height + 0.2, length / 2 - 6),
        (width / 2 + 0.5, 0.2, length / 2),
        ceiling,
        label="building",
    )
    spacing = world.uniform(3.0, 5.0)
    for k in range(int(length / spacing)):
        z = k * spacing - 3
        for side in (-1, 1):
            if world.chance(0.85):
                world.limb(
                    frame,
                    (side * (width / 2 - 0.45), 0, z),
                    (side * (width / 2 - 0.45), height, z),
                    0.28,
                    0.9,
                    column,
                    label="column",
                )
        world.box(frame, (0, height - 0.2, z), (width / 2, 0.2, 0.16), column, label="building")
        if k % 2:
            glow = (5.0, 4.0, 2.6) if world.weather.night else (2.0, 1.8, 1.4)
            lamp = world.surface("plain", (0.7, 0.65, 0.5), glow=glow, warmer_c=22)
            world.limb(frame, (0, height - 0.5, z + 1), (0, height, z + 1), 0.015, 1, column, label="lamp")
            world.ball(frame, (0, height - 0.6, z + 1), (0.16, 0.2, 0.16), lamp, label="lamp")
            world.lamp(
                frame.point((0, height - 0.7, z + 1)), (1.0, 0.82, 0.55), 6.0 if world.weather.night else 3.0
            )


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
    storey, ground = params[0], params[4]
    if world.chance(0.55):
        across, at = world.uniform(0.15, 0.45) * width, world.uniform(-0.2, 0.2) * width
        world.box(
            frame,
            (at, ground - 0.35, -0.12),
            (across, 0.35, 0.12),
            sign_surface(world, lit=True),
            label="sign",
        )
        if world.weather.night and world.chance(0.8):
            warm = world.pick([(1.0, 0.8, 0.5), (0.9, 0.95, 1.0), (1.0, 0.6, 0.3)])
            world.lamp(frame.point((at, ground - 0.8, -1.6)), warm, world.uniform(3, 9))
    if world.chance(0.35):
        awning = world.surface(
            "planks", world.pick(_SIGN), (0.6, 0.58, 0.55), contrast=0.1, scale_m=0.5, warmer_c=-1
        )
        planes = np.array(
            [[0, 0.45, -1.0, 0.45 * (ground - 0.5)], [0, -1, 0, -(ground - 1.5)], [0, 0, 1, 0.0]]
        )
        planes = np.concatenate(
            [
                planes,
                [[-1, 0, 0, 0.35 * width], [1, 0, 0, 0.35 * width], [0, 1, 0, ground - 0.5], [0, 0, -1, 1.6]],
            ]
        )
        world.convex(
            frame,
            planes,
            (-0.35 * width, ground - 1.5, -1.6),
            (0.35 * width, ground - 0.5, 0),
            awning,
            label="awning",
        )
    if world.chance(0.35) and height > 2 * storey:
        railing = world.surface("plain", (0.05, 0.05, 0.05), warmer_c=-1)
        for row in range(1, min(6, int((height - ground) / storey))):
            for x in (-0.28 * width, 0.28 * width):
                floor = ground + row * storey - 0.1
                world.box(frame, (x, floor, -0.55), (0.16 * width, 0.08, 0.55), trim, label="building")
                world.box(
                    frame,
                    (x, floor + 0.55, -1.08),
                    (0.16 * width, 0.5, 0.02),
                    railing,
                    label="building",
                    cutout="rails",
                )
    if world.chance(0.4):
        y = world.uniform(ground + 0.2, ground + 2.5)
        x = world.uniform(-0.45, 0.45) * width
        world.box(
            frame,
            (x, y, -0.6),
            (0.06, world.uniform(0.4, 1.2), 0.5),
            sign_surface(world, lit=True),
            label="sign",
        )


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
        label="building",
    )


def _add_steps(world: World, frame: Frame, half: float, surface: int) -> None:
    for step in range(3):
        world.box(
            frame,
            (0, 0.15 + 0.3 * step, 0),
            (half - 0.35 * step, 0.15, half - 0.35 * step),
            surface,
            label="landmark",
        )
