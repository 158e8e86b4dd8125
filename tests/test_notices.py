"""What a run tells of its inputs once: lost colours, stretched pictures, bands tagged as transparency."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from fusing import on_cpu, picture, tiny_weights
from multiband_scenes import scene
from video_files import video

from model.fuse import fuse
from model.fusing.fuse_config import FuseConfig
from model.fusing.multiband import Bands, write_bands
from pipeline.images import write_image

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("task", "coloured", "tells"),
    [("ivif", "a", True), ("ivif", "b", False), ("medical", "b", True), ("mfif", "a", False)],
)
def test_colour_that_is_lost_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], task: str, coloured: str, tells: bool
) -> None:
    for name in ("1", "2"):
        for role in "ab":
            picture(tmp_path / f"{role}/{name}.png", 1, channels=3 if role == coloured else 1)
    config = FuseConfig(weights=tiny_weights(tmp_path), device="cpu", task=task, jobs=1)
    fuse(config, [tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    said = capsys.readouterr().err
    assert said.count("which is grey") == tells
    giver = "A" if task == "medical" else "B"
    assert (f"1: the task takes the colour from {giver}, which" in said and "swap -a and -b" in said) is tells


@pytest.mark.parametrize(("coloured", "tells"), [("a", True), ("b", False)])
def test_grey_in_three_channels_is_no_colour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], coloured: str, tells: bool
) -> None:
    """As infrared cameras write it."""
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        image = picture(path, 1, channels=3)
        if path.stem != coloured:
            write_image(path, np.repeat(image[..., :1], 3, axis=2))
    assert fuse(on_cpu(tiny_weights(tmp_path), task="ivif"), paths, tmp_path / "out.png").complete
    assert ("which is grey, though A has one" in capsys.readouterr().err) is tells


@pytest.mark.parametrize(("coloured", "tells"), [("a", True), ("b", False)])
def test_colour_that_a_video_loses_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], coloured: str, tells: bool
) -> None:
    paths = [video(tmp_path / f"{role}.avi", frames=2, grey=role != coloured) for role in "ab"]
    assert fuse(on_cpu(tiny_weights(tmp_path), task="ivif"), paths, tmp_path / "out.avi").complete
    assert ("which is grey, though A has one" in capsys.readouterr().err) is tells


@pytest.mark.parametrize(("size_hw", "tells"), [((40, 48), False), ((40, 24), True)])
def test_stretching_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size_hw: tuple[int, int], tells: bool
) -> None:
    picture(tmp_path / "a.png", 1)
    picture(tmp_path / "b.png", 2, size_hw=size_hw)
    config = FuseConfig(weights=tiny_weights(tmp_path), device="cpu", resize="a")
    assert fuse(config, [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out.png").complete
    told = "a: 24x20 and 24x40 have other proportions; one of them is stretched"
    assert (told in capsys.readouterr().err) is tells


@pytest.mark.parametrize(("size_hw", "tells"), [((32, 48), False), ((32, 64), True)])
def test_stretching_a_video_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size_hw: tuple[int, int], tells: bool
) -> None:
    paths = [
        video(tmp_path / "a.avi", frames=2, size_hw=size_hw),
        video(tmp_path / "b.avi", frames=2, size_hw=(64, 96)),
    ]
    config = FuseConfig(weights=tiny_weights(tmp_path), device="cpu", resize="a")
    assert fuse(config, paths, tmp_path / "out.avi").complete
    assert ("a: 64x32 and 96x64 have other proportions" in capsys.readouterr().err) is tells


@pytest.mark.parametrize(("size_hw", "tells"), [((16, 20), False), ((16, 16), True)])
def test_stretching_bands_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], size_hw: tuple[int, int], tells: bool
) -> None:
    rng = np.random.default_rng(0)
    for name, shape in (("ms", (4, *size_hw)), ("pan", (1, 64, 80))):
        write_bands(tmp_path / f"{name}.tif", Bands(rng.integers(0, 65536, shape, np.uint16)))
    config = FuseConfig(weights=tiny_weights(tmp_path), device="cpu", task="pansharpen", resize="a")
    assert fuse(config, [tmp_path / "ms.tif", tmp_path / "pan.tif"], tmp_path / "out.tif").complete
    assert ("ms: 16x16 and 80x64 have other proportions" in capsys.readouterr().err) is tells


@pytest.mark.parametrize(("tag", "tells"), [("unassalpha", True), ("unspecified", False)])
def test_a_band_that_is_tagged_as_transparency_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tag: str, tells: bool
) -> None:
    bands = scene(4).transpose(1, 2, 0)
    tifffile.imwrite(tmp_path / "ms.tif", bands, photometric="rgb", extrasamples=[tag])
    write_bands(tmp_path / "pan.tif", Bands(scene(1)))
    config = FuseConfig(weights=tiny_weights(tmp_path), device="cpu", task="pansharpen")
    assert fuse(config, [tmp_path / "ms.tif", tmp_path / "pan.tif"], tmp_path / "out.tif").complete
    assert ("ms.tif: its last channel is tagged as transparency" in capsys.readouterr().err) is tells
