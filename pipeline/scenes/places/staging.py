"""What several places of the sample scenes share: the camera, its foreground, people, rows of houses."""

from __future__ import annotations

import numpy as np

from pipeline.scenes.things.buildings import add_building
from pipeline.scenes.things.furniture import (
    add_bench,
    add_bin,
    add_bollard,
    add_sign,
    add_street_lamp,
    add_wall,
)
from pipeline.scenes.things.nature import add_overhanging_branch, add_tree
from pipeline.scenes.things.people import add_person
from pipeline.scenes.tracing.geometry import Camera
from pipeline.scenes.world import Frame, World, frame_at


def draw_camera(world: World, *, x: float, height: float, pitch: tuple[float, float], yaw: float) -> Camera:
    """A camera at z = 0 with a random lens, heading within ``yaw`` of the world's z, slightly rolled."""
    return Camera(
        position=(x, height, 0.0),
        yaw=world.uniform(-yaw, yaw),
        pitch=world.uniform(*pitch),
        roll=float(np.clip(0.03 * world.rng.standard_normal(), -0.1, 0.1)),
        horizontal_fov=world.uniform(0.6, 1.35),
    )


def paving(world: World) -> int:
    """Slabs, bricks or asphalt for walking on."""
    kind = world.uniform(0, 1)
    if kind < 0.65:
        colour = world.pick([(0.3, 0.28, 0.25), (0.22, 0.2, 0.19), (0.33, 0.2, 0.15), (0.4, 0.37, 0.32)])
        shape = (world.uniform(0.2, 1.0), world.uniform(0.1, 0.5), world.uniform(0, 1))
        return world.surface(
            "masonry",
            colour,
            (0.09, 0.085, 0.08),
            contrast=world.uniform(0.2, 0.5),
            scale_m=world.uniform(0.2, 0.9),
            params=shape,
            warmer_c=1.5,
            gloss=world.weather.wet,
        )
    return world.surface(
        "blend", (0.22, 0.21, 0.2), (0.14, 0.14, 0.13), contrast=0.3, scale_m=2.0, warmer_c=1.5
    )


def scatter_people(world: World, across: tuple[float, float], along: tuple[float, float], count: int) -> None:
    """People alone and in small groups within a rectangle, nearer ones as likely as farther ones."""
    for _ in range(count):
        x, z = world.uniform(*across), float(np.exp(world.uniform(np.log(along[0]), np.log(along[1]))))
        heading = (0.0 if world.chance(0.5) else np.pi) + world.uniform(-0.9, 0.9)
        for k in range(2 if world.chance(0.3) else 1):
            at = (x + 0.65 * k * float(np.cos(heading)), z - 0.65 * k * float(np.sin(heading)))
            if world.claim(*at, 0.3):
                add_person(world, *at, heading=heading, y=world.ground_height(*at))


def add_foreground(world: World, camera: Camera, *, share: float = 0.5) -> None:
    """Sometimes something stands or hangs close to the camera: people, a table, a pole, a sign, a branch."""
    if not world.chance(share):
        return
    eye = frame_at(camera.position[0], camera.position[2], camera.yaw)
    reach = np.tan(0.5 * camera.horizontal_fov)
    kind = world.uniform(0, 1)
    raised = camera.position[1] > 2.8
    if kind < 0.4:
        floor = camera.position[1] - world.uniform(1.45, 1.9)
        if raised:
            _add_balcony(world, eye, floor)
        for _ in range(int(world.rng.integers(0 if raised else 1, 3))):
            z = world.uniform(1.7, 2.7) if raised else float(np.exp(world.uniform(np.log(0.8), np.log(4.5))))
            x, _, z = eye.point((world.uniform(-0.85, 0.85) * reach * z, 0, z))
            y = floor if raised else world.ground_height(x, z)
            add_person(world, x, z, heading=camera.yaw + world.uniform(-1.2, 1.2), y=y)
    elif kind < 0.6:
        _add_table(world, eye, camera.position[1])
    elif kind < 0.74:
        z = world.uniform(1.6, 4.0)
        spot = eye.point((world.uniform(-0.9, 0.9) * reach * z, 0, z))
        height = camera.position[1] + world.uniform(2, 6)
        add_street_lamp(world, frame_at(spot[0], spot[2], world.uniform(-3, 3)), height=height)
    elif kind < 0.82:
        spot = eye.point((world.uniform(-0.6, 0.6), 0, world.uniform(2.5, 5)))
        add_sign(world, frame_at(spot[0], spot[2], camera.yaw + world.uniform(-0.5, 0.5)))
    else:
        above = frame_at(camera.position[0], camera.position[2], camera.yaw, camera.position[1])
        add_overhanging_branch(world, above)


