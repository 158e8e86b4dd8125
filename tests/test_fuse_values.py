"""Values of fused pictures: sizes, colours, stacks, the main task, 16 bits and their range."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from fusing import fused_plane, on_cpu, picture, tiny_network, tiny_weights

from model.engine.strips import FusionEngine
from model.fuse import fuse
from model.fusing.colour import colourise
from model.inputs.sources import Source
from pipeline.images import read_image

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize(("resize", "size_hw"), [("a", (31, 40)), ("b", (20, 24))])
def test_resize_names_the_input_that_gives_way(
    tmp_path: Path, weights: Path, resize: str, size_hw: tuple[int, int]
) -> None:
    picture(tmp_path / "a.png", 1)
    picture(tmp_path / "b.png", 2, size_hw=(31, 40))
    config = on_cpu(weights, resize=resize)
    assert fuse(config, [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "f.png").complete
    assert read_image(tmp_path / "f.png").shape == size_hw


def test_colour_comes_from_the_visible_image(tmp_path: Path, weights: Path) -> None:
    a = picture(tmp_path / "a.png", 1, channels=3)
    b = picture(tmp_path / "b.png", 2, channels=3)
    inputs = [tmp_path / "a.png", tmp_path / "b.png"]
    fuse(on_cpu(weights, task="ivif"), inputs, tmp_path / "f.png")
    planes = [Source(image, 0, 255).plane() for image in (a, b)]
    expected = colourise(FusionEngine(tiny_network()).fuse_planes(*planes), [Source(b, 0, 255)])
    np.testing.assert_array_equal(read_image(tmp_path / "f.png"), expected)


def test_a_stack_is_folded_and_one_image_is_fused_with_itself(tmp_path: Path, weights: Path) -> None:
    images = [picture(tmp_path / f"{i}.png", i) for i in range(3)]
    files = [tmp_path / f"{i}.png" for i in range(3)]
    fuse(on_cpu(weights), files, tmp_path / "stack.png")
    fuse(on_cpu(weights), files[:1], tmp_path / "alone.png")
    np.testing.assert_array_equal(read_image(tmp_path / "stack.png"), np.rint(fused_plane(*images) * 255))
    np.testing.assert_array_equal(read_image(tmp_path / "alone.png"), np.rint(fused_plane(images[0]) * 255))


def test_main_task(tmp_path: Path, weights: Path) -> None:
    a, b = (picture(tmp_path / f"{i}.png", i) for i in range(2))
    inputs = [tmp_path / "0.png", tmp_path / "1.png"]
    fuse(on_cpu(weights, main_task="ivif"), inputs, tmp_path / "f.png")
    scaled = [(image / 255).astype(np.float32) for image in (a, b)]
    expected = FusionEngine(tiny_network()).fuse_planes(*scaled, main="mm")
    np.testing.assert_array_equal(read_image(tmp_path / "f.png"), np.rint(expected * 255))


def test_16_bits_in_and_out(tmp_path: Path, weights: Path) -> None:
    a = picture(tmp_path / "a.png", 1, dtype="uint16")
    b = picture(tmp_path / "b.png", 2, dtype="uint8")
    inputs = [tmp_path / "a.png", tmp_path / "b.png"]
    fuse(on_cpu(weights, bits=16), inputs, tmp_path / "f.tif")
    expected = np.rint(fused_plane(a, b) * np.float32(65535))
    np.testing.assert_array_equal(read_image(tmp_path / "f.tif"), expected)


@pytest.mark.parametrize(("text", "low", "high"), [("2000:3000", 2000, 3000), ("percentile", 2010, 2990)])
def test_range_of_16_bit_inputs(tmp_path: Path, weights: Path, text: str, low: int, high: int) -> None:
    thermal = np.linspace(2010, 2990, 30 * 30).reshape(30, 30).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), thermal)
    b = picture(tmp_path / "b.png", 2, size_hw=(30, 30))
    config = on_cpu(weights, range_16bit=text)
    fuse(config, [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "f.png")
    stretched = ((thermal.astype(np.float32) - low) / (high - low)).clip(0, 1)
    fused = FusionEngine(tiny_network()).fuse_planes(stretched, (b / 255).astype(np.float32))
    assert np.abs(read_image(tmp_path / "f.png") - fused * 255).max() <= 1.5


def test_a_thermal_image_that_fills_little_of_16_bits_is_told_of_once(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, least, most in (("1", 7000, 9000), ("2", 7000, 9000), ("whole", 0, 65535)):
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir(exist_ok=True)
        values = np.linspace(least, most, 400).reshape(20, 20).astype(np.uint16)
        cv2.imwrite(str(tmp_path / f"a/{name}.png"), values)
        picture(tmp_path / f"b/{name}.png", 2, size_hw=(20, 20))
    told = (
        "1.png: values from 7000 to 9000 fill little of the range 0 to 65535; --range-16bit percentile uses "
        "them whole"
    )
    for range_16bit, says in (("full", told), ("percentile", ""), ("7000:9000", "")):
        config = on_cpu(weights, range_16bit=range_16bit)
        assert fuse(config, [tmp_path / "a", tmp_path / "b"], tmp_path / range_16bit).complete
        said = capsys.readouterr().err
        assert says in said and said.count("values from") == bool(says)
