"""Arcades and landmarks of the sample scenes."""

from __future__ import annotations

import numpy as np

from pipeline.scenes.buildings import STONE, WALL, facade
from pipeline.scenes.furniture import wall_surface
from pipeline.scenes.people import add_person
from pipeline.scenes.world import Frame, World


def add_landmark(world: World, frame: Frame) -> None:
    """One tall monument: tower, obelisk, statue, column, dome or triumphal arch."""
    kind = str(world.stream.choice(["tower", "obelisk", "statue", "column", "dome", "arch"]))
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


def _add_steps(world: World, frame: Frame, half: float, surface: int) -> None:
    for step in range(3):
        world.box(
            frame,
            (0, 0.15 + 0.3 * step, 0),
            (half - 0.35 * step, 0.15, half - 0.35 * step),
            surface,
            label="landmark",
        )
