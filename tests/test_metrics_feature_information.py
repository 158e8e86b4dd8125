"""FMI against a cell-by-cell transcription of its definition, and the feature maps that it is taken of."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from metric_pictures import picture

from model.metrics import feature_maps
from model.metrics.feature_information import (
    cosine_feature_information,
    edge_feature_information,
    feature_mutual_information,
    wavelet_feature_information,
)
from model.metrics.feature_maps import cosine_map, edge_map, wavelet_map

INFORMATION = {
    edge_feature_information: edge_map,
    cosine_feature_information: cosine_map,
    wavelet_feature_information: wavelet_map,
}


def by_definition(fused: np.ndarray, source: np.ndarray) -> float:
    """Mean over 3x3 windows; the joint distribution is built on the 9 x 9 grid from its CDF."""
    values = []
    for row in range(fused.shape[0] - 2):
        for column in range(fused.shape[1] - 2):
            f, s = (
                image[row : row + 3, column : column + 3].astype(float).ravel(order="F")
                for image in (fused, source)
            )
            values.append(1.0 if (f == s).all() else window_information(s, f))
    return float(np.mean(values))


def window_information(s: np.ndarray, f: np.ndarray) -> float:
    p, q = (np.full(9, 1 / 9) if x.max() == x.min() else (x - x.min()) / (x - x.min()).sum() for x in (s, f))
    dp, dq = p - p.mean(), q - q.mean()
    shared = (dp * dq).sum()
    flat = p.max() == p.min() or q.max() == q.min()
    correlation = 0.0 if flat else shared / np.sqrt((dp**2).sum() * (dq**2).sum())
    position = np.arange(1, 10)
    spread = [np.sqrt(max((position**2 @ x) - (position @ x) ** 2, 0)) for x in (p, q)]
    cdf_p, cdf_q = np.cumsum(p)[:, None], np.cumsum(q)[None, :]
    bound = np.minimum(cdf_p, cdf_q) if correlation >= 0 else np.maximum(cdf_p + cdf_q - 1, 0)
    phi = 0.0
    if correlation != 0 and min(spread) > 1e-9:
        phi = correlation / ((bound - cdf_p * cdf_q).sum() / (spread[0] * spread[1]))
    cdf = np.pad(bound, ((1, 0), (1, 0)))
    joint = phi * np.diff(np.diff(cdf, axis=0), axis=1) + (1 - phi) * np.outer(p, q)

    def entropy(x: np.ndarray) -> float:
        x = x[np.abs(x) > 1e-15]
        return float(-(x * np.log2(np.abs(x))).sum())

    entropies = entropy(p) + entropy(q)
    return 2 * (entropies - entropy(joint)) / entropies if entropies > 1e-9 else 0.0


@pytest.mark.parametrize("kind", ["smooth", "noise", "few levels"])
def test_agrees_with_the_definition(kind: str) -> None:
    stream = np.random.default_rng(3)
    if kind == "smooth":
        fused, a, b = (picture(seed, (24, 31)) for seed in (1, 2, 3))
        fused = ((fused.astype(int) + a + b) // 3).astype(np.uint8)
    else:
        high = 256 if kind == "noise" else 3
        fused, a, b = (stream.integers(0, high, (24, 31)).astype(np.uint8) for _ in range(3))
        fused[:, :9] = a[:, :9]
    expected = (by_definition(fused, a) + by_definition(fused, b)) / 2
    assert feature_mutual_information(fused, a, b) == pytest.approx(expected, abs=2e-5)


def test_constant_windows_say_nothing() -> None:
    flat, other = np.full((5, 6), 7, np.uint8), np.full((5, 6), 9, np.uint8)
    assert feature_mutual_information(flat, other, other) == pytest.approx(0, abs=1e-6)
    assert feature_mutual_information(flat, flat, other) == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("information", INFORMATION)
def test_information_of_features_agrees_with_the_definition(information: Callable[..., float]) -> None:
    fused, a, b = (picture(seed, (11, 14)) for seed in (1, 2, 3))
    fused = ((fused.astype(int) + a + b) // 3).astype(np.uint8)
    # The wavelet's map is about 100 pixels larger either way: far from the image it repeats the border.
    f, s, t = (INFORMATION[information](image.astype(float)) for image in (fused, a, b))
    expected = (by_definition(f, s) + by_definition(f, t)) / 2
    assert information(fused, a, b) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("information", INFORMATION)
@pytest.mark.parametrize("shape", [(3, 3), (5, 5), (4, 9), (50, 57)])
def test_an_image_tells_everything_of_itself(
    information: Callable[..., float], shape: tuple[int, int]
) -> None:
    image, other = (np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8) for seed in (1, 2))
    assert information(image, image, image) == pytest.approx(1, abs=1e-6)
    assert -0.1 < information(image, other, other) <= 1


@pytest.mark.parametrize("information", INFORMATION)
def test_features_of_constant_images(information: Callable[..., float]) -> None:
    black, grey, white = (np.full((9, 12), level, np.uint8) for level in (0, 90, 255))
    image = picture(4, (9, 12))
    for planes in ((black, grey, white), (white, black, image), (image, black, grey), (black, image, image)):
        assert np.isfinite(information(*planes))
    assert information(black, black, black) == 1


@pytest.mark.parametrize("kind", ["smooth", "noise", "ties"])
def test_edges_agree_with_their_definition(kind: str) -> None:
    """Pixel by pixel, the border taken as if nothing lay beyond it."""
    stream = np.random.default_rng(5)
    levels = picture(5, (23, 29)) if kind == "smooth" else stream.integers(0, 256, (23, 29))
    if kind == "ties":
        levels = levels // 64 * 64
    image = np.pad(levels.astype(int), 1, mode="edge")
    kernel = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]])
    windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3))
    down, across = (np.abs((windows * k).sum((2, 3))) for k in (kernel, kernel.T))
    strength = across**2 + down**2
    expected = np.zeros(levels.shape)
    for y, x in np.argwhere(strength > 4 * strength.mean()):
        left, right = (strength[y, i] if 0 <= i < 29 else -1 for i in (x - 1, x + 1))
        above, below = (strength[i, x] if 0 <= i < 23 else -1 for i in (y - 1, y + 1))
        here = strength[y, x]
        expected[y, x] = (across[y, x] >= down[y, x] and left <= here > right) or (
            down[y, x] >= across[y, x] and above <= here > below
        )
    assert expected.any()
    assert (edge_map(levels.astype(float)) == expected).all()
    assert (edge_map(levels.astype(float).T) == expected.T).all()


@pytest.mark.parametrize("shape", [(8, 12), (7, 10), (5, 3)])
def test_the_cosine_transform(shape: tuple[int, int]) -> None:
    plane = np.random.default_rng(6).integers(0, 256, shape).astype(float)
    coefficients = cosine_map(plane)
    assert coefficients[0, 0] == pytest.approx(plane.sum() / 255 / np.sqrt(plane.size))
    assert (coefficients**2).sum() == pytest.approx(((plane / 255) ** 2).sum())
    if not any(side % 2 for side in shape):
        np.testing.assert_allclose(coefficients, cv2.dct(plane / 255), atol=1e-12)
    wave = np.cos(np.pi * 2 * (np.arange(shape[1]) + 0.5) / shape[1])
    alone = cosine_map(np.tile(wave, (shape[0], 1)))
    assert np.argmax(np.abs(alone)) == 2
    assert np.sort(np.abs(alone).ravel())[-2] < 1e-12


def test_the_wavelet_filter_is_matlabs() -> None:
    """Taps that its wfilters('dmey') gives, and the properties of an orthogonal filter, nearly kept."""
    taps = feature_maps._meyer_filter()
    assert taps[0] == 0
    known = {51: 0.743751004904, 52: 0.444095030767, 61: -0.011044641901, 101: -0.000001509741}
    for index, value in known.items():
        assert taps[[index, 102 - index]] == pytest.approx(value, abs=1e-10)
    assert taps.sum() == pytest.approx(np.sqrt(2))
    for shift in range(0, 40, 2):
        assert (taps[shift:] * taps[: 102 - shift]).sum() == pytest.approx(float(shift == 0), abs=2e-5)


@pytest.mark.parametrize("shape", [(120, 111), (5, 8)])
def test_the_wavelet_transform_agrees_with_its_definition(shape: tuple[int, int]) -> None:
    """Mirror, convolve, keep every second value, along the rows and then down the columns."""
    plane = np.random.default_rng(7).integers(0, 256, shape) / 255
    low = feature_maps._meyer_filter()
    high = np.array([(-1) ** (k + 1) * low[101 - k] for k in range(102)])

    def along(axis: int, taps: np.ndarray, x: np.ndarray) -> np.ndarray:
        def one(line: np.ndarray) -> np.ndarray:
            return np.convolve(np.pad(line, 101, mode="symmetric"), taps, "valid")[1::2]

        return np.apply_along_axis(one, axis, x)

    by_rows = [along(1, taps, plane) for taps in (low, high)]
    averages, vertical = (along(0, low, x) for x in by_rows)
    horizontal, diagonal = (along(0, high, x) for x in by_rows)
    expected = np.block([[averages, horizontal], [vertical, diagonal]])
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(wavelet_map(plane * 255), expected, atol=1e-12)
    assert (wavelet_map(np.zeros(shape)) == 1).all()
