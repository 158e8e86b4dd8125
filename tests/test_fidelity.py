"""Fidelity losses: they agree with the metrics that they stand for, and lead where those rise."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from metric_pictures import picture
from torch import Tensor

from model import fidelity
from model.feed import Batch
from model.metrics import METRICS
from model.network import GIFNet, NetworkConfig
from model.objectives import FidelityObjective, PublishedObjective
from model.pyramid import stronger_detail
from model.train_config import TrainConfig

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


def test_sharpness_has_a_ceiling_but_no_reward_above_it() -> None:
    _, a, _ = map(tensor, sources())
    limit = torch.tensor([1.02])
    assert float(fidelity.sharpness(a, a, limit)) == pytest.approx(1)
    assert float(fidelity.sharpness(0.5 + 1.3 * (a - 0.5), a, limit)) == pytest.approx(1.02)
    assert float(fidelity.sharpness(0.5 + 0.8 * (a - 0.5), a, limit)) == pytest.approx(0.8, abs=0.01)


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
    assert torch.equal(seen.infrared[1::4], batch.dp_a[1::4])
    assert torch.equal(seen.infrared[3::4], batch.dp_b[3::4])
    assert torch.equal(seen.visible[3::4], batch.dp_a[3::4])
    assert torch.equal(seen.dp_truth[1::2], batch.dp_truth[1::2])
    assert len(objective.select(batch, "mm")) == 2 and len(objective.select(batch_of(2), "mm")) == 1


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
    names = ("intensity", "gradient", "structure", "edges", "visual_information", "complement", "sharpness")
    weights = {f"{name}_weight": 0.0 for name in (*names, "mutual_information")}
    config = TrainConfig(objective="fidelity", **weights)  # type: ignore[arg-type]
    outputs = torch.cat([batch.dp_truth, batch.dp_truth], dim=1)
    losses = FidelityObjective().losses(outputs, seen, "dp", (half, half), config)
    assert float(losses.task) == pytest.approx(0, abs=1e-5)


def test_structure_of_unlike_sources_is_behind_until_it_leads() -> None:
    _, a, b = map(tensor, sources())
    half = [torch.tensor([0.5])] * 2
    names = ("intensity", "gradient", "edges", "visual_information", "complement", "sharpness")
    weights = {f"{name}_weight": 0.0 for name in (*names, "mutual_information")}
    behind = {}
    for name, other in (("unlike", b), ("like", a + 0.02 * (b - a))):
        batch = Batch(infrared=a, visible=other, dp_a=a, dp_b=a, dp_truth=a)
        rival = stronger_detail(torch.cat([a, other], dim=1)).clamp(0, 1)
        of_rival, alone = (
            FidelityObjective()._lacking(
                rival,
                batch,
                half,
                TrainConfig(objective="fidelity", structure_weight=1.0, rival_weight=weight, **weights),  # type: ignore[arg-type]
            )
            for weight in (1.0, 0.0)
        )
        behind[name] = float(of_rival - alone)
    assert behind["unlike"] == pytest.approx(fidelity.STRUCTURE_AHEAD, rel=1e-3)
    assert behind["like"] < behind["unlike"] / 4


def test_the_published_objective_sees_the_whole_batch() -> None:
    batch = batch_of(3)
    assert PublishedObjective().select(batch, "mm") is batch
