"""People, cyclists and bicycles of the sample scenes; people are warm in the infrared."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pipeline.scenes.surfaces.materials import Colour
from pipeline.scenes.world import Frame, World, frame_at

_SKIN: list[Colour] = [(0.55, 0.33, 0.24), (0.42, 0.24, 0.16), (0.25, 0.13, 0.08), (0.62, 0.42, 0.33)]
_CLOTH: list[Colour] = [
    (0.03, 0.03, 0.04),
    (0.05, 0.07, 0.16),
    (0.30, 0.04, 0.04),
    (0.45, 0.43, 0.38),
    (0.08, 0.12, 0.07),
    (0.55, 0.40, 0.10),
    (0.10, 0.22, 0.40),
    (0.16, 0.12, 0.09),
    (0.62, 0.62, 0.60),
    (0.35, 0.16, 0.26),
]


class _Outfit(NamedTuple):
    """Indices of surfaces."""

    skin: int
    shirt: int
    trousers: int
    hair: int
    shoes: int


def add_person(
    world: World,
    x: float,
    z: float,
    *,
    heading: float,
    y: float = 0.0,
    statue_scale: float = 0.0,
    riding: bool = False,
) -> None:
    """A person of 1.5 to 1.95 m, walking, standing or riding; or a statue ``statue_scale`` times as tall.

    The feet are at (x, y, z), in metres; ``heading`` is in radians.
    """
    size = world.uniform(0.85, 1.1) * (statue_scale or 1.0)
    frame = Frame(np.array([x, y, z]), frame_at(x, z, heading).rotation * size)
    outfit = _statue(world) if statue_scale else _clothes(world)
    stride = world.uniform(-0.55, 0.55) if not world.chance(0.3) else world.uniform(-0.08, 0.08)
    lean = 0.02
    if riding:
        stride, lean = world.uniform(0.3, 0.7), 0.22
    skirt = not riding and world.chance(0.15)
    _add_legs(world, frame, outfit, stride, lift=0.55 if riding else 0.0, bare=skirt)
    if skirt:
        world.limb(frame, (0, 0.55, 0), (0, 1.0, 0), 0.25, 0.6, outfit.shirt, flatten=0.75)
    _add_torso(world, frame, outfit, lean)
    _add_arms(world, frame, outfit, lean, stride, riding=riding)
    _add_head(world, frame, outfit, lean)
    if not statue_scale:
        _add_belongings(world, frame, lean)


def add_cyclist(world: World, x: float, z: float, *, heading: float) -> None:
    """A person on a bicycle."""
    frame = frame_at(x, z, heading)
    add_bicycle(world, frame)
    back = frame.point((0, 0.12, -0.25))
    add_person(world, back[0], back[2], heading=heading, y=0.12, riding=True)


def add_bicycle(world: World, frame: Frame) -> None:
    """A bicycle heading along the frame's z."""
    paint = world.surface("plain", world.pick(_CLOTH), warmer_c=2, gloss=0.2)
    tyre = world.surface("plain", (0.02, 0.02, 0.02), warmer_c=6)
    for z in (-0.52, 0.52):
        world.limb(frame, (-0.02, 0.34, z), (0.02, 0.34, z), 0.34, 1.0, tyre, cutout="spokes")
    bars = [
        ((0, 0.34, -0.52), (0, 0.62, -0.2)),
        ((0, 0.34, -0.52), (0, 0.3, -0.05)),
        ((0, 0.3, -0.05), (0, 0.85, -0.25)),
        ((0, 0.3, -0.05), (0, 0.75, 0.4)),
        ((0, 0.68, -0.2), (0, 0.76, 0.4)),
        ((0, 0.34, 0.52), (0, 0.95, 0.36)),
        ((-0.28, 0.98, 0.3), (0.28, 0.98, 0.3)),
    ]
    for start, end in bars:
        world.limb(frame, start, end, 0.02, 1.0, paint)
    world.ball(frame, (0, 0.9, -0.26), (0.08, 0.04, 0.13), tyre)


def _add_legs(world: World, frame: Frame, outfit: _Outfit, stride: float, *, lift: float, bare: bool) -> None:
    """Legs that swing by ``stride`` (radians); ``lift`` raises and bends the knees, as on pedals."""
    skin, _, trousers, _, shoes = outfit
    for side, swing in ((-0.09, stride), (0.09, -stride)):
        knee = (side * 1.1, 0.5 + 0.2 * lift, 0.42 * np.sin(swing) + 0.5 * lift)
        bend = 0.25 * max(0.0, -swing)
        ankle = (
            side,
            0.09 + 0.35 * bend + 0.3 * lift,
            0.42 * np.sin(swing) + 0.4 * np.sin(swing) - bend + 0.4 * lift,
        )
        world.limb(frame, (side, 0.92, 0), knee, 0.092, 0.72, trousers)
        world.limb(frame, knee, ankle, 0.068, 0.62, skin if bare else trousers)
        world.ball(frame, knee, (0.066, 0.066, 0.066), trousers)
        foot = (ankle[0], ankle[1] - 0.045, ankle[2] + 0.05)
        world.ball(frame, foot, (0.05, 0.05, 0.13), shoes)


