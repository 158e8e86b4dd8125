"""Wide places of the sample scenes: a city from above, ruins, a freight yard.

A place is laid out into a world; it returns the camera and how far from that shadows are worth casting, in
metres.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.scenes.places.staging import (
    add_foreground,
    draw_camera,
    scatter_people,
)
from pipeline.scenes.things.buildings import add_building
from pipeline.scenes.things.furniture import add_fence, add_street_lamp, add_wall, wall_surface
from pipeline.scenes.things.nature import add_hills
from pipeline.scenes.things.vehicles import add_vehicle
from pipeline.scenes.tracing.geometry import Camera
from pipeline.scenes.world import World, frame_at


def skyline(world: World) -> tuple[Camera, float]:
    """Roofs and towers from a high place."""
    world.weather = replace(world.weather, haze_per_m=0.25 * world.weather.haze_per_m)
    world.ground(
        world.surface("blend", (0.13, 0.13, 0.13), (0.1, 0.13, 0.06), contrast=0.5, scale_m=30.0, warmer_c=1)
    )
    eye = world.uniform(35, 140)
    for row in range(1, 15):
        z = 28.0 * row**1.15
        for column in range(-int(3 + 1.1 * row), int(4 + 1.1 * row)):
            if world.chance(0.2):
                continue
            x = 30 * column + world.uniform(-5, 5)
            height = world.uniform(7, 24) if world.chance(0.75) else world.uniform(25, 1.5 * eye)
            if row == 1:
                height = min(height, world.uniform(0.3, 1.25) * eye if abs(column) != 0 else 0.75 * eye)
            add_building(
                world,
                frame_at(x, z, world.uniform(-0.06, 0.06)),
                world.uniform(14, 26),
                world.uniform(14, 24),
                height,
                detail=False,
            )
    if world.chance(0.6):
        add_hills(world, 0.0)
    return draw_camera(world, x=world.uniform(-10, 10), height=eye, pitch=(0.0, 0.4), yaw=0.4), 320.0


def ruin(world: World) -> tuple[Camera, float]:
    """Tiers of arches behind low broken walls."""
    world.ground(
        world.surface("blend", (0.3, 0.25, 0.17), (0.12, 0.14, 0.05), contrast=0.45, scale_m=2.0, warmer_c=2)
    )
    stone = wall_surface(world)
    radius = _add_tiers(world, stone)
    for _ in range(int(world.rng.integers(8, 18))):
        x, z = world.uniform(-14, 14), world.uniform(3.5, 30)
        if abs(x) < 1.5 and z < 7:  # in the camera's way
            continue
        low = world.uniform(0.5, 3.2)
        turn = world.uniform(-0.25, 0.25) + (np.pi / 2 if world.chance(0.5) else 0)
        half = (world.uniform(0.5, 4), low / 2, world.uniform(0.3, 0.9))
        world.box(frame_at(x, z, turn), (0, low / 2, 0), half, stone)
    if world.weather.night:
        _light_ruin(world, radius)
    height = world.uniform(1.4, 4.5)
    if height > 2.5:
        _add_chambers(world, height, stone)
    for _ in range(int(world.rng.integers(0, 6))):
        x, z = world.uniform(-9, 9), world.uniform(5, 25)
        world.limb(frame_at(x, z), (0, 0, 0), (0, world.uniform(1, 6), 0), 0.45, 0.9, stone)
    scatter_people(world, (-6.0, 6.0), (4.0, 28.0), int(world.rng.integers(2, 8)))
    return draw_camera(world, x=0.0, height=height, pitch=(-0.15, 0.25), yaw=0.3), 45.0


def yard(world: World) -> tuple[Camera, float]:
    """Containers, crates and vans on concrete."""
    world.ground(
        world.surface(
            "blend",
            (0.28, 0.27, 0.25),
            (0.17, 0.16, 0.15),
            contrast=0.3,
            scale_m=3.0,
            warmer_c=2,
            gloss=world.weather.wet,
        )
    )
    _add_containers(world)
    for _ in range(int(world.rng.integers(3, 12))):
        _add_crates(world)
    for _ in range(int(world.rng.integers(0, 4))):
        add_vehicle(
            world,
            world.uniform(-9, 9),
            world.uniform(8, 30),
            heading=world.uniform(-3, 3),
            moving=world.chance(0.4),
        )
    add_fence(world, frame_at(0, world.uniform(45, 60)), 80)
    add_street_lamp(world, frame_at(world.uniform(-8, 8), world.uniform(8, 20), np.pi), height=8)
    add_street_lamp(world, frame_at(world.uniform(-8, 8), world.uniform(15, 30), np.pi), height=8)
    scatter_people(world, (-6.0, 6.0), (4.0, 25.0), int(world.rng.integers(2, 7)))
    camera = draw_camera(world, x=0.0, height=world.uniform(1.4, 5), pitch=(-0.1, 0.3), yaw=0.4)
    add_foreground(world, camera)
    return camera, 45.0


def _add_tiers(world: World, stone: int) -> float:
    """A half ring of arches, dark behind; returns its radius in metres, from a point 12 m ahead."""
    shade = world.surface(
        "blend", (0.06, 0.05, 0.04), (0.12, 0.1, 0.08), contrast=0.4, scale_m=2.0, warmer_c=-2
    )
    radius, top = world.uniform(30, 60), world.uniform(12, 24)
    for k in range(-6, 7):
        heading = 0.22 * k
        frame = frame_at(radius * np.sin(heading), 12 + radius * np.cos(heading), heading)
        height = top * world.uniform(0.75, 1.0)
        add_wall(world, frame, 0.225 * radius, height, thickness=1.5, arches=True, surface=stone)
        world.box(frame, (0, 0.45 * top, 4.0), (0.13 * radius, 0.45 * top, 0.4), shade)
    return radius


def _light_ruin(world: World, radius: float) -> None:
    """Floodlights at the foot of the arches, lamps between the walls."""
    for k in range(-3, 4, 2):
        heading = 0.22 * k
        foot = np.array([(radius - 5) * np.sin(heading), 1.0, 12 + (radius - 5) * np.cos(heading)])
        world.lamp(foot, (1.0, 0.7, 0.4), world.uniform(20, 50))
    for _ in range(4):
        at = frame_at(world.uniform(-8, 8), world.uniform(5, 22), world.uniform(-np.pi, np.pi))
        add_street_lamp(world, at, height=world.uniform(3.2, 6))


def _add_chambers(world: World, eye: float, stone: int) -> None:
    """Rows of broken walls below the eye's height, with passages between."""
    for row in range(-3, 4):
        for part in range(4):
            x, z = 3.1 * row + 1.5 + world.uniform(-0.4, 0.4), 3.0 + 5.5 * part + world.uniform(0, 1)
            half = (world.uniform(0.6, 1.1), 0.5 * eye * world.uniform(0.45, 0.85), world.uniform(1.5, 2.8))
            if world.chance(0.8):
                frame = frame_at(x, z + 2, world.uniform(-0.08, 0.08))
                world.box(frame, (0, half[1], 0), half, stone)


