"""Fidelity losses: they agree with the metrics that they stand for, and lead where those rise."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from metric_pictures import averaged_pair, unit
from torch import Tensor

from model.metrics import METRICS
from model.training import fidelity

Score = Callable[[Tensor, Tensor, Tensor], Tensor]


@pytest.mark.parametrize(
    ("score", "name", "factor", "bound"),
    [
        (fidelity.structure, "SSIM", 1.0, 1e-3),
        (fidelity.visual_information, "VIF", 2.0, 1e-3),
        (fidelity.complement, "SCD", 2.0, 1e-3),
        (fidelity.edges, "Qabf", 1.0, 0.05),  # it compares angles as lines
    ],
)
def test_scores_are_the_metrics(
    score: Score, name: str, factor: float, bound: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity, "_FAINT", 1e-4)  # SCD counts the faintest difference
    # A black frame: Qabf sees zeros beyond the border, the losses look at whole windows alone.
    fused, a, b = (np.pad(plane, 3) for plane in averaged_pair())
    expected = METRICS[name].function(fused, a, b)
    assert float(score(*map(unit, (fused, a, b)))) * factor == pytest.approx(expected, abs=bound)


def test_mutual_information_of_four_levels_by_hand() -> None:
    """Levels in the middle of a bin, each as often as the others: H is ln 4, of independent planes I is 0."""
    levels = torch.tensor([0.0, 8.0, 16.0, 24.0]) / (fidelity._BINS - 1)
    a, b = levels.repeat_interleave(4).repeat(4)[None, None, None], levels.repeat(16)[None, None, None]
    entropy = float(np.log(4))
    for fused, other, gained in ((a, a, 2.0), (a, b, 1.0), (torch.zeros_like(a), b, 0.0)):
        score = float(fidelity.mutual_information(fused, a, other))
        assert score == pytest.approx(gained * entropy / (2 * entropy + 0.1), abs=1e-4)


def test_faint_differences_hardly_count_in_the_complement() -> None:
    """A focus pair: fused and source differ by next to nothing, which correlates with anything."""
    _, a, _ = map(unit, averaged_pair())
    plain, tinted = (float(fidelity.complement(a + shade * a, a, a)) for shade in (0.0, 0.01))
    assert abs(tinted - plain) < 0.1


@pytest.mark.parametrize(
    "score",
    [
        fidelity.structure,
        fidelity.edges,
        fidelity.visual_information,
        fidelity.complement,
        fidelity.mutual_information,
    ],
)
def test_scores_can_be_climbed_and_do_not_care_for_the_order(score: Score) -> None:
    fused, a, b = map(unit, averaged_pair())
    assert torch.allclose(score(fused, a, b), score(fused, b, a), atol=1e-5)
    both = score(torch.cat([fused, a]), torch.cat([a, a]), torch.cat([b, b]))
    assert both.shape == (2,) and torch.allclose(both[:1], score(fused, a, b), atol=1e-5)
    fused.requires_grad_()
    before = score(fused, a, b).sum()
    (slope,) = torch.autograd.grad(before, fused)
    assert torch.isfinite(slope).all() and slope.abs().max() > 0
    after = score(fused + 1e-3 * slope / slope.abs().max(), a, b)
    assert float(after.detach().sum()) > float(before.detach())


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_flat_images_stay_finite(level: float) -> None:
    flat = torch.full((1, 1, 64, 64), level)
    for score in (
        fidelity.structure,
        fidelity.edges,
        fidelity.gradient_error,
        fidelity.visual_information,
        fidelity.complement,
        fidelity.mutual_information,
    ):
        fused = flat.clone().requires_grad_()
        value = score(fused, flat, flat).sum()
        (slope,) = torch.autograd.grad(value, fused)
        assert torch.isfinite(value) and torch.isfinite(slope).all(), score.__name__


@pytest.mark.parametrize("contrast", [0.8, 1.0, 1.3])
def test_sharpness_is_the_ratio_of_gradients(contrast: float) -> None:
    _, a, _ = map(unit, averaged_pair())
    ratio = fidelity.sharpness(0.5 + contrast * (a - 0.5), a)
    assert ratio.shape == (2, 1) and ratio.flatten().tolist() == pytest.approx([contrast] * 2, abs=0.01)


def test_bases_tell_a_focus_pair_from_two_exposures() -> None:
    _, a, _ = averaged_pair()
    blurred = cv2.GaussianBlur(a, (0, 0), 2)
    assert float(fidelity.base_distance(unit(a), unit(a))) == 0.0
    assert float(fidelity.base_distance(unit(a), unit(blurred))) < 0.1
    assert float(fidelity.base_distance(unit(a), unit(a // 2))) == 1.0


def test_gradient_error_is_nought_for_the_stronger_gradient_alone() -> None:
    _, a, _ = map(unit, averaged_pair())
    flat = torch.full_like(a, 0.3)
    assert float(fidelity.gradient_error(a, a, flat)) == 0.0
    assert float(fidelity.gradient_error(flat, a, flat)) > 0.01


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_flat_source_has_been_kept(level: int) -> None:
    flat = torch.full((1, 1, 64, 64), level / 255)
    assert float(fidelity.visual_information(flat, flat, flat)) == 1.0
    fused = unit(averaged_pair()[0])
    flat = torch.full_like(fused, level / 255)
    expected = METRICS["VIF"].function(averaged_pair()[0], *[np.full_like(averaged_pair()[0], level)] * 2) / 2
    assert float(fidelity.visual_information(fused, flat, flat)) == pytest.approx(expected, abs=1e-3)


def test_an_inverted_image_tells_nothing_of_its_source() -> None:
    _, a, _ = map(unit, averaged_pair())
    assert float(fidelity.visual_information(1 - a, a, a)) < 1e-3
