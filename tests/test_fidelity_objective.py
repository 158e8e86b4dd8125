"""The fidelity objective: what it shows of each batch, and what each of its weights costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from fusing import tiny_network
from metric_pictures import averaged_pair, unit
from network_samples import training_forward
from torch import Tensor

from model.blocks.pyramid import stronger_detail
from model.network import GIFNet, NetworkConfig
from model.training import fidelity
from model.training.feed import Batch
from model.training.objectives import FidelityObjective, PublishedObjective
from model.training.train_config import FIDELITY_KEYS, TrainConfig


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


@pytest.mark.parametrize("name", ["truth_error_weight", "gradient_weight", "structure_weight"])
def test_the_truth_counts_where_it_is_known(name: str) -> None:
    weights = dict.fromkeys(FIDELITY_KEYS, 0.0) | {"truth_weight": 2.0, name: 3.0}
    config = TrainConfig(objective="fidelity", **weights)  # type: ignore[arg-type]
    batch = batch_of(2)
    seen = replace(FidelityObjective().select(batch, "dp"), infrared=batch.dp_truth, visible=batch.dp_truth)
    half = torch.full((2,), 0.5)

    def task(fused: Tensor) -> float:
        outputs = torch.cat([fused, fused], dim=1)
        return float(FidelityObjective().losses(outputs, seen, "dp", (half, half), config).task)

    assert task(batch.dp_truth) == pytest.approx(0, abs=1e-5)
    off = batch.dp_truth.clone()
    off[1] = 0.5 * off[1]
    assert task(off) > 0.1
    if name == "truth_error_weight":
        assert task(off) == pytest.approx(2 * float(3 * off[1].mean()) / 2, rel=1e-5)


def lacking(fused: Tensor, a: Tensor, b: Tensor, **weights: float) -> float:
    """What a fused image lacks, with the given weights alone."""
    names = (name for name in FIDELITY_KEYS if name.endswith("_weight"))
    every = dict.fromkeys(names, 0.0) | weights
    batch = Batch(infrared=a, visible=b, dp_a=a, dp_b=a, dp_truth=a)
    config = TrainConfig(objective="fidelity", **every)  # type: ignore[arg-type]
    return float(FidelityObjective()._lacking(fused, batch, [torch.tensor([0.5])] * 2, config))


def test_intensity_is_the_weighted_squared_error() -> None:
    fused, a, b = map(unit, averaged_pair())
    expected = 3 * ((fused - a).square().mean() + (fused - b).square().mean()) / 2
    assert lacking(fused, a, b, intensity_weight=3.0) == pytest.approx(float(expected), rel=1e-5)


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
    _, a, _ = map(unit, averaged_pair())
    pair = a, other(a)
    assert behind(*pair, "structure_weight") == pytest.approx(structure, rel=0.1)
    assert behind(*pair, "edges_weight") == pytest.approx(edges, rel=0.05, abs=1e-6)
    assert behind(*pair, "mutual_information_weight") == pytest.approx(edges, rel=0.05, abs=1e-6)


def test_a_rival_is_an_image_and_its_overshoot_no_lead() -> None:
    squares = (torch.arange(64) // 8 % 2).float()
    a, b = squares.expand(1, 1, 64, 64), squares[:, None].expand(1, 1, 64, 64)
    for name in ("visual_information_weight", "complement_weight"):
        assert behind(a, b, name) == pytest.approx(0, abs=1e-5)


def test_sources_need_not_complement_each_other_where_they_are_alike() -> None:
    _, a, b = map(unit, averaged_pair())
    for other, least, most in ((a + 0.002 * (b - a), 0, 1e-3), (0.7 * (1 - a), 0.1, 2)):
        cost = lacking(a, a, other, complement_weight=1.0) - lacking(a, a, other)
        assert least <= cost <= most


def test_gradients_beyond_the_pyramids_cost_where_bases_agree_alone() -> None:
    _, a, b = map(unit, averaged_pair())
    for other, share in ((a + 0.02 * (b - a), 0.9), (a - 0.2, 0.0)):
        rival = stronger_detail(torch.cat([a, other], dim=1)).clamp(0, 1)
        steeper = 0.5 + 1.1 * (rival - 0.5)
        cost = lacking(steeper, a, other, overshoot_weight=1.0) - lacking(steeper, a, other)
        assert share * 0.1 <= cost <= 0.101 * (share > 0)
        assert lacking(rival, a, other, overshoot_weight=1.0) == lacking(rival, a, other)


def test_the_published_objective_sees_the_whole_batch() -> None:
    batch = batch_of(3)
    assert PublishedObjective().select(batch, "mm") is batch


@pytest.mark.parametrize("main", ["mm", "dp"])
def test_the_published_objective_teaches_the_encoder_by_the_tasks_own_pair_alone(main: str) -> None:
    small = {name: plane[..., :16, :16] for name, plane in vars(batch_of(1)).items()}
    batch, gradients = Batch(**small), []
    for by_objective in (True, False):
        network = tiny_network(decoder_channels=8)
        if by_objective:
            outputs = PublishedObjective().outputs(network, batch, main)  # type: ignore[arg-type]
        else:
            pairs = (batch.infrared, batch.visible), (batch.dp_a, batch.dp_b)
            outputs = torch.cat(training_forward(network, *pairs, main), dim=1)  # type: ignore[arg-type]
        outputs.square().mean().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    torch.testing.assert_close(*gradients)


def test_the_published_truth_is_that_of_the_tasks_own_pair() -> None:
    batch, weights = batch_of(1), (torch.zeros(1), torch.ones(1))
    for main, truth, other in (
        ("mm", batch.visible, batch.dp_truth),
        ("dp", batch.dp_truth, batch.visible),
    ):
        for plane, least, most in ((truth, 0, 1e-6), (other, 0.1, 10)):
            outputs = torch.cat([plane, plane], dim=1)
            losses = PublishedObjective().losses(outputs, batch, main, weights, TrainConfig())  # type: ignore[arg-type]
            assert all(least <= float(loss) <= most for loss in (losses.task, losses.public))


def test_what_is_shown_and_validated_is_the_tasks_own_pair_and_all_of_it() -> None:
    planes = torch.arange(5.0)[:, None, None, None, None].expand(5, 8, 1, 4, 4) / 5
    batch = Batch(**dict(zip(Batch.__dataclass_fields__, planes, strict=True)))
    objective = FidelityObjective()
    shown = objective.shown(batch, "dp")
    assert torch.equal(shown.infrared, batch.dp_a) and torch.equal(shown.visible, batch.dp_b)
    assert objective.shown(batch, "mm") is batch
    assert [len(objective.select(batch, main, whole=True)) for main in ("mm", "dp")] == [8, 8]
    assert len(objective.select(batch, "mm")) == 2
