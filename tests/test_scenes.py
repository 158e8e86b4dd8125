"""Sample scenes: aligned pictures with relief, repeatable, of every kind of place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.files import InputError
from pipeline.scenes import SampleConfig, Scene, render_scene
from pipeline.scenes.layout import PLACES, build_layout
from pipeline.scenes.light.sky import sky, sky_temperature, sun_direction
from pipeline.scenes.things import people
from pipeline.scenes.tracing.geometry import perspective_view, trace
from pipeline.scenes.world import Weather, World

SIZE = (96, 128)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene(seed=3, index=index, size_hw=SIZE) for index in range(12)]


@pytest.mark.parametrize("size_hw", [SIZE, (65, 33), (32, 32)])
def test_shapes_types_and_ranges(size_hw: tuple[int, int]) -> None:
    for index in (0, 1):
        scene = render_scene(seed=5, index=index, size_hw=size_hw)
        assert scene.visible.shape == (*size_hw, 3) and scene.visible.dtype == np.uint8
        assert scene.infrared.shape == size_hw and scene.infrared.dtype == np.uint8
        assert scene.inverse_depth.shape == size_hw and scene.inverse_depth.dtype == np.float32
        assert scene.inverse_depth.min() >= 0 and scene.inverse_depth.max() == 1


def test_pictures_have_contrast_and_depth_has_relief(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.visible.std() > 5 and scene.infrared.std() > 5
        assert scene.inverse_depth.std() > 0.02
    day = np.mean([scene.visible.mean() for scene in scenes[0::2]])
    night = np.mean([scene.visible.mean() for scene in scenes[1::2]])
    assert night < 0.75 * day


def test_sky_is_exactly_zero_and_nothing_else_is(scenes: list[Scene]) -> None:
    found = 0
    for index, scene in enumerate(scenes[:8]):
        layout = build_layout(seed=3, index=index)
        hits = trace(perspective_view(layout.camera, SIZE), layout.world.solids)
        np.testing.assert_array_equal(scene.inverse_depth == 0, hits.solid < 0)
        found += int((hits.solid < 0).any())
    assert found >= 3


def test_equal_arguments_give_equal_bytes_in_another_process() -> None:
    program = (
        "import hashlib, sys; from pipeline.scenes import render_scene; s = render_scene(seed=7, index=3, "
        "size_hw=(64, 80)); print(hashlib.sha256(s.visible.tobytes() + s.infrared.tobytes() + "
        "s.inverse_depth.tobytes()).hexdigest())"
    )
    root = Path(__file__).resolve().parents[1]
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=root,
            env=os.environ | {"OMP_NUM_THREADS": threads},
            capture_output=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(digests) == 1


def test_seed_and_index_change_the_scene(scenes: list[Scene]) -> None:
    digests = {scene.visible.tobytes() for scene in scenes}
    digests.add(render_scene(seed=4, index=0, size_hw=SIZE).visible.tobytes())
    assert len(digests) == len(scenes) + 1


def test_random_textures_change_the_picture_but_not_the_depth(scenes: list[Scene]) -> None:
    for index in (0, 1):
        other = render_scene(seed=3, index=index, size_hw=SIZE, randomise_texture=True)
        np.testing.assert_array_equal(other.inverse_depth, scenes[index].inverse_depth)
        difference = np.abs(other.visible.astype(int) - scenes[index].visible)
        assert difference.mean() > 5


def test_people_are_warmer_than_what_surrounds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    size, judged = (144, 192), 0
    dress, worn = people._clothes, set()  # the surfaces of people alone, not of statues nor of bags

    def recorded(world: World) -> Any:
        outfit = dress(world)
        worn.update(outfit)
        return outfit

    monkeypatch.setattr(people, "_clothes", recorded)
    for index in range(12):
        worn.clear()
        layout = build_layout(seed=11, index=index)
        hits = trace(perspective_view(layout.camera, size), layout.world.solids)
        person = np.array([part.surfaces[0] in worn for part in layout.world.solids] + [False])[hits.solid]
        if person.sum() < 100:
            continue
        around = cv2.dilate(person.astype(np.uint8), np.ones((13, 13))).astype(bool) & ~person
        infrared = render_scene(seed=11, index=index, size_hw=size).infrared
        assert infrared[person].mean() > infrared[around].mean() + 10, index
        judged += 1
    assert judged >= 5


def test_clouds_are_where_they_are_in_both_cameras() -> None:
    weather = Weather(
        night=False,
        sun_azimuth=2.0,
        sun_elevation=0.8,
        overcast=0.3,
        haze_per_m=0.001,
        air_c=15.0,
        wet=0.0,
        tint=(1.0, 1.0, 1.0),
        lit_share=0.1,
    )
    elevation, azimuth = np.meshgrid(np.linspace(0.1, 0.7, 60), np.linspace(-0.5, 0.5, 80), indexing="ij")
    flat = np.cos(elevation)
    rays = np.stack([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)])
    rays = rays.reshape(3, -1).astype(np.float32)
    red = sky(rays, weather, sun_direction(weather))[0].reshape(elevation.shape)
    heat = sky_temperature(rays, weather).reshape(elevation.shape)
    across = [(plane - plane.mean(axis=1, keepdims=True)).ravel() for plane in (red, heat)]
    assert np.corrcoef(*across)[0, 1] > 0.4


def test_lower_in_the_picture_does_not_mean_nearer(scenes: list[Scene]) -> None:
    """Scenes that teach depth must break the prior; one as good as it is would be useless."""
    agreements = []
    rng = np.random.default_rng(0)
    for scene in scenes:
        a, b = rng.integers(0, 96, (2, 2000)), rng.integers(0, 128, (2, 2000))
        first, second = scene.inverse_depth[a[0], b[0]], scene.inverse_depth[a[1], b[1]]
        clear = np.abs(first - second) > 0.05
        if clear.sum() > 100:
            agreements.append(np.mean(((first > second) == (a[0] > a[1]))[clear]))
    assert np.mean(agreements) < 0.9 and min(agreements) < 0.75


def test_every_kind_of_place_can_be_laid_out() -> None:
    assert sum(share for _, share in PLACES.values()) == pytest.approx(1)
    for name, (lay_out, _) in PLACES.items():
        world = build_layout(seed=0, index=0).world
        camera, reach_m = lay_out(world)
        assert reach_m > 0 and camera.position[1] > 0.5, name


def test_every_kind_of_place_is_drawn_within_a_few_hundred_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = set()

    def named(name: str, place: Any) -> Any:
        lay_out, share = place
        return (lambda world: (drawn.add(name), lay_out(world))[1]), share

    for name, place in PLACES.items():
        monkeypatch.setitem(PLACES, name, named(name, place))
    for index in range(300):
        build_layout(seed=0, index=index)
    assert drawn == PLACES.keys()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"pairs": 0}, "--pairs 0: use"),
        ({"size_hw": (16, 64)}, "--size 16x64: each side"),
        ({"size_hw": (64, 10_000)}, "--size 64x10000: each side"),
        ({"seed": -1}, "--seed -1: use"),
    ],
)
def test_settings_out_of_range_are_refused_in_one_line(arguments: dict, says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}") as caught:
        SampleConfig(**arguments)
    assert "\n" not in str(caught.value)


def test_render_scene_checks_its_size_too() -> None:
    with pytest.raises(InputError, match="--size 8x8"):
        render_scene(seed=0, index=0, size_hw=(8, 8))
