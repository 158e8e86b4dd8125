"""What stands along the streets of a sample scene: lamps, signs, benches, fences, trees, hills."""

from __future__ import annotations

import numpy as np

from pipeline.scene_buildings import sign_surface, wall_surface
from pipeline.scene_materials import Colour
from pipeline.scene_world import Frame, World, frame_at

_LEAF: list[Colour] = [
    (0.07, 0.13, 0.03),
    (0.10, 0.16, 0.04),
    (0.05, 0.10, 0.04),
    (0.16, 0.17, 0.04),
    (0.30, 0.14, 0.03),
]
_METAL: list[Colour] = [(0.08, 0.08, 0.085), (0.2, 0.21, 0.22), (0.05, 0.09, 0.07), (0.3, 0.3, 0.3)]


def add_street_lamp(world: World, frame: Frame, *, height: float, on: bool = True) -> None:
    """A lamp whose arm reaches towards the frame's z; by night most of them shine."""
    metal = world.surface("plain", world.pick(_METAL), contrast=0.2, warmer_c=-1, gloss=0.1)
    lit = world.weather.night and on
    tint = world.pick([(1.0, 0.55, 0.2), (1.0, 0.78, 0.5), (0.85, 0.95, 1.0), (0.75, 1.0, 0.75)])
    strength = 25.0 if lit else 0.0
    glow = (strength * tint[0], strength * tint[1], strength * tint[2])
    head = world.surface("plain", (0.6, 0.6, 0.55), glow=glow, warmer_c=30 if lit else 1)
    world.limb(frame, (0, 0, 0), (0, height, 0), 0.09, 0.6, metal, label="lamp")
    world.limb(frame, (0, 0, 0), (0, 0.9, 0), 0.14, 0.8, metal, label="lamp")
    if height < 5:
        at = (0.0, height + 0.2, 0.0)
        world.ball(frame, at, (0.22, 0.26, 0.22), head, label="lamp")
    else:
        at = (0.0, height + 0.1, 1.6)
        world.limb(frame, (0, height - 0.05, 0), (0, height + 0.15, 1.6), 0.05, 0.8, metal, label="lamp")
        world.box(frame, (0, height + 0.14, 1.6), (0.13, 0.05, 0.38), metal, label="lamp")
        world.box(frame, (0, height + 0.06, 1.6), (0.11, 0.04, 0.3), head, label="lamp")
    if lit:
        world.lamp(frame.point((at[0], at[1] - 0.35, at[2])), tint, world.uniform(0.6, 1.2) * height**2 * 0.9)


def add_sign(world: World, frame: Frame) -> None:
    """A traffic sign, traffic light, or poster board facing the frame's -z."""
    metal = world.surface("plain", world.pick(_METAL), contrast=0.15, warmer_c=-1)
    kind = world.uniform(0, 1)
    height = world.uniform(2.2, 3.2)
    world.limb(frame, (0, 0, 0), (0, height, 0), 0.04, 1.0, metal, label="sign")
    face = sign_surface(world, lit=False)
    if kind < 0.4:
        world.limb(
            frame,
            (0, height - 0.3, -0.06),
            (0, height - 0.3, -0.04),
            0.34,
            1.0,
            (metal, face, metal),
            label="sign",
        )
    elif kind < 0.7:
        box = world.surface("plain", (0.02, 0.02, 0.02), warmer_c=3)
        world.box(frame, (0, height + 0.3, 0), (0.16, 0.48, 0.14), box, label="sign")
        lit = int(world.stream.integers(3))
        for place, colour in enumerate([(1.0, 0.05, 0.03), (1.0, 0.5, 0.05), (0.05, 1.0, 0.5)]):
            strength = 14.0 if place == lit else 0.0
            glow = (strength * colour[0], strength * colour[1], strength * colour[2])
            dim = (0.12 * colour[0], 0.12 * colour[1], 0.12 * colour[2])
            lens = world.surface("plain", dim, glow=glow, warmer_c=12 if place == lit else 1)
            world.ball(frame, (0, height + 0.6 - 0.3 * place, -0.13), (0.1, 0.1, 0.06), lens, label="sign")
    else:
        wide, tall = world.uniform(0.3, 0.9), world.uniform(0.25, 0.7)
        world.box(
            frame,
            (0, height - tall, -0.07),
            (wide, tall, 0.03),
            (metal, metal, metal, metal, face, metal),
            label="sign",
        )


def add_bollard(world: World, frame: Frame) -> None:
    """A knee-high post."""
    paint = world.surface(
        "planks",
        world.pick([*_METAL, (0.5, 0.47, 0.4)]),
        (0.4, 0.38, 0.3),
        contrast=0.2,
        scale_m=0.6,
        warmer_c=1,
    )
    height = world.uniform(0.7, 1.0)
    world.limb(frame, (0, 0, 0), (0, height, 0), 0.1, 0.95, paint, label="bollard")
    world.ball(frame, (0, height, 0), (0.095, 0.06, 0.095), paint, label="bollard")


