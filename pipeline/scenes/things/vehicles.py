"""Vehicles of the sample scenes: warm engines and tyres, cold glass, lights by night."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.scenes.surfaces.materials import Colour
from pipeline.scenes.world import Frame, World, frame_at

_PAINT: list[Colour] = [
    (0.60, 0.60, 0.58),
    (0.03, 0.03, 0.035),
    (0.22, 0.23, 0.25),
    (0.35, 0.36, 0.37),
    (0.32, 0.02, 0.02),
    (0.03, 0.06, 0.22),
    (0.55, 0.38, 0.03),
    (0.05, 0.14, 0.08),
    (0.30, 0.22, 0.15),
]


@dataclass(frozen=True, kw_only=True)
class _Model:
    """The shape of one kind of vehicle; lengths in metres."""

    share: float  # of all vehicles
    long: float
    wide: float
    tall: float
    belt: float  # height of the lower edge of the windows
    tail: float = 0.02  # from the rear end to the cabin
    rear: float = 0.04  # how far the rear window leans in
    boxy: bool = False  # upright front without a bonnet
    cargo: bool = False  # no side or rear windows
    pillar: float = 1.0  # spacing of the window pillars; 50: none
    wheel: float = 0.32  # radius


_MODELS = {
    "hatch": _Model(share=0.3, long=4.0, wide=1.75, tall=1.48, belt=0.9, tail=0.12, rear=0.35),
    "saloon": _Model(share=0.28, long=4.6, wide=1.8, tall=1.44, belt=0.9, tail=0.75, rear=0.55),
    "suv": _Model(share=0.2, long=4.6, wide=1.88, tall=1.72, belt=1.05, tail=0.08, rear=0.25),
    "van": _Model(share=0.13, long=5.2, wide=2.0, tall=2.3, belt=1.15, boxy=True, cargo=True, pillar=50.0),
    "lorry": _Model(
        share=0.05, long=7.5, wide=2.4, tall=3.2, belt=1.3, boxy=True, cargo=True, pillar=50.0, wheel=0.46
    ),
    "bus": _Model(share=0.04, long=11.0, wide=2.5, tall=3.1, belt=1.2, boxy=True, pillar=1.3, wheel=0.46),
}


def add_vehicle(world: World, x: float, z: float, *, heading: float, moving: bool) -> None:
    """A car, van, lorry or bus around (x, z), in metres, that faces along ``heading``, in radians.

    Nothing if there is no room. A moving one is warm, and may have its lights on.
    """
    shares = [model.share for model in _MODELS.values()]
    model = _MODELS[str(world.rng.choice(list(_MODELS), p=shares))]
    if not world.claim(x, z, model.wide / 2, heading=heading, length=model.long - model.wide):
        return
    frame = frame_at(x, z, heading)
    warm = 9.0 if moving or world.chance(0.3) else 0.5
    paint = world.surface("plain", world.pick(_PAINT), contrast=0.05, scale_m=0.5, warmer_c=0.5, gloss=0.22)
    bonnet = world.surface(
        "plain", world.surfaces[paint].colour, contrast=0.05, scale_m=0.5, warmer_c=warm, gloss=0.22
    )
    dark = world.surface("plain", (0.025, 0.025, 0.028), contrast=0.3, warmer_c=0.6 * warm)
    nose = 0.35 if model.boxy else world.uniform(1.0, 1.2)
    drop = 0.06 if model.boxy else 0.2
    _add_hull(world, frame, model, nose, drop, (paint, bonnet, dark))
    _add_cabin(world, frame, model, nose, paint, dark)
    half_l, half_w = model.long / 2, model.wide / 2
    _add_wheels(world, frame, half_l, half_w, model.wheel, moving)
    _add_lights(world, frame, half_l, half_w, model.belt - drop - 0.2, model.belt - 0.22, on=moving)
    plate = world.surface("panel", (0.6, 0.6, 0.55), (0.03, 0.03, 0.05), scale_m=0.15, warmer_c=1)
    for end in (-half_l, half_l):
        world.box(frame, (0, 0.5, end), (0.26, 0.06, 0.02), plate)


def _add_hull(
    world: World, frame: Frame, model: _Model, nose: float, drop: float, surfaces: tuple[int, int, int]
) -> None:
    """Everything below the windows; the bonnet, of length ``nose``, falls by ``drop`` towards the front."""
    half_l, half_w, belt = model.long / 2, model.wide / 2, model.belt
    profile = [
        (-half_l, 0.32),
        (-half_l, belt - 0.12),
        (-half_l + 0.08, belt),
        (half_l - nose, belt),
        (half_l - 0.12, belt - drop),
        (half_l, belt - drop - 0.15),
        (half_l, 0.32),
        (half_l - 0.15, 0.2),
        (-half_l + 0.15, 0.2),
    ]
    planes = _profile_planes(profile, half_w, lean=0.03, foot=0.2)
    paint, bonnet, dark = surfaces
    sides = (*[paint] * 3, *[bonnet] * 3, *[dark] * 3, paint, paint)
    world.convex(frame, planes, (-half_w, 0.2, -half_l), (half_w, belt, half_l), sides)


def _add_cabin(world: World, frame: Frame, model: _Model, nose: float, paint: int, dark: int) -> None:
    half_l, belt, tall = model.long / 2, model.belt, model.tall
    slope = 0.1 if model.boxy else world.uniform(0.55, 0.75)
    front_foot = half_l - nose + 0.05
    profile = [
        (-half_l + model.tail, belt),
        (-half_l + model.tail + model.rear, tall),
        (front_foot - slope, tall),
        (front_foot, belt),
    ]
    pane = world.surface(
        "glass",
        world.surfaces[paint].colour,
        (0.02, 0.024, 0.028),
        params=(model.pillar, 0.3, 0.04),
        warmer_c=-4,
        gloss=0.5,
    )
    behind = paint if model.cargo else pane
    width = model.wide / 2 - 0.03
    planes = _profile_planes(profile, width, lean=0.03 if model.boxy else 0.24, foot=belt)
    sides = (behind, paint, pane, dark, behind, behind)
    world.convex(frame, planes, (-width, belt, -half_l), (width, tall, half_l), sides)


def _add_wheels(
    world: World, frame: Frame, half_l: float, half_w: float, radius: float, moving: bool
) -> None:
    tyre = world.surface(
        "plain", (0.018, 0.018, 0.018), contrast=0.3, scale_m=0.1, warmer_c=14 if moving else 1.5
    )
    hub = world.surface(
        "blend",
        (0.35, 0.35, 0.36),
        (0.06, 0.06, 0.06),
        contrast=0.9,
        scale_m=0.22,
        warmer_c=10 if moving else 1,
    )
    for x in (-1, 1):
        for z in (-half_l * 0.62, half_l * 0.64):
            inner, outer = (x * (half_w - 0.24), radius, z), (x * (half_w + 0.015), radius, z)
            world.limb(frame, inner, outer, radius, 1.0, tyre)
            cap = (x * (half_w + 0.025), radius, z)
            world.limb(frame, outer, cap, 0.62 * radius, 0.9, hub)


def _add_lights(
    world: World, frame: Frame, half_l: float, half_w: float, front_y: float, rear_y: float, *, on: bool
) -> None:
    lit = on and (world.weather.night or world.chance(0.25))
    strength = 60.0 if world.weather.night else 6.0
    white = (strength, 0.95 * strength, 0.8 * strength) if lit else (0.0, 0.0, 0.0)
    red = (0.12 * strength, 0.006 * strength, 0.004 * strength) if lit else (0.0, 0.0, 0.0)
    head = world.surface("plain", (0.6, 0.62, 0.62), glow=white, warmer_c=12 if lit else 0.5, gloss=0.3)
    rear = world.surface("plain", (0.35, 0.02, 0.02), glow=red, warmer_c=3 if lit else 0.5, gloss=0.2)
    for x in (-1, 1):
        world.box(frame, (x * (half_w - 0.25), front_y, half_l - 0.03), (0.16, 0.075, 0.06), head)
        world.box(frame, (x * (half_w - 0.2), rear_y, -half_l + 0.02), (0.13, 0.1, 0.05), rear)
    if lit and world.weather.night:
        world.spot(
            frame.point((0, front_y, half_l + 0.2)), frame.rotation @ [0, -0.11, 1.0], (1.0, 0.95, 0.85), 90.0
        )
        world.lamp(frame.point((0, rear_y, -half_l - 0.5)), (1.0, 0.06, 0.04), 0.5)


def _profile_planes(
    profile: list[tuple[float, float]], half_width: float, *, lean: float, foot: float
) -> np.ndarray:
    """Half spaces of a convex (z, y) profile extruded over x, whose sides lean inwards above ``foot``."""
    planes = []
    for (z0, y0), (z1, y1) in zip(profile, [*profile[1:], profile[0]], strict=True):
        normal = np.array([0.0, z1 - z0, -(y1 - y0)])
        normal /= np.linalg.norm(normal)
        planes.append([*normal, normal[1] * y0 + normal[2] * z0])
    for side in (-1.0, 1.0):
        planes.append([side, lean, 0.0, half_width + lean * foot])
    return np.array(planes)
