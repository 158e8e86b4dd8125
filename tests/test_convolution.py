"""Convolution with gradients of its own: PyTorch's values and gradients, however the rows are shared out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.networks import convolution
from pipeline.networks.convolution import Convolution, convolve


@pytest.fixture(params=["AVX2", "AVX512", "DEFAULT"])
def capability(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: request.param)
    monkeypatch.setattr(convolution, "_lacks_avx512", convolution._lacks_avx512.__wrapped__)
    found: str = request.param
    return found


def samples(
    dtype: torch.dtype, *, side: int = 3, layout: torch.memory_format = torch.channels_last
) -> tuple[Tensor, Tensor, Tensor]:
    x = torch.randn(2, 9, 7, 6, dtype=dtype).to(memory_format=layout).requires_grad_()
    weight = torch.randn(4, 9, side, side, dtype=dtype).requires_grad_()
    return x, weight, torch.randn(4, dtype=dtype).requires_grad_()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [1, 3, 5])
@pytest.mark.parametrize("patch_values", [1, 1000, 1 << 18])
def test_gradients_are_those_of_pytorch(
    side: int, layout: torch.memory_format, patch_values: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "_PATCH_VALUES", patch_values)
    inputs = samples(torch.float64, side=side, layout=layout)
    ours, plain = Convolution.apply(*inputs), F.conv2d(*inputs)
    assert torch.equal(ours, plain)
    seen = torch.randn_like(plain)
    for found, expected in zip(
        *(torch.autograd.grad((out * seen).sum(), inputs) for out in (ours, plain)), strict=True
    ):
        torch.testing.assert_close(found, expected)
    # and where one number's gradient is that of all
    for found, expected in zip(
        torch.autograd.grad(Convolution.apply(*inputs).sum(), inputs),
        torch.autograd.grad(F.conv2d(*inputs).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)


def test_gradients_that_nobody_asked_for_are_not_computed() -> None:
    x, weight, bias = samples(torch.float64)
    Convolution.apply(x.detach(), weight, bias.detach()).sum().backward()
    assert weight.grad is not None and x.grad is None and bias.grad is None


def test_only_processors_without_avx512_have_it(capability: str) -> None:
    inputs = samples(torch.float32)
    out = convolve(*inputs)
    assert torch.equal(out, F.conv2d(*inputs))
    assert (type(out.grad_fn).__name__ == "ConvolutionBackward") == (capability == "AVX2")


@pytest.mark.parametrize(
    "case", ["no gradient", "autocast", "float64", "first layer", "channels first", "groups"]
)
def test_everything_else_is_pytorchs(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "_lacks_avx512", lambda: True)
    x, weight, bias = samples(torch.float64 if case == "float64" else torch.float32)
    groups = 1
    if case == "first layer":
        x, weight = x[:, :2].to(memory_format=torch.channels_last), weight[:, :2]
    elif case == "channels first":
        x = x.contiguous()
    elif case == "groups":
        weight, bias, groups = weight[:3, :3], bias[:3], 3
    with torch.set_grad_enabled(case != "no gradient"), torch.autocast("cpu", enabled=case == "autocast"):
        out = convolve(x, weight, bias, groups=groups)
        assert torch.equal(out, F.conv2d(x, weight, bias, groups=groups))
    assert type(out.grad_fn).__name__ != "ConvolutionBackward"
