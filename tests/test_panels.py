"""Panels of columns: they read as far as the network sees, keep what they may, and compute nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from fusing import tiny_network
from network_samples import planes
from torch import Tensor

from model.engine import strips
from model.engine.arena import Arena
from model.engine.panels import Panel
from model.engine.strip_layers import StripLayers
from model.engine.strips import FusionEngine

pytestmark = pytest.mark.usefixtures("one_thread")


def pair_of(height: int, width: int) -> np.ndarray:
    return np.stack([plane[0, 0].numpy() for plane in planes(1, 1, height, width, seed=3)])


def held_bytes(panels: list[Panel]) -> int:
    """What the panels keep at this moment for their next pass."""
    kept = (part for panel in panels for rows in panel._kept for part in rows._strips)
    return sum(part.numel() * part.element_size() for part in kept)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Panel]:
    """Panels of the engines that work, each with the most that all of them held at a time."""
    panels: list[Panel] = []
    plain_init, plain_compute = Panel.__init__, Panel._compute

    def init(panel: Panel, *args: Any, **options: Any) -> None:
        plain_init(panel, *args, **options)
        panel.most = 0
        panels.append(panel)

    def compute(panel: Panel, index: int) -> Iterator[Tensor]:
        for strip in plain_compute(panel, index):
            panel.most = max(panel.most, held_bytes(panels))
            yield strip
            panel.most = max(panel.most, held_bytes(panels))

    monkeypatch.setattr(Panel, "__init__", init)
    monkeypatch.setattr(Panel, "_compute", compute)
    monkeypatch.setattr(strips, "WORKING_NUMBERS", 0)  # which leaves the memory to what is kept
    return panels


def test_windows_as_small_as_two_filters_show_no_cut() -> None:
    """The local path of two blocks sees farther than one window of 4 and a half."""
    network = tiny_network(4, window=4)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".local." in name:
                parameter *= 5
    pair = pair_of(12, 80)
    whole, cut = (FusionEngine(network, panel_columns=most).head_maps(pair)[0] for most in (80, 40))
    assert (cut - whole).abs().max() <= 1e-5 * whole.abs().max()


@pytest.mark.parametrize(("head", "panel_columns"), [("plane", None), ("plane", 32), ("pyramid", None)])
def test_what_panels_hold_is_what_they_may(
    head: str, panel_columns: int | None, watched: list[Panel]
) -> None:
    network, pair = tiny_network(1, depth=3, head=head), pair_of(34, 57)
    row = 2 * network.config.channels * 60 * 4  # of both streams, of which there are 36
    engine = FusionEngine(network, strip_rows=16, panel_columns=panel_columns)
    maps = sum(map_.numel() for map_ in engine.head_maps(pair))
    beside = 4 * (maps + network.head.working_numbers(34, 57))
    for budget in (25 * row, 9 * row, 60 * row):
        watched.clear()
        engine.memory_bytes = beside + budget
        engine.fuse_pair(pair)
        most = max(panel.most for panel in watched)
        assert min(budget, 36 * row) - 2 * row <= most <= budget
        assert not held_bytes(watched)


@pytest.mark.parametrize("window", [8, 12])
def test_any_number_of_kept_rows_gives_the_same(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "WORKING_NUMBERS", 0)
    network, pair = tiny_network(1, depth=1, window=window), pair_of(21, 16)
    engine = FusionEngine(network, strip_rows=30)
    whole = engine.fuse_pair(pair)
    width = 16 + -16 % network.config.alignment
    for rows in (0, 1, 4, 7, *range(17, 24)):
        engine.memory_bytes = 3 * 4 * pair[0].size + rows * 2 * network.config.channels * width * 4
        np.testing.assert_allclose(engine.fuse_pair(pair), whole, rtol=0, atol=2e-6, err_msg=f"{rows} rows")


@pytest.mark.parametrize("depth", [1, 3])
def test_with_memory_for_all_nothing_is_computed_twice(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    for name in ("embed", "cross", "refine", "decode"):
        plain = getattr(StripLayers, name)
        monkeypatch.setattr(
            StripLayers, name, lambda *args, plain=plain, name=name: [calls.append(name), plain(*args)][1]
        )
    places: list[tuple[int, int] | None] = []
    plain_take = Arena._take
    monkeypatch.setattr(
        Arena, "_take", lambda arena, need: [places.append(plain_take(arena, need)), places[-1]][1]
    )
    FusionEngine(tiny_network(1, depth=depth)).fuse_pair(pair_of(48, 96))
    assert places and None not in places[: len(places) // depth]  # both streams, which fill the arena
    assert calls == ["embed", "cross", *["refine"] * (depth - 1), "decode"]
