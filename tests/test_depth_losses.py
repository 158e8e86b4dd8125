"""Losses of the depth training against the paper's equations, and the measure of depth order."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.depth.losses import data_loss, draw_pairs, gradient_loss, ordinal_error, ordinal_loss

pytestmark = pytest.mark.usefixtures("one_thread")


def test_losses_do_not_see_the_scale_of_depth() -> None:
    random = torch.Generator().manual_seed(0)
    target = torch.rand(2, 1, 16, 24, generator=random)
    predicted = torch.rand(2, 1, 16, 24, generator=random)
    pairs = torch.from_numpy(
        np.stack([draw_pairs(np.random.default_rng(i), (16, 24), 50, 0.5) for i in (0, 1)])
    )
    scaled = predicted + torch.tensor([3.0, -2.0])[:, None, None, None]  # a factor on depth
    for loss in (
        lambda p: data_loss(p, target),
        lambda p: gradient_loss(p, target),
        lambda p: ordinal_loss(p, target, pairs, margin=0.1),
    ):
        torch.testing.assert_close(loss(scaled), loss(predicted), rtol=1e-5, atol=1e-6)
    assert data_loss(target + 1, target) < 1e-12 and gradient_loss(target, target) == 0


def test_data_loss_is_equation_2() -> None:
    difference = torch.tensor([1.0, 2.0, 4.0, -3.0]).reshape(1, 1, 2, 2)
    expected = (1 + 4 + 16 + 9) / 4 - (1 + 2 + 4 - 3) ** 2 / 16
    assert data_loss(difference, torch.zeros_like(difference)).item() == pytest.approx(expected)


def test_gradient_loss_is_equation_3() -> None:
    """Of a ramp: at strides 1, 2, 4 and 8 neighbours differ by as many times 2 across and 3 down."""
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(24.0), indexing="ij")
    difference = (3 * rows - 2 * columns)[None, None]
    assert gradient_loss(difference, torch.zeros_like(difference)).item() == pytest.approx(5 * 15 / 4)


def test_ordinal_loss_is_equation_4() -> None:
    # Target says that point 1 is nearer (greater log inverse depth) than point 0.
    target = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    pair = torch.tensor([[[1], [0]]])

    def cost(step: float) -> float:
        return ordinal_loss(torch.tensor([0.0, step]).reshape(1, 1, 1, 2), target, pair, margin=0.1).item()

    assert cost(0.7) == pytest.approx(np.log1p(np.exp(-0.7)), rel=1e-5)
    assert cost(-0.2) == pytest.approx(np.log1p(np.exp(0.2)), rel=1e-5)
    assert cost(-0.2500001) == pytest.approx(cost(-0.2499999), abs=1e-5)  # the cases meet at tau
    growth = cost(-9.0) - cost(-4.0)
    assert growth == pytest.approx(np.log1p(np.exp(3)) - np.log1p(np.exp(2)), rel=1e-5)  # roots of 9 and 4


def test_pairs_that_hardly_differ_do_not_count() -> None:
    target = torch.tensor([0.0, 0.05]).reshape(1, 1, 1, 2)
    predicted = torch.tensor([5.0, 0.0], requires_grad=True)
    loss = ordinal_loss(predicted.reshape(1, 1, 1, 2), target, torch.tensor([[[1], [0]]]), margin=0.1)
    loss.backward()
    assert loss == 0 and (predicted.grad == 0).all()  # type: ignore[union-attr]


def test_ordinal_error_of_known_maps() -> None:
    truth = np.random.default_rng(0).random((30, 40), np.float32)
    random = np.random.default_rng(1)
    assert ordinal_error(truth, truth, random) == 0
    assert ordinal_error(np.exp(3 * truth), truth, random, row_share=1) == 0
    assert ordinal_error(-truth, truth, random) == 1
    assert ordinal_error(np.zeros_like(truth), truth, random) == 0.5
    rows = np.repeat(np.arange(30.0)[:, None], 40, axis=1)
    assert ordinal_error(rows, truth, random, row_share=1) == 0.5  # "lower is nearer" says nothing in a row
    steps, alike = (
        np.repeat([values] * 30, 10, axis=1) for values in ((0, 0.09, 1, 0.95), (0.09, 0, 1, 1.1))
    )
    assert ordinal_error(alike, steps, random) == 0, "a tenth of the range is the least that counts"