def add_bench(world: World, frame: Frame) -> None:
    """A bench that faces the frame's z."""
    wood = world.surface(
        "planks",
        world.pick([(0.25, 0.15, 0.08), (0.35, 0.24, 0.14)]),
        (0.04, 0.03, 0.02),
        contrast=0.4,
        scale_m=0.12,
        warmer_c=0.5,
    )
    metal = world.surface("plain", (0.04, 0.04, 0.04), warmer_c=-1)
    world.box(frame, (0, 0.45, 0), (0.9, 0.03, 0.22), wood, label="bench")
    world.box(frame, (0, 0.78, -0.24), (0.9, 0.18, 0.025), wood, label="bench")
    for x in (-0.7, 0.7):
        world.box(frame, (x, 0.22, 0), (0.03, 0.22, 0.2), metal, label="bench")
        world.box(frame, (x, 0.5, -0.24), (0.03, 0.45, 0.025), metal, label="bench")


def add_bin(world: World, frame: Frame) -> None:
    """A litter bin, planter, or switch cabinet."""
    kind = world.uniform(0, 1)
    body = (
        wall_surface(world)
        if kind < 0.3
        else world.surface(
            "plain", world.pick([*_METAL, (0.05, 0.16, 0.07), (0.3, 0.2, 0.05)]), contrast=0.25, warmer_c=1
        )
    )
    if kind < 0.35:
        world.limb(frame, (0, 0, 0), (0, 0.55, 0), 0.42, 1.2, body, label="planter")
        leaf = _leaf_surface(world)
        world.ball(frame, (0, 0.8, 0), (0.55, 0.45, 0.55), leaf, label="tree", cutout="leaves")
    elif kind < 0.7:
        world.limb(frame, (0, 0, 0), (0, 0.95, 0), 0.27, 1.1, body, label="bin")
        world.ball(frame, (0, 0.95, 0), (0.3, 0.1, 0.3), body, label="bin")
    else:
        world.box(frame, (0, 0.6, 0), (world.uniform(0.3, 0.6), 0.6, 0.22), body, label="bin")


def add_fence(world: World, frame: Frame, length: float) -> None:
    """A railing, wire fence or hedge along the frame's x."""
    kind = world.uniform(0, 1)
    height = world.uniform(0.8, 1.3)
    if kind < 0.4:
        paint = world.surface("plain", world.pick([*_METAL, (0.55, 0.55, 0.52)]), warmer_c=-0.5)
        world.box(
            frame, (0, height / 2, 0), (length / 2, height / 2, 0.02), paint, label="fence", cutout="rails"
        )
    elif kind < 0.65:
        wire = world.surface("plain", (0.25, 0.26, 0.26), warmer_c=-0.5)
        world.box(
            frame, (0, height * 0.8, 0), (length / 2, height * 0.8, 0.015), wire, label="fence", cutout="mesh"
        )
    else:
        world.box(
            frame, (0, height / 2, 0), (length / 2, height / 2, 0.45), _leaf_surface(world), label="hedge"
        )
        for k in range(int(length / 1.4)):
            x = -length / 2 + 0.7 + 1.4 * k
            world.ball(
                frame,
                (x, 0.8 * height, 0),
                (0.95, 0.35 * height, 0.6),
                _last(world),
                label="hedge",
                cutout="leaves",
            )