def _add_torso(world: World, frame: Frame, outfit: _Outfit, lean: float) -> None:
    shirt = outfit.shirt
    world.limb(frame, (0, 0.88, 0), (0, 1.2, lean / 2), 0.165, 1.12, shirt, flatten=0.66)
    world.limb(frame, (0, 1.2, lean / 2), (0, 1.45, lean), 0.185, 0.8, shirt, flatten=0.62)
    world.ball(frame, (0, 1.42, lean), (0.205, 0.09, 0.105), shirt)


def _add_arms(
    world: World, frame: Frame, outfit: _Outfit, lean: float, stride: float, *, riding: bool
) -> None:
    """Arms that swing against the legs, or reach forward."""
    skin, shirt = outfit.skin, outfit.shirt
    for side, swing in ((-1, -stride), (1, stride)):
        top = (side * 0.2, 1.42, lean)
        reach = world.uniform(0.1, 0.4) if world.chance(0.25) or riding else 0.0
        elbow = (side * 0.26, 1.15 + 0.1 * reach, lean + 0.25 * np.sin(swing) + 0.3 * reach)
        hand = (side * 0.24, 0.9 + 0.7 * reach, lean + 0.42 * np.sin(swing) + 0.1 + 0.7 * reach)
        world.limb(frame, top, elbow, 0.058, 0.8, shirt)
        world.limb(frame, elbow, hand, 0.046, 0.75, shirt if world.chance(0.7) else skin)
        world.ball(frame, hand, (0.042, 0.07, 0.045), skin)


def _add_head(world: World, frame: Frame, outfit: _Outfit, lean: float) -> None:
    skin, hair = outfit.skin, outfit.hair
    world.limb(frame, (0, 1.42, lean), (0, 1.56, lean + 0.02), 0.055, 0.95, skin)
    world.ball(frame, (0, 1.645, lean + 0.03), (0.077, 0.115, 0.095), skin)
    world.ball(frame, (0, 1.675, lean), (0.088, 0.1, 0.1), hair)
    if world.chance(0.35):  # long hair
        world.ball(frame, (0, 1.56, lean - 0.05), (0.09, 0.17, 0.06), hair)


def _clothes(world: World) -> _Outfit:
    air = world.weather.air_c
    # Clothing lies between the skin and the air: a thin shirt is warm, a thick coat is not.
    cover = world.uniform(0.45, 0.8)

    def cloth(colour: Colour, share: float) -> int:
        warmer = max(6.0, share * (33.0 - air))
        return world.surface("plain", colour, contrast=0.16, scale_m=world.uniform(0.1, 0.4), warmer_c=warmer)

    skin = world.surface("plain", world.pick(_SKIN), contrast=0.1, scale_m=0.1, warmer_c=max(6.0, 34.0 - air))
    hair = cloth(
        world.pick([(0.015, 0.012, 0.01), (0.06, 0.035, 0.02), (0.3, 0.22, 0.12), (0.25, 0.25, 0.25)]), 0.6
    )
    return _Outfit(
        skin=skin,
        shirt=cloth(world.pick(_CLOTH), cover),
        trousers=cloth(world.pick(_CLOTH), 0.8 * cover),
        hair=hair,
        shoes=cloth((0.03, 0.03, 0.03), 0.3),
    )


def _statue(world: World) -> _Outfit:
    colour = world.pick([(0.10, 0.16, 0.12), (0.12, 0.09, 0.06), (0.45, 0.43, 0.38)])
    bronze = world.surface(
        "blend", colour, (0.05, 0.06, 0.05), contrast=0.35, scale_m=0.5, warmer_c=-1, gloss=0.1
    )
    return _Outfit(bronze, bronze, bronze, bronze, bronze)


def _add_belongings(world: World, frame: Frame, lean: float) -> None:
    cool = world.surface("plain", world.pick(_CLOTH), contrast=0.3, scale_m=0.2, warmer_c=3.5)
    if world.chance(0.25):
        world.box(frame, (0, 1.24, lean - 0.2), (0.15, 0.19, 0.09), cool)
        world.ball(frame, (0, 1.42, lean - 0.2), (0.15, 0.07, 0.09), cool)
        world.box(frame, (0, 1.15, lean - 0.3), (0.11, 0.08, 0.03), cool)
    if world.chance(0.2):
        world.box(frame, (0.28, 0.7, 0.1), (0.05, 0.14, 0.17), cool)
    if world.chance(0.06):
        world.limb(frame, (0.2, 1.1, 0.3), (0.1, 2.05, 0.15), 0.012, 1.0, cool)
        world.limb(frame, (0.1, 1.95, 0.15), (0.1, 2.15, 0.15), 0.55, 0.1, cool)
