"""Surfaces of the sample scenes, and what a shader takes and returns."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pipeline.scenes.surfaces.textures import fractal_noise

Colour = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Surface:
    """What a face is made of. Colours are linear RGB; the parameters mean what the shader says."""

    shader: str  # key of shaders.SHADERS
    colour: Colour
    accent: Colour
    contrast: float  # relative strength of the texture
    scale_m: float  # longest wavelength or cell size
    params: tuple[float, ...]  # up to PARAMS numbers
    temperature_c: float
    gloss: float  # share of mirrored sky
    glow: Colour  # emitted radiance


PARAMS = 6


@dataclass(frozen=True, eq=False)
class Patch:
    """The visible points of one shader; every array has N points last."""

    u: np.ndarray  # (N,) metres along the face
    v: np.ndarray  # (N,) metres up the face, or along it for the ground
    footprint: np.ndarray  # (N,) metres covered by a pixel
    salt: np.ndarray  # (N,) int, differs between solids
    colour: np.ndarray  # (3, N)
    accent: np.ndarray  # (3, N)
    contrast: np.ndarray
    scale: np.ndarray
    params: np.ndarray  # (PARAMS, N)
    glow: np.ndarray  # (3, N)
    gloss: np.ndarray
    lit_share: float  # of windows with a light behind


@dataclass(eq=False)
class Shaded:
    """What a shader returns."""

    albedo: np.ndarray  # (3, N)
    glow: np.ndarray  # (3, N)
    gloss: np.ndarray  # (N,)
    heat_c: np.ndarray  # (N,) offset from the surface's temperature


def randomise_surfaces(surfaces: list[Surface], rng: np.random.Generator) -> list[Surface]:
    """Replace every albedo and texture by a random one; temperatures and lights stay."""
    shaders = ("plain", "blend", "masonry", "planks", "panel")
    result = []
    for surface in surfaces:
        value = rng.uniform(0.02, 0.9)
        tint = rng.uniform(0.3, 1.7, (2, 3))
        colour, accent = np.clip(tint * [[value], [rng.uniform(0.02, 0.9)]], 0.01, 0.95)
        result.append(
            replace(
                surface,
                shader=str(rng.choice(shaders)),
                colour=tuple(colour),
                accent=tuple(accent),
                contrast=float(rng.uniform(0.05, 0.8)),
                scale_m=float(np.exp(rng.uniform(np.log(0.1), np.log(4.0)))),
                params=tuple(rng.uniform(0, 1, 3)),
                gloss=surface.gloss * float(rng.uniform(0, 1)),
            )
        )
    return result


def matt(patch: Patch, albedo: np.ndarray, *, heat: np.ndarray) -> Shaded:
    """A shaded patch of (3, N) ``albedo`` and (N,) ``heat`` in degrees Celsius; glow and gloss as given."""
    bounded = np.clip(albedo, 0.005, 0.95).astype(np.float32)
    return Shaded(bounded, patch.glow, patch.gloss, heat.astype(np.float32))


def scaled_noise(patch: Patch, *, octaves: int) -> np.ndarray:
    """(N,) noise of unit deviation when close, whose longest wavelength is the patch's ``scale``."""
    scale = 1 / patch.scale
    shift = (patch.salt % 97).astype(np.float32)
    return fractal_noise(
        patch.u * scale + shift, patch.v * scale, patch.footprint * scale, wavelength=1.0, octaves=octaves
    )
