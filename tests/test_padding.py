"""Padding: PyTorch's values, channels last where they are, and gradients that repeat on CUDA."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from pretended_gpu import pretended_gpu

from pipeline.networks.device import repeatable
from pipeline.networks.padding import ReflectedConv2d, _ReflectionPad, replication_pad

SIDES = [(1, 1, 1, 1), (0, 3, 0, 0), (2, 0, 4, 1), (4, 4, 4, 4), (0, 0, 0, 0)]


@pytest.mark.parametrize("sides", SIDES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradient_are_those_of_pytorch(
    sides: tuple[int, int, int, int], layout: torch.memory_format
) -> None:
    x = torch.randn(2, 3, 5, 7, dtype=torch.float64).to(memory_format=layout).requires_grad_()
    ours, plain = _ReflectionPad.apply(x, sides), F.pad(x, sides, mode="reflect")
    assert torch.equal(ours, plain)
    assert ours.is_contiguous(memory_format=torch.channels_last)
    weights = torch.randn_like(plain)
    gradients = [torch.autograd.grad((padded * weights).sum(), x)[0] for padded in (ours, plain)]
    torch.testing.assert_close(*gradients)
    assert torch.autograd.gradcheck(
        lambda y: _ReflectionPad.apply(y, sides), x[:1, :1].detach().requires_grad_()
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 3, 6, 8])
def test_bytes_are_carried_whatever_the_channels(channels: int, layout: torch.memory_format) -> None:
    x = torch.randn(2, channels, 5, 7).half().to(memory_format=layout)
    part = torch.randn(2, channels + 3, 5, 7).half().to(memory_format=layout)[:, 3:]
    assert torch.equal(_ReflectionPad.apply(part, (1,) * 4), F.pad(part, (1,) * 4, mode="reflect"))
    ours = _ReflectionPad.apply(x, (2, 1, 0, 3))
    assert torch.equal(ours, F.pad(x, (2, 1, 0, 3), mode="reflect"))
    assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("side", "groups"), [(3, 1), (5, 4)])
def test_convolution_is_that_of_pytorch(side: int, groups: int) -> None:
    plain = torch.nn.Conv2d(4, 4, side, groups=groups, padding=side // 2, padding_mode="reflect")
    ours = ReflectedConv2d(4, 4, side, groups=groups)
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(1, 4, 9, 11)
    assert torch.equal(ours(x), plain(x))


@pytest.mark.parametrize("width", [1, 2])
def test_replication_on_a_gpu_is_that_of_pytorch(width: int) -> None:
    x = torch.randn(2, 3, 1, 7)
    with pretended_gpu(), repeatable(torch.device("cuda")):
        ours = replication_pad(x.to("cuda"), width).cpu()
    assert torch.equal(ours, F.pad(x, (width,) * 4, mode="replicate"))
