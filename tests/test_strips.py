"""The strip-wise engine: the whole image's result for any strips, any memory, any size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fusing import tiny_network
from hypothesis import given, settings
from hypothesis import strategies as st
from network_samples import planes, random_network

from model.checkpoint import load_network
from model.engine.folded import FoldedNetwork
from model.engine.panels import cut
from model.engine.strips import WORKING_NUMBERS, FusionEngine
from model.network import GIFNet
from pipeline.files import InputError
from pipeline.images import to_uint8
from pipeline.networks.device import computes_bfloat16

pytestmark = pytest.mark.usefixtures("one_thread")

CASES = ("ivif", "mfif", "meif", "medical", "nir", "remote_band1")


def whole(network: GIFNet, a: np.ndarray, b: np.ndarray, main: str) -> np.ndarray:
    """The network itself on the whole image, in float64."""
    with torch.inference_mode():
        pair = (torch.from_numpy(plane).double()[None, None] for plane in (a, b))
        fused = network.double()(*pair, main=main)[0, 0].numpy()
    network.float()
    return fused


def random_planes(height: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    a, b = planes(1, 1, height, width, seed=seed)
    return a[0, 0].numpy(), b[0, 0].numpy()


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(5, 70), st.integers(5, 45)),
    strip_rows=st.none() | st.integers(1, 80),
    kept=st.floats(0, 1.3),
    main=st.sampled_from(["mm", "dp"]),
    shape=st.sampled_from(
        [{}, {"local_path_quirk": True}, {"depth": 1}, {"depth": 3}, {"window": 4}, {"head": "pyramid"}]
    ),
)
def test_any_size_any_strips_any_memory(
    size: tuple[int, int], strip_rows: int | None, kept: float, main: str, shape: dict[str, Any]
) -> None:
    network = tiny_network(1, **shape)
    a, b = random_planes(*size)
    # ``kept`` is the share of both embedded streams, 16 channels in float32, that the memory holds.
    memory = int(kept * (size[0] + 3) * (size[1] + 3) * 16 * 4)
    memory += min(strip_rows or size[0], size[0] + 3) * size[1] * WORKING_NUMBERS * 4
    engine = FusionEngine(network, memory_bytes=memory, strip_rows=strip_rows)
    # The pyramid's gains and shares are exponentials, which magnify float32's rounding.
    tolerance = 1e-4 if "head" in shape else 1e-5
    fused = engine.fuse_planes(a, b, main=main)
    np.testing.assert_allclose(fused, whole(network, a, b, main), atol=tolerance)


@settings(max_examples=15, deadline=None)
@given(
    width=st.integers(65, 200),
    panel_columns=st.integers(16, 80),
    memory=st.sampled_from([0, 1 << 22]),
    main=st.sampled_from(["mm", "dp"]),
    shape=st.sampled_from([{}, {"depth": 3}, {"depth": 4, "window": 4}, {"window": 16}, {"head": "pyramid"}]),
)
def test_no_panel_shows_where_it_was_cut(
    width: int, panel_columns: int, memory: int, main: str, shape: dict[str, Any]
) -> None:
    network = tiny_network(2, **shape)
    a, b = random_planes(24, width)
    engine = FusionEngine(network, memory_bytes=memory, panel_columns=panel_columns)
    tolerance = 1e-4 if "head" in shape else 1e-5
    fused = engine.fuse_planes(a, b, main=main)
    np.testing.assert_allclose(fused, whole(network, a, b, main), atol=tolerance)


def test_panels_share_the_columns_out() -> None:
    network = FoldedNetwork(tiny_network(0), main="dp", device=torch.device("cpu"), dtype=torch.float32)
    for width, most in ((6000, 1280), (1281, 1280), (7, 100), (100, 7)):
        panels = cut(width, most, network)
        assert [column for panel in panels for column in panel.own] == list(range(width))
        assert all(panel.own[0] in panel.read and panel.own[-1] in panel.read for panel in panels)
    assert len(cut(1280, 1280, network)) == 1


@pytest.mark.parametrize("quirk", [False, True])
@pytest.mark.parametrize("main", ["mm", "dp"])
def test_the_published_shape(quirk: bool, main: str) -> None:
    network = random_network(5, local_path_quirk=quirk)
    a, b = random_planes(37, 30)
    fused = FusionEngine(
        network, strip_rows=11, memory_bytes=30 * 98 * 4 * 15 + 11 * 30 * WORKING_NUMBERS * 4
    ).fuse_planes(a, b, main=main)
    assert fused.dtype == np.float32 and fused.flags.c_contiguous
    np.testing.assert_allclose(fused, whole(network, a, b, main), atol=1e-5)


def test_a_map_far_from_zero_keeps_its_variance() -> None:
    network = tiny_network(2)
    with torch.no_grad():
        network.transformer.embed_dp.bias += 300  # mean of the embedded map, hundreds of deviations away
    a, b = random_planes(40, 24)
    fused = FusionEngine(network, strip_rows=5).fuse_planes(a, b)
    np.testing.assert_allclose(fused, whole(network, a, b, "dp"), atol=1e-4)


@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("scale", [0, 1e-3])
def test_a_map_with_hardly_any_variance(scale: float, multiple: int) -> None:
    network = tiny_network(2)
    with torch.no_grad():
        for parameter in (
            *network.transformer.embed_mm.parameters(),
            *network.transformer.embed_dp.parameters(),
        ):
            parameter *= scale
    a, b = random_planes(20, 24)
    fused = FusionEngine(network, strip_rows=8, multiple=multiple).fuse_planes(a, b)
    np.testing.assert_allclose(fused, whole(network, a, b, "dp"), atol=1e-5)


def test_an_engine_is_used_again_and_leaves_the_network_alone() -> None:
    network = tiny_network(3)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    engine = FusionEngine(network)
    first = engine.fuse_planes(*random_planes(20, 30))
    arena = engine._arena
    engine.fuse_planes(*random_planes(33, 16, seed=1), main="mm")
    np.testing.assert_array_equal(engine.fuse_planes(*random_planes(20, 30)), first)
    assert engine._arena is arena  # as large as the largest pair needs
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.skipif(not computes_bfloat16(torch.device("cpu")), reason="no bf16 on this CPU")
def test_bf16_is_close() -> None:
    network = random_network(5)
    a, b = random_planes(48, 40)
    fused = FusionEngine(network, precision="bf16").fuse_planes(a, b)
    error = np.abs(fused - whole(network, a, b, "dp"))
    assert fused.dtype == np.float32
    assert 0 < error.mean() < 0.02


def test_what_is_kept_stays_within_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.engine.strips.WORKING_NUMBERS", 1)  # of a small image strips are the whole
    planes, kept = random_planes(96, 128), []
    budgets = (0, 1 << 20, 1 << 22, 1 << 23, 1 << 24, 1 << 30)
    for memory in budgets:
        engine = FusionEngine(random_network(5), memory_bytes=memory)
        engine.fuse_planes(*planes)
        kept.append(engine._arena.num_bytes)
    assert all(now <= memory for now, memory in zip(kept, budgets, strict=True))
    assert kept == sorted(kept) and len(set(kept)) > 3


@pytest.mark.parametrize("window", [4, 6, 8, 16])
def test_the_smallest(window: int) -> None:
    network = tiny_network(1, window=window)
    least = network.config.min_side
    for size in ((least, least + 9), (least + 9, least)):
        fused = FusionEngine(network).fuse_planes(*random_planes(*size))
        np.testing.assert_allclose(fused, whole(network, *random_planes(*size), "dp"), atol=1e-5)


def test_too_small() -> None:
    with pytest.raises(InputError, match=r"30x4 is too small: both sides need 5"):
        FusionEngine(tiny_network(0)).fuse_planes(*random_planes(4, 30))


@pytest.mark.parametrize("case", CASES)
def test_published_results(shared: Path, case: str) -> None:
    network = load_network(shared / "reference/gifnet/Final.model")
    with np.load(shared / "reference/gifnet/inference.npz") as reference:
        a, b = (reference[f"{case}/{name}"].astype(np.float32) / 255 for name in "ab")
        published = {"dp": reference[f"{case}/main_mfif"], "mm": reference[f"{case}/main_ivif"]}
    if a.size > 1 << 16:
        published.pop("mm")
    for main, expected in published.items():
        # All maps kept, and most of them computed again.
        fused = FusionEngine(network, memory_bytes=1 << (30 if main == "dp" else 23)).fuse_planes(
            a, b, main=main
        )
        assert np.abs(fused - expected).max() <= 1e-5
        # The same 8-bit image. A float that lies on the border of two grey levels may fall to either side:
        # the published ones do so themselves, by their distance from what float64 gives.
        border = np.abs(expected * 255 % 1 - 0.5) < 255 * 2e-6
        assert border.mean() < 2e-3
        np.testing.assert_array_equal(to_uint8(fused)[~border], to_uint8(expected)[~border])
