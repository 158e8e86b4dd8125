"""What moves through a sample scene: people, cyclists and vehicles. Warm in the infrared where they are in life."""

from __future__ import annotations

import numpy as np

from pipeline.scene_materials import Colour
from pipeline.scene_world import Frame, World, frame_at

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
    """A person of 1.5 to 1.95 m, walking, standing, or astride; or a bronze one ``statue_scale`` times as tall."""
    size = world.uniform(0.85, 1.1) * (statue_scale or 1.0)
    frame = Frame(np.array([x, y, z]), frame_at(x, z, heading).rotation * size)
    label = "statue" if statue_scale else "person"
    skin, shirt, trousers, hair, shoes = _statue(world) if statue_scale else _clothes(world)
    stride = world.uniform(-0.55, 0.55) if not world.chance(0.3) else world.uniform(-0.08, 0.08)
    hip, lean = 0.92, 0.02
    if riding:
        stride, lean = world.uniform(0.3, 0.7), 0.22
    skirt = not riding and world.chance(0.15)
    for side, swing in ((-0.09, stride), (0.09, -stride)):
        lift = 0.55 if riding else 0.0
        knee = (side * 1.1, 0.5 + 0.2 * lift, 0.42 * np.sin(swing) + 0.5 * lift)
        bend = 0.25 * max(0.0, -swing)
        ankle = (
            side,
            0.09 + 0.35 * bend + 0.3 * lift,
            0.42 * np.sin(swing) + 0.4 * np.sin(swing) - bend + 0.4 * lift,
        )
        world.limb(frame, (side, hip, 0), knee, 0.092, 0.72, trousers, label=label)
        world.limb(frame, knee, ankle, 0.068, 0.62, skin if skirt else trousers, label=label)
        world.ball(frame, knee, (0.066, 0.066, 0.066), trousers, label=label)
        world.ball(
            frame, (ankle[0], ankle[1] - 0.045, ankle[2] + 0.05), (0.05, 0.05, 0.13), shoes, label=label
        )
    if skirt:
        world.limb(frame, (0, 0.55, 0), (0, 1.0, 0), 0.25, 0.6, shirt, label=label, flatten=0.75)
    shoulder_z = lean
    world.limb(frame, (0, 0.88, 0), (0, 1.2, lean / 2), 0.165, 1.12, shirt, label=label, flatten=0.66)
    world.limb(frame, (0, 1.2, lean / 2), (0, 1.45, shoulder_z), 0.185, 0.8, shirt, label=label, flatten=0.62)
    world.ball(frame, (0, 1.42, shoulder_z), (0.205, 0.09, 0.105), shirt, label=label)
    for side, swing in ((-1, -stride), (1, stride)):
        top = (side * 0.2, 1.42, shoulder_z)
        reach = world.uniform(0.1, 0.4) if world.chance(0.25) or riding else 0.0
        elbow = (side * 0.26, 1.15 + 0.1 * reach, shoulder_z + 0.25 * np.sin(swing) + 0.3 * reach)
        hand = (side * 0.24, 0.9 + 0.7 * reach, shoulder_z + 0.42 * np.sin(swing) + 0.1 + 0.7 * reach)
        world.limb(frame, top, elbow, 0.058, 0.8, shirt, label=label)
        world.limb(frame, elbow, hand, 0.046, 0.75, shirt if world.chance(0.7) else skin, label=label)
        world.ball(frame, hand, (0.042, 0.07, 0.045), skin, label=label)
    world.limb(frame, (0, 1.42, shoulder_z), (0, 1.56, shoulder_z + 0.02), 0.055, 0.95, skin, label=label)
    world.ball(frame, (0, 1.645, shoulder_z + 0.03), (0.077, 0.115, 0.095), skin, label=label)
    long_hair = world.chance(0.35)
    world.ball(frame, (0, 1.675, shoulder_z), (0.088, 0.1, 0.1), hair, label=label)
    if long_hair:
        world.ball(frame, (0, 1.56, shoulder_z - 0.05), (0.09, 0.17, 0.06), hair, label=label)
    if statue_scale:
        return
    _add_belongings(world, frame, shoulder_z)


def add_cyclist(world: World, x: float, z: float, *, heading: float) -> None:
    """A person on a bicycle."""
    frame = frame_at(x, z, heading)
    add_bicycle(world, frame)
    back = frame.point((0, 0.12, -0.25))
    add_person(world, back[0], back[2], heading=heading, y=0.12, riding=True)


