"""FMI against a cell-by-cell transcription of its definition."""

from __future__ import annotations

import numpy as np
import pytest
from metric_pictures import picture

from model.metrics.feature_information import feature_mutual_information


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
