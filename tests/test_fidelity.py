"""Fidelity losses: they agree with the metrics that they stand for, and lead where those rise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from metric_pictures import picture
from torch import Tensor

from model.blocks.pyramid import stronger_detail
from model.metrics import METRICS
from model.network import GIFNet, NetworkConfig
from model.training import fidelity
from model.training.feed import Batch
from model.training.objectives import FidelityObjective, PublishedObjective
from model.training.train_config import FIDELITY_KEYS, TrainConfig

Score = Callable[[Tensor, Tensor, Tensor], Tensor]


def tensor(plane: np.ndarray) -> Tensor:
    return torch.from_numpy(plane.astype(np.float32) / 255)[None, None]


def sources() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = picture(1, (150, 170)), picture(2, (150, 170))
    return ((a.astype(int) + b) // 2).astype(np.uint8), a, b


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
    fused, a, b = (np.pad(plane, 3) for plane in sources())
    expected = METRICS[name].function(fused, a, b)
    assert float(score(*map(tensor, (fused, a, b)))) * factor == pytest.approx(expected, abs=bound)


def test_faint_differences_hardly_count_in_the_complement() -> None:
    """A focus pair: fused and source differ by next to nothing, which correlates with anything."""
    _, a, _ = map(tensor, sources())
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
    fused, a, b = map(tensor, sources())
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
    _, a, _ = map(tensor, sources())
    ratio = fidelity.sharpness(0.5 + contrast * (a - 0.5), a)
    assert ratio.shape == (2, 1) and ratio.flatten().tolist() == pytest.approx([contrast] * 2, abs=0.01)


def test_bases_tell_a_focus_pair_from_two_exposures() -> None:
    _, a, _ = sources()
    blurred = cv2.GaussianBlur(a, (0, 0), 2)
    assert float(fidelity.base_distance(tensor(a), tensor(a))) == 0.0
    assert float(fidelity.base_distance(tensor(a), tensor(blurred))) < 0.1
    assert float(fidelity.base_distance(tensor(a), tensor(a // 2))) == 1.0


def test_gradient_error_is_nought_for_the_stronger_gradient_alone() -> None:
    _, a, _ = map(tensor, sources())
    flat = torch.full_like(a, 0.3)
    assert float(fidelity.gradient_error(a, a, flat)) == 0.0
    assert float(fidelity.gradient_error(flat, a, flat)) > 0.01


def batch_of(count: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    names = ("infrared", "visible", "dp_a", "dp_b", "dp_truth")
    return Batch(**{name: torch.rand(count, 1, 64, 64, generator=generator) for name in names})


def test_the_fidelity_objective_mixes_both_kinds_of_pair() -> None:
    batch, objective = batch_of(8), FidelityObjective()
    seen = objective.select(batch, "dp")
    assert torch.equal(seen.infrared[::2], batch.infrared[::2])
    assert torch.equal(seen.visible[::2], batch.visible[::2])
    for index in range(1, 8, 2):
        pairs = {(batch.dp_a[index], batch.dp_b[index]), (batch.dp_b[index], batch.dp_a[index])}
        shown = seen.infrared[index], seen.visible[index]
        assert sum(all(map(torch.equal, shown, pair)) for pair in pairs) == 1
    assert torch.equal(seen.dp_truth[1::2], batch.dp_truth[1::2])
    assert len(objective.select(batch, "mm")) == 2 and len(objective.select(batch_of(2), "mm")) == 1


@pytest.mark.parametrize("size", [2, 3, 16])
def test_focus_pairs_are_shown_in_both_orders_in_batches_of_any_size(size: int) -> None:
    batch, objective = batch_of(240), FidelityObjective()
    batch = replace(batch, visible=(255 * batch.visible).round() / 255)
    swapped = []
    for start in range(0, 240, size):
        part = batch[start : start + size]
        seen = objective.select(part, "dp")
        swapped += [torch.equal(seen.infrared[i], part.dp_b[i]) for i in range(1, size, 2)]
    assert 0.3 < np.mean(swapped) < 0.7


@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_flat_source_has_been_kept(level: int) -> None:
    flat = torch.full((1, 1, 64, 64), level / 255)
    assert float(fidelity.visual_information(flat, flat, flat)) == 1.0
    fused = tensor(sources()[0])
    flat = torch.full_like(fused, level / 255)
    expected = METRICS["VIF"].function(sources()[0], *[np.full_like(sources()[0], level)] * 2) / 2
    assert float(fidelity.visual_information(fused, flat, flat)) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("head", ["plane", "pyramid"])
@pytest.mark.parametrize("main", ["mm", "dp"])
def test_the_fidelity_objective_fuses_as_a_user_does(main: str, head: str) -> None:
    torch.manual_seed(0)
    network = GIFNet(NetworkConfig(feature_growth=4, decoder_channels=8, head=head))
    objective = FidelityObjective()
    seen = objective.select(batch_of(4), main)  # type: ignore[arg-type]
    outputs = objective.outputs(network, seen, main)  # type: ignore[arg-type]
    fused = network(seen.infrared, seen.visible, main=main)  # type: ignore[arg-type]
    assert torch.allclose(outputs[:, :1], fused, atol=1e-6)
    half = torch.full((4,), 0.5)
    losses = objective.losses(outputs, seen, main, (half, half), TrainConfig())  # type: ignore[arg-type]
    losses.total.backward()
    assert torch.isfinite(losses.total) and (main == "mm") == (float(losses.public.detach()) > 0)


def test_the_truth_counts_where_it_is_known() -> None:
    batch = batch_of(2)
    seen = FidelityObjective().select(batch, "dp")
    half = torch.full((2,), 0.5)
    weights = dict.fromkeys(set(FIDELITY_KEYS) - {"truth_weight", "truth_error_weight"}, 0.0)
    config = TrainConfig(objective="fidelity", **weights)  # type: ignore[arg-type]
    outputs = torch.cat([batch.dp_truth, batch.dp_truth], dim=1)
    losses = FidelityObjective().losses(outputs, seen, "dp", (half, half), config)
    assert float(losses.task) == pytest.approx(0, abs=1e-5)


def lacking(fused: Tensor, a: Tensor, b: Tensor, **weights: float) -> float:
    """What a fused image lacks, with the given weights alone."""
    names = (name for name in FIDELITY_KEYS if name.endswith("_weight"))
    every = dict.fromkeys(names, 0.0) | weights
    batch = Batch(infrared=a, visible=b, dp_a=a, dp_b=a, dp_truth=a)
    config = TrainConfig(objective="fidelity", **every)  # type: ignore[arg-type]
    return float(FidelityObjective()._lacking(fused, batch, [torch.tensor([0.5])] * 2, config))


def behind(a: Tensor, b: Tensor, name: str) -> float:
    """By how much a score of the Laplacian pyramid's own image counts as behind."""
    rival = stronger_detail(torch.cat([a, b], dim=1)).clamp(0, 1)
    alone, with_rival = (lacking(rival, a, b, rival_weight=weight, **{name: 1.0}) for weight in (0.0, 1.0))
    return with_rival - alone


