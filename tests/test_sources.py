"""Inputs of unequal size: which one gives way, and that bands are resized as pictures are."""

from __future__ import annotations

import numpy as np
import pytest

from model.inputs.sources import same_size, unused_range, value_range
from pipeline.files import InputError


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("bands", [1, 3, 8, 600])
@pytest.mark.parametrize("size_hw", [(20, 30), (6, 5), (14, 9)], ids=["larger", "smaller", "both"])
def test_any_number_of_bands_is_resized_each_by_itself(
    size_hw: tuple[int, int], bands: int, dtype: str
) -> None:
    top = np.iinfo(dtype).max
    image = np.random.default_rng(0).integers(0, top, (10, 12, bands), dtype, endpoint=True)
    other = np.zeros(size_hw, dtype)
    resized, untouched = same_size([image, other], ["bands", "pan"], "a")
    assert resized.shape == (*size_hw, bands) and resized.dtype == dtype and untouched is other
    for band in {0, bands // 2, bands - 1}:
        alone, _ = same_size([image[..., band], other], ["band", "pan"], "a")
        np.testing.assert_array_equal(resized[..., band], alone)
    kept, fitted = same_size([other, image], ["pan", "bands"], "b")
    assert kept is other
    np.testing.assert_array_equal(fitted, resized)


def test_what_becomes_smaller_is_averaged() -> None:
    fine = np.indices((20, 28)).sum(axis=0).astype(np.uint8) % 2 * 200  # squares of one pixel each
    smaller, _ = same_size([fine, np.zeros((10, 14), np.uint8)], ["fine", "coarse"], "a")
    assert (smaller == 100).all()


def test_sizes_that_differ_are_told() -> None:
    with pytest.raises(InputError, match=r"x is 4x3, y is 4x5; .* --resize"):
        same_size([np.zeros((3, 4), np.uint8), np.zeros((5, 4), np.uint8)], ["x", "y"], None)


def test_a_constant_image_keeps_its_brightness() -> None:
    image = np.full((30, 40), 40000, np.uint16)
    assert value_range(image, "percentile") == (0, 65535)
    image[:2] = 41000
    assert value_range(image, "percentile") == (40000, 41000)
    image[:] = 40000
    image[0, 0] = 42000  # a spot of fewer pixels than percentiles see
    assert value_range(image, "percentile") == (40000, 42000)
    assert unused_range(np.full((30, 40), 7000, np.uint16), "full") is None  # there is nothing to show


@pytest.mark.parametrize(("bits", "told"), [(10, True), (12, True), (14, True), (15, False), (16, False)])
def test_sensors_of_fewer_bits_are_told(bits: int, told: bool) -> None:
    image = np.linspace(0, 2**bits - 1, 12_000).astype(np.uint16).reshape(100, 120)
    assert (unused_range(image, "full") is not None) == told


def test_values_that_a_given_range_leaves_out_are_told() -> None:
    image = np.linspace(20_000, 60_000, 1200).astype(np.uint16).reshape(30, 40)
    for text in ("0:1000", "59500:65535", "19000:61000"):
        assert (unused_range(image, text) is None) == (text == "19000:61000"), text
    told = unused_range(image, "0:1000")
    assert told is not None and "fill little of the range 0 to 1000" in told
