"""The memory in which kept strips lie."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from model.engine.arena import Arena


def _strip(rows: int, value: float, dtype: torch.dtype = torch.float32) -> Tensor:
    strip = torch.arange(3 * rows * 5, dtype=torch.float32).view(1, 3, rows, 5) + value
    return strip.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_copies_come_and_go_without_touching_each_other(dtype: torch.dtype) -> None:
    rng, arena = random.Random(0), Arena(4000)
    held: list[tuple[Tensor, Tensor]] = []
    for number in range(400):
        if held and rng.random() < 0.5:
            held.pop(rng.randrange(len(held)))
        made = _strip(rng.randint(1, 9), number, dtype)
        held.append((arena.keep(made), made))
        assert held[-1][0].is_contiguous(memory_format=torch.channels_last)
        assert all(torch.equal(kept, original) for kept, original in held)
    held.clear()
    del made
    # All places have come together again: a copy of nearly the whole arena fits.
    assert _lies_in(arena, arena.keep(_strip(66, 0)))


def test_a_place_is_free_once_no_view_refers_to_it() -> None:
    arena = Arena(2048)
    kept = arena.keep(_strip(20, 1))
    view = kept[:, :, 3:5]
    del kept
    assert not _lies_in(arena, arena.keep(_strip(20, 2)))
    assert torch.equal(view, _strip(20, 1)[:, :, 3:5])
    del view
    assert _lies_in(arena, arena.keep(_strip(20, 3)))


def test_what_does_not_fit_is_copied_elsewhere() -> None:
    arena, strip = Arena(0), _strip(4, 1)
    kept = arena.keep(strip)
    assert torch.equal(kept, strip) and kept.data_ptr() != strip.data_ptr()


def test_what_fits_exactly_fits() -> None:
    arena = Arena(2 * 960)
    kept = [arena.keep(_strip(16, value)) for value in range(3)]
    assert [_lies_in(arena, strip) for strip in kept] == [True, True, False]
    assert all(torch.equal(strip, _strip(16, value)) for value, strip in enumerate(kept))


def test_what_was_kept_outlives_the_arena() -> None:
    arena = Arena(1 << 20)
    kept = arena.keep(_strip(50, 7))
    del arena
    assert torch.equal(kept, _strip(50, 7))


def _lies_in(arena: Arena, kept: Tensor) -> bool:
    start = arena._memory.ctypes.data
    return start <= kept.data_ptr() < start + arena.num_bytes
