"""One sample scene before it is seen: a place with its weather, and the camera that looks at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.runtime.randomness import random_stream
from pipeline.scenes.places import alleys, squares, streets, vistas
from pipeline.scenes.tracing.geometry import Camera
from pipeline.scenes.world import Weather, World

#: Kind of place -> how to lay it out, and how often it is drawn.
PLACES: dict[str, tuple[Callable[[World], tuple[Camera, float]], float]] = {
    "street": (streets.street, 0.29),
    "crossing": (streets.crossing, 0.19),
    "alley": (alleys.alley, 0.09),
    "plaza": (squares.plaza, 0.11),
    "park": (squares.park, 0.09),
    "arcade": (squares.arcade, 0.05),
    "skyline": (vistas.skyline, 0.06),
    "ruin": (vistas.ruin, 0.06),
    "yard": (vistas.yard, 0.06),
}


@dataclass(frozen=True, eq=False)
class Layout:
    """A scene before it is seen."""

    world: World
    camera: Camera
    reach_m: float  # how far from the camera shadows are worth casting


def build_layout(*, seed: int, index: int) -> Layout:
    """Draw the place, the weather and the camera of one scene. Odd indices are by night."""
    sample = str(index)
    place_stream = random_stream(seed, "scenes", sample, "place")
    kind = str(place_stream.choice(list(PLACES), p=[share for _, share in PLACES.values()]))
    weather = _draw_weather(random_stream(seed, "scenes", sample, "weather"), night=index % 2 == 1)
    world = World(random_stream(seed, "scenes", sample, "layout"), weather)
    camera, reach_m = PLACES[kind][0](world)
    return Layout(world, camera, reach_m)


def _draw_weather(rng: np.random.Generator, *, night: bool) -> Weather:
    clear = rng.random() < 0.6
    tints = [(1.0, 0.78, 0.45), (1.0, 0.9, 0.75), (0.95, 1.0, 0.8), (0.85, 0.95, 1.1)]
    tint = (
        tints[int(rng.integers(4))]
        if night
        else (1.0 + 0.08 * rng.standard_normal(), 1.0, 1.0 + 0.08 * rng.standard_normal())
    )
    return Weather(
        night=night,
        sun_azimuth=float(rng.uniform(-np.pi, np.pi)),
        sun_elevation=float(rng.uniform(0.2, 1.2)),
        overcast=float(rng.uniform(0, 0.35) if clear else rng.uniform(0.6, 1.0)),
        haze_per_m=float(np.exp(rng.uniform(np.log(2e-4), np.log(3e-3)))),
        air_c=float(rng.uniform(-2, 18) if night else rng.uniform(4, 23)),
        wet=float(rng.choice([0.0, 0.03, 0.3], p=[0.45, 0.3, 0.25])),
        tint=tint,
        lit_share=float(rng.uniform(0.1, 0.5)) if night else 0.0,
    )