def add_tree(world: World, frame: Frame, *, height: float, kind: str = "") -> None:
    """A broad-leaved, conical, columnar, palm or bare tree."""
    kind = kind or str(
        world.stream.choice(["broad", "cone", "column", "palm", "bare"], p=[0.55, 0.13, 0.1, 0.08, 0.14])
    )
    bark = world.surface(
        "blend",
        world.pick([(0.12, 0.09, 0.06), (0.2, 0.17, 0.13), (0.09, 0.07, 0.05)]),
        (0.05, 0.04, 0.03),
        contrast=0.6,
        scale_m=0.25,
        warmer_c=1.5,
    )
    radius = 0.022 * height + 0.05
    if kind == "bare":
        _add_branches(world, frame, np.zeros(3), np.array([0, 1.0, 0]), 0.38 * height, radius, 3, bark)
        return
    leaf = _leaf_surface(world)
    if kind == "cone":
        world.limb(frame, (0, 0, 0), (0, 0.9 * height, 0), radius, 0.3, bark, label="tree")
        for k in range(5):
            low = (0.12 + 0.16 * k) * height
            world.limb(
                frame,
                (0, low, 0),
                (0, low + 0.3 * height, 0),
                (0.24 - 0.04 * k) * height,
                0.1,
                leaf,
                label="tree",
                cutout="leaves",
            )
        return
    if kind == "palm":
        lean = world.uniform(-0.1, 0.1) * height
        world.limb(frame, (0, 0, 0), (lean, height, 0), radius, 0.7, bark, label="tree")
        for k in range(11):
            angle = 2 * np.pi * k / 11 + world.uniform(-0.2, 0.2)
            reach, drop = world.uniform(1.4, 2.2), world.uniform(-0.9, 0.5)
            tip = (lean + reach * np.cos(angle), height + drop, reach * np.sin(angle))
            world.limb(
                frame, (lean, height, 0), tip, 0.12, 2.2, leaf, label="tree", cutout="leaves", flatten=0.6
            )
        return
    crown = 0.5 * height
    world.limb(frame, (0, 0, 0), (world.uniform(-0.2, 0.2), 0.6 * height, 0), radius, 0.6, bark, label="tree")
    spread = (0.14 if kind == "column" else world.uniform(0.24, 0.36)) * height
    for k in range(20):
        angle, level = world.uniform(0, 2 * np.pi), world.uniform(-0.75, 1.0)
        out = spread * world.uniform(0.3, 0.95) * np.sqrt(max(0.15, 1 - level**2))
        centre = (out * np.cos(angle), height - crown / 2 + 0.33 * crown * level, out * np.sin(angle))
        if k < 4 and kind == "broad":
            world.limb(frame, (0, 0.42 * height, 0), centre, 0.45 * radius, 0.4, bark, label="tree")
        size = world.uniform(0.26, 0.5) * spread
        half = (
            size,
            size * (1.3 if kind == "column" else world.uniform(0.6, 0.9)),
            size * world.uniform(0.8, 1.1),
        )
        world.ball(frame, centre, half, leaf, label="tree", cutout="leaves", tilt=angle)


def add_overhanging_branch(world: World, frame: Frame) -> None:
    """Leafy twigs that hang into the top of the picture near the camera (the frame's origin, looking along z)."""
    leaf = _leaf_surface(world)
    bark = world.surface("plain", (0.08, 0.06, 0.045), contrast=0.5, scale_m=0.2, warmer_c=1)
    side = -1 if world.chance(0.5) else 1
    ahead, up = world.uniform(2.2, 5.0), world.uniform(0.12, 0.5)
    for _ in range(int(world.stream.integers(4, 9))):
        z = ahead + world.uniform(-0.6, 0.8)
        x = side * world.uniform(0.0, 0.75) * z
        y = (up + world.uniform(-0.1, 0.25)) * z
        size = world.uniform(0.12, 0.34)
        world.limb(frame, (side * 0.8 * z, (up + 0.5) * z, z), (x, y, z), 0.03, 0.3, bark, label="tree")
        world.ball(frame, (x, y, z), (1.5 * size, 0.8 * size, size), leaf, label="tree", cutout="leaves")


def add_hills(world: World, direction: float) -> None:
    """Wooded or grassy hills along the horizon, 150 to 900 m away in a heading."""
    near_colour = world.pick([(0.06, 0.10, 0.035), (0.12, 0.12, 0.05), (0.1, 0.12, 0.12)])
    for distance in (900.0, 420.0, 190.0):
        if world.chance(0.35):
            continue
        hill = world.surface(
            "blend", near_colour, (0.14, 0.13, 0.06), contrast=0.5, scale_m=0.12 * distance, warmer_c=-1
        )
        for _ in range(5):
            heading = direction + world.uniform(-0.9, 0.9)
            x, z = distance * np.sin(heading), distance * np.cos(heading)
            wide = distance * world.uniform(0.15, 0.4)
            world.ball(
                frame_at(x, z),
                (0, 0, 0),
                (wide, distance * world.uniform(0.03, 0.12), wide),
                hill,
                label="hill",
            )


def _leaf_surface(world: World) -> int:
    dark = world.pick(_LEAF, spread=0.3)
    light = (1.9 * dark[0], 1.8 * dark[1], 1.6 * dark[2])
    return world.surface("blend", dark, light, contrast=0.75, scale_m=0.7, warmer_c=1.0)


def _last(world: World) -> int:
    return len(world.surfaces) - 1


def _add_branches(
    world: World,
    frame: Frame,
    start: np.ndarray,
    direction: np.ndarray,
    length: float,
    radius: float,
    depth: int,
    bark: int,
) -> None:
    end = start + length * direction / np.linalg.norm(direction)
    world.limb(frame, tuple(start), tuple(end), radius, 0.65, bark, label="tree")
    if depth == 0:
        return
    for _ in range(3):
        turn = direction + 0.55 * world.stream.standard_normal(3) + [0, 0.15, 0]
        _add_branches(
            world, frame, end, turn, length * world.uniform(0.55, 0.8), 0.6 * radius, depth - 1, bark
        )
