"""Keeping freed memory in the process while a network works on the CPU.

The C library returns large blocks to the kernel as soon as they are freed and gets them back as zeroed
pages, one fault per 4 KiB. A step of training at batch 8 allocates hundreds of activations of 50 MB; half of
its CPU time went there, and a tenth of that of fusing.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

#: Parameters of mallopt(3) and their defaults.
_M_TRIM_THRESHOLD, _DEFAULT_TRIM_THRESHOLD = -1, 128 * 1024
_M_MMAP_MAX, _DEFAULT_MMAP_MAX = -4, 65536

#: How many blocks are being executed, one in another.
_depth = 0


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
