"""Colour of fused images: hue and luminance stay, grey stays grey, saturation is not lost to grey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.fusing.colour import TASKS, colour_givers, colourise, merge_chroma
from model.inputs.sources import Source, has_colour
from pipeline.images.ycbcr import apply_chroma, luminance, rgb_to_ycbcr

colours = arrays(np.uint8, (6, 5, 3))
lumas = arrays(np.float32, (6, 5), elements=st.floats(0, 1, width=32))


def source(image: np.ndarray) -> Source:
    return Source(image, 0, np.iinfo(image.dtype).max)


def grey_image(level: int = 128) -> np.ndarray:
    return np.full((6, 5, 3), level, np.uint8)


def chroma_of(image: np.ndarray) -> np.ndarray:
    return rgb_to_ycbcr(image.astype(np.float32) / np.iinfo(image.dtype).max)[..., 1:]


@given(colours, lumas, st.integers(0, 255))
def test_a_colour_fused_with_any_grey_keeps_its_hue(
    colour: np.ndarray, fused: np.ndarray, level: int
) -> None:
    for order in ([colour, grey_image(level)], [grey_image(level), colour]):
        result = colourise(fused, [source(image) for image in order], bits=16)
        before, after = chroma_of(colour).astype(np.float64), chroma_of(result).astype(np.float64)
        cross = before[..., 0] * after[..., 1] - before[..., 1] * after[..., 0]
        length = np.hypot(before[..., 0], before[..., 1])
        # Distance of the new chroma from the line of the old one; 16-bit rounding moves it a little.
        assert np.all(np.abs(cross) <= 3e-5 * length)
        assert np.all((before * after).sum(-1) >= -3e-5)
        assert np.all(np.hypot(after[..., 0], after[..., 1]) <= length + 3e-5)
        np.testing.assert_allclose(luminance(result.astype(np.float32) / 65535), fused, atol=3e-5)


@given(colours)
def test_a_colour_fused_with_grey_at_its_own_luminance_is_that_colour(colour: np.ndarray) -> None:
    fused = luminance(colour.astype(np.float32) / 255)
    result = colourise(fused, [source(colour), source(grey_image())])
    assert np.abs(result.astype(int) - colour).max() <= 1


def test_grey_and_saturated_blue_keep_the_blue() -> None:
    blue = np.zeros((6, 5, 3), np.uint8)
    blue[..., 2] = 255
    merged = merge_chroma([chroma_of(blue), chroma_of(grey_image(200))])
    np.testing.assert_allclose(merged, chroma_of(blue), atol=1e-7)
    result = colourise(np.full((6, 5), 0.114, np.float32), [source(grey_image(200)), source(blue)])
    assert np.abs(result.astype(int) - blue).max() <= 1
    # The published arithmetic, for comparison, loses a third and more of the saturation.
    published = colourise(
        np.full((6, 5), 0.114, np.float32), [source(grey_image(200)), source(blue)], mode="upstream"
    )
    assert chroma_of(published)[..., 0].max() < 0.67 * chroma_of(blue)[..., 0].min()


@given(colours, colours)
def test_merged_chroma_lies_between(first: np.ndarray, second: np.ndarray) -> None:
    a, b = chroma_of(first), chroma_of(second)
    merged = merge_chroma([a, b])
    assert np.all(merged >= np.minimum(a, b) - 1e-6) and np.all(merged <= np.maximum(a, b) + 1e-6)
    np.testing.assert_allclose(merged, merge_chroma([b, a]), atol=1e-6)
    nearer = np.where(np.abs(a) >= np.abs(b), a, b)
    assert np.all(np.abs(merged - nearer) <= np.abs(a - b) / 2 + 1e-6)


@settings(max_examples=30)
@given(lumas, arrays(np.float32, (6, 5, 2), elements=st.floats(-0.5, 0.5, width=32)))
def test_chroma_is_reduced_only_where_it_must_be(fused: np.ndarray, chroma: np.ndarray) -> None:
    rgb = apply_chroma(fused, chroma)
    assert rgb.min() >= 0 and rgb.max() <= 1
    kept = rgb_to_ycbcr(rgb)[..., 1:]
    reduced = np.abs(kept - chroma).max(-1) > 1e-5
    at_border = (rgb.min(-1) < 1e-5) | (rgb.max(-1) > 1 - 1e-5)
    assert np.all(at_border[reduced])


def test_upstream_is_the_published_formula() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 70, 5, 3), np.uint8)
    fused = rng.random((70, 5), np.float32)
    weights = np.array([[0.299, 0.587, 0.114]])
    chroma = []
    for image in images.astype(np.float64):
        y = image @ weights[0]
        chroma.append(np.stack([(image[..., 2] - y) / 1.772, (image[..., 0] - y) / 1.402], -1))
    distance = [np.abs(c - 128) for c in chroma]
    cb, cr = np.moveaxis(
        (chroma[0] * distance[0] + chroma[1] * distance[1]) / (distance[0] + distance[1]), -1, 0
    )
    y = fused * 255.0
    expected = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], -1)
    result = colourise(fused, [source(image) for image in images], mode="upstream")
    assert np.abs(result - expected.clip(0, 255)).max() <= 0.501


def test_grey_stays_grey() -> None:
    fused = np.linspace(0, 1, 30, dtype=np.float32).reshape(6, 5)
    grey = colourise(fused, [])
    np.testing.assert_array_equal(grey, np.rint(fused * 255))
    assert colourise(fused, [], bits=16).dtype == np.uint16
    from_grey_rgb = colourise(fused, [source(grey_image(3)), source(grey_image(240))])
    np.testing.assert_array_equal(from_grey_rgb, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_in_three_channels_stays_grey_to_the_last_bit(bits: int) -> None:
    grey = np.random.default_rng(0).integers(0, 65536, (256, 255, 1), np.uint16)
    ties = (np.arange(255, dtype=np.float32) + np.float32(0.5)) / (2**bits - 1)
    fused = np.tile(ties, (256, 1))
    sources = [Source(np.repeat(grey, 3, axis=2), 0, 65535, coloured=False)] * 2
    image = colourise(fused, sources, bits=bits)
    assert image.shape == (256, 255, 3) and (image == image[..., :1]).all()
    assert (image[..., 0] == colourise(fused, [], bits=bits)).all()


def test_one_coloured_pixel_is_colour() -> None:
    image = np.full((100, 90, 3), 40, np.uint8)
    assert not has_colour(image) and not has_colour(image[..., 0])
    image[99, 89, 2] += 8
    assert has_colour(image) and has_colour(image, tolerance=7) and not has_colour(image, tolerance=8)


@pytest.mark.parametrize(
    ("task", "expected"),
    [("ivif", [1]), ("nir", [1]), ("medical", [0]), ("mfif", [0, 1]), ("meif", [0, 1]), ("auto", [0, 1])],
)
def test_who_gives_colour(task: str, expected: list[int]) -> None:
    pair = [source(grey_image(level)) for level in (1, 2)]
    givers = colour_givers(pair, TASKS[task].givers)
    assert [id(giver) for giver in givers] == [id(pair[index]) for index in expected]
    plane = source(grey_image()[..., 0])
    assert colour_givers([plane, plane], TASKS[task].givers) == []


@pytest.mark.parametrize("task", ["ivif", "nir"])
def test_b_gives_the_colour_of_a_stack_too_and_one_image_its_own(task: str) -> None:
    stack = [source(grey_image(level)) for level in (1, 2, 3)]
    assert [id(giver) for giver in colour_givers(stack, TASKS[task].givers)] == [id(stack[1])]
    assert [id(giver) for giver in colour_givers(stack[:1], TASKS[task].givers)] == [id(stack[0])]


def test_16_bit_keeps_its_depth_and_its_stated_range() -> None:
    image = np.arange(30, dtype=np.uint16).reshape(6, 5) * 7
    np.testing.assert_allclose(Source(image, 0, 65535).plane(), image / 65535, rtol=1e-6)
    scaled = Source(image, 50, 150).plane()
    np.testing.assert_allclose(scaled, ((image.astype(float) - 50) / 100).clip(0, 1), atol=1e-6)
