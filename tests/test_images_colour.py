"""Grey, luminance and chroma."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from picture_files import pixels
from PIL import Image

from pipeline.files import InputError
from pipeline.images import read_grey, read_rgb, to_uint8, write_image
from pipeline.images.ycbcr import luminance, rgb_to_ycbcr, ycbcr_to_rgb


def test_read_rgb_and_read_grey(tmp_path: Path) -> None:
    grey, colour = pixels("uint8", 1), pixels("uint8", 3)
    write_image(tmp_path / "grey.png", grey)
    write_image(tmp_path / "colour.png", colour)
    np.testing.assert_array_equal(read_rgb(tmp_path / "grey.png"), np.dstack([grey] * 3))
    np.testing.assert_array_equal(read_rgb(tmp_path / "colour.png"), colour)
    np.testing.assert_array_equal(read_grey(tmp_path / "grey.png"), grey)
    exact = colour.astype(np.float64) @ [0.299, 0.587, 0.114]  # ITU-R BT.601-7
    assert np.abs(read_grey(tmp_path / "colour.png") - exact).max() <= 0.5 + 1e-3
    write_image(tmp_path / "deep.png", pixels("uint16", 1))
    for read in (read_rgb, read_grey):
        with pytest.raises(InputError, match="16-bit; this step takes 8-bit images: convert it to 8 bits"):
            read(tmp_path / "deep.png")


def test_equal_channels_give_exactly_their_value(tmp_path: Path) -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_image(tmp_path / "ramp.png", np.dstack([ramp] * 3))
    np.testing.assert_array_equal(read_grey(tmp_path / "ramp.png"), ramp)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg_keeps_colour_at_full_resolution(tmp_path: Path, suffix: str) -> None:
    """Red and blue lines, one pixel each, of about one luminance."""
    lines = np.zeros((32, 32, 3), np.uint8)
    lines[:, ::2, 0], lines[:, 1::2, 2] = 90, 235
    back = read_rgb(write_image(tmp_path / f"x{suffix}", lines)).astype(int)
    assert np.abs(back - lines).mean() < 4


def test_luminance_of_the_primaries() -> None:
    primaries = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]], np.float32)
    np.testing.assert_allclose(luminance(primaries), [0.299, 0.587, 0.114, 1, 0], atol=1e-7)
    assert luminance(np.zeros((2, 3, 4, 3), np.float32)).shape == (2, 3, 4)
    assert luminance(primaries).dtype == np.float32


def test_chroma_of_the_primaries() -> None:
    """JFIF: red has Cr = 0.5, blue Cb = 0.5; the other coefficients are those of its conversion table."""
    ycbcr = rgb_to_ycbcr(np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(ycbcr[:, 1], [-0.168736, -0.331264, 0.5], atol=1e-6)
    np.testing.assert_allclose(ycbcr[:, 2], [0.5, -0.418688, -0.081312], atol=1e-6)
    colour = pixels("uint8", 3)
    pillow = np.asarray(Image.fromarray(colour).convert("YCbCr")).astype(np.float32)
    ours = rgb_to_ycbcr(colour.astype(np.float32) / 255) * 255 + [0, 128, 128]
    assert np.abs(ours - pillow).max() <= 1.01  # Pillow rounds in tables


units = hnp.arrays(np.float32, (4, 5, 3), elements=st.floats(0, 1, width=32))


@given(rgb=units)
def test_chroma_round_trip(rgb: np.ndarray) -> None:
    ycbcr = rgb_to_ycbcr(rgb)
    assert ycbcr.dtype == np.float32
    np.testing.assert_allclose(ycbcr_to_rgb(ycbcr), rgb, atol=1e-6)
    assert (np.abs(ycbcr[..., 1:]) <= 0.5 + 1e-6).all()
    np.testing.assert_allclose(ycbcr[..., 0], luminance(rgb), atol=0)


@given(grey=hnp.arrays(np.float32, (6,), elements=st.floats(0, 1, width=32)))
def test_grey_has_no_chroma(grey: np.ndarray) -> None:
    ycbcr = rgb_to_ycbcr(np.stack([grey] * 3, axis=-1))
    np.testing.assert_allclose(ycbcr, np.stack([grey, grey * 0, grey * 0], axis=-1), atol=1e-6)


def test_to_uint8_rounds_and_clips() -> None:
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_uint8(values.astype(np.float32) / 255), values)
    np.testing.assert_array_equal(
        to_uint8(np.array([-3, -0.001, 1.001, 7, 0.499 / 255, 0.501 / 255])), [0, 0, 255, 255, 0, 1]
    )
