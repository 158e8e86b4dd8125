"""Entropy and mutual information against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from model.metrics import information

#: 2 x 4 pixels: half 0, a quarter 10, a quarter 20.
FUSED = np.array([[0, 0, 10, 20], [0, 0, 10, 20]], np.uint8)
#: Knows whether the fused pixel is 0, not whether it is 10 or 20.
HALF = np.array([[5, 5, 9, 9], [5, 5, 9, 9]], np.uint8)
FLAT = np.full((2, 4), 7, np.uint8)


def test_entropy() -> None:
    assert information.entropy(FUSED) == 1.5
    assert information.entropy(HALF) == 1.0
    assert information.entropy(FLAT) == 0.0
    assert information.entropy(np.arange(256, dtype=np.uint8).reshape(16, 16)) == 8.0


def test_mutual_information() -> None:
    assert information.mutual_information(FUSED, HALF, FLAT) == pytest.approx(1.0)
    assert information.mutual_information(FUSED, FUSED, HALF) == pytest.approx(2.5)
    assert information.mutual_information_nats(FUSED, FUSED, HALF) == pytest.approx(2.5 * 0.6931471805599453)


def test_normalised_mutual_information() -> None:
    # 2 x 1.5 / 3 + 2 x 1 / 2.5
    assert information.normalised_mutual_information(FUSED, FUSED, HALF) == pytest.approx(1.8)
    assert information.normalised_mutual_information(FLAT, FLAT, FLAT) == 0.0


def test_stretching_does_not_change_an_injective_mapping_but_merges_levels_of_a_wide_one() -> None:
    assert information.mutual_information_stretched(FUSED, FUSED, HALF) == pytest.approx(2.5 * np.log(2))
    assert information.stretched(FUSED.astype(float)).tolist() == [[0, 0, 128, 255]] * 2
    assert information.stretched(FLAT.astype(float)).tolist() == [[0] * 4] * 2


def test_saturated_joint_histogram_merges_254_and_255() -> None:
    image = np.array([[254, 255], [254, 255]], np.uint8)
    # Marginals 1 bit each, joint 0 bits: 2 bits a source where 1 is right.
    assert information.mutual_information_saturated(image, image, image) == pytest.approx(4.0)
    assert information.mutual_information(image, image, image) == pytest.approx(2.0)
    assert information.mutual_information_saturated(FUSED, FUSED, HALF) == pytest.approx(2.5)


def test_cross_entropy() -> None:
    # Common level 0 alone: p = 1/2 in the source, 3/4 in the fused image.
    fused = np.array([[0, 0, 0, 9]], np.uint8)
    source = np.array([[0, 0, 3, 3]], np.uint8)
    assert information.cross_entropy(fused, source, source) == pytest.approx(0.5 * np.log2(0.5 / 0.75))
    assert information.cross_entropy(fused, fused, fused) == 0.0
