"""What stands along the streets of the sample scenes: lamps, signs, posts, benches, bins, fences, walls."""

from __future__ import annotations

from pipeline.scenes.surfaces.materials import Colour
from pipeline.scenes.things.buildings import STONE, WALL, sign_surface
from pipeline.scenes.things.nature import leaf_surface
from pipeline.scenes.world import Frame, World

_METAL: list[Colour] = [(0.08, 0.08, 0.085), (0.2, 0.21, 0.22), (0.05, 0.09, 0.07), (0.3, 0.3, 0.3)]


def add_street_lamp(world: World, frame: Frame, *, height: float, on: bool = True) -> None:
    """A lamp whose arm reaches towards the frame's z; by night most of them shine."""
    metal = world.surface("plain", world.pick(_METAL), contrast=0.2, warmer_c=-1, gloss=0.1)
    lit = world.weather.night and on
    tint = world.pick([(1.0, 0.55, 0.2), (1.0, 0.78, 0.5), (0.85, 0.95, 1.0), (0.75, 1.0, 0.75)])
    strength = 25.0 if lit else 0.0
    glow = (strength * tint[0], strength * tint[1], strength * tint[2])
    head = world.surface("plain", (0.6, 0.6, 0.55), glow=glow, warmer_c=20 if lit else 1)
    world.limb(frame, (0, 0, 0), (0, height, 0), 0.09, 0.6, metal)
    world.limb(frame, (0, 0, 0), (0, 0.9, 0), 0.14, 0.8, metal)
    if height < 5:
        at = (0.0, height + 0.2, 0.0)
        world.ball(frame, at, (0.22, 0.26, 0.22), head)
    else:
        at = (0.0, height + 0.1, 1.6)
        world.limb(frame, (0, height - 0.05, 0), (0, height + 0.15, 1.6), 0.05, 0.8, metal)
        world.box(frame, (0, height + 0.14, 1.6), (0.13, 0.05, 0.38), metal)
        world.box(frame, (0, height + 0.06, 1.6), (0.11, 0.04, 0.3), head)
    if lit:
        world.lamp(frame.point((at[0], at[1] - 0.35, at[2])), tint, world.uniform(0.6, 1.2) * height**2 * 0.9)


