"""How much memory there is to use, and keeping what is freed while a network works on the CPU.

The C library returns large blocks to the kernel as soon as they are freed and gets them back as zeroed
pages, one fault per 4 KiB. A step of training at batch 8 allocates hundreds of activations of 50 MB; half of
its CPU time went there, and a tenth of that of fusing.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import torch

#: Where control groups have their limits, and which group this process is in.
_GROUPS, _OWN_GROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
#: Controller of memory, files of a group's limit, of what is used, and of its kinds, with the kind of files
#: that were read; control groups of version 2, which have one controller for all, and of version 1.
_LIMITS = (
    ("", "memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat", "total_inactive_file"),
)
#: Parameters of mallopt(3) and their defaults.
_M_TRIM_THRESHOLD, _DEFAULT_TRIM_THRESHOLD = -1, 128 * 1024
_M_MMAP_MAX, _DEFAULT_MMAP_MAX = -4, 65536

#: How many blocks are being executed, one in another.
_depth = 0


def free_memory_bytes(device: torch.device) -> int:
    """Memory that can still be taken on a device: of a GPU, or of this machine, container or job."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    limits = [_available()]
    for controller, most, current, kinds, files in _LIMITS:
        for group in _groups(controller):
            limit, used = _read_int(group / most), _read_int(group / current)
            if limit is not None and used is not None:
                # What has been read of files counts as used, though it gives way.
                limits.append(max(0, limit - used + _statistic(group / kinds, files)))
    return min(limits)


@contextmanager
def kept_in_process(device: torch.device) -> Iterator[None]:
    """Within the block, freed memory stays with the process; after the outermost one it is given back.

    Does nothing for networks on a GPU, whose memory PyTorch keeps by itself, and nothing without glibc.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" and device.type == "cpu" else None
    if library is None or not hasattr(library, "mallopt"):
        yield
        return
    global _depth
    _depth += 1
    library.mallopt(_M_MMAP_MAX, 0)
    library.mallopt(_M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            library.mallopt(_M_MMAP_MAX, _DEFAULT_MMAP_MAX)
            library.mallopt(_M_TRIM_THRESHOLD, _DEFAULT_TRIM_THRESHOLD)
            library.malloc_trim(0)


def _groups(controller: str) -> list[Path]:
    """The folder of this process's control group and of those around it, whose limits hold for it too.

    A container may see its own as the outermost one, under another name than it has outside.
    """
    own = PurePosixPath()
    if _OWN_GROUP.exists():
        for line in _OWN_GROUP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                own = PurePosixPath(path.lstrip("/"))
    return [_GROUPS / controller / one for one in (own, *own.parents)]


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
