"""Streets and street corners of the sample scenes.

A place is laid out into a world; it returns the camera and how far from that shadows are worth casting, in
metres.
"""

from __future__ import annotations

import numpy as np

from pipeline.scenes.places.roads import (
    KERB_M,
    NO_CROSSING_M,
    furnish_pavement,
    lay_road,
    line_with_trees,
    park_vehicles,
)
from pipeline.scenes.places.staging import add_foreground, draw_camera, line_with_houses, scatter_people
from pipeline.scenes.things.buildings import add_building
from pipeline.scenes.things.furniture import add_bollard, add_fence, add_wall
from pipeline.scenes.things.nature import add_hills, add_thicket
from pipeline.scenes.things.people import add_cyclist
from pipeline.scenes.things.vehicles import add_vehicle
from pipeline.scenes.tracing.geometry import Camera
from pipeline.scenes.world import World, frame_at


def street(world: World) -> tuple[Camera, float]:
    """Along a street, from a pavement, or from a car in its lane, often behind another one."""
    half = world.uniform(3.2, 7.0)
    pavement = world.uniform(1.8, 4.5)
    cross = world.uniform(12, 60) if world.chance(0.55) else NO_CROSSING_M
    lay_road(world, half, pavement, cross)
    driving = world.chance(0.4)
    if driving:
        _add_neighbours(world, half)
    one_sided = world.chance(0.2)
    for side in (-1, 1):
        front = half + pavement + (world.uniform(0, 5) if world.chance(0.3) else 0.0)
        if one_sided and side == 1:
            line_with_trees(world, side * (half + 2.0), 4.0, NO_CROSSING_M)
            add_fence(world, frame_at(half + pavement, 30, np.pi / 2, KERB_M), 70)
            add_hills(world, 0.5)
        elif world.chance(0.25):
            line_with_trees(world, side * (front + 1.0), world.uniform(4, 12), cross)
            bank = frame_at(side * front, 36, np.pi / 2, KERB_M)
            add_thicket(world, bank, world.uniform(50, 80), world.uniform(1.5, 5.0))
        else:
            line_with_houses(world, side, front, -14.0, 130.0, cross)
        furnish_pavement(world, side, half, pavement, cross)
        park_vehicles(world, side, half, cross)
    end = world.uniform(100, 220)
    if world.chance(0.5):
        add_building(world, frame_at(0, end), 60, 20, world.uniform(10, 40))
    else:
        add_hills(world, 0.0)
    for _ in range(int(world.rng.integers(0, 4))):
        side = 1 if world.chance(0.5) else -1
        z = world.uniform(9, 70)
        add_vehicle(world, side * 0.45 * half, z, heading=0.0 if side > 0 else np.pi, moving=True)
    scatter_people(
        world, (-half - pavement + 0.4, half + pavement - 0.4), (5.0, 45.0), int(world.rng.integers(3, 10))
    )
    if world.chance(0.4):
        add_cyclist(
            world,
            world.uniform(-half, half),
            world.uniform(6, 25),
            heading=world.uniform(-0.3, 0.3) + (np.pi if world.chance(0.5) else 0),
        )
    if driving:
        x = 0.45 * half + world.uniform(-0.3, 0.3)
        return draw_camera(world, x=x, height=world.uniform(1.2, 1.7), pitch=(-0.08, 0.1), yaw=0.15), 45.0
    x = world.uniform(-half - pavement + 0.8, half + pavement - 0.8)
    height = world.uniform(1.2, 2.4) if world.chance(0.75) else world.uniform(2.5, 6)
    camera = draw_camera(world, x=x, height=height, pitch=(-0.12, 0.22), yaw=0.45)
    add_foreground(world, camera)
    return camera, 45.0


def crossing(world: World) -> tuple[Camera, float]:
    """A street corner from a raised camera, as a surveillance camera sees it."""
    half, pavement = world.uniform(4, 7), world.uniform(3, 6)
    cross = world.uniform(8, 20)
    lay_road(world, half, pavement, cross, zebra=True)
    for side in (-1, 1):
        line_with_houses(world, side, half + pavement + world.uniform(0, 4), -6.0, 90.0, cross)
        furnish_pavement(world, side, half, pavement, cross)
        if world.chance(0.5):
            park_vehicles(world, side, half, cross)
        for k in range(int(world.rng.integers(0, 8))):
            add_bollard(world, frame_at(side * (half + 0.5), cross + half + 1.5 + 1.6 * k, 0, KERB_M))
    if world.chance(0.4):
        _add_corner_wall(world, half, pavement, cross)
    _add_traffic(world, half, cross)
    scatter_people(
        world, (-half - pavement, half + pavement), (cross - 7, cross + 16), int(world.rng.integers(6, 16))
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


def _add_neighbours(world: World, half: float) -> None:
    """Sometimes a vehicle ahead in the camera's lane, and one beside it, which the frame may cut."""
    if world.chance(0.7):
        ahead = float(np.exp(world.uniform(np.log(6.0), np.log(16.0))))
        add_vehicle(world, 0.45 * half + world.uniform(-0.4, 0.4), ahead, heading=0.0, moving=True)
    if world.chance(0.5):
        heading = 0.0 if world.chance(0.5) else np.pi
        add_vehicle(world, -0.45 * half, world.uniform(3.5, 12.0), heading=heading, moving=world.chance(0.8))


def _add_corner_wall(world: World, half: float, pavement: float, cross: float) -> None:
    side = 1 if world.chance(0.5) else -1
    frame = frame_at(
        side * (half + 0.6 * pavement),
        cross + half + world.uniform(3, 6),
        world.uniform(-0.6, 0.6),
        KERB_M,
    )
    add_wall(world, frame, world.uniform(2, 5), world.uniform(1.0, 2.8), thickness=world.uniform(0.6, 1.6))


def _add_traffic(world: World, half: float, cross: float) -> None:
    """Vehicles along either street, and cyclists."""
    for _ in range(int(world.rng.integers(0, 4))):
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
    for _ in range(int(world.rng.integers(0, 3))):
        add_cyclist(
            world,
            world.uniform(-half, half),
            cross + world.uniform(-5, 8),
            heading=world.uniform(-np.pi, np.pi),
        )
