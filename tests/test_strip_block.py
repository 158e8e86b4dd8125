"""A transformer block in parts: every window once, and the same values however few go through at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fusing import tiny_network
from network_samples import planes

from model.engine import strip_block
from model.engine.strip_block import parts, put, window_grid
from model.engine.strips import FusionEngine

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("at_once", [1, 3, 4, 7, 100])
def test_parts_cover_every_window_once(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strip_block, "PART_BYTES", at_once * 4 * 4 * 2 * 4 + 1)
    for rows, columns in ((1, 1), (2, 7), (3, 9)):
        x = torch.zeros(1, 2, 4 * rows, 4 * columns).contiguous(memory_format=torch.channels_last)
        grid = window_grid(x, 4)
        for part in parts(grid):
            count = grid[part][..., 0, 0, 0].numel()
            assert 0 < count <= at_once
            put(grid[part].flatten(2, 3).flatten(0, 1) + 1, grid[part])
        assert (x == 1).all()


def test_few_windows_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = np.stack([plane[0, 0].numpy() for plane in planes(1, 1, 20, 70)])
    engine = FusionEngine(tiny_network(1))
    whole = engine.fuse_pair(pair)
    monkeypatch.setattr(strip_block, "PART_BYTES", 4 * 8 * 8 * 8 * 4)
    np.testing.assert_allclose(engine.fuse_pair(pair), whole, rtol=0, atol=1e-6)
