"""Colour as tensors: the host's, pixel by pixel, but where float32 rounds a tie the other way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.fusing import colour, device_colour
from model.fusing.device_colour import DeviceSource
from model.inputs.sources import Source

pytestmark = pytest.mark.usefixtures("one_thread")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
colours = arrays(np.uint8, (6, 5, 3))
lumas = arrays(np.float32, (6, 5), elements=st.floats(0, 1, width=32))


def on_device(source: Source) -> DeviceSource:
    return DeviceSource(
        torch.from_numpy(source.image).to(DEVICE), source.low, source.high, None, source.coloured
    )


def coloured(fused: np.ndarray, sources: list[Source]) -> np.ndarray:
    plane = torch.from_numpy(fused).to(DEVICE)
    image = device_colour.colourise(plane, [on_device(source) for source in sources])
    assert image.is_contiguous() and image.dtype == torch.uint8
    return image.cpu().numpy()


def differing(fused: np.ndarray, sources: list[Source]) -> int:
    """How many values differ, each by 1 and where the host's is within float32's rounding of a tie."""
    host = colour.colourise(fused, sources)
    found = coloured(fused, sources)
    assert found.shape == host.shape
    finer = colour.colourise(fused, sources, bits=16) / 257.0
    other = found != host
    assert np.abs(found.astype(int) - host).max() <= 1
    assert np.all(np.abs(finer[other] % 1 - 0.5) < 0.01)
    return int(other.sum())


@given(colours, colours, lumas)
def test_colour_is_that_of_the_host(first: np.ndarray, second: np.ndarray, fused: np.ndarray) -> None:
    both = [Source(first, 0, 255), Source(second, 0, 255)]
    for sources in (both[:1], both, both[::-1], []):
        differing(fused, sources)


def test_hardly_a_value_of_a_million_differs() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (800, 500, 3), np.uint8)
    fused = rng.random((800, 500), np.float32)
    assert differing(fused, [Source(image, 0, 255)]) <= 60


def test_grey_in_three_channels_stays_grey_to_the_last_bit() -> None:
    levels = np.arange(256, dtype=np.uint8)
    grey = np.broadcast_to(levels[:, None, None], (256, 255, 3)).copy()
    ties = np.tile((np.arange(255, dtype=np.float32) + np.float32(0.5)) / 255, (256, 1))
    image = coloured(ties, [Source(grey, 0, 255, coloured=False)] * 2)
    assert image.shape == (256, 255, 3) and (image == image[..., :1]).all()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_planes_are_those_of_the_host(dtype: str, channels: int) -> None:
    top = np.iinfo(dtype).max
    shape = (40, 50) if channels == 1 else (40, 50, 3)
    image = np.random.default_rng(1).integers(0, top, shape, dtype, endpoint=True)
    ranges = [(0, top)] if dtype == "uint8" else [(0, top), (1000, 30_000)]
    for low, high in ranges:
        source = Source(image, low, high)
        plane = on_device(source).plane().cpu().numpy()
        assert plane.dtype == np.float32 and plane.min() >= 0 and plane.max() <= 1 + 1e-6
        np.testing.assert_allclose(plane, source.plane(), atol=3e-7)


def test_black_and_white_have_no_colour_left() -> None:
    image = np.random.default_rng(2).integers(0, 256, (20, 20, 3), np.uint8)
    for value in (0, 1):
        found = coloured(np.full((20, 20), value, np.float32), [Source(image, 0, 255)])
        assert (found == 255 * value).all()
