"""How much memory there is to use."""

from __future__ import annotations

import os
from pathlib import Path

import torch

#: Where a container finds its limits.
_GROUP = Path("/sys/fs/cgroup")


def free_memory_bytes(device: torch.device) -> int:
    """Memory that can still be taken on a device: of a GPU, or of this machine or container."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    limits = [_available()]
    limit, used = _read_int(_GROUP / "memory.max"), _read_int(_GROUP / "memory.current")
    if limit is not None and used is not None:
        # What has been read of files counts as used, though it gives way.
        limits.append(max(0, limit - used + _statistic(_GROUP / "memory.stat", "inactive_file")))
    return min(limits)


def _available() -> int:
    if available := _statistic(Path("/proc/meminfo"), "MemAvailable:"):
        return available * 1024
    # Elsewhere only the size of the memory is known everywhere; half of it is often free.
    return (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 if hasattr(os, "sysconf") else 4 << 30
    )


def _statistic(path: Path, name: str) -> int:
    """The number after a name at the beginning of a line; 0 if there is none."""
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    return 0


def _read_int(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # absent, or "max"
        return None