def add_bicycle(world: World, frame: Frame) -> None:
    """A bicycle heading along the frame's z."""
    paint = world.surface("plain", world.pick(_PAINT), warmer_c=2, gloss=0.2)
    tyre = world.surface("plain", (0.02, 0.02, 0.02), warmer_c=6)
    for z in (-0.52, 0.52):
        world.limb(
            frame, (-0.02, 0.34, z), (0.02, 0.34, z), 0.34, 1.0, tyre, label="bicycle", cutout="spokes"
        )
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
        world.limb(frame, start, end, 0.02, 1.0, paint, label="bicycle")
    world.ball(frame, (0, 0.9, -0.26), (0.08, 0.04, 0.13), tyre, label="bicycle")


def add_vehicle(world: World, x: float, z: float, *, heading: float, moving: bool, kind: str = "") -> None:
    """A parked or moving hatchback, saloon, off-roader, van, lorry or bus that faces along ``heading``."""
    kind = kind or str(
        world.stream.choice(
            ["hatch", "saloon", "suv", "van", "lorry", "bus"], p=[0.3, 0.28, 0.2, 0.13, 0.05, 0.04]
        )
    )
    frame = frame_at(x, z, heading)
    warm = 9.0 if moving or world.chance(0.3) else 0.5
    paint = world.surface("plain", world.pick(_PAINT), contrast=0.05, scale_m=0.5, warmer_c=0.5, gloss=0.22)
    bonnet = world.surface(
        "plain", world.surfaces[paint].colour, contrast=0.05, scale_m=0.5, warmer_c=warm, gloss=0.22
    )
    dark = world.surface("plain", (0.025, 0.025, 0.028), contrast=0.3, warmer_c=0.6 * warm)
    long, wide, tall = {
        "hatch": (4.0, 1.75, 1.48),
        "saloon": (4.6, 1.8, 1.44),
        "suv": (4.6, 1.88, 1.72),
        "van": (5.2, 2.0, 2.3),
        "lorry": (7.5, 2.4, 3.2),
        "bus": (11.0, 2.5, 3.1),
    }[kind]
    half_l, half_w = long / 2, wide / 2
    boxy = kind in ("van", "lorry", "bus")
    belt = {"van": 1.15, "lorry": 1.3, "bus": 1.2, "suv": 1.05}.get(kind, 0.9)
    nose = 0.35 if boxy else world.uniform(1.0, 1.2)
    tail = {"saloon": 0.75, "hatch": 0.12, "suv": 0.08}.get(kind, 0.02)
    drop = 0.06 if boxy else 0.2
    hull = [(-half_l, 0.32), (-half_l, belt - 0.12), (-half_l + 0.08, belt), (half_l - nose, belt)]
    hull += [
        (half_l - 0.12, belt - drop),
        (half_l, belt - drop - 0.15),
        (half_l, 0.32),
        (half_l - 0.15, 0.2),
        (-half_l + 0.15, 0.2),
    ]
    sides = (*[paint] * 3, *[bonnet] * 3, *[dark] * 3, paint, paint)
    planes = _profile_planes(hull, half_w, lean=0.03, foot=0.2)
    world.convex(
        frame,
        planes,
        (-half_w, 0.2, -half_l),
        (half_w, belt, half_l),
        tuple(sides[: len(planes)]),
        label="vehicle",
    )
    slope = 0.1 if boxy else world.uniform(0.55, 0.75)
    rear = {"saloon": 0.55, "hatch": 0.35, "suv": 0.25}.get(kind, 0.04)
    front_foot = half_l - nose + 0.05
    cabin = [
        (-half_l + tail, belt),
        (-half_l + tail + rear, tall),
        (front_foot - slope, tall),
        (front_foot, belt),
    ]
    pillar = 1.0 if not boxy else (50.0 if kind != "bus" else 1.3)
    sill = 0.9 if kind in ("van", "lorry") else 0.05
    pane = world.surface(
        "glass",
        world.surfaces[paint].colour,
        (0.02, 0.024, 0.028),
        params=(pillar, 0.3, 0.04),
        warmer_c=-4,
        gloss=0.5,
    )
    side_pane = pane if sill < 0.5 else paint
    cabin_sides = (pane if kind not in ("van", "lorry") else paint, paint, pane, dark, side_pane, side_pane)
    width = half_w - 0.03
    lean = 0.03 if boxy else 0.24
    planes = _profile_planes(cabin, width, lean=lean, foot=belt)
    world.convex(frame, planes, (-width, belt, -half_l), (width, tall, half_l), cabin_sides, label="vehicle")
    _add_wheels(world, frame, half_l, half_w, 0.46 if kind in ("lorry", "bus") else 0.32, moving)
    _add_lights(world, frame, half_l, half_w, belt - drop - 0.2, belt - 0.22, on=moving)
    plate = world.surface("panel", (0.6, 0.6, 0.55), (0.03, 0.03, 0.05), scale_m=0.15, warmer_c=1)
    for end in (-half_l, half_l):
        world.box(frame, (0, 0.5, end), (0.26, 0.06, 0.02), plate, label="vehicle")


