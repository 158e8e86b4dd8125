"""Training scenes for the depth network: rendered once, kept as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import joblib
import numpy as np

from pipeline.files import atomic_path
from pipeline.progress import Progress
from pipeline.scenes import render_scene

#: Scenes in one file; a stopped run renders at most this many again.
BLOCK = 50


@dataclass(frozen=True, eq=False)
class SceneSet:
    """Rendered scenes."""

    visible: np.ndarray  # (N, H, W, 3) uint8
    inverse_depth: np.ndarray  # (N, H, W) float16 in [0, 1], 1 = nearest point of the scene, 0 = sky

    def __len__(self) -> int:
        return len(self.visible)


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
        folder: where the arrays are kept, about 5 bytes per pixel.
        randomised: random instead of natural textures.
        jobs: rendering processes; the result does not depend on it.
    """
    kind = "randomised" if randomised else "natural"
    name = f"{kind}-{seed}-{size_hw[0]}x{size_hw[1]}"
    starts = range(first, first + count, BLOCK)
    tasks = [
        (folder / f"{name}-{start:07d}+{min(BLOCK, first + count - start)}.npz", start) for start in starts
    ]
    blocks: list[tuple[np.ndarray, np.ndarray]] = []
    with Progress(f"render {kind} scenes", total=count, unit="scene") as progress:
        work = (joblib.delayed(_block)(path, seed, start, size_hw, randomised) for path, start in tasks)
        for visible, inverse_depth in joblib.Parallel(jobs, return_as="generator")(work):
            blocks.append((visible, inverse_depth))
            progress.advance(len(visible))
    return SceneSet(
        np.concatenate([block[0] for block in blocks]), np.concatenate([block[1] for block in blocks])
    )


def join_scene_sets(first: SceneSet, second: SceneSet) -> SceneSet:
    """One set after the other."""
    return SceneSet(
        np.concatenate([first.visible, second.visible]),
        np.concatenate([first.inverse_depth, second.inverse_depth]),
    )


def _block(
    path: Path, seed: int, start: int, size_hw: tuple[int, int], randomised: bool
) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path) as arrays:
            return arrays["visible"], arrays["inverse_depth"]
    except (FileNotFoundError, BadZipFile, KeyError, ValueError):
        pass  # not rendered yet, or damaged: render it (again)
    count = int(path.stem.rpartition("+")[2])
    scenes = [
        render_scene(seed=seed, index=index, size_hw=size_hw, randomise_texture=randomised)
        for index in range(start, start + count)
    ]
    visible = np.stack([scene.visible for scene in scenes])
    inverse_depth = np.stack([scene.inverse_depth for scene in scenes]).astype(np.float16)
    with atomic_path(path) as temporary:
        np.savez(temporary, visible=visible, inverse_depth=inverse_depth)
    return visible, inverse_depth
