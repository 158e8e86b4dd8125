"""Rendered scenes as files: the samples with their manifest, the training scenes of the depth network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.depth.scenes import SceneSet, render_scene_set
from pipeline.files import InputError, sha256_file, write_bytes
from pipeline.images import read_image
from pipeline.scenes import SampleConfig, render_scene, write_samples
from pipeline.sources.listing import list_samples
from pipeline.sources.manifest import load_manifest


def test_samples_are_read_back_through_their_manifest(tmp_path: Path) -> None:
    config = SampleConfig(pairs=2, size_hw=(64, 80), seed=9)
    path = write_samples(config, tmp_path / "samples")
    assert path == tmp_path / "samples" / "manifest.toml"
    manifest = load_manifest(path)
    listing = list_samples(manifest, roles=("visible", "infrared", "inverse_depth")).require_complete()
    assert [sample.id for sample in listing.samples] == ["00000", "00001"]
    for index, sample in enumerate(listing.samples):
        scene = render_scene(seed=9, index=index, size_hw=(64, 80))
        np.testing.assert_array_equal(read_image(sample.paths["visible"]), scene.visible)
        np.testing.assert_array_equal(read_image(sample.paths["infrared"]), scene.infrared)
        stored = read_image(sample.paths["inverse_depth"])
        assert stored.dtype == np.uint16
        np.testing.assert_allclose(stored / 65535, scene.inverse_depth, atol=0.5 / 65535 + 1e-7)
    before = {file: sha256_file(file) for file in sorted((tmp_path / "samples").rglob("*.*"))}
    write_samples(config, tmp_path / "samples")
    assert {file: sha256_file(file) for file in sorted((tmp_path / "samples").rglob("*.*"))} == before


def test_no_manifest_stands_while_its_pictures_are_rendered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_samples(SampleConfig(pairs=1, size_hw=(32, 32)), tmp_path)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.scenes.write_image", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_samples(SampleConfig(pairs=1, size_hw=(32, 32), seed=1), tmp_path)
    assert not path.exists()


def test_training_scenes_that_were_written_in_part_are_rendered_again(tmp_path: Path) -> None:
    def scenes() -> SceneSet:
        return render_scene_set(tmp_path, seed=0, first=0, count=1, size_hw=(32, 32), randomised=False)

    first = scenes()
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    np.testing.assert_array_equal(scenes().visible, first.visible)


def test_scenes_of_a_larger_run_are_not_mixed_in(tmp_path: Path) -> None:
    write_samples(SampleConfig(pairs=2, size_hw=(32, 32)), tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    with pytest.raises(InputError, match=r"00001\.png: left by another, larger run") as error:
        write_samples(SampleConfig(pairs=1, size_hw=(32, 32)), tmp_path)
    assert "\n" not in str(error.value)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before
    write_samples(SampleConfig(pairs=3, size_hw=(32, 32)), tmp_path)
    assert len(list_samples(load_manifest(tmp_path / "manifest.toml")).samples) == 3


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("manifest.toml", "visible/00000.png", "mine.JPG"):
        own = write_bytes(tmp_path / name, b"mine")
        with pytest.raises(InputError, match=rf"{name}: not of rendered scenes; choose an empty folder"):
            write_samples(SampleConfig(pairs=1, size_hw=(32, 48)), tmp_path)
        assert own.read_bytes() == b"mine"
        own.unlink()
    for _ in range(2):  # what we made may be made again
        write_samples(SampleConfig(pairs=1, size_hw=(32, 48)), tmp_path)
    (tmp_path / "manifest.toml").unlink()
    write_bytes(tmp_path / ".unfinished", b"")  # as a stopped run leaves it
    write_samples(SampleConfig(pairs=1, size_hw=(32, 48)), tmp_path)
    assert not (tmp_path / ".unfinished").exists()
