"""Freed memory that stays with the process while a network works."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from child_processes import start

from model import memory
from model.memory import kept_in_process

BLOCK_BYTES = 200 << 20
CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="this C library has no mallopt",
)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def use_and_free() -> None:
    torch.ones(BLOCK_BYTES, dtype=torch.uint8)


def give_back_after_the_outermost_block() -> None:
    before = resident_bytes()
    with kept_in_process(CPU):
        with kept_in_process(CPU):
            use_and_free()
        assert resident_bytes() - before > 0.75 * BLOCK_BYTES
    assert resident_bytes() - before < 0.5 * BLOCK_BYTES


def give_back_after_an_error() -> None:
    before = resident_bytes()
    with pytest.raises(ValueError), kept_in_process(CPU):
        use_and_free()
        raise ValueError
    assert resident_bytes() - before < 0.5 * BLOCK_BYTES


#: Files of a control group of version 1.
V1 = "memory.limit_in_bytes", "memory.usage_in_bytes"


@pytest.mark.parametrize("check", [give_back_after_the_outermost_block, give_back_after_an_error])
def test_freed_memory_stays_for_the_while(check: Callable[[], None]) -> None:
    """In a process of its own: what a heap has free, and where it grows, depends on all that went before."""
    assert start(check).wait(timeout=120) == 0


@pytest.mark.parametrize(
    ("limit", "used", "statistics"),
    [
        ("memory.max", "memory.current", "memory.stat"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    ],
)
def test_files_that_a_container_has_read_are_no_used_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, used: str, statistics: str
) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / limit).write_text("4000000000")
    (tmp_path / used).write_text("3900000000")
    kinds = "anon 400000000\ninactive_file 3500000000\ntotal_inactive_file 3500000000\n"
    (tmp_path / statistics).write_text(kinds)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_available", lambda: 1 << 40)
    assert memory.free_memory_bytes(CPU) == 3_600_000_000


@pytest.mark.parametrize(
    ("groups", "folder", "limit", "used"),
    [
        ("0::/slurm/job_7/step_0\n", "slurm/job_7", "memory.max", "memory.current"),
        ("1:name=systemd:/\n9:cpu,memory:/slurm/job_7\n0::/\n", "memory/slurm/job_7", *V1),
        ("0::/\n", "", "memory.max", "memory.current"),
    ],
    ids=["version 2, of the group around", "version 1", "the outermost"],
)
def test_the_limit_of_a_job_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, folder: str, limit: str, used: str
) -> None:
    (tmp_path / "own").write_text(groups)
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / folder / limit).write_text("4000000000")
    (tmp_path / folder / used).write_text("1000000000")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    monkeypatch.setattr(memory, "_OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(memory, "_available", lambda: 1 << 40)
    assert memory.free_memory_bytes(CPU) == 3_000_000_000
    monkeypatch.setattr(memory, "_OWN_GROUP", tmp_path / "absent")  # not Linux
    assert memory.free_memory_bytes(CPU) == (1 << 40 if folder else 3_000_000_000)
