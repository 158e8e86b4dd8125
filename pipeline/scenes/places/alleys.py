"""Alleys of the sample scenes: two near rows of houses, and what hangs on and between them.

A place is laid out into a world; it returns the camera and how far from that shadows are worth casting, in
metres.
"""

from __future__ import annotations

from pipeline.scenes.places.roads import NO_CROSSING_M
from pipeline.scenes.places.staging import draw_camera, line_with_houses, scatter_people
from pipeline.scenes.things.buildings import add_building, sign_surface
from pipeline.scenes.things.furniture import add_bin, wall_surface
from pipeline.scenes.things.people import add_bicycle
from pipeline.scenes.tracing.geometry import Camera
from pipeline.scenes.world import Frame, World, frame_at


def alley(world: World) -> tuple[Camera, float]:
    """Between two rows of houses 2.6 to 5.6 m apart."""
    half = world.uniform(1.3, 2.8)
    ground = world.surface(
        "masonry",
        world.pick([(0.2, 0.19, 0.18), (0.3, 0.28, 0.25), (0.22, 0.15, 0.12)]),
        (0.06, 0.06, 0.06),
        contrast=0.5,
        scale_m=world.uniform(0.15, 0.6),
        params=(0.5, 0.4, 1.0),
        gloss=world.weather.wet,
    )
    world.ground(ground)
    end = world.uniform(15, 60)
    for side in (-1, 1):
        line_with_houses(world, side, half, -8.0, end, NO_CROSSING_M, tall=(5.0, 16.0))
        for _ in range(int(world.rng.integers(3, 9))):
            _add_fixture(world, side, half, end)
    for _ in range(int(world.rng.integers(0, 4))):
        z, y = world.uniform(4, end), world.uniform(3.2, 6.0)
        if world.chance(0.5):
            bridge = (half + 0.3, 0.8, 0.5)
            world.box(frame_at(0, z), (0, y + 0.8, 0), bridge, wall_surface(world))
        else:
            _hang_washing(world, frame_at(0, z), half, y)
    add_building(world, frame_at(0, end), 20, 10, world.uniform(6, 14))
    scatter_people(world, (-half + 0.4, half - 0.4), (3.0, min(end, 25.0)), int(world.rng.integers(1, 5)))
    if world.chance(0.3):
        add_bicycle(
            world, frame_at(world.uniform(0.4, 0.7) * half, world.uniform(3, 8), world.uniform(-0.2, 0.2))
        )
    return draw_camera(
        world, x=world.uniform(-0.5, 0.5) * half, height=world.uniform(1.2, 2.6), pitch=(-0.25, 0.2), yaw=0.3
    ), 25.0


def _add_fixture(world: World, side: int, half: float, end: float) -> None:
    """One thing at the house fronts of a side: air conditioner, pipe, sign, bin or lamp."""
    z, x = world.uniform(2.0, end), side * (half - 0.1)
    y = world.uniform(1.8, 5.0)
    kind = world.uniform(0, 1)
    frame = frame_at(x, z)
    box = world.surface(
        "planks",
        world.pick([(0.5, 0.5, 0.48), (0.2, 0.2, 0.2)]),
        (0.05, 0.05, 0.05),
        scale_m=0.1,
        warmer_c=7,
    )
    if kind < 0.3:
        world.box(frame, (-side * 0.15, y, 0), (0.25, 0.3, 0.4), box)
    elif kind < 0.5:
        world.limb(frame, (0, 0, 0), (0, world.uniform(4, 12), 0), 0.06, 1.0, box)
    elif kind < 0.7:
        board = (0.45, world.uniform(0.25, 0.6), 0.04)
        world.box(frame, (-side * 0.4, y, 0), board, sign_surface(world, lit=True))
    elif kind < 0.85:
        add_bin(world, frame_at(x - side * 0.3, z))
    else:
        _add_wall_lamp(world, frame, side)


def _add_wall_lamp(world: World, frame: Frame, side: int) -> None:
    glow = (14.0, 10.0, 5.0) if world.weather.night else (0.0, 0.0, 0.0)
    lamp = world.surface("plain", (0.6, 0.6, 0.5), glow=glow, warmer_c=15)
    world.ball(frame, (-side * 0.25, 3.0, 0), (0.14, 0.2, 0.14), lamp)
    if world.weather.night:
        world.lamp(frame.point((-side * 0.5, 2.9, 0)), (1.0, 0.75, 0.45), world.uniform(5, 14))


def _hang_washing(world: World, frame: Frame, half: float, y: float) -> None:
    """A line across the alley at height ``y`` with four pieces of cloth."""
    line = world.surface("plain", (0.03, 0.03, 0.03), warmer_c=0)
    end = (half, y + world.uniform(-0.4, 0.4), world.uniform(-1, 1))
    world.limb(frame, (-half, y, 0), end, 0.015, 1.0, line)
    for k in range(4):
        cloth = world.surface(
            "plain",
            world.pick([(0.6, 0.6, 0.6), (0.4, 0.1, 0.1), (0.1, 0.15, 0.4)]),
            contrast=0.4,
            scale_m=0.4,
            warmer_c=-1,
        )
        middle = (-0.6 * half + 0.4 * half * k, y - 0.35, 0.0)
        world.box(frame, middle, (0.15 * half, 0.35, 0.02), cloth)
