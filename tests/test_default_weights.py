"""The shipped GIFNet weights: used without being told, better than a blend, and no trouble on odd inputs."""

from __future__ import annotations

import numpy as np
import pytest

from model.checkpoint import DEFAULT_WEIGHTS, load_network, read_metadata
from model.engine.strips import FusionEngine
from model.evaluation.baselines import laplacian_pyramid
from model.metrics.similarity import ground_truth_psnr
from model.training.planes import to_luminance
from pipeline.focus import gaussian_blur
from pipeline.images import to_uint8
from pipeline.scenes import Scene, render_scene


@pytest.fixture(scope="module")
def engine() -> FusionEngine:
    return FusionEngine(load_network(None))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return render_scene(seed=11, index=0, size_hw=(192, 256))


def fuse(engine: FusionEngine, a: np.ndarray, b: np.ndarray, main: str = "dp") -> np.ndarray:
    planes = (plane.astype(np.float32) / 255 for plane in (a, b))
    return to_uint8(engine.fuse_planes(*planes, main=main))  # type: ignore[arg-type]


def test_they_are_small_and_say_how_they_were_made() -> None:
    assert DEFAULT_WEIGHTS.stat().st_size < 5e6
    assert read_metadata(DEFAULT_WEIGHTS)["config"]["objective"] == "fidelity"


@pytest.mark.parametrize("main", ["dp", "mm"])
def test_a_focus_pair_becomes_sharper_than_by_pyramids(engine: FusionEngine, scene: Scene, main: str) -> None:
    near_mask = scene.inverse_depth > np.median(scene.inverse_depth)
    blurred = gaussian_blur(scene.visible, 3.0)
    frames = [np.where(mask[..., None], scene.visible, blurred) for mask in (near_mask, ~near_mask)]
    near, far, truth = to_luminance(np.stack([*frames, scene.visible]))
    for a, b in ((near, far), (far, near)):
        ours = ground_truth_psnr(fuse(engine, a, b, main), truth)
        assert ours > ground_truth_psnr(laplacian_pyramid(a, b), truth) + 2


def test_warm_things_stand_out(engine: FusionEngine, scene: Scene) -> None:
    visible = to_luminance(scene.visible[None])[0] // 3  # a dark night
    warm = scene.infrared >= np.quantile(scene.infrared, 0.98)
    around = scene.infrared <= np.quantile(scene.infrared, 0.5)
    fused = fuse(engine, scene.infrared, visible)
    contrast = fused[warm].mean() - fused[around].mean()
    assert contrast > visible[warm].mean() - visible[around].mean() + 10


@pytest.mark.parametrize("main", ["dp", "mm"])
@pytest.mark.parametrize(("a", "b"), [(0, 0), (255, 255), (90, 90), (40, 200), (255, 0)])
def test_flat_images_stay_flat_and_between_their_levels(
    engine: FusionEngine, a: int, b: int, main: str
) -> None:
    fused = fuse(engine, np.full((48, 40), a, np.uint8), np.full((48, 40), b, np.uint8), main)
    (level,) = np.unique(fused)
    assert min(a, b) <= level <= max(a, b)
