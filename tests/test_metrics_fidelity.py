"""Visual information fidelity against two other implementations and its definition."""

from __future__ import annotations

import numpy as np
import piq
import pytest
import sewar
import torch
from metric_pictures import picture

from model.metrics import fidelity


def disturbed(source: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 6, source.shape)
    return np.clip(0.8 * source + 10 + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    source = picture(2, (97, 128))
    return disturbed(source), source


def test_agrees_with_sewar(pair: tuple[np.ndarray, np.ndarray]) -> None:
    fused, source = pair
    expected = 2 * sewar.vifp(source, fused)
    assert fidelity.information_fidelity(fused, source, source) == pytest.approx(expected, abs=1e-6)


def test_agrees_with_piq(pair: tuple[np.ndarray, np.ndarray]) -> None:
    fused, source = (torch.from_numpy(image.astype(np.float64))[None, None] for image in pair)
    expected = 2 * piq.vif_p(fused, source, data_range=255).item()
    assert fidelity.information_fidelity(*pair, pair[1]) == pytest.approx(expected, abs=1e-4)


def test_contrast_enhancement_scores_above_one_per_source() -> None:
    source = picture(2, (97, 128))
    enhanced = np.clip((source.astype(float) - 128) * 1.3 + 128, 0, 255).astype(np.uint8)
    assert fidelity.information_fidelity(enhanced, source, source) > 2


def test_viff_takes_the_source_that_is_kept_least() -> None:
    """Where F = A everywhere, the gain of B is the smaller, so only what is kept of B counts."""
    a, b = picture(2, (97, 128)), picture(3, (97, 128))
    assert fidelity.fusion_information_fidelity(a, a, a) == pytest.approx(1.0)
    half = fidelity.fusion_information_fidelity(a, a, b)
    assert half < fidelity.information_fidelity(a, a, b) / 2
    assert 0 <= half < 0.2


def test_the_saturated_form_ignores_the_finest_scale_of_a_bright_image() -> None:
    a = picture(2, (97, 128))
    fused = disturbed(a)
    saturated = fidelity.information_fidelity_saturated(fused, a, a)
    assert saturated > fidelity.information_fidelity(fused, a, a)  # noise is lost with the finest scale
    dark = (a / 16).astype(np.uint8)  # no level above 15: no square saturates
    assert fidelity.information_fidelity_saturated(dark, dark, dark // 2) == pytest.approx(
        fidelity.information_fidelity(dark, dark, dark // 2)
    )
