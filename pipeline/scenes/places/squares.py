"""Places of the sample scenes on foot and off the street: squares, parks, arcades.

A place is laid out into a world; it returns the camera and how far from that shadows are worth casting, in
metres.
"""

from __future__ import annotations

import numpy as np

from pipeline.scenes.places.roads import NO_CROSSING_M
from pipeline.scenes.places.staging import (
    add_foreground,
    add_furniture,
    draw_camera,
    line_with_houses,
    paving,
    scatter_people,
)
from pipeline.scenes.things.buildings import add_building
from pipeline.scenes.things.furniture import add_fence, add_street_lamp, add_wall
from pipeline.scenes.things.monuments import add_arcade, add_landmark
from pipeline.scenes.things.nature import add_hills, add_tree
from pipeline.scenes.tracing.geometry import Camera
from pipeline.scenes.world import World, frame_at


def plaza(world: World) -> tuple[Camera, float]:
    """A square with a monument before the sky."""
    world.ground(paving(world))
    far = world.uniform(14, 48)
    add_landmark(world, frame_at(world.uniform(-0.3, 0.3) * far, far, world.uniform(-0.5, 0.5)))
    ring = far + world.uniform(12, 45)
    for k in range(-4, 5):
        heading = 0.32 * k + world.uniform(-0.05, 0.05)
        if world.chance(0.75):
            add_building(
                world,
                frame_at(ring * np.sin(heading), ring * np.cos(heading), heading),
                0.3 * ring,
                14,
                world.uniform(8, 24),
            )
    for _ in range(int(world.rng.integers(3, 10))):
        x, z = world.uniform(-0.6, 0.6) * ring, world.uniform(5, ring * 0.9)
        add_furniture(world, x, z, world.uniform(-np.pi, np.pi))
    for _ in range(int(world.rng.integers(2, 6))):
        at = frame_at(world.uniform(-12, 12), world.uniform(5, far + 6), world.uniform(-np.pi, np.pi))
        add_street_lamp(world, at, height=world.uniform(3.5, 7.5))
    scatter_people(world, (-14.0, 14.0), (4.0, far + 8), int(world.rng.integers(6, 18)))
    if world.chance(0.4):
        add_hills(world, 0.0)
    camera = draw_camera(world, x=0.0, height=world.uniform(1.2, 2.2), pitch=(-0.3, 0.1), yaw=0.25)
    add_foreground(world, camera, share=0.75)
    return camera, 50.0


def park(world: World) -> tuple[Camera, float]:
    """Grass, trees, paths and hills."""
    _lay_meadow(world)
    for _ in range(int(world.rng.integers(6, 20))):
        x, z = world.uniform(-25, 25), world.uniform(4, 60)
        if abs(x) > 1.5 or z > 8:
            add_tree(world, frame_at(x, z), height=world.uniform(4, 13))
    for _ in range(int(world.rng.integers(2, 7))):
        add_furniture(world, world.uniform(-9, 9), world.uniform(4, 22), world.uniform(-np.pi, np.pi))
    for _ in range(int(world.rng.integers(1, 5))):
        at = frame_at(world.uniform(-8, 8), world.uniform(4, 24), world.uniform(-np.pi, np.pi))
        add_street_lamp(world, at, height=world.uniform(3.2, 6.5))
    if world.chance(0.5):
        add_fence(
            world,
            frame_at(world.uniform(-3, 3), world.uniform(8, 25), world.uniform(-0.4, 0.4)),
            world.uniform(8, 30),
        )
    if world.chance(0.35):
        add_wall(
            world,
            frame_at(world.uniform(-6, 6), world.uniform(7, 18), world.uniform(-0.7, 0.7)),
            world.uniform(4, 14),
            world.uniform(0.8, 3.0),
        )
    if world.chance(0.5):
        add_building(
            world,
            frame_at(world.uniform(-25, 25), world.uniform(30, 70), world.uniform(-0.4, 0.4)),
            world.uniform(8, 20),
            9,
            world.uniform(4, 9),
        )
    add_hills(world, 0.0)
    scatter_people(world, (-7.0, 7.0), (4.0, 30.0), int(world.rng.integers(2, 9)))
    camera = draw_camera(world, x=0.0, height=world.uniform(1.1, 2.4), pitch=(-0.15, 0.25), yaw=0.3)
    add_foreground(world, camera)
    return camera, 40.0


def arcade(world: World) -> tuple[Camera, float]:
    """A vaulted passage, as if indoors."""
    world.ground(paving(world))
    width, height = world.uniform(3.5, 8.0), world.uniform(2.8, 6.0)
    length = world.uniform(18, 45)
    add_arcade(world, frame_at(0, 0), length, width, height)
    add_building(world, frame_at(0, length + world.uniform(5, 25)), 40, 10, world.uniform(8, 16))
    line_with_houses(world, 1, width / 2 + world.uniform(8, 14), -10, 60, NO_CROSSING_M)
    scatter_people(world, (-0.4 * width, 0.4 * width), (3.0, length), int(world.rng.integers(2, 8)))
    for _ in range(int(world.rng.integers(0, 4))):
        side = 1 if world.chance(0.5) else -1
        add_furniture(world, side * 0.3 * width, world.uniform(4, 15), side * np.pi / 2, tree=False)
    return draw_camera(
        world,
        x=world.uniform(-0.25, 0.25) * width,
        height=world.uniform(1.2, 0.75 * height),
        pitch=(-0.2, 0.2),
        yaw=0.35,
    ), 25.0


def _lay_meadow(world: World) -> None:
    """Grass with mounds, and a path away from the camera."""
    grass = world.pick([(0.08, 0.14, 0.03), (0.14, 0.15, 0.05), (0.2, 0.17, 0.09)])
    world.ground(world.surface("blend", grass, (0.16, 0.17, 0.06), contrast=0.45, scale_m=2.5, warmer_c=-1.5))
    path = world.surface("blend", (0.3, 0.26, 0.2), (0.22, 0.2, 0.17), contrast=0.35, scale_m=1.2, warmer_c=2)
    frame = frame_at(world.uniform(-4, 4), 0, world.uniform(-0.35, 0.35))
    world.box(frame, (0, 0.015, 60), (world.uniform(0.8, 1.8), 0.015, 90), path)
    mound = world.surface("blend", grass, (0.13, 0.12, 0.05), contrast=0.45, scale_m=1.5, warmer_c=-1.5)
    for _ in range(int(world.rng.integers(0, 5))):
        at = frame_at(world.uniform(-30, 30), world.uniform(14, 60))
        world.ball(at, (0, 0, 0), (world.uniform(5, 14), world.uniform(0.6, 3.5), world.uniform(4, 9)), mound)
