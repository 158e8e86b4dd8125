"""Roads of the sample scenes: asphalt, kerbs and pavements, and what lines them.

Lengths are in metres. A road runs along z, ``half`` wide to either side of x = 0, between pavements. A
crossing street has its middle at z = ``cross``, which is :data:`NO_CROSSING_M` where there is none.
"""

from __future__ import annotations

import numpy as np

from pipeline.scenes.places.staging import add_furniture, paving
from pipeline.scenes.things.furniture import add_fence, add_street_lamp
from pipeline.scenes.things.nature import add_tree
from pipeline.scenes.things.vehicles import add_vehicle
from pipeline.scenes.world import World, frame_at

#: Beyond all that is built.
NO_CROSSING_M = 500.0
KERB_M = 0.12  # height of the pavements above the road


def lay_road(world: World, half: float, pavement: float, cross: float, *, zebra: bool = False) -> None:
    """The ground: road, kerbs, pavements and maybe verges, and the crossing street."""
    cross_half = 5.5 if cross < NO_CROSSING_M else 0.0
    _lay_asphalt(world, half, cross, cross_half, zebra=zebra)
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
    stretches = [(-40.0, cross - cross_half), (cross + cross_half, 420.0)] if cross_half else [(-40.0, 420.0)]
    for side in (-1, 1):
        for start, end in stretches:
            middle, length = (start + end) / 2, (end - start) / 2
            slab = (8.0, KERB_M / 2, length)
            at = frame_at(side * (half + 8), middle)
            world.box(at, (0, KERB_M / 2, 0), slab, kerb_sides)
            edges = sorted((side * half, side * (half + 16)))
            world.raise_ground((edges[0], edges[1]), (start, end), KERB_M)
            if verge != top:
                at = frame_at(side * (half + pavement * 0.4), middle)
                world.box(at, (0, KERB_M, 0), (pavement * 0.25, 0.03, length), verge)


def furnish_pavement(world: World, side: int, half: float, pavement: float, cross: float) -> None:
    """Lamps, mostly trees and a few things on the pavement of one ``side`` (-1 left, 1 right)."""
    lamp_step, lamp_height = (
        world.uniform(14, 30),
        world.uniform(5.5, 9) if world.chance(0.7) else world.uniform(3, 4.2),
    )
    kerb = side * (half + 0.6)
    z = world.uniform(3, lamp_step)
    while z < 110:
        if abs(z - cross) > 6:
            add_street_lamp(
                world, frame_at(kerb, z, -side * np.pi / 2, KERB_M), height=lamp_height, on=world.chance(0.9)
            )
        z += lamp_step
    if world.chance(0.55):
        line_with_trees(world, kerb + side * 0.4, world.uniform(4, 12), cross)
    for _ in range(int(world.rng.integers(3, 10))):
        z = world.uniform(4, 50)
        if abs(z - cross) > 6.5:
            x = side * (half + world.uniform(0.5, max(0.6, pavement - 0.6)))
            add_furniture(
                world, x, z, -side * np.pi / 2 + (np.pi if world.chance(0.3) else 0), y=KERB_M, tree=False
            )
    if world.chance(0.2):
        add_fence(world, frame_at(kerb, world.uniform(15, 30), np.pi / 2, KERB_M), world.uniform(6, 20))


def line_with_trees(world: World, x: float, start: float, cross: float) -> None:
    """Trees of one kind along ``x`` from z = ``start``, none at the crossing street."""
    step, height = world.uniform(7, 14), world.uniform(5, 10)
    kind = str(world.rng.choice(["broad", "column", "palm", "bare"], p=[0.6, 0.1, 0.1, 0.2]))
    z = start
    while z < 75:
        if abs(z - cross) > 8 and z > 4:
            add_tree(
                world,
                frame_at(x, z, world.uniform(-3, 3), KERB_M),
                height=height * world.uniform(0.85, 1.15),
                kind=kind,
            )
        z += step


def park_vehicles(world: World, side: int, half: float, cross: float) -> None:
    """Vehicles at the kerb of one ``side`` (-1 left, 1 right), if any."""
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


def _lay_asphalt(world: World, half: float, cross: float, cross_half: float, *, zebra: bool) -> None:
    shape = (
        half,
        float(world.rng.integers(0, 3)),
        cross,
        cross_half,
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
