"""What a GPU computes in another form than a CPU: layers, copies, padded channels, moments."""

from __future__ import annotations

import pytest
import torch
from fusing import SHAPES, tiny_network
from network_samples import planes, random_network

from model.engine.folded import Affine, FoldedNetwork
from model.engine.gpu_layers import add_pointwise_, copy_, pointwise, pointwise_relu
from model.engine.layout import Layout
from model.engine.moments import ChannelMoments, StreamMoments, moments
from model.engine.row_stream import convolve
from model.engine.strips import FusionEngine
from model.network import GIFNet

pytestmark = pytest.mark.usefixtures("one_thread")


def shaped(name: str) -> GIFNet:
    """One of SHAPES, or the published shape."""
    return random_network(5) if name == "published" else tiny_network(1, **SHAPES[name])


def test_groups_begin_new_pieces() -> None:
    layout = Layout.of([2, 3, 8], 8, one=True)
    assert layout.channels == 24 and layout.one == 2
    assert layout.places.tolist() == [0, 1, 8, 9, 10, *range(16, 24)]
    values = torch.arange(1.0, 14.0)
    spread = layout.spread(values, 0)
    assert torch.equal(spread[layout.places], values) and spread.sum() == values.sum()
    assert Layout.of([8], 8, one=True).channels == 16
    alone = Layout.of([2, 3, 8], 1, one=True)
    assert alone.channels == 13 and alone.one is None and torch.equal(alone.spread(values, 0), values)


@pytest.mark.parametrize("multiple", [4, 8])
@pytest.mark.parametrize("main", ["mm", "dp"])
@pytest.mark.parametrize("name", [*SHAPES, "published"])
def test_padded_channels_change_nothing(
    name: str, main: str, multiple: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)  # it has no float64
    network = shaped(name)
    a, b = (plane[0, 0].numpy() for plane in planes(1, 1, 29, 22))
    found = []
    for engine in (FusionEngine(network), FusionEngine(network, multiple=multiple, strip_rows=16)):
        engine.dtype = torch.float64
        found.append(torch.from_numpy(engine.fuse_planes(a, b, main=main)))
    # Statistics and what the head takes are float32 in both; the pyramid's exponentials magnify that.
    torch.testing.assert_close(*found, atol=2e-5 if name == "pyramid" else 1e-6, rtol=0)


def test_padded_channels_stay_zero() -> None:
    network = FoldedNetwork(
        tiny_network(3), main="dp", device=torch.device("cpu"), dtype=torch.float64, multiple=8
    )
    filling = torch.ones(network.channels, dtype=torch.bool)
    filling[network.places] = False
    assert filling.any()
    strip = torch.rand(1, network.channels, 8, 8)
    strip[:, filling] = 0
    measured = moments(network, 1)
    measured.add(strip)
    weights = network.stream(0, "dp", *measured.statistics())
    for affine in (weights.value, weights.local, weights.project, weights.contract):
        assert not affine.weight[filling].any()
        assert affine.bias is None or not affine.bias[filling].any()
    embedded = network.embed.weight.unflatten(0, (2, -1))
    assert not embedded[:, filling].any() and embedded[:, ~filling].any()


def test_moments_of_channels_are_those_of_the_map() -> None:
    network = FoldedNetwork(
        tiny_network(3), main="dp", device=torch.device("cpu"), dtype=torch.float32, multiple=8
    )
    own = 300 + torch.randn(2, len(network.places), 40, 24)  # hundreds of deviations away from 0
    padded = torch.zeros(2, network.channels, 40, 24)
    padded[:, network.places] = own
    whole, padded = (x.flatten(0, 1)[None] for x in (own, padded))
    by_channel, together = ChannelMoments(network, 2), StreamMoments(2)
    for rows in (slice(0, 7), slice(7, 40)):
        by_channel.add(padded[:, :, rows])
        together.add(whole[:, :, rows])
    for found, expected in zip(by_channel.statistics(), together.statistics(), strict=True):
        torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-5, atol=0)


def test_moments_of_flat_channels_in_half_precision() -> None:
    """A difference of two sums may fall below the variance of 0."""
    network = FoldedNetwork(
        tiny_network(3), main="dp", device=torch.device("cpu"), dtype=torch.float16, multiple=8
    )
    for value in range(100, 130):
        measured = ChannelMoments(network, 1)
        measured.add(torch.full((1, network.channels, 17, 13), value + 0.1, dtype=torch.float16))
        ((mean, deviation),) = measured.statistics()
        assert mean == pytest.approx(value + 0.1, abs=0.1) and 0 < deviation < 0.2


def test_products_are_the_convolutions() -> None:
    x, weight, bias = torch.rand(3, 5, 8) - 0.5, torch.rand(16, 8, 1, 1) - 0.5, torch.rand(16) - 0.5
    expected = convolve(x.permute(0, 2, 1)[..., None], Affine(weight, bias))[..., 0].permute(0, 2, 1)
    torch.testing.assert_close(pointwise(x, Affine(weight, bias)), expected)
    torch.testing.assert_close(pointwise(x, Affine(weight, None)), expected - bias)
    torch.testing.assert_close(pointwise_relu(x, Affine(weight, bias)), expected.relu())
    before = torch.rand(3, 5, 16)
    sums = add_pointwise_(before.clone(), x, Affine(weight, None))
    torch.testing.assert_close(sums, before + expected - bias)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_copies_of_pieces(dtype: torch.dtype) -> None:
    source = torch.rand(1, 24, 6, 7).to(dtype).contiguous(memory_format=torch.channels_last)[:, 8:]
    target = torch.zeros(1, 16, 8, 9, dtype=dtype).contiguous(memory_format=torch.channels_last)
    copy_(target[:, :, 1:-1, 1:-1].permute(0, 2, 3, 1), source.permute(0, 2, 3, 1))
    assert torch.equal(target[:, :, 1:-1, 1:-1], source)
    assert target.count_nonzero() == source.count_nonzero()
    windows = torch.empty(2, 3, 16, dtype=dtype)
    copy_(windows, source[0, :, :3, :2].permute(2, 1, 0))
    assert torch.equal(windows, source[0, :, :3, :2].permute(2, 1, 0))