def _add_containers(world: World) -> None:
    """Stacks of up to three."""
    paints = [(0.35, 0.08, 0.04), (0.04, 0.14, 0.32), (0.1, 0.25, 0.13), (0.5, 0.5, 0.48), (0.5, 0.28, 0.04)]
    for _ in range(int(world.rng.integers(6, 16))):
        x, z = world.uniform(-20, 20), world.uniform(5, 50)
        if abs(x) < 3.5 and z < 12:
            continue
        frame = frame_at(x, z, world.uniform(-0.1, 0.1) + (np.pi / 2 if world.chance(0.4) else 0))
        for level in range(int(world.rng.integers(1, 4))):
            steel = world.surface(
                "planks", world.pick(paints), (0.05, 0.04, 0.03), contrast=0.25, scale_m=0.28, warmer_c=2
            )
            shift = world.uniform(-0.4, 0.4)
            world.box(frame, (shift, 1.3 + 2.6 * level, 0), (3.05, 1.29, 1.22), steel)


def _add_crates(world: World) -> None:
    """A stack of up to three."""
    wood = world.surface(
        "planks",
        world.pick([(0.3, 0.2, 0.11), (0.4, 0.3, 0.18)]),
        (0.05, 0.03, 0.02),
        contrast=0.4,
        scale_m=0.14,
        warmer_c=1,
    )
    frame = frame_at(world.uniform(-7, 7), world.uniform(4, 20), world.uniform(-1, 1))
    size = world.uniform(0.3, 0.7)
    for level in range(int(world.rng.integers(1, 4))):
        world.box(frame, (world.uniform(-0.1, 0.1), size * (1 + 2 * level), 0), (size, size, size), wood)
