"""Which files make which result, and what is refused before any is made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from fusing import picture

from model.fusing.fuse_config import FuseConfig
from model.fusing.fuse_jobs import list_jobs
from model.fusing.multiband import Bands, write_bands
from model.inputs.folders import ListedFiles
from pipeline.files import InputError

PLAIN, BANDS = FuseConfig(), FuseConfig(task="pansharpen")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """a/1.png, b/1.png, bands/x.tif and y.tif, pan.tif, v.avi."""
    for role in "ab":
        picture(tmp_path / role / "1.png", 1)
    for name in ("bands/x.tif", "bands/y.tif", "pan.tif"):
        write_bands(tmp_path / name, Bands(np.zeros((1, 20, 24), np.uint8)))
    (tmp_path / "v.avi").write_bytes(b"")
    return tmp_path


def refused(config: FuseConfig, inputs: list[Path], out: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        list_jobs(config, inputs, out)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("out", ["a", "b", "a/fused", "b/x/y", "a/../b", "link", "link/x"])
def test_results_do_not_go_among_the_images_of_a_folder(root: Path, out: str) -> None:
    (root / "link").symlink_to(root / "b")
    refused(PLAIN, [root / "a", root / "b"], root / out, "would be among the inputs in .*; choose another")


def test_nor_among_the_bands_of_a_scene(root: Path) -> None:
    for out in ("bands", "bands/sharp.tif"):
        refused(BANDS, [root / "bands", root / "pan.tif"], root / out, "would be among the inputs in")


@pytest.mark.parametrize("out", ["a/1.png", "a", "b/1.png", "b/../a/1.png"])
def test_a_result_does_not_replace_its_input(root: Path, out: str) -> None:
    refused(PLAIN, [root / "a/1.png", root / "b/1.png"], root / out, "would replace an input")


def test_nor_one_of_a_manifest_or_of_another_pair(root: Path) -> None:
    listed = [ListedFiles(role, {"1": root / role / "1.png"}) for role in "ab"]
    refused(PLAIN, listed, root / "a", "would replace an input")
    picture(root / "ir/vis/1.png", 1)
    picture(root / "vis/vis/1.png", 1)
    picture(root / "ir/1.png", 1)
    picture(root / "vis/1.png", 1)
    # ir/vis/1.png with vis/vis/1.png would become vis/1.png, and an input of the next run.
    refused(PLAIN, [root / "ir", root / "vis"], root, "vis would be among the inputs")
    (root / "vis/1.png").unlink()
    refused(PLAIN, [root / "ir", root / "vis"], root, "vis would be among the inputs")


@pytest.mark.parametrize("out", ["out", "a-fused", ".", "deep/er/out", "a/../out"])
def test_results_may_lie_beside_and_above_the_folders(root: Path, out: str) -> None:
    listed = list_jobs(PLAIN, [root / "a", root / "b"], root / out)
    assert [job.output for job in listed.jobs] == [root / out / "1.png"]


def test_a_result_may_lie_beside_its_inputs(root: Path) -> None:
    inputs = [root / "a/1.png", root / "b/1.png"]
    assert list_jobs(PLAIN, inputs, root / "a/fused.png").jobs[0].output == root / "a/fused.png"
    assert list_jobs(PLAIN, inputs, root / "a/sub").jobs[0].output == root / "a/sub/1.png"
    assert list_jobs(BANDS, [root / "bands/x.tif", root / "pan.tif"], root).jobs[0].output == root / "x.tif"


@pytest.mark.parametrize(
    ("settings", "inputs", "out"),
    [
        ({"bits": 16}, ["a/1.png"], "j.jpg"),
        ({"bits": 16, "suffix": ".tif"}, ["a/1.png"], "j.bmp"),
        ({}, ["a/1.png", "b/1.png"], "j.mp4"),
        ({}, ["a/1.png", "b/1.png"], "j.webp"),
        ({}, ["v.avi"], "j.png"),
        ({"task": "pansharpen"}, ["bands/x.tif", "pan.tif"], "j.png"),
        ({"task": "pansharpen"}, ["bands", "pan.tif"], "j.mp4"),
    ],
    ids=str,
)
def test_names_that_do_not_fit_what_is_written(
    root: Path, settings: dict[str, object], inputs: list[str], out: str
) -> None:
    paths = [root / name for name in inputs]
    refused(FuseConfig(**settings), paths, root / out, rf"{out}: .* end in \.")
    (root / out).mkdir()
    assert list_jobs(FuseConfig(**settings), paths, root / out).jobs[0].output.parent == root / out


def test_videos_have_8_bits(root: Path) -> None:
    refused(FuseConfig(bits=16), [root / "v.avi"], root / "out", "videos hold 8 bits; leave out --bits 16")


def test_a_scene_is_called_after_its_folder_however_that_is_given(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, given in (("bands", "."), ("bands/sub", ".."), (".", "bands")):
        (root / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(root / folder)
        (job,) = list_jobs(BANDS, [Path(given), root / "pan.tif"], root / "out").jobs
        assert (job.name, job.output) == ("bands", root / "out/bands.tif")
        assert [os.path.basename(path) for path in job.inputs] == ["x.tif", "y.tif", "pan.tif"]


def test_no_folder_of_a_stack_is_dropped(root: Path) -> None:
    many = [root / f"stack/{number}" for number in range(30)]
    for folder in many:
        shutil.copytree(root / "a", folder)
    listed = list_jobs(PLAIN, many[:26], root / "out")
    assert len(listed.jobs[0].inputs) == 26
    refused(PLAIN, many[:27], root / "out", "27 folders; give 26 at most")
    files = [folder / "1.png" for folder in many]
    assert len(list_jobs(PLAIN, files, root / "out").jobs[0].inputs) == 30


def test_nothing_is_fused_with_itself(root: Path) -> None:
    (root / "link").symlink_to(root / "a")
    told = r"1: .*1\.png and .*1\.png are one file; give each input a file of its own"
    for inputs in (["a", "a"], ["a", "link"], ["a", "b", "a"], ["a/1.png", "b/../a/1.png"]):
        refused(PLAIN, [root / name for name in inputs], root / "out", told)


def test_bands_come_in_the_order_of_their_numbers_without_the_pan_among_them(root: Path) -> None:
    scene = root / "scene"
    for name in ("B1", "B10", "B2", "B8A", "B8", "B08", "pan"):
        write_bands(scene / f"{name}.tif", Bands(np.zeros((1, 20, 24), np.uint8)))
    (root / "link.tif").symlink_to(scene / "pan.tif")
    for pan in (scene / "pan.tif", scene / "../scene/pan.tif", root / "link.tif"):
        (job,) = list_jobs(BANDS, [scene, pan], root / "out").jobs
        assert [path.stem for path in job.inputs[:-1]] == ["B1", "B2", "B08", "B8", "B8A", "B10"]
    (root / "alone").mkdir()
    (root / "pan.tif").rename(root / "alone/pan.tif")
    refused(BANDS, [root / "alone", root / "alone/pan.tif"], root / "out", "alone: no band")


def test_a_suffix_that_decides_on_nothing_is_refused(root: Path) -> None:
    suffix = FuseConfig(suffix=".bmp")
    refused(suffix, [root / "a/1.png"], root / "s.png", r"s\.png: .*leave out --suffix \.bmp")
    refused(suffix, [root / "v.avi"], root / "out", r"videos keep their ending; leave out --suffix")
    assert list_jobs(suffix, [root / "a/1.png"], root / "out").jobs[0].output == root / "out/1.bmp"


def test_pictures_and_videos_are_not_mixed(root: Path) -> None:
    (root / "a.mp4").touch()
    (root / "b.png").touch()
    for inputs in ([root / "a.mp4", root / "b.png"], [root / "b.png", root / "a.mp4"]):
        with pytest.raises(InputError, match="give pictures only or videos only"):
            list_jobs(FuseConfig(), inputs, root / "out.mp4")
