"""Arcades and landmarks of the sample scenes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pipeline.scenes.things.buildings import STONE, WALL, facade
from pipeline.scenes.things.furniture import wall_surface
from pipeline.scenes.things.people import add_person
from pipeline.scenes.world import Frame, World


class _Fabric(NamedTuple):
    """What a landmark is built of: indices of surfaces."""

    stone: int  # blocks
    plain: int  # smooth stone of ledges, steps and shafts
    metal: int  # of roofs and tips


def add_landmark(world: World, frame: Frame) -> None:
    """One tall monument, about 5 to 70 m high: tower, obelisk, statue, column, dome or triumphal arch."""
    build = _LANDMARKS[str(world.rng.choice(list(_LANDMARKS)))]
    stone = world.surface(
        "masonry",
        world.pick(STONE),
        (0.14, 0.13, 0.11),
        contrast=0.4,
        scale_m=world.uniform(0.7, 1.6),
        params=(0.35, 0.3, 1.0),
        warmer_c=1.5,
    )
    plain = world.surface(
        "blend", world.pick(STONE), (0.2, 0.18, 0.16), contrast=0.25, scale_m=1.2, warmer_c=1
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
    build(world, frame, _Fabric(stone, plain, metal))


def add_arcade(world: World, frame: Frame, length: float, width: float, height: float) -> None:
    """A vaulted passage along the frame's z, sizes in metres: walls, columns, beams and hanging lamps."""
    wall, ceiling = (
        wall_surface(world),
        world.surface("planks", world.pick(WALL), (0.1, 0.09, 0.08), contrast=0.2, scale_m=0.5, warmer_c=2),
    )
    column = world.surface(
        "blend", world.pick(STONE), world.pick(STONE), contrast=0.15, scale_m=0.8, warmer_c=1
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
            cutout="arches" if pierced else "",
        )
    middle, half = (0.0, height + 0.2, length / 2 - 6), (width / 2 + 0.5, 0.2, length / 2)
    world.box(frame, middle, half, ceiling)
    spacing = world.uniform(3.0, 5.0)
    for k in range(int(length / spacing)):
        z = k * spacing - 3
        for x in (-(width / 2 - 0.45), width / 2 - 0.45):
            if world.chance(0.85):
                world.limb(frame, (x, 0, z), (x, height, z), 0.28, 0.9, column)
        world.box(frame, (0, height - 0.2, z), (width / 2, 0.2, 0.16), column)
        if k % 2:
            _hang_lamp(world, frame, height, z + 1, column)


def _tower(world: World, frame: Frame, fabric: _Fabric) -> None:
    """Ever narrower storeys with ledges, and a spire."""
    half, height, base = world.uniform(2.5, 5), 0.0, facade(world, tall=True)
    for _ in range(int(world.rng.integers(2, 5))):
        rise = world.uniform(5, 13)
        surface = base if world.chance(0.6) else fabric.stone
        world.box(frame, (0, height + rise / 2, 0), (half, rise / 2, half), surface)
        height += rise
        world.box(frame, (0, height, 0), (half + 0.35, 0.3, half + 0.35), fabric.plain)
        half *= world.uniform(0.68, 0.95)
    tip = height + world.uniform(2.5, 5) * half
    world.limb(frame, (0, height, 0), (0, tip, 0), 1.3 * half, 0.02, fabric.metal)


def _obelisk(world: World, frame: Frame, fabric: _Fabric) -> None:
    half, height = world.uniform(0.8, 1.8), world.uniform(12, 26)
    _add_steps(world, frame, 3 * half, fabric.plain)
    world.limb(frame, (0, 0.9, 0), (0, height, 0), half, 0.6, fabric.stone)
    tip = height + 1.5 * half
    world.limb(frame, (0, height, 0), (0, tip, 0), 0.6 * half, 0.02, fabric.metal)


def _statue(world: World, frame: Frame, fabric: _Fabric) -> None:
    half, height = world.uniform(0.8, 1.6), world.uniform(1.5, 3.5)
    _add_steps(world, frame, 2.2 * half, fabric.plain)
    middle = (0.0, height / 2 + 0.5, 0.0)
    world.box(frame, middle, (half, height / 2 + 0.4, half), fabric.stone)
    _add_figure(world, frame, half, height, fabric.plain)


