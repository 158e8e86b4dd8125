"""Whether two pictures lie on each other: displacements are found, and nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from fusing import tiny_weights
from video_files import write_video

from model.fuse import fuse
from model.fusing.alignment import shift_between
from model.fusing.fuse_config import FuseConfig
from model.fusing.fuse_jobs import Job
from model.fusing.notices import ALIGNED_JOBS, Notices
from model.inputs.sources import Source, read_source
from pipeline.images import write_image
from pipeline.scenes import Scene, render_scene

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene(seed=0, index=index, size_hw=(240, 320)) for index in range(4)]


def _source(image: np.ndarray) -> Source:
    return Source(image, 0, np.iinfo(image.dtype).max)


def _cut(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """A part of a picture in which the scene lies so much lower, and farther to the right, than in (0, 0)."""
    return image[20 - down : 220 - down, 30 - right : 290 - right]


@pytest.mark.parametrize(("down", "right"), [(8, 0), (0, -9), (-6, 12), (5, -7)])
def test_a_displaced_frame_of_another_camera_is_noticed(scenes: list[Scene], down: int, right: int) -> None:
    found = [
        shift_between(_source(_cut(scene.visible, 0, 0)), _source(_cut(scene.infrared, down, right)))
        for scene in scenes
    ]
    told = [one for one in found if one is not None]
    assert len(told) >= 2
    for one in told:
        assert np.hypot(one[0] - down, one[1] - right) <= 2


@pytest.mark.parametrize("factor", [2, 5])
def test_shifts_are_in_pixels_of_the_pictures(scenes: list[Scene], factor: int) -> None:
    small = [_cut(scenes[0].visible, 0, 0), _cut(scenes[0].visible, 9, -12)]
    a, b = (cv2.resize(one, None, fx=factor, fy=factor).astype(np.uint16) * 257 for one in small)
    shift = shift_between(_source(a), _source(b))
    assert shift is not None
    np.testing.assert_allclose(shift, (9 * factor, -12 * factor), atol=factor)


def test_what_lies_on_each_other_is_not_told(scenes: list[Scene]) -> None:
    for scene in scenes:
        visible = scene.visible
        blurred = cv2.GaussianBlur(visible, (0, 0), 3)
        bright = np.clip(visible.astype(int) * 3, 0, 255).astype(np.uint8)
        for other in (scene.infrared, blurred, bright, 255 - visible, visible):
            assert shift_between(_source(visible), _source(other)) is None


def test_there_is_no_telling_of_noise_flat_or_small_pictures() -> None:
    rng = np.random.default_rng(0)
    noise = [_source(rng.integers(0, 256, (200, 300), dtype=np.uint8)) for _ in range(2)]
    flat = _source(np.full((200, 300), 7, np.uint8))
    small = _source(noise[0].image[:40, :40])
    for a, b in ((noise[0], noise[1]), (noise[0], flat), (flat, flat), (small, small)):
        assert shift_between(a, b) is None


def test_a_few_spots_that_match_by_chance_are_no_displacement() -> None:
    rng = np.random.default_rng(0)

    def spots(count: int) -> Source:
        plane = np.full((256, 320), 10, np.float32)
        for x, y, radius in rng.integers((20, 20, 4), (300, 236, 9), (count, 3)):
            cv2.circle(plane, (int(x), int(y)), int(radius), 200, -1)
        plane = cv2.GaussianBlur(plane, (0, 0), 1) + rng.normal(0, 1, plane.shape)
        return _source(plane.clip(0, 255).astype(np.uint8))

    told = [shift_between(spots(count), spots(count)) is not None for count in (1, 2, 3, 5, 8) * 12]
    assert np.mean(told) < 0.1


@pytest.mark.shared
def test_registered_pairs_of_all_kinds_are_not_told(shared: Path) -> None:
    folders = [
        *((shared / "data/samples" / task / "a") for task in ("ivif", "mfif", "meif", "nir", "medical")),
        shared / "data/mefb/over",
        shared / "data/mfif/near",
        shared / "data/llvip/infrared/train",
        shared / "data/harvard/ct-mri/ct",
        shared / "data/harvard/spect-mri/spect",
    ]
    partner = {"a": "b", "over": "under", "near": "far", "infrared": "visible", "ct": "mri", "spect": "mri"}
    seen = 0
    for folder in folders:
        for path in sorted(folder.iterdir()):
            below = path.relative_to(shared).parts
            parts = [partner.get(part, part) if part in folder.parts[-2:] else part for part in below]
            other = shared.joinpath(*parts)
            a, b = (read_source(one, range_16bit="percentile") for one in (path, other))
            if a.image.shape[:2] == b.image.shape[:2]:
                seen += 1
                assert shift_between(a, b) is None, path
    assert seen > 100


def test_it_is_told_once_a_run(
    scenes: list[Scene], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, scene in enumerate(scenes[:2]):
        for role, (down, right) in (("a", (0, 0)), ("b", (0, 0)), ("moved", (0, 12))):
            write_image(tmp_path / role / f"{number}.png", _cut(scene.visible, down, right))
    config = FuseConfig(weights=tiny_weights(tmp_path), device="cpu")
    fuse(config, [tmp_path / "a", tmp_path / "b"], tmp_path / "fused")
    assert "double contours" not in capsys.readouterr().err
    fuse(config, [tmp_path / "a", tmp_path / "moved"], tmp_path / "doubled")
    said = capsys.readouterr().err
    assert said.count("12 pixels right in") == said.count("give double contours") == 1


def test_it_is_told_of_videos(
    scenes: list[Scene], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, right in (("a", 0), ("b", 0), ("moved", 12)):
        write_video(tmp_path / f"{name}.avi", [_cut(scenes[0].visible, 0, right)] * 2)
    config = FuseConfig(weights=tiny_weights(tmp_path), device="cpu")
    for other, told in (("b", 0), ("moved", 1)):
        paths = [tmp_path / "a.avi", tmp_path / f"{other}.avi"]
        assert fuse(config, paths, tmp_path / f"{other}_fused.avi").complete
        assert capsys.readouterr().err.count("12 pixels right in") == told


def test_the_first_few_pairs_are_looked_at_and_the_way_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    looked, told = [], list[str]()
    monkeypatch.setattr("model.fusing.notices.shift_between", lambda a, b: looked.append(b))
    job, sources = Job("1", (Path("a"), Path("b")), Path("out")), [_source(np.zeros((9, 9), np.uint8))] * 2
    notices = Notices("full", "all", told.append)
    for _ in range(2 * ALIGNED_JOBS):
        notices.check_alignment(job, sources)
    assert len(looked) == ALIGNED_JOBS and not told
    for shift, way in (((-3, -12), "12 pixels left and 3 pixels up"), ((4, 0), "4 pixels down")):
        monkeypatch.setattr("model.fusing.notices.shift_between", lambda a, b, shift=shift: shift)
        Notices("full", "all", told.append).check_alignment(job, sources)
        assert f"lies {way} in b; " in told.pop()
