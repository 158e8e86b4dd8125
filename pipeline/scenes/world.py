"""The world that a sample scene is put together in: frames, solids, surfaces and lights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.scenes.surfaces.materials import Colour, Surface
from pipeline.scenes.tracing.geometry import rotate_y
from pipeline.scenes.tracing.solids import CUBE, Kind, Solid

Point = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Frame:
    """Where an object stands: its own x (right), y (up), z (ahead) in metres, set into the world."""

    origin: np.ndarray  # (3,)
    rotation: np.ndarray  # (3, 3)

    def point(self, local: Point) -> np.ndarray:
        """World position of a point of this frame."""
        return self.origin + self.rotation @ np.array(local)


def frame_at(x: float, z: float, heading: float = 0.0, y: float = 0.0) -> Frame:
    """A frame on the ground whose z axis points along ``heading`` (radians, 0 = world z)."""
    return Frame(np.array([x, y, z], float), rotate_y(heading))


@dataclass(frozen=True, kw_only=True, eq=False)
class Light:
    """A point or spot light, in radiance on a white surface at one metre."""

    position: np.ndarray  # (3,)
    colour: np.ndarray  # (3,)
    direction: np.ndarray | None = None  # (3,) unit vector of a spot, None for all round


@dataclass(frozen=True, kw_only=True)
class Weather:
    """Light and air. Angles in radians, temperatures in degrees Celsius."""

    night: bool
    sun_azimuth: float
    sun_elevation: float
    overcast: float  # 0 clear sky and hard shadows, 1 no sun at all
    haze_per_m: float
    air_c: float
    wet: float  # gloss of the ground
    tint: Colour  # white balance of the camera
    lit_share: float  # of windows with a light behind


class World:
    """Collects solids, surfaces and lights. The first solid is the ground plane."""

    def __init__(self, rng: np.random.Generator, weather: Weather) -> None:
        self.rng = rng
        self.weather = weather
        self.solids: list[Solid] = []
        self.surfaces: list[Surface] = []
        self.lights: list[Light] = []
        self._claims: list[tuple[float, float, float]] = []  # x, z, radius of what stands there
        self._raised: list[tuple[float, float, float, float, float]] = []  # x and z range, height

    def surface(
        self,
        shader: str,
        colour: Colour,
        accent: Colour = (0.2, 0.2, 0.2),
        *,
        contrast: float = 0.15,
        scale_m: float = 1.0,
        params: tuple[float, ...] = (),
        warmer_c: float = 0.0,
        gloss: float = 0.0,
        glow: Colour = (0.0, 0.0, 0.0),
    ) -> int:
        """Add a surface ``warmer_c`` above the air temperature and return its index."""
        self.surfaces.append(
            Surface(
                shader=shader,
                colour=colour,
                accent=accent,
                contrast=contrast,
                scale_m=scale_m,
                params=params,
                temperature_c=self.weather.air_c + warmer_c,
                gloss=gloss,
                glow=glow,
            )
        )
        return len(self.surfaces) - 1

    def ground(self, surface: int) -> None:
        """Lay the infinite ground plane y = 0."""
        self.solids.append(Solid(kind="ground", centre=np.zeros(3), axes=np.eye(3), surfaces=(surface,)))

    def box(
        self,
        frame: Frame,
        centre: Point,
        half: Point,
        surfaces: int | tuple[int, ...],
        *,
        cutout: str = "",
    ) -> None:
        """A box by its centre and half sizes; six surfaces in the order -x, +x, -y, +y, -z, +z, or one."""
        self._solid("convex", frame.point(centre), frame.rotation * np.array(half), surfaces, cutout)

    def convex(
        self,
        frame: Frame,
        planes: np.ndarray,
        low: Point,
        high: Point,
        surfaces: int | tuple[int, ...],
    ) -> None:
        """A convex polyhedron of half spaces (K, 4) in metres, bounded by the box ``low`` to ``high``."""
        half = (np.array(high) - np.array(low)) / 2
        middle = (np.array(high) + np.array(low)) / 2
        unit = np.concatenate([planes[:, :3] * half, planes[:, 3:] - planes[:, :3] @ middle[:, None]], axis=1)
        point = frame.point((middle[0], middle[1], middle[2]))
        self._solid("convex", point, frame.rotation * half, surfaces, "", planes=unit)

    def ball(
        self,
        frame: Frame,
        centre: Point,
        half: Point,
        surface: int,
        *,
        cutout: str = "",
        tilt: float = 0.0,
    ) -> None:
        """An ellipsoid by its half axes, turned about its own y by ``tilt``."""
        rotation = frame.rotation @ rotate_y(tilt)
        self._solid("ellipsoid", frame.point(centre), rotation * np.array(half), surface, cutout)

    def limb(
        self,
        frame: Frame,
        start: Point,
        end: Point,
        radius: float,
        taper: float,
        surfaces: int | tuple[int, ...],
        *,
        cutout: str = "",
        flatten: float = 1.0,
    ) -> None:
        """A round bar from ``start``, of ``radius``, to ``end``, of ``taper`` times that radius.

        ``flatten`` scales its depth against its width. Three surfaces are side, start cap, end cap.
        """
        if taper > 1:  # a solid's first end is the wide one
            start, end, radius, taper = end, start, radius * taper, 1 / taper
            if isinstance(surfaces, tuple):
                surfaces = (surfaces[0], surfaces[2], surfaces[1])
        a, b = np.array(start, float), np.array(end, float)
        length = float(np.linalg.norm(b - a))
        up = (b - a) / length
        side = np.cross(up, [0, 0, 1.0]) if abs(up[2]) < 0.9 else np.cross(up, [0, 1.0, 0])
        side /= np.linalg.norm(side)
        ahead = np.cross(side, up)
        local = np.stack([side * radius, up * length / 2, ahead * radius * flatten], axis=1)
        centre = frame.point(tuple((a + b) / 2))
        self._solid("cone", centre, frame.rotation @ local, surfaces, cutout, taper=taper)

    def claim(self, x: float, z: float, radius: float, *, heading: float = 0.0, length: float = 0.0) -> bool:
        """Reserve a strip of ground for an object. False, and nothing reserved, where something stands."""
        steps = np.linspace(-0.5, 0.5, 1 + int(length / radius)) if length > 0 else np.zeros(1)
        spots = [(x + s * length * np.sin(heading), z + s * length * np.cos(heading), radius) for s in steps]
        for px, pz, pr in spots:
            if any((px - qx) ** 2 + (pz - qz) ** 2 < (pr + qr) ** 2 for qx, qz, qr in self._claims):
                return False
        self._claims += spots
        return True

    def raise_ground(self, x: tuple[float, float], z: tuple[float, float], height: float) -> None:
        """Declare that people walk at ``height`` within a rectangle: a pavement."""
        self._raised.append((*x, *z, height))

    def ground_height(self, x: float, z: float) -> float:
        """Where feet are at a place, in metres."""
        inside = [h for x0, x1, z0, z1, h in self._raised if x0 <= x <= x1 and z0 <= z <= z1]
        return max(inside, default=0.0)

    def lamp(self, position: np.ndarray, colour: Colour, strength: float) -> None:
        """Let a place give light all round."""
        self.lights.append(Light(position=position, colour=np.array(colour) * strength))

    def spot(self, position: np.ndarray, direction: np.ndarray, colour: Colour, strength: float) -> None:
        """Let a place throw a beam."""
        unit = direction / np.linalg.norm(direction)
        self.lights.append(Light(position=position, colour=np.array(colour) * strength, direction=unit))

    def uniform(self, low: float, high: float) -> float:
        """One number from this scene's layout stream."""
        return float(self.rng.uniform(low, high))

    def chance(self, share: float) -> bool:
        """True with this probability, from this scene's layout stream."""
        return bool(self.rng.random() < share)

    def pick(self, colours: list[Colour], *, spread: float = 0.15) -> Colour:
        """One of the colours, lighter or darker and slightly tinted."""
        base = np.array(colours[int(self.rng.integers(len(colours)))])
        value = base * self.uniform(1 - spread, 1 + spread) * self.rng.uniform(0.94, 1.06, 3)
        r, g, b = np.clip(value, 0.01, 0.9)
        return float(r), float(g), float(b)

    def _solid(
        self,
        kind: Kind,
        centre: np.ndarray,
        axes: np.ndarray,
        surfaces: int | tuple[int, ...],
        cutout: str,
        *,
        planes: np.ndarray = CUBE,
        taper: float = 1.0,
    ) -> None:
        several = surfaces if isinstance(surfaces, tuple) else (surfaces,)
        self.solids.append(
            Solid(
                kind=kind,
                centre=centre,
                axes=axes,
                surfaces=several,
                planes=planes,
                taper=taper,
                cutout=cutout,
            )
        )