def _column(world: World, frame: Frame, fabric: _Fabric) -> None:
    """A statue on a column."""
    half, height = world.uniform(0.8, 1.6), world.uniform(8, 18)
    _add_steps(world, frame, 2.2 * half, fabric.plain)
    top = (0.0, height + 0.5, 0.0)
    world.limb(frame, (0, 0.5, 0), top, 0.7 * half, 0.82, fabric.plain)
    _add_figure(world, frame, half, height, fabric.plain)


def _dome(world: World, frame: Frame, fabric: _Fabric) -> None:
    """A hall under a drum, a dome and a lantern, with a portico towards the frame's -z."""
    radius, height = world.uniform(6, 11), world.uniform(8, 13)
    drum = height + 0.5 * radius
    half = (1.3 * radius, height / 2, radius)
    world.box(frame, (0, height / 2, 0), half, facade(world))
    world.limb(frame, (0, height, 0), (0, drum, 0), 0.85 * radius, 1.0, facade(world))
    half = (0.85 * radius, 0.9 * radius, 0.85 * radius)
    world.ball(frame, (0, drum, 0), half, fabric.metal)
    foot, tip = (0.0, height + 1.3 * radius, 0.0), (0.0, height + 1.9 * radius, 0.0)
    world.limb(frame, foot, tip, 0.14 * radius, 0.6, fabric.plain)
    for k in range(-3, 4):
        x, z = 0.38 * k * radius, -1.25 * radius
        world.limb(frame, (x, 0, z), (x, 0.8 * height, z), 0.45, 0.85, fabric.plain)
    half = (1.35 * radius, 0.07 * height, 0.28 * radius)
    world.box(frame, (0, 0.87 * height, -1.1 * radius), half, fabric.plain)


def _arch(world: World, frame: Frame, fabric: _Fabric) -> None:
    half, height = world.uniform(4, 7), world.uniform(9, 14)
    pier = (0.28 * half, 0.36 * height, 0.3 * half)
    for side in (-1, 1):
        middle = (side * 0.72 * half, 0.36 * height, 0.0)
        world.box(frame, middle, pier, fabric.stone)
    attic = (half, 0.14 * height, 0.3 * half)
    world.box(frame, (0, 0.86 * height, 0), attic, fabric.stone)
    world.box(frame, (0, height, 0), (1.05 * half, 0.3, 0.36 * half), fabric.plain)


#: Name -> how to build it.
_LANDMARKS: dict[str, Callable[[World, Frame, _Fabric], None]] = {
    "tower": _tower,
    "obelisk": _obelisk,
    "statue": _statue,
    "column": _column,
    "dome": _dome,
    "arch": _arch,
}


def _add_steps(world: World, frame: Frame, half: float, surface: int) -> None:
    for step in range(3):
        wide = half - 0.35 * step
        world.box(frame, (0, 0.15 + 0.3 * step, 0), (wide, 0.15, wide), surface)


def _add_figure(world: World, frame: Frame, half: float, height: float, plate: int) -> None:
    """A statue on a plate at the top of its pedestal, facing roughly the frame's -z."""
    world.box(frame, (0, height + 1.0, 0), (1.1 * half, 0.18, 1.1 * half), plate)
    ahead = float(np.arctan2(frame.rotation[0, 2], frame.rotation[2, 2]))
    turn = ahead + np.pi + world.uniform(-0.7, 0.7)
    add_person(
        world,
        frame.origin[0],
        frame.origin[2],
        heading=turn,
        y=frame.origin[1] + height + 1.15,
        statue_scale=world.uniform(1.6, 2.6),
    )


def _hang_lamp(world: World, frame: Frame, ceiling: float, z: float, metal: int) -> None:
    glow = (5.0, 4.0, 2.6) if world.weather.night else (2.0, 1.8, 1.4)
    lamp = world.surface("plain", (0.7, 0.65, 0.5), glow=glow, warmer_c=22)
    world.limb(frame, (0, ceiling - 0.5, z), (0, ceiling, z), 0.015, 1, metal)
    world.ball(frame, (0, ceiling - 0.6, z), (0.16, 0.2, 0.16), lamp)
    strength = 6.0 if world.weather.night else 3.0
    world.lamp(frame.point((0, ceiling - 0.7, z)), (1.0, 0.82, 0.55), strength)
