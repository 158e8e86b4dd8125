"""Streets and street corners of the sample scenes, and what lines them."""

from __future__ import annotations

import numpy as np

from pipeline.scenes.buildings import add_building
from pipeline.scenes.furniture import add_bollard, add_fence, add_street_lamp, add_wall
from pipeline.scenes.geometry import Camera
from pipeline.scenes.nature import add_hills, add_tree
from pipeline.scenes.people import add_cyclist
from pipeline.scenes.staging import (
    add_foreground,
    add_furniture,
    draw_camera,
    line_with_houses,
    paving,
    scatter_people,
)
from pipeline.scenes.vehicles import add_vehicle
from pipeline.scenes.world import World, frame_at

_KERB_M = 0.12


def street(world: World) -> tuple[Camera, float]:
    """Along a street, from a pavement or a lane."""
    half = world.uniform(3.2, 7.0)
    pavement = world.uniform(1.8, 4.5)
    cross = world.uniform(12, 60) if world.chance(0.55) else 500.0
    _lay_street(world, half, pavement, cross)
    one_sided = world.chance(0.2)
    for side in (-1, 1):
        front = half + pavement + (world.uniform(0, 5) if world.chance(0.3) else 0.0)
        if one_sided and side == 1:
            _line_with_trees(world, side * (half + 2.0), 4.0, 500.0)
            add_fence(world, frame_at(half + pavement, 30, np.pi / 2, _KERB_M), 70)
            add_hills(world, 0.5)
        else:
            line_with_houses(world, side, front, -14.0, 130.0, cross)
        _furnish_pavement(world, side, half, pavement, cross)
        _park_vehicles(world, side, half, cross)
    end = world.uniform(100, 220)
    if world.chance(0.5):
        add_building(world, frame_at(0, end), 60, 20, world.uniform(10, 40))
    else:
        add_hills(world, 0.0)
    for _ in range(int(world.stream.integers(0, 4))):
        side = 1 if world.chance(0.5) else -1
        z = world.uniform(9, 70)
        add_vehicle(world, side * 0.45 * half, z, heading=0.0 if side > 0 else np.pi, moving=True)
    scatter_people(
        world, (-half - pavement + 0.4, half + pavement - 0.4), (5.0, 45.0), int(world.stream.integers(3, 10))
    )
    if world.chance(0.4):
        add_cyclist(
            world,
            world.uniform(-half, half),
            world.uniform(6, 25),
            heading=world.uniform(-0.3, 0.3) + (np.pi if world.chance(0.5) else 0),
        )
    x = world.uniform(-half - pavement + 0.8, half + pavement - 0.8)
    camera = draw_camera(
        world,
        x=x,
        height=world.uniform(1.2, 2.4) if world.chance(0.75) else world.uniform(2.5, 6),
        pitch=(-0.12, 0.22),
        yaw=0.45,
    )
    add_foreground(world, camera)
    return camera, 45.0


def crossing(world: World) -> tuple[Camera, float]:
    """A street corner from a raised camera, as a surveillance camera sees it."""
    half, pavement = world.uniform(4, 7), world.uniform(3, 6)
    cross = world.uniform(8, 20)
    _lay_street(world, half, pavement, cross, zebra=True)
    for side in (-1, 1):
        line_with_houses(world, side, half + pavement + world.uniform(0, 4), -6.0, 90.0, cross)
        _furnish_pavement(world, side, half, pavement, cross)
        if world.chance(0.5):
            _park_vehicles(world, side, half, cross)
        for k in range(int(world.stream.integers(0, 8))):
            add_bollard(world, frame_at(side * (half + 0.5), cross + half + 1.5 + 1.6 * k, 0, _KERB_M))
    if world.chance(0.4):
        side = 1 if world.chance(0.5) else -1
        frame = frame_at(
            side * (half + 0.6 * pavement),
            cross + half + world.uniform(3, 6),
            world.uniform(-0.6, 0.6),
            _KERB_M,
        )
        add_wall(
            world, frame, world.uniform(2, 5), world.uniform(1.0, 2.8), thickness=world.uniform(0.6, 1.6)
        )
    for _ in range(int(world.stream.integers(0, 4))):
        along = world.chance(0.5)
        place = world.uniform(-4, 18)
        heading = (0.0 if along else np.pi / 2) + world.uniform(-0.3, 0.3)
        add_vehicle(
            world,
            world.uniform(-half, half) if along else place - 6,
            place + 5 if along else cross + world.uniform(-2, 2),
            heading=heading,
            moving=True,
        )
    for _ in range(int(world.stream.integers(0, 3))):
        add_cyclist(
            world,
            world.uniform(-half, half),
            cross + world.uniform(-5, 8),
            heading=world.uniform(-np.pi, np.pi),
        )
    scatter_people(
        world, (-half - pavement, half + pavement), (cross - 7, cross + 16), int(world.stream.integers(6, 16))
    )
    height = world.uniform(3.2, 9.0)
    look_down = float(np.arctan2(height - 1.0, cross + world.uniform(-1.0, 9.0)))
    camera = draw_camera(
        world,
        x=world.uniform(-half, half),
        height=height,
        pitch=(look_down - 0.08, look_down + 0.03),
        yaw=0.5,
    )
    if world.chance(0.3):
        add_foreground(world, camera)
    return camera, 40.0


