"""One image alone: detail that was there is shown better, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from fusing import tiny_network

from model.checkpoint import load_network
from model.fuse import fuse
from model.fusing.enhancement import counterpart
from model.fusing.fuse_config import FuseConfig
from model.metrics.gradient import average_gradient
from pipeline.images import read_grey, read_image, write_image

pytestmark = pytest.mark.usefixtures("one_thread")


def dull(size_hw: tuple[int, int] = (96, 128)) -> np.ndarray:
    """A picture of little contrast, dark on one side and bright on the other, float32 in [0, 1]."""
    texture = cv2.GaussianBlur(np.random.default_rng(0).normal(size=size_hw), (0, 0), 2)
    return (np.linspace(0.1, 0.8, size_hw[1]) + 0.2 * texture).clip(0, 1).astype(np.float32)


def test_a_network_that_paints_gets_the_image_twice() -> None:
    plane = dull()
    np.testing.assert_array_equal(counterpart(plane, tiny_network()), plane)


def test_the_counterpart_brings_out_contrast_in_every_part() -> None:
    plane, network = dull(), tiny_network(head="pyramid")
    other = counterpart(plane, network)
    assert other.dtype == np.float32 and other.min() >= 0 and other.max() <= 1
    for part in (slice(0, 64), slice(64, 128)):
        assert np.abs(np.diff(other[:, part])).mean() > 1.2 * np.abs(np.diff(plane[:, part])).mean()
    levels, less = np.rint(plane * 255) / np.float32(255), np.float32(0.3 / 255)  # than a level of 8 bits
    gained = counterpart((levels + less).clip(0, 1), network) - counterpart(levels, network)
    np.testing.assert_allclose(gained[:, :100], less, atol=1e-6)
    assert counterpart(np.full((5, 5), 0.5, np.float32), network).shape == (5, 5)


@pytest.mark.parametrize("name", ["medical/b/1.png", "mfif/a/1.jpg", "ivif/a/1.jpg"])
def test_shipped_weights_enhance(shared: Path, tmp_path: Path, name: str) -> None:
    image = read_grey(shared / "data/samples" / name)
    write_image(tmp_path / "x.png", cv2.resize(image, (192, 160), interpolation=cv2.INTER_AREA))
    assert load_network(None).config.head == "pyramid"
    fuse(FuseConfig(device="cpu", precision="fp32"), [tmp_path / "x.png"], tmp_path / "y.png")
    before, after = read_image(tmp_path / "x.png"), read_image(tmp_path / "y.png")
    assert average_gradient(after) > 1.05 * average_gradient(before)
    assert abs(after.mean() - before.mean()) < 20  # it neither fades nor burns out
    assert np.corrcoef(after.ravel(), before.ravel())[0, 1] > 0.9