def _clothes(world: World) -> tuple[int, int, int, int, int]:
    air = world.weather.air_c
    # Clothing lies between the skin and the air: a thin shirt is warm, a thick coat is not.
    cover = world.uniform(0.35, 0.75)

    def cloth(colour: Colour, share: float) -> int:
        warmer = max(3.0, share * (33.0 - air))
        return world.surface("plain", colour, contrast=0.16, scale_m=world.uniform(0.1, 0.4), warmer_c=warmer)

    skin = world.surface("plain", world.pick(_SKIN), contrast=0.1, scale_m=0.1, warmer_c=max(6.0, 34.0 - air))
    hair = cloth(
        world.pick([(0.015, 0.012, 0.01), (0.06, 0.035, 0.02), (0.3, 0.22, 0.12), (0.25, 0.25, 0.25)]), 0.6
    )
    return (
        skin,
        cloth(world.pick(_CLOTH), cover),
        cloth(world.pick(_CLOTH), 0.8 * cover),
        hair,
        cloth((0.03, 0.03, 0.03), 0.3),
    )


def _statue(world: World) -> tuple[int, int, int, int, int]:
    colour = world.pick([(0.10, 0.16, 0.12), (0.12, 0.09, 0.06), (0.45, 0.43, 0.38)])
    bronze = world.surface(
        "blend", colour, (0.05, 0.06, 0.05), contrast=0.35, scale_m=0.5, warmer_c=-1, gloss=0.1
    )
    return bronze, bronze, bronze, bronze, bronze


def _add_belongings(world: World, frame: Frame, shoulder_z: float) -> None:
    cool = world.surface("plain", world.pick(_CLOTH), contrast=0.3, scale_m=0.2, warmer_c=3.5)
    if world.chance(0.25):
        world.box(frame, (0, 1.24, shoulder_z - 0.2), (0.15, 0.19, 0.09), cool, label="bag")
        world.ball(frame, (0, 1.42, shoulder_z - 0.2), (0.15, 0.07, 0.09), cool, label="bag")
        world.box(frame, (0, 1.15, shoulder_z - 0.3), (0.11, 0.08, 0.03), cool, label="bag")
    if world.chance(0.2):
        world.box(frame, (0.28, 0.7, 0.1), (0.05, 0.14, 0.17), cool, label="bag")
    if world.chance(0.06):
        world.limb(frame, (0.2, 1.1, 0.3), (0.1, 2.05, 0.15), 0.012, 1.0, cool, label="bag")
        world.limb(frame, (0.1, 1.95, 0.15), (0.1, 2.15, 0.15), 0.55, 0.1, cool, label="bag")


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
            world.limb(frame, inner, outer, radius, 1.0, tyre, label="vehicle")
            cap = (x * (half_w + 0.025), radius, z)
            world.limb(frame, outer, cap, 0.62 * radius, 0.9, hub, label="vehicle")


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
        world.box(
            frame, (x * (half_w - 0.25), front_y, half_l - 0.03), (0.16, 0.075, 0.06), head, label="vehicle"
        )
        world.box(
            frame, (x * (half_w - 0.2), rear_y, -half_l + 0.02), (0.13, 0.1, 0.05), rear, label="vehicle"
        )
    if lit and world.weather.night:
        world.spot(
            frame.point((0, front_y, half_l + 0.2)), frame.rotation @ [0, -0.11, 1.0], (1.0, 0.95, 0.85), 90.0
        )
        world.lamp(frame.point((0, rear_y, -half_l - 0.5)), (1.0, 0.06, 0.04), 0.5)


def _profile_planes(
    profile: list[tuple[float, float]], half_width: float, *, lean: float, foot: float
) -> np.ndarray:
    """Half spaces of a convex (z, y) profile, clockwise seen from +x, extruded over x; sides lean inwards above ``foot``."""
    planes = []
    for (z0, y0), (z1, y1) in zip(profile, [*profile[1:], profile[0]], strict=True):
        normal = np.array([0.0, z1 - z0, -(y1 - y0)])
        normal /= np.linalg.norm(normal)
        planes.append([*normal, normal[1] * y0 + normal[2] * z0])
    for side in (-1.0, 1.0):
        planes.append([side, lean, 0.0, half_width + lean * foot])
    return np.array(planes)