def line_with_houses(
    world: World,
    side: int,
    front: float,
    start: float,
    end: float,
    cross: float,
    *,
    tall: tuple[float, float] = (6.0, 24.0),
) -> None:
    """Houses side by side along x = side * front, with a gap for a street that crosses at z = ``cross``."""
    z = start
    common = world.uniform(*tall)
    while z < end:
        width = world.uniform(7, 20)
        if abs(z + width / 2 - cross) < width / 2 + 7:
            z = cross + 7.5
            continue
        if world.chance(0.07):
            add_wall(
                world, frame_at(side * front, z + width / 2, side * np.pi / 2), width, world.uniform(1.5, 3)
            )
            add_tree(world, frame_at(side * (front + 4), z + width / 2), height=world.uniform(6, 11))
        else:
            height = 0.5 * common + 0.5 * world.uniform(*tall)
            add_building(world, frame_at(side * front, z + width / 2, side * np.pi / 2), width, 12, height)
        z += width + (world.uniform(1, 5) if world.chance(0.15) else 0.0)


def add_furniture(
    world: World, x: float, z: float, heading: float, *, y: float = 0.0, tree: bool = True
) -> None:
    """One thing that stands about: bench, bin, bollard, sign, lamp, bush or tree."""
    frame = frame_at(x, z, heading, y)
    kind = world.uniform(0, 1)
    if kind < 0.2:
        add_bench(world, frame)
    elif kind < 0.4:
        add_bin(world, frame)
    elif kind < 0.52:
        add_bollard(world, frame)
    elif kind < 0.68:
        add_sign(world, frame_at(x, z, world.uniform(-0.6, 0.6), y))
    elif kind < 0.84 or not tree:
        add_street_lamp(world, frame, height=world.uniform(3.2, 8.5))
    else:
        add_tree(world, frame, height=world.uniform(4, 10))


def _add_table(world: World, eye: Frame, camera_height: float) -> None:
    """A table or a wall at arm's length, with things on it: boxes, books on edge, bottles, balls."""
    top, half_depth = camera_height - world.uniform(0.15, 0.6), world.uniform(0.25, 0.9)
    middle, half_width = 0.5 + half_depth, world.uniform(0.4, 1.5)
    wood = world.surface(
        "planks",
        world.pick([(0.3, 0.2, 0.11), (0.4, 0.3, 0.18), (0.5, 0.5, 0.48), (0.12, 0.11, 0.1)]),
        (0.08, 0.06, 0.04),
        contrast=world.uniform(0.1, 0.4),
        scale_m=0.14,
        warmer_c=1,
    )
    world.box(eye, (0, top - 0.5, middle), (half_width, 0.5, half_depth), wood)
    paints = [(0.4, 0.05, 0.04), (0.1, 0.2, 0.4), (0.5, 0.4, 0.1), (0.6, 0.6, 0.56), (0.08, 0.2, 0.06)]
    for _ in range(int(world.rng.integers(2, 7))):
        x, z = world.uniform(-0.8, 0.8) * half_width, middle + world.uniform(-0.8, 0.9) * half_depth
        look = str(world.rng.choice(["plain", "panel", "blend", "masonry"]))
        paint = world.surface(
            look,
            world.pick(paints),
            world.pick(paints),
            contrast=world.uniform(0.1, 0.6),
            scale_m=world.uniform(0.02, 0.15),
            warmer_c=world.uniform(-2, 8),
        )
        size, shape = world.uniform(0.04, 0.22), world.uniform(0, 1)
        if shape < 0.5:
            half = (size, size * world.uniform(0.4, 1.8), size * world.uniform(0.15, 1.2))
            spot = eye.point((x, 0, z))
            turned = frame_at(spot[0], spot[2], world.uniform(-np.pi, np.pi))
            world.box(turned, (0, top + half[1], 0), half, paint)
        elif shape < 0.8:
            world.ball(eye, (x, top + size, z), (size, size, size), paint)
        else:
            neck = (x, top + size * world.uniform(1.5, 3), z)
            world.limb(eye, (x, top, z), neck, 0.5 * size, 0.6, paint)


def _add_balcony(world: World, eye: Frame, floor: float) -> None:
    """The railing and floor of the balcony that a raised camera looks from."""
    slab = world.surface(
        "masonry", (0.35, 0.32, 0.28), (0.1, 0.1, 0.1), contrast=0.3, scale_m=0.3, warmer_c=1
    )
    metal = world.surface("plain", (0.06, 0.06, 0.065), contrast=0.2, warmer_c=-0.5)
    world.box(eye, (0, floor - 0.1, 1.8), (2.6, 0.1, 1.3), slab)
    world.box(eye, (0, floor + 0.5, 3.05), (2.6, 0.5, 0.02), metal, cutout="rails")