def _lay_street(world: World, half: float, pavement: float, cross: float, *, zebra: bool = False) -> None:
    """Road, kerbs and pavements along z, and the crossing street."""
    crossing_half = 5.5 if cross < 400 else 0.0
    shape = (
        half,
        float(world.stream.integers(0, 3)),
        cross,
        crossing_half,
        float(zebra or world.chance(0.6)),
        world.weather.wet,
    )
    asphalt = world.pick([(0.09, 0.09, 0.092), (0.14, 0.135, 0.13), (0.065, 0.065, 0.07), (0.19, 0.18, 0.17)])
    paint = world.pick([(0.62, 0.61, 0.58), (0.6, 0.58, 0.5), (0.55, 0.42, 0.1)])
    world.ground(
        world.surface(
            "road", asphalt, paint, contrast=world.uniform(0.12, 0.3), scale_m=2.5, params=shape, warmer_c=2
        )
    )
    top = paving(world)
    kerb = world.surface(
        "masonry",
        (0.4, 0.39, 0.36),
        (0.15, 0.15, 0.14),
        contrast=0.25,
        scale_m=0.9,
        params=(1, 0.2, 0),
        warmer_c=1,
    )
    kerb_sides = (kerb, kerb, kerb, top, kerb, kerb)
    verge = (
        world.surface("blend", (0.09, 0.14, 0.04), (0.16, 0.16, 0.07), contrast=0.4, scale_m=1.0, warmer_c=-1)
        if world.chance(0.3)
        else top
    )
    ends = (
        [(-40.0, cross - crossing_half), (cross + crossing_half, 420.0)]
        if crossing_half
        else [(-40.0, 420.0)]
    )
    for side in (-1, 1):
        for start, end in ends:
            middle, length = (start + end) / 2, (end - start) / 2
            x = side * (half + 8)
            world.box(
                frame_at(x, middle),
                (0, _KERB_M / 2, 0),
                (8.0, _KERB_M / 2, length),
                kerb_sides,
                label="pavement",
            )
            edges = sorted((side * half, side * (half + 16)))
            world.raise_ground((edges[0], edges[1]), (start, end), _KERB_M)
            x = side * (half + pavement * 0.4)
            if verge != top:
                world.box(
                    frame_at(x, middle),
                    (0, _KERB_M, 0),
                    (pavement * 0.25, 0.03, length),
                    verge,
                    label="pavement",
                )


def _furnish_pavement(world: World, side: int, half: float, pavement: float, cross: float) -> None:
    lamp_step, lamp_height = (
        world.uniform(14, 30),
        world.uniform(5.5, 9) if world.chance(0.7) else world.uniform(3, 4.2),
    )
    kerb = side * (half + 0.6)
    z = world.uniform(3, lamp_step)
    while z < 110:
        if abs(z - cross) > 6:
            add_street_lamp(
                world, frame_at(kerb, z, -side * np.pi / 2, _KERB_M), height=lamp_height, on=world.chance(0.9)
            )
        z += lamp_step
    if world.chance(0.55):
        _line_with_trees(world, kerb + side * 0.4, world.uniform(4, 12), cross)
    for _ in range(int(world.stream.integers(3, 10))):
        z = world.uniform(4, 50)
        if abs(z - cross) > 6.5:
            x = side * (half + world.uniform(0.5, max(0.6, pavement - 0.6)))
            add_furniture(
                world, x, z, -side * np.pi / 2 + (np.pi if world.chance(0.3) else 0), y=_KERB_M, tree=False
            )
    if world.chance(0.2):
        add_fence(world, frame_at(kerb, world.uniform(15, 30), np.pi / 2, _KERB_M), world.uniform(6, 20))


def _line_with_trees(world: World, x: float, start: float, cross: float) -> None:
    step, height = world.uniform(7, 14), world.uniform(5, 10)
    kind = str(world.stream.choice(["broad", "column", "palm", "bare"], p=[0.6, 0.1, 0.1, 0.2]))
    z = start
    while z < 75:
        if abs(z - cross) > 8 and z > 4:
            add_tree(
                world,
                frame_at(x, z, world.uniform(-3, 3), _KERB_M),
                height=height * world.uniform(0.85, 1.15),
                kind=kind,
            )
        z += step


def _park_vehicles(world: World, side: int, half: float, cross: float) -> None:
    if world.chance(0.3):
        return
    z, share = world.uniform(6, 14), world.uniform(0.4, 0.95)
    while z < 75:
        if abs(z - cross) > 12 and world.chance(share):
            heading = 0.0 if side > 0 else np.pi
            add_vehicle(
                world, side * (half - 1.1), z, heading=heading + world.uniform(-0.03, 0.03), moving=False
            )
        z += world.uniform(5.4, 7.0)
