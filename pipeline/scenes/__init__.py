"""Procedural street scenes: aligned visible and infrared pictures with exact inverse depth, no download.

They carry the demo and the tests, and train the default depth network. A scene is laid out in metres
(layout), ray cast (geometry), shaded (materials, shading) and photographed
(cameras); all of it is a function of (seed, index).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.files import InputError, write_bytes
from pipeline.images import SUFFIXES, write_image
from pipeline.runtime.progress import Progress
from pipeline.runtime.randomness import random_stream
from pipeline.scenes.layout import build_layout
from pipeline.scenes.light.cameras import photograph, photograph_infrared
from pipeline.scenes.light.shading import shade
from pipeline.scenes.surfaces.materials import randomise_surfaces
from pipeline.scenes.tracing.geometry import inverse_depth, outlines, perspective_view, trace
from pipeline.sources.file_tree import refuse_numbers_beyond

#: Raised with every change after which one seed gives other pictures: those kept from before count no more.
REVISION = 1
_MIN_SIDE, _MAX_SIDE = 32, 4096

_NAMED = b'name = "sample-scenes"'
_ROLES = ("visible", "infrared", "inverse_depth")
_MANIFEST = """\
name = "sample-scenes"
title = "Procedural street scenes (seed {seed}, {pairs} pairs, {width}x{height})"
homepage = ""
licence = "MIT, as the program that renders them"
citation = ""

[roles]
visible = "visible/{{id}}.png"
infrared = "infrared/{{id}}.png"
inverse_depth = "inverse_depth/{{id}}.png"
"""


@dataclass(frozen=True, eq=False)
class Scene:
    """One aligned sample."""

    visible: np.ndarray  # (H, W, 3) uint8 RGB
    infrared: np.ndarray  # (H, W) uint8, brighter is warmer
    inverse_depth: np.ndarray  # (H, W) float32 in [0, 1]: 1 = nearest visible point, 0 = sky


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What ``write_samples`` renders."""

    pairs: int = 24  # scenes, every second one by night
    size_hw: tuple[int, int] = (480, 640)  # pixels
    seed: int = 0  # another seed gives other scenes

    def __post_init__(self) -> None:
        if not 1 <= self.pairs <= 100_000:
            raise InputError(f"--pairs {self.pairs}: use 1 to 100000")
        _check_size(self.size_hw)
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: use 0 or a larger number")


def render_scene(
    *, seed: int, index: int, size_hw: tuple[int, int], randomise_texture: bool = False
) -> Scene:
    """Render scene ``index`` of ``seed``; equal arguments give equal bytes on one machine.

    Args:
        seed: family of scenes.
        index: which scene; odd ones are by night.
        size_hw: height and width in pixels.
        randomise_texture: give every surface a random colour and pattern, so that neither predicts depth. The
            geometry, hence the inverse depth, stays the same.

    Raises:
        InputError: a side is out of range.
    """
    _check_size(size_hw)
    layout = build_layout(seed=seed, index=index)
    world = layout.world
    surfaces = world.surfaces
    if randomise_texture:
        surfaces = randomise_surfaces(surfaces, random_stream(seed, "scenes", str(index), "texture"))
    view = perspective_view(layout.camera, size_hw)
    hits = trace(view, world.solids)
    radiance = shade(view, hits, world.solids, surfaces, world.lights, world.weather, reach_m=layout.reach_m)
    return Scene(
        visible=photograph(
            radiance.visible,
            outlines(hits),
            world.weather,
            random_stream(seed, "scenes", str(index), "visible"),
        ),
        infrared=photograph_infrared(
            radiance.temperature_c, world.weather, random_stream(seed, "scenes", str(index), "infrared")
        ),
        inverse_depth=inverse_depth(hits.depth),
    )


def write_samples(config: SampleConfig, out: Path | str) -> Path:
    """Render ``config.pairs`` scenes into ``out`` and return its ``manifest.toml``, written last.

    Files: ``visible/ID.png`` and ``infrared/ID.png`` (8-bit), ``inverse_depth/ID.png`` (16-bit,
    65535 = nearest point, 0 = sky). The same configuration always gives the same bytes.

    Raises:
        InputError: ``out`` holds scenes of a run with more pairs, or files that are no scenes of ours.
    """
    out = Path(out)
    manifest, unfinished = out / "manifest.toml", out / ".unfinished"
    _refuse_foreign(out, manifest, unfinished)
    for role in _ROLES:
        refuse_numbers_beyond(out / role, config.pairs - 1)
    write_bytes(unfinished, b"")
    manifest.unlink(missing_ok=True)  # until the pictures are all of this run
    height, width = config.size_hw
    with Progress("sample", total=config.pairs, unit="pair") as progress:
        for index in range(config.pairs):
            scene = render_scene(seed=config.seed, index=index, size_hw=config.size_hw)
            name = f"{index:05d}.png"
            write_image(out / "visible" / name, scene.visible)
            write_image(out / "infrared" / name, scene.infrared)
            depth_16 = np.rint(scene.inverse_depth * 65535).astype(np.uint16)
            write_image(out / "inverse_depth" / name, depth_16)
            progress.advance()
    text = _MANIFEST.format(seed=config.seed, pairs=config.pairs, width=width, height=height)
    write_bytes(manifest, text.encode())
    unfinished.unlink()
    return manifest


def _refuse_foreign(out: Path, manifest: Path, unfinished: Path) -> None:
    """Refuse a folder with pictures or a manifest that no run of ours has left, finished or not."""
    if unfinished.exists() or (manifest.is_file() and _NAMED in manifest.read_bytes()):
        return
    pictures = (file for file in out.glob("*") if file.suffix.lower() in SUFFIXES)
    for path in (manifest, *pictures, *(file for role in _ROLES for file in (out / role).glob("*"))):
        if path.exists():
            raise InputError(f"{path}: not of rendered scenes; choose an empty folder")


def _check_size(size_hw: tuple[int, int]) -> None:
    if not all(_MIN_SIDE <= side <= _MAX_SIDE for side in size_hw):
        height, width = size_hw
        raise InputError(f"--size {height}x{width}: each side must be {_MIN_SIDE} to {_MAX_SIDE} pixels")
