"""Training scenes for the depth network: rendered once, kept as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from zipfile import BadZipFile

import joblib
import numpy as np

from pipeline.files import atomic_path
from pipeline.runtime.progress import Progress
from pipeline.scenes import REVISION, render_scene

#: Scenes in one file; a stopped run renders at most this many again.
BLOCK = 50


@dataclass(frozen=True, eq=False)
class SceneSet:
    """Rendered scenes."""

    visible: np.ndarray  # (N, H, W, 3) uint8
    infrared: np.ndarray  # (N, H, W) uint8
    inverse_depth: np.ndarray  # (N, H, W) float16 in [0, 1], 1 = nearest point of the scene, 0 = sky

    def __len__(self) -> int:
        return len(self.visible)


_ARRAYS = tuple(field.name for field in fields(SceneSet))


def render_scene_set(
    folder: Path,
    *,
    seed: int,
    first: int,
    count: int,
    size_hw: tuple[int, int],
    randomised: bool,
    jobs: int = 1,
) -> SceneSet:
    """Render scenes ``first`` to ``first + count - 1`` of a seed, or read what an earlier run left of them.

    Args:
        folder: where the arrays are kept, about 6 bytes per pixel.
        randomised: random instead of natural textures.
        jobs: rendering processes; the result does not depend on it.
    """
    kind = "randomised" if randomised else "natural"
    name = f"{kind}-{REVISION}-{seed}-{size_hw[0]}x{size_hw[1]}"
    end = first + count
    parts = [range(start, min(start + BLOCK, end)) for start in range(first, end, BLOCK)]
    blocks: list[SceneSet] = []
    with Progress(f"render {kind} scenes", total=count, unit="scene") as progress:
        work = (
            joblib.delayed(_block)(
                folder / f"{name}-{part.start:07d}+{len(part)}.npz", seed, part, size_hw, randomised
            )
            for part in parts
        )
        for block in joblib.Parallel(jobs, return_as="generator")(work):
            blocks.append(block)
            progress.advance(len(block))
    return join_scene_sets(blocks)


def join_scene_sets(sets: Sequence[SceneSet]) -> SceneSet:
    """One set after the other."""
    return SceneSet(*(np.concatenate([getattr(one, name) for one in sets]) for name in _ARRAYS))


def _block(path: Path, seed: int, part: range, size_hw: tuple[int, int], randomised: bool) -> SceneSet:
    try:
        with np.load(path) as arrays:
            return SceneSet(*(arrays[name] for name in _ARRAYS))
    except (FileNotFoundError, BadZipFile, EOFError, KeyError, ValueError):
        pass  # not rendered yet, or damaged: render it (again)
    scenes = [
        render_scene(seed=seed, index=index, size_hw=size_hw, randomise_texture=randomised) for index in part
    ]
    block = SceneSet(*(np.stack([getattr(scene, name) for scene in scenes]) for name in _ARRAYS))
    block = replace(block, inverse_depth=block.inverse_depth.astype(np.float16))
    with atomic_path(path) as temporary:
        np.savez(temporary, **{name: getattr(block, name) for name in _ARRAYS})
    return block
