"""Streams of strips: the same blocks whatever the strips."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.engine.folded import Affine
from model.engine.row_stream import RowReader, convolved, padded_blocks, reflected, rows_of, split_channels

#: Of a 3x3 convolution, of a plain and of a shifted block of windows, of the alignment.
GRIDS = {"convolution": (1, 1, 0), "windows": (2, 8, 0), "shifted": (2, 8, -4), "alignment": (0, 4, 0)}


def cut(x: Tensor, rng: random.Random) -> list[Tensor]:
    """A map as strips of random heights."""
    strips, row = [], 0
    while row < x.shape[2]:
        rows = min(rng.randint(1, 20), x.shape[2] - row)
        strips.append(x[:, :, row : row + rows])
        row += rows
    return strips


@pytest.mark.parametrize("grid", GRIDS)
def test_blocks_are_windows_on_the_reflected_map(grid: str) -> None:
    halo, step, origin = GRIDS[grid]
    rng = random.Random(0)
    for _ in range(60):
        height, width = (4 * rng.randint(2, 17) if step == 8 else rng.randint(5, 70) for _ in range(2))
        x = torch.rand(1, 3, height, width)
        right, bottom = (-(size - origin) % step for size in (width, height))
        before = halo - origin
        whole = F.pad(x, (before, halo + right, before, halo + bottom), mode="reflect")
        row = 0
        for block in padded_blocks(cut(x, rng), height, halo=halo, step=step, origin=origin):
            rows = block.shape[2] - 2 * halo
            assert rows % step == 0
            assert block.is_contiguous(memory_format=torch.channels_last)
            assert torch.equal(block, whole[:, :, row : row + rows + 2 * halo])
            row += rows
        assert row == whole.shape[2] - 2 * halo


def test_convolution_of_strips_is_that_of_the_map() -> None:
    x = torch.rand(1, 5, 23, 17)
    affine = Affine(torch.rand(4, 5, 3, 3), torch.rand(4))
    expected = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), *affine)
    rows = list(convolved(cut(x, random.Random(1)), 23, affine))
    torch.testing.assert_close(torch.cat(rows, dim=2), expected)


def test_rows_are_read_in_any_heights() -> None:
    x = torch.rand(1, 2, 30, 3)
    reader = RowReader(cut(x, random.Random(2)))
    assert torch.equal(torch.cat([reader.take(rows) for rows in (1, 9, 4, 16)], dim=2), x)
    part = torch.cat(list(rows_of(cut(x, random.Random(3)), range(7, 21))), dim=2)
    assert torch.equal(part, x[:, :, 7:21])


def test_channels_are_split_for_readers_of_different_pace() -> None:
    x = torch.rand(1, 6, 30, 3)
    first, last = split_channels(cut(x, random.Random(4)), 3)
    early = [next(first), next(first)]
    assert torch.equal(torch.cat(list(last), dim=2), x[:, 3:])
    assert torch.equal(torch.cat([*early, *first], dim=2), x[:, :3])


def test_no_strip_is_asked_for_that_is_not_needed() -> None:
    asked = []

    def strips() -> object:
        for row in range(0, 30, 3):
            asked.append(row)
            yield torch.zeros(1, 1, 3, 1)

    list(rows_of(strips(), range(7)))
    assert asked == [0, 3, 6]


def test_reflection() -> None:
    assert [reflected(index, 4) for index in range(-3, 7)] == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