@pytest.mark.parametrize(
    ("other", "structure", "edges"),
    [
        (lambda a: 0.7 * (1 - a), fidelity.STRUCTURE_AHEAD, 0.0),  # two cameras
        (lambda a: a - 0.15, TrainConfig.exposure_lead, 0.0),
        (lambda a: a + 0.001, fidelity.FOCUS_AHEAD, fidelity.FOCUS_AHEAD),
    ],
)
def test_scores_are_behind_until_they_lead(
    other: Callable[[Tensor], Tensor], structure: float, edges: float
) -> None:
    _, a, _ = map(tensor, sources())
    pair = a, other(a)
    assert behind(*pair, "structure_weight") == pytest.approx(structure, rel=0.1)
    assert behind(*pair, "edges_weight") == pytest.approx(edges, rel=0.05, abs=1e-6)
    assert behind(*pair, "mutual_information_weight") == pytest.approx(edges, rel=0.05, abs=1e-6)


def test_gradients_beyond_the_pyramids_cost_where_bases_agree_alone() -> None:
    _, a, b = map(tensor, sources())
    for other, share in ((a + 0.02 * (b - a), 0.9), (a - 0.2, 0.0)):
        rival = stronger_detail(torch.cat([a, other], dim=1)).clamp(0, 1)
        steeper = 0.5 + 1.1 * (rival - 0.5)
        cost = lacking(steeper, a, other, overshoot_weight=1.0) - lacking(steeper, a, other)
        assert share * 0.1 <= cost <= 0.101 * (share > 0)
        assert lacking(rival, a, other, overshoot_weight=1.0) == lacking(rival, a, other)


def test_the_published_objective_sees_the_whole_batch() -> None:
    batch = batch_of(3)
    assert PublishedObjective().select(batch, "mm") is batch


def test_what_is_shown_and_validated_is_the_tasks_own_pair_and_all_of_it() -> None:
    planes = torch.arange(5.0)[:, None, None, None, None].expand(5, 8, 1, 4, 4) / 5
    batch = Batch(**dict(zip(Batch.__dataclass_fields__, planes, strict=True)))
    objective = FidelityObjective()
    shown = objective.shown(batch, "dp")
    assert torch.equal(shown.infrared, batch.dp_a) and torch.equal(shown.visible, batch.dp_b)
    assert objective.shown(batch, "mm") is batch
    assert [len(objective.select(batch, main, whole=True)) for main in ("mm", "dp")] == [8, 8]
    assert len(objective.select(batch, "mm")) == 2
