"""Gradient metrics against hand-computed values and a pixel-by-pixel transcription of the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from model.metrics import gradient

#: A ramp of 3 grey levels a column.
RAMP = np.tile(np.arange(0, 24, 3, dtype=np.uint8), (5, 1))


def random_images(count: int, shape: tuple[int, int] = (9, 11)) -> list[np.ndarray]:
    stream = np.random.default_rng(4)
    # Few levels, so that equal gradients and zeros occur.
    return [stream.integers(0, 6, shape).astype(np.uint8) * 7 for _ in range(count)]


def test_ramp() -> None:
    assert gradient.average_gradient_mean(RAMP) == pytest.approx(3 / math.sqrt(2))
    assert gradient.average_gradient(RAMP) == pytest.approx(3 / math.sqrt(2) * (5 * 8) / (4 * 7))
    assert gradient.spatial_frequency(RAMP) == pytest.approx(3)
    assert gradient.spatial_frequency_per_pixel(RAMP) == pytest.approx(math.sqrt(9 * 5 * 7 / 40))
    assert gradient.spatial_frequency_unit_range(RAMP) == pytest.approx(3 / 255)
    # Un-normalised Sobel: 8 x 3 inside, half of it where the border is replicated.
    assert gradient.edge_intensity(RAMP) == pytest.approx(24 * 7 / 8)


def test_two_by_two() -> None:
    image = np.array([[0, 10], [20, 60]], np.uint8)
    # dx: 10, 40 (each row), dy: 20, 50 (each column); one interval a side.
    total = sum(math.sqrt((dx**2 + dy**2) / 2) for dx in (10, 40) for dy in (20, 50))
    assert gradient.average_gradient(image) == pytest.approx(total)
    assert gradient.spatial_frequency(image) == pytest.approx(math.sqrt((100 + 1600) / 2 + (400 + 2500) / 2))


def test_edge_transfer_pixel_by_pixel() -> None:
    fused, a, b = random_images(3)

    def edges(image: np.ndarray, row: int, column: int) -> tuple[float, float]:
        padded = np.pad(image.astype(float), 1)
        window = padded[row : row + 3, column : column + 3]
        x = window[:, 0] @ [1, 2, 1] - window[:, 2] @ [1, 2, 1]  # to the left, as in published codes
        y = window[2] @ [1, 2, 1] - window[0] @ [1, 2, 1]
        return math.hypot(x, y), math.pi / 2 if x == 0 else math.atan(y / x)

    kept = weight = 0.0
    for row in range(fused.shape[0]):
        for column in range(fused.shape[1]):
            strength_f, angle_f = edges(fused, row, column)
            for source in (a, b):
                strength, angle = edges(source, row, column)
                if strength == 0:
                    continue
                share = min(strength, strength_f) / max(strength, strength_f)
                aligned = 1 - abs(angle - angle_f) / (math.pi / 2)
                q = 0.9994 / (1 + math.exp(-15 * (share - 0.5)))
                q *= 0.9879 / (1 + math.exp(-22 * (aligned - 0.8)))
                kept += q * strength
                weight += strength
    assert gradient.edge_transfer(fused, a, b) == pytest.approx(kept / weight, rel=1e-12)


@pytest.mark.parametrize("threshold", [2.0, 510.0])
def test_edge_artefacts_pixel_by_pixel(threshold: float) -> None:
    fused, a, b = random_images(3)

    def edges(image: np.ndarray, row: int, column: int) -> tuple[float, float]:
        padded = np.pad(image.astype(float), 1, mode="reflect")
        window = padded[row : row + 3, column : column + 3] / 8
        x = window[:, 0] @ [1, 2, 1] - window[:, 2] @ [1, 2, 1]  # to the left, as in published codes
        y = window[2] @ [1, 2, 1] - window[0] @ [1, 2, 1]
        if y == 0:
            return abs(x), math.copysign(math.pi / 2, x) if x else 0.0
        return math.hypot(x, y), math.atan(x / y)

    lost = weights = 0.0
    for row in range(fused.shape[0]):
        for column in range(fused.shape[1]):
            strength_f, angle_f = edges(fused, row, column)
            of_sources = [edges(source, row, column) for source in (a, b)]
            for strength, angle in of_sources:
                weight = strength**1.5 if strength >= threshold else 0.001
                weights += weight
                if not all(strength_f > s for s, _ in of_sources):
                    continue
                share = 0.0 if strength == 0 else strength / strength_f
                aligned = abs(abs(angle - angle_f) - math.pi / 2) * 2 / math.pi
                q = 0.9999 / (1 + math.exp(-19 * (share - 0.5)))
                q *= 0.9995 / (1 + math.exp(-22 * (aligned - 0.5)))
                lost += (1 - math.sqrt(q)) * weight
    value = gradient.edge_artefacts(fused, a, b, threshold=threshold)
    assert value == pytest.approx(lost / weights, rel=1e-12)
    if threshold == 510.0:
        assert gradient.edge_artefacts_unit_range(fused, a, b) == value


def test_invented_edges_are_artefacts_and_lost_edges_are_not() -> None:
    flat = np.full((20, 20), 100, np.uint8)
    edge = flat.copy()
    edge[:, 10:] = 200
    assert gradient.edge_artefacts(edge, flat, flat) > 0.05
    assert gradient.edge_artefacts(flat, edge, edge) == 0.0
    assert gradient.edge_transfer(flat, edge, edge) < gradient.edge_transfer(edge, edge, edge)
