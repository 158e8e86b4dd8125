"""Layers of the CPU's engine: the plain formulas in float64, with oneDNN and without."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from model.blocks.attention import attend_heads
from model.engine.cpu_layers import add_pointwise_, convolve, packed, pointwise, pointwise_relu, relu_
from model.engine.folded import Affine
from pipeline.networks.device import computes_bfloat16

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float64], ids=str)
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    """The engine's types, and one that oneDNN does not have."""
    if request.param == torch.bfloat16 and not computes_bfloat16(torch.device("cpu")):
        pytest.skip("no bf16 on this CPU")
    if request.param == torch.float64:
        monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    return request.param


def drawn(*shape: int, dtype: torch.dtype) -> Tensor:
    """Numbers around 0; maps, of four dimensions, channels last."""
    numbers = (torch.rand(shape) - 0.5).to(dtype)
    return numbers.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else numbers


def affine_of(out: int, channels: int, side: int, *, dtype: torch.dtype, bias: bool = True) -> Affine:
    """A random convolution."""
    return Affine(drawn(out, channels, side, side, dtype=dtype), drawn(out, dtype=dtype) if bias else None)


def exact(x: Tensor, affine: Affine, groups: int = 1) -> Tensor:
    """The convolution in float64."""
    bias = None if affine.bias is None else affine.bias.double()
    return F.conv2d(x.double(), affine.weight.double(), bias, groups=groups)


def is_close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """Equal up to a few roundings of the type."""
    assert found.dtype == dtype
    step = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(found.double(), expected, rtol=step, atol=step * float(expected.abs().max()))


@pytest.mark.parametrize(("side", "groups"), [(1, 1), (3, 1), (5, 10)])
def test_convolutions_and_what_follows_them(side: int, groups: int, dtype: torch.dtype) -> None:
    x, affine = drawn(1, 10, 9, 13, dtype=dtype), affine_of(10, 10 // groups, side, dtype=dtype)
    plain = exact(x, affine, groups)
    assert (plain < 0).any() and (plain > 0).any()
    is_close(convolve(x, affine, groups=groups), plain, dtype)
    is_close(convolve(x, affine, groups=groups, slope=0.0), plain.relu(), dtype)
    is_close(convolve(x, affine, groups=groups, slope=0.2), F.leaky_relu(plain, 0.2), dtype)
    without = convolve(x[..., 1:-1, 2:-1], Affine(affine.weight, None), groups=groups)  # of a part of a map
    is_close(without, exact(x[..., 1:-1, 2:-1], Affine(affine.weight, None), groups), dtype)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 16), (1, 9, 13)], ids=["windows", "map"])
def test_products_and_what_follows_them(shape: tuple[int, ...], bias: bool, dtype: torch.dtype) -> None:
    inputs, added = drawn(*shape, 10, dtype=dtype), drawn(*shape, 6, dtype=dtype)
    if len(shape) == 3:  # from row 2 of a larger map on
        inputs, added = (x.contiguous()[:, 2:] for x in (inputs, added))
    weight, offset = drawn(6, 10, dtype=dtype), drawn(6, dtype=dtype) if bias else None
    affine = packed(Affine(weight[..., None, None], offset))
    product = inputs.double() @ weight.double().t() + (0 if offset is None else offset.double())
    assert (product < 0).any() and (product > 0).any()
    is_close(pointwise(inputs, affine), product, dtype)
    is_close(pointwise_relu(inputs, affine), product.relu(), dtype)
    expected = added.double() + product
    assert add_pointwise_(added, inputs, affine) is added
    is_close(added, expected, dtype)


def test_attention_to_windows_takes_one_kernel(dtype: torch.dtype) -> None:
    both, value = drawn(5, 16, 36, dtype=dtype), drawn(5, 16, 18, dtype=dtype)
    query, key = both.split(18, dim=2)
    bias = drawn(3, 16, 16, dtype=dtype)
    q, k, v = (x.double().unflatten(2, (3, 6)).transpose(1, 2) for x in (query, key, value))
    scores = q @ k.transpose(2, 3) * 0.5 + bias.double()
    expected = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        attended = attend_heads(query, key, value, bias, scale=0.5)
    is_close(attended, expected, dtype)
    assert attended.is_contiguous()
    assert "aten::_scaled_dot_product_flash_attention_for_cpu" in {e.key for e in profiled.key_averages()}


def test_relu_in_place(dtype: torch.dtype) -> None:
    x = torch.tensor([-3.5, -1e-30, -0.0, 0.0, 1e-30, 2.5, float("inf"), -float("inf")], dtype=dtype)
    expected = x.clamp(min=0)
    assert relu_(x) is x and torch.equal(x, expected)
