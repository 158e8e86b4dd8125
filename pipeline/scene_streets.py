"""Streets and street corners of the sample scenes, and what lines them."""

from __future__ import annotations

import numpy as np

from pipeline.scene_actors import add_cyclist, add_person, add_vehicle
from pipeline.scene_buildings import add_building, add_wall
from pipeline.scene_furniture import (
    add_bench,
    add_bin,
    add_bollard,
    add_fence,
    add_hills,
    add_overhanging_branch,
    add_sign,
    add_street_lamp,
    add_tree,
)
from pipeline.scene_geometry import Camera
from pipeline.scene_world import World, frame_at

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
    scatter_people(
        world, (-half - pavement, half + pavement), (cross - 7, cross + 16), int(world.stream.integers(6, 16))
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


def draw_camera(world: World, *, x: float, height: float, pitch: tuple[float, float], yaw: float) -> Camera:
    """A camera at z = 0 with a random lens, heading within ``yaw`` of the world's z, slightly rolled."""
    return Camera(
        position=(x, height, 0.0),
        yaw=world.uniform(-yaw, yaw),
        pitch=world.uniform(*pitch),
        roll=float(np.clip(0.03 * world.stream.standard_normal(), -0.1, 0.1)),
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
            add_person(world, x + 0.65 * k * np.cos(heading), z - 0.65 * k * np.sin(heading), heading=heading)


def add_foreground(world: World, camera: Camera, *, share: float = 0.5) -> None:
    """Sometimes something stands or hangs close to the camera: a person, a pole, a bicycle rider, a branch."""
    if not world.chance(share):
        return
    eye = frame_at(camera.position[0], camera.position[2], camera.yaw)
    reach = np.tan(0.5 * camera.horizontal_fov)
    kind = world.uniform(0, 1)
    if kind < 0.5:
        for _ in range(int(world.stream.integers(1, 3))):
            z = world.uniform(1.7, 4.5)
            spot = eye.point((world.uniform(-0.85, 0.85) * reach * z, 0, z))
            y = max(0.0, camera.position[1] - world.uniform(1.4, 2.2))
            add_person(world, spot[0], spot[2], heading=camera.yaw + world.uniform(-1.2, 1.2), y=y)
    elif kind < 0.68:
        z = world.uniform(1.6, 4.0)
        spot = eye.point((world.uniform(-0.9, 0.9) * reach * z, 0, z))
        add_street_lamp(world, frame_at(spot[0], spot[2], world.uniform(-3, 3)), height=world.uniform(6, 9))
    elif kind < 0.78:
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
    """Houses shoulder to shoulder along x = side * front, with a gap for a crossing street at z = ``cross``."""
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