def add_sign(world: World, frame: Frame) -> None:
    """A traffic sign, traffic light, or poster board facing the frame's -z."""
    metal = world.surface("plain", world.pick(_METAL), contrast=0.15, warmer_c=-1)
    kind = world.uniform(0, 1)
    height = world.uniform(2.2, 3.2)
    world.limb(frame, (0, 0, 0), (0, height, 0), 0.04, 1.0, metal)
    face = sign_surface(world, lit=False)
    if kind < 0.4:
        world.limb(frame, (0, height - 0.3, -0.06), (0, height - 0.3, -0.04), 0.34, 1.0, (metal, face, metal))
    elif kind < 0.7:
        box = world.surface("plain", (0.02, 0.02, 0.02), warmer_c=3)
        world.box(frame, (0, height + 0.3, 0), (0.16, 0.48, 0.14), box)
        lit = int(world.rng.integers(3))
        for place, colour in enumerate([(1.0, 0.05, 0.03), (1.0, 0.5, 0.05), (0.05, 1.0, 0.5)]):
            strength = 14.0 if place == lit else 0.0
            glow = (strength * colour[0], strength * colour[1], strength * colour[2])
            dim = (0.12 * colour[0], 0.12 * colour[1], 0.12 * colour[2])
            lens = world.surface("plain", dim, glow=glow, warmer_c=12 if place == lit else 1)
            world.ball(frame, (0, height + 0.6 - 0.3 * place, -0.13), (0.1, 0.1, 0.06), lens)
    else:
        wide, tall = world.uniform(0.3, 0.9), world.uniform(0.25, 0.7)
        world.box(
            frame, (0, height - tall, -0.07), (wide, tall, 0.03), (metal, metal, metal, metal, face, metal)
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
    world.limb(frame, (0, 0, 0), (0, height, 0), 0.1, 0.95, paint)
    world.ball(frame, (0, height, 0), (0.095, 0.06, 0.095), paint)


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
    world.box(frame, (0, 0.45, 0), (0.9, 0.03, 0.22), wood)
    world.box(frame, (0, 0.78, -0.24), (0.9, 0.18, 0.025), wood)
    for x in (-0.7, 0.7):
        world.box(frame, (x, 0.22, 0), (0.03, 0.22, 0.2), metal)
        world.box(frame, (x, 0.5, -0.24), (0.03, 0.45, 0.025), metal)


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
        world.limb(frame, (0, 0, 0), (0, 0.55, 0), 0.42, 1.2, body)
        leaf = leaf_surface(world)
        world.ball(frame, (0, 0.8, 0), (0.55, 0.45, 0.55), leaf, cutout="leaves")
    elif kind < 0.7:
        world.limb(frame, (0, 0, 0), (0, 0.95, 0), 0.27, 1.1, body)
        world.ball(frame, (0, 0.95, 0), (0.3, 0.1, 0.3), body)
    else:
        world.box(frame, (0, 0.6, 0), (world.uniform(0.3, 0.6), 0.6, 0.22), body)


def add_fence(world: World, frame: Frame, length: float) -> None:
    """A railing, wire fence or hedge along the frame's x."""
    kind = world.uniform(0, 1)
    height = world.uniform(0.8, 1.3)
    if kind < 0.4:
        paint = world.surface("plain", world.pick([*_METAL, (0.55, 0.55, 0.52)]), warmer_c=-0.5)
        world.box(frame, (0, height / 2, 0), (length / 2, height / 2, 0.02), paint, cutout="rails")
    elif kind < 0.65:
        wire = world.surface("plain", (0.25, 0.26, 0.26), warmer_c=-0.5)
        world.box(frame, (0, height * 0.8, 0), (length / 2, height * 0.8, 0.015), wire, cutout="mesh")
    else:
        leaf = leaf_surface(world)
        world.box(frame, (0, height / 2, 0), (length / 2, height / 2, 0.45), leaf)
        for k in range(int(length / 1.4)):
            at = (-length / 2 + 0.7 + 1.4 * k, 0.8 * height, 0.0)
            world.ball(frame, at, (0.95, 0.35 * height, 0.6), leaf, cutout="leaves")


def add_wall(
    world: World,
    frame: Frame,
    length: float,
    height: float,
    *,
    thickness: float = 0.3,
    arches: bool = False,
    surface: int | None = None,
) -> None:
    """A wall along the frame's x, of brick, stone or planks, possibly pierced by tiers of arches."""
    if surface is None:
        surface = wall_surface(world)
    world.box(
        frame,
        (0, height / 2, 0),
        (length / 2, height / 2, thickness / 2),
        surface,
        cutout="arches" if arches else "",
    )
    if not arches:
        cap = world.surface("plain", world.pick(STONE), contrast=0.3, warmer_c=0)
        world.box(frame, (0, height, 0), (length / 2 + 0.05, 0.06, thickness / 2 + 0.06), cap)


def wall_surface(world: World) -> int:
    """Brick, stone blocks, plaster with graffiti stains, or boards."""
    kind = world.uniform(0, 1)
    if kind < 0.35:
        return world.surface(
            "masonry",
            world.pick([(0.35, 0.15, 0.1), (0.27, 0.13, 0.09), (0.45, 0.3, 0.2)]),
            (0.4, 0.37, 0.33),
            contrast=0.4,
            scale_m=0.26,
            params=(0.1, 0.6, 1.0),
            warmer_c=1,
        )
    if kind < 0.7:
        return world.surface(
            "masonry",
            world.pick(STONE),
            (0.16, 0.14, 0.12),
            contrast=0.45,
            scale_m=world.uniform(0.4, 1.1),
            params=(world.uniform(0.2, 0.6), 0.4, 1.0),
            warmer_c=1,
        )
    if kind < 0.88:
        return world.surface(
            "blend",
            world.pick(WALL),
            world.pick(STONE),
            contrast=world.uniform(0.2, 0.5),
            scale_m=world.uniform(1.0, 3.0),
            warmer_c=1,
        )
    return world.surface(
        "planks",
        world.pick([(0.25, 0.15, 0.08), (0.14, 0.18, 0.12), (0.35, 0.33, 0.3)]),
        (0.03, 0.025, 0.02),
        contrast=0.35,
        scale_m=0.18,
        warmer_c=0,
    )
