"""Trees, branches and hills of the sample scenes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.scenes.surfaces.materials import Colour
from pipeline.scenes.world import Frame, World, frame_at

_LEAF: list[Colour] = [
    (0.07, 0.13, 0.03),
    (0.10, 0.16, 0.04),
    (0.05, 0.10, 0.04),
    (0.16, 0.17, 0.04),
    (0.30, 0.14, 0.03),
]


def add_tree(world: World, frame: Frame, *, height: float, kind: str = "") -> None:
    """A tree of about ``height`` metres: ``broad``, ``cone``, ``column``, ``palm`` or ``bare``, or any."""
    shares = [share for _, share in _TREES.values()]
    kind = kind or str(world.rng.choice(list(_TREES), p=shares))
    bark = world.surface(
        "blend",
        world.pick([(0.12, 0.09, 0.06), (0.2, 0.17, 0.13), (0.09, 0.07, 0.05)]),
        (0.05, 0.04, 0.03),
        contrast=0.6,
        scale_m=0.25,
        warmer_c=1.5,
    )
    _TREES[kind][0](world, frame, height, 0.022 * height + 0.05, bark)


def add_thicket(world: World, frame: Frame, length: float, height: float) -> None:
    """Bushes and the skirts of trees, an unbroken bank along the frame's x."""
    leaf, other = leaf_surface(world), leaf_surface(world)
    along = -length / 2
    while along < length / 2:
        tall = height * world.uniform(0.5, 1.1)
        for level in (0.35, 0.8):
            half = (world.uniform(0.35, 0.6) * height, 0.4 * tall, world.uniform(0.3, 0.5) * height)
            centre = (along, level * tall, world.uniform(-0.25, 0.25) * height)
            plant = leaf if world.chance(0.7) else other
            world.ball(frame, centre, half, plant, cutout="leaves" if level > 0.5 else "")
        along += 0.55 * height * world.uniform(0.7, 1.3)


def add_overhanging_branch(world: World, frame: Frame) -> None:
    """Leafy twigs that hang into the top of the picture of a camera at the frame's origin."""
    leaf = leaf_surface(world)
    bark = world.surface("plain", (0.08, 0.06, 0.045), contrast=0.5, scale_m=0.2, warmer_c=1)
    side = -1 if world.chance(0.5) else 1
    ahead, up = world.uniform(2.2, 5.0), world.uniform(0.12, 0.5)
    for _ in range(int(world.rng.integers(4, 9))):
        z = ahead + world.uniform(-0.6, 0.8)
        x = side * world.uniform(0.0, 0.75) * z
        y = (up + world.uniform(-0.1, 0.25)) * z
        size = world.uniform(0.12, 0.34)
        world.limb(frame, (side * 0.8 * z, (up + 0.5) * z, z), (x, y, z), 0.03, 0.3, bark)
        world.ball(frame, (x, y, z), (1.5 * size, 0.8 * size, size), leaf, cutout="leaves")


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
            world.ball(frame_at(x, z), (0, 0, 0), (wide, distance * world.uniform(0.03, 0.12), wide), hill)


def leaf_surface(world: World) -> int:
    """Foliage of one plant."""
    dark = world.pick(_LEAF, spread=0.3)
    light = (1.9 * dark[0], 1.8 * dark[1], 1.6 * dark[2])
    return world.surface("blend", dark, light, contrast=0.75, scale_m=0.7, warmer_c=1.0)


def _bare(world: World, frame: Frame, height: float, radius: float, bark: int) -> None:
    _add_branches(world, frame, np.zeros(3), np.array([0, 1.0, 0]), 0.38 * height, radius, 3, bark)


def _cone(world: World, frame: Frame, height: float, radius: float, bark: int) -> None:
    leaf = leaf_surface(world)
    world.limb(frame, (0, 0, 0), (0, 0.9 * height, 0), radius, 0.3, bark)
    for k in range(5):
        low, wide = (0.12 + 0.16 * k) * height, (0.24 - 0.04 * k) * height
        top = (0.0, low + 0.3 * height, 0.0)
        world.limb(frame, (0, low, 0), top, wide, 0.1, leaf, cutout="leaves")


def _palm(world: World, frame: Frame, height: float, radius: float, bark: int) -> None:
    leaf = leaf_surface(world)
    top = (world.uniform(-0.1, 0.1) * height, height, 0.0)
    world.limb(frame, (0, 0, 0), top, radius, 0.7, bark)
    for k in range(11):
        angle = 2 * np.pi * k / 11 + world.uniform(-0.2, 0.2)
        reach, drop = world.uniform(1.4, 2.2), world.uniform(-0.9, 0.5)
        tip = (top[0] + reach * np.cos(angle), height + drop, reach * np.sin(angle))
        world.limb(frame, top, tip, 0.12, 2.2, leaf, cutout="leaves", flatten=0.6)


def _broad(world: World, frame: Frame, height: float, radius: float, bark: int) -> None:
    _add_crown(world, frame, height, radius, bark, slender=False)


def _column(world: World, frame: Frame, height: float, radius: float, bark: int) -> None:
    _add_crown(world, frame, height, radius, bark, slender=True)


#: Kind of tree -> how to grow it from its height, trunk radius and bark, and how often it is drawn.
_TREES: dict[str, tuple[Callable[[World, Frame, float, float, int], None], float]] = {
    "broad": (_broad, 0.55),
    "cone": (_cone, 0.13),
    "column": (_column, 0.1),
    "palm": (_palm, 0.08),
    "bare": (_bare, 0.14),
}


def _add_crown(world: World, frame: Frame, height: float, radius: float, bark: int, *, slender: bool) -> None:
    """A trunk below twenty tufts of leaves, with boughs to some of them unless ``slender``."""
    leaf = leaf_surface(world)
    crown = 0.5 * height
    world.limb(frame, (0, 0, 0), (world.uniform(-0.2, 0.2), 0.6 * height, 0), radius, 0.6, bark)
    spread = (0.14 if slender else world.uniform(0.24, 0.36)) * height
    for k in range(20):
        angle, level = world.uniform(0, 2 * np.pi), world.uniform(-0.75, 1.0)
        out = spread * world.uniform(0.3, 0.95) * np.sqrt(max(0.15, 1 - level**2))
        centre = (out * np.cos(angle), height - crown / 2 + 0.33 * crown * level, out * np.sin(angle))
        if k < 4 and not slender:
            world.limb(frame, (0, 0.42 * height, 0), centre, 0.45 * radius, 0.4, bark)
        size = world.uniform(0.26, 0.5) * spread
        tall = size * (1.3 if slender else world.uniform(0.6, 0.9))
        half = (size, tall, size * world.uniform(0.8, 1.1))
        world.ball(frame, centre, half, leaf, cutout="leaves", tilt=angle)


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
    world.limb(frame, tuple(start), tuple(end), radius, 0.65, bark)
    if depth == 0:
        return
    for _ in range(3):
        turn = direction + 0.55 * world.rng.standard_normal(3) + [0, 0.15, 0]
        _add_branches(
            world, frame, end, turn, length * world.uniform(0.55, 0.8), 0.6 * radius, depth - 1, bark
        )
