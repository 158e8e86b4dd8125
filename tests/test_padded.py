"""Training in padded channels: outputs, losses and gradients are those of the network itself."""

from __future__ import annotations

import pytest
import torch
from fusing import SHAPES, tiny_network
from network_samples import random_network
from torch import Tensor, nn

from model.blocks.transformer import Task, layer_statistics
from model.engine.layout import Layout
from model.network import GIFNet
from model.training.feed import Batch
from model.training.objectives import OBJECTIVES
from model.training.padded import Form, PaddedNetwork
from model.training.spread import Spreader, Table, map_statistics
from model.training.train_config import TrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float64 from end to end: objectives turn the outputs to float32."""
    monkeypatch.setattr(Tensor, "float", lambda x: x if x.dtype == torch.float64 else x.to(torch.float32))


def gradients(network: GIFNet, form: Form, objective: str, main: Task, batch: Batch) -> dict[str, Tensor]:
    """Losses and outputs of an update, and the gradient of every parameter that has one."""
    network.zero_grad(set_to_none=True)
    taught = OBJECTIVES[objective]
    seen = taught.select(batch, main)
    information = [torch.full((len(seen),), value, dtype=torch.float64) for value in (0.4, 0.6)]
    outputs = taught.outputs(form, seen, main)
    config = TrainConfig(objective=objective)
    losses = taught.losses(outputs, seen, main, (information[0], information[1]), config)
    # Besides the losses something that no pixel is alike for.
    (losses.total + (outputs * torch.linspace(0, 1, outputs.shape[-1])).mean()).backward()
    found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return found | {
        "outputs": outputs.detach(),
        "task": losses.task.detach(),
        "public": losses.public.detach(),
    }


@pytest.mark.parametrize("objective", ["published", "fidelity"])
@pytest.mark.parametrize(
    ("name", "size_hw"),
    [
        # Whole windows, and sizes that are filled up to such.
        ("tiny", (48, 48)),
        *((name, (45, 52)) for name in (*SHAPES, "published", "published with the quirk")),
    ],
)
def test_losses_and_gradients_are_those_of_the_network(
    name: str, objective: str, size_hw: tuple[int, int]
) -> None:
    if name in SHAPES:
        network = tiny_network(1, **SHAPES[name])
    else:
        network = random_network(5, local_path_quirk=name != "published")
    network = network.double().train()
    padded = PaddedNetwork(network, torch.float64)
    # Scores of fidelity are steep where the blend of a pyramid starts, and enlarge rounding.
    bound = 1e-9 if (name, objective) == ("pyramid", "fidelity") else 1e-10
    generator = torch.Generator().manual_seed(1)
    names = Batch.__dataclass_fields__
    planes = torch.rand(len(names), 2, 1, *size_hw, generator=generator, dtype=torch.float64)
    batch = Batch(**dict(zip(names, planes, strict=True)))
    for main in ("mm", "dp"):
        expected, found = (gradients(network, form, objective, main, batch) for form in (network, padded))
        assert found.keys() == expected.keys()  # where there was no gradient there is none
        largest = max(value.abs().max() for key, value in expected.items() if key in network.state_dict())
        for key, value in expected.items():
            scale = largest if key in network.state_dict() else 1
            assert (found[key] - value).abs().max() <= bound * scale, (main, key)


def test_channels_that_fill_up_are_zero_and_ones_are_one() -> None:
    network = tiny_network(2).double()
    padded = PaddedNetwork(network, torch.float64)
    features = padded.encode(*torch.rand(2, 2, 1, 16, 16, dtype=torch.float64))
    layout = padded._features[3]
    assert layout.one is not None and (features[:, layout.one] == 1).all()
    refined = padded._transform(features, features, "dp")
    assert padded._map.one is not None and (refined[..., padded._map.one] == 1).all()
    for x, used in ((features, layout), (refined.permute(0, 3, 1, 2), padded._map)):
        filling = sorted({*range(used.channels)} - {used.one, *used.places.tolist()})
        assert filling and not x[:, filling].any()


def test_weights_are_spread_and_gradients_come_back() -> None:
    source, target = Layout.of([3, 2], 4, one=True), Layout.of([2], 4, one=True)
    weight = torch.randn(1, 2, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(1, 2, dtype=torch.float64, requires_grad=True)
    spreader = Spreader(torch.float64)
    wide = spreader("layer", weight, bias, source, target)
    assert wide.shape == (1, 4, 3, 3, 8) and int(wide.count_nonzero()) == 2 * 5 * 9 + 2 + 1
    assert torch.autograd.gradcheck(lambda w, b: spreader("layer", w, b, source, target), (weight, bias))
    x = torch.zeros(1, 8, 7, 6, dtype=torch.float64)
    x[:, source.places], x[:, source.one] = torch.randn(1, 5, 7, 6, dtype=torch.float64), 1
    plain = nn.functional.conv2d(
        nn.functional.pad(x[:, source.places], (1, 1, 1, 1), mode="reflect"), weight[0], bias[0]
    )
    found = spreader.convolve("layer", x, weight[0], bias[0], source, target)
    torch.testing.assert_close(found[:, target.places], plain)
    assert (found[:, target.one] == 1).all() and not found[:, 3:].any()
    table = Table.of(torch.Size((2, 5)), False, source, Layout.of([2], 4), weight.device)
    assert table.shape == (4, 8) and sorted(table.index[table.inverse].tolist()) == list(range(1, 11))


def test_statistics_of_own_channels() -> None:
    own = torch.tensor([1, 1, 0, 1, 0], dtype=torch.float64)
    x = 3 + torch.randn(2, 30, 5, dtype=torch.float64)
    x.requires_grad_()
    alone = x[..., own.bool()].permute(0, 2, 1).unflatten(2, (5, 6))
    for found, expected in zip(map_statistics(x, own, 3), layer_statistics(alone), strict=True):
        torch.testing.assert_close(found, expected.flatten())
    assert torch.autograd.gradcheck(lambda x: map_statistics(x, own, 3), x)
    halves = map_statistics(x.detach().half(), own.float(), 3)
    assert halves[0].dtype == torch.float32
    torch.testing.assert_close(
        halves[1].double(), layer_statistics(alone).deviation.flatten(), rtol=1e-3, atol=0
    )
