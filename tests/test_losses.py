"""The losses: an independent reading of the definitions, the published numbers, gradients and precision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.published_losses import published_ms_ssim, published_public_loss
from torch import Tensor

from model.training.losses import (
    MIN_SIDE,
    dp_loss,
    mean_squared_error,
    mm_loss,
    ms_dissimilarity,
    public_loss,
)


def pair(*shape: int, noise: float = 0.1, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A textured image in [0, 1] and a noisy copy, float64."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=generator, dtype=torch.float64)
    y = x + noise * torch.randn(shape, generator=generator, dtype=torch.float64)
    return x, y.clamp(0, 1)


@pytest.mark.parametrize("size_hw", [(16, 16), (32, 32), (33, 70), (176, 176)])
@pytest.mark.parametrize("noise", [0.01, 0.1, 1.0])
def test_ms_ssim_follows_its_definition(size_hw: tuple[int, int], noise: float) -> None:
    x, y = pair(2, 1, *size_hw, noise=noise)
    assert _similarity(x, y).item() == pytest.approx(published_ms_ssim(x, y).item(), rel=1e-10)


def test_ms_ssim_of_equal_images_is_one() -> None:
    x, _ = pair(3, 1, 40, 52)
    assert _similarity(x, x).item() == 1
    assert _similarity(x.float(), x.float()).item() == 1
    assert public_loss(x, x).item() == 0


def test_ms_ssim_is_symmetric_and_falls_with_noise() -> None:
    values = []
    for noise in (0.02, 0.1, 0.5):
        x, y = pair(1, 1, 64, 64, noise=noise)
        assert _similarity(x, y).item() == pytest.approx(_similarity(y, x).item(), rel=1e-12)
        values.append(_similarity(x, y).item())
    assert 1 > values[0] > values[1] > values[2] > 0


def test_ms_ssim_of_opposite_images_stays_a_number_in_range() -> None:
    x, _ = pair(1, 1, 64, 64)
    opposite = (1 - x).requires_grad_()
    value = _similarity(opposite, x)
    value.backward()
    assert 0 <= value.item() < 0.5
    assert opposite.grad is not None and opposite.grad.isfinite().all()


@pytest.mark.parametrize(("height", "width"), [(MIN_SIDE - 1, 64), (64, 8), (1, 1)])
def test_images_without_a_coarsest_scale_are_refused(height: int, width: int) -> None:
    with pytest.raises(ValueError, match="sides >= 16"):
        _similarity(torch.rand(1, 1, height, width), torch.rand(1, 1, height, width))


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="equal shapes"):
        _similarity(torch.rand(2, 1, 32, 32), torch.rand(1, 1, 32, 32))


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("same", [True, False])
def test_gradients_of_constant_images_are_finite(value: float, same: bool) -> None:
    x = torch.full((1, 1, 32, 32), value, requires_grad=True)
    loss = public_loss(x, torch.full_like(x, value if same else 0.3))
    loss.backward()
    assert loss.isfinite() and x.grad is not None and x.grad.isfinite().all()


def test_gradients_equal_finite_differences() -> None:
    x, y = pair(1, 1, 16, 16)
    assert torch.autograd.gradcheck(lambda x: public_loss(x, y), x.requires_grad_(), fast_mode=True)


def test_float32_keeps_the_digits_of_a_small_dissimilarity() -> None:
    """1 - MS-SSIM of nearly equal images, where a difference from 1 would leave two digits."""
    x, y = pair(2, 1, 64, 64, noise=1e-3)
    exact = ms_dissimilarity(x, y).item()
    assert exact < 1e-3
    assert ms_dissimilarity(x.float(), y.float()).item() == pytest.approx(exact, rel=1e-4)


def test_autocast_does_not_touch_the_losses() -> None:
    x, y = (image.float() for image in pair(2, 1, 48, 48))
    weights = torch.tensor([0.2, 0.5]), torch.tensor([0.8, 0.5])
    expected = [public_loss(x, y), mm_loss(x, y, x * 0.5, *weights), dp_loss(x, y)]
    with torch.autocast("cpu", torch.bfloat16):
        found = [public_loss(x, y), mm_loss(x, y, x * 0.5, *weights), dp_loss(x, y)]
        half = public_loss(x.bfloat16(), y)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert half.dtype == torch.float32
    assert torch.equal(half, public_loss(x.bfloat16().float(), y))


def test_mm_loss_weighs_every_sample_by_itself() -> None:
    fused, _ = pair(3, 1, 8, 9, seed=1)
    ir, vis = pair(3, 1, 8, 9, seed=2)
    w_ir, w_vis = torch.tensor([1.0, 0.25, 0.0]), torch.tensor([0.0, 0.75, 1.0])
    expected = np.mean(
        [
            w_ir[i].item() * ((fused[i] - ir[i]) ** 2).mean().item()
            + w_vis[i].item() * ((fused[i] - vis[i]) ** 2).mean().item()
            for i in range(3)
        ]
    )
    assert mm_loss(fused, ir, vis, w_ir, w_vis).item() == pytest.approx(expected, rel=1e-12)


def test_mean_squared_error_over_all_is_the_mean_over_samples() -> None:
    x, y = pair(4, 1, 6, 5)
    per_sample = mean_squared_error(x, y, per_sample=True)
    assert per_sample.shape == (4,)
    assert dp_loss(x, y).item() == pytest.approx(per_sample.mean().item(), rel=1e-12)
    assert dp_loss(x, y).item() == pytest.approx(((x - y) ** 2).mean().item(), rel=1e-12)


@pytest.mark.parametrize("main", ["mm", "dp"])
def test_losses_of_the_published_step(shared: Path, main: str) -> None:
    """From the published images of one training step, without running the network."""
    folder = shared / "reference/gifnet"
    inputs, outputs = np.load(folder / "train_inputs.npz"), np.load(folder / f"train_{main}.npz")
    expected = json.loads((folder / "train_losses.json").read_text())[main]
    fused, reconstruction = torch.from_numpy(outputs["fused"]), torch.from_numpy(outputs["reconstruction"])
    ir, vis = torch.from_numpy(inputs["ir"]), torch.from_numpy(inputs["vis"])
    task = mm_loss(fused, ir, vis, torch.full((4,), 0.4), torch.full((4,), 0.6))
    task = task if main == "mm" else dp_loss(fused, vis)
    assert task.item() == pytest.approx(expected["task_loss"], rel=1e-5)
    assert _similarity(reconstruction, vis).item() == pytest.approx(expected["ms_ssim"], rel=1e-5)
    # The published number is a float32 difference of numbers near 1. Computed plainly in float32 it comes out
    # equal to the last bit with the same convolution kernels (AVX-512), some of those bits apart with others;
    # in float64 both forms agree.
    plain = published_public_loss(reconstruction, vis).item()
    assert plain == pytest.approx(expected["public_loss"], rel=1e-5, abs=8 * 2**-24)
    public = public_loss(reconstruction, vis).item()
    exact = published_public_loss(reconstruction.double(), vis.double()).item()
    assert public == pytest.approx(exact, rel=1e-5)
    assert public_loss(reconstruction.double(), vis.double()).item() == pytest.approx(exact, rel=1e-10)


def _similarity(x: Tensor, y: Tensor) -> Tensor:
    return 1 - ms_dissimilarity(x, y)
