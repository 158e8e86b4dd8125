"""What holds while a run trains: signals end it between two steps, and CUDA repeats itself."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch


@contextmanager
def stop_on_signal() -> Iterator[Any]:
    """Yield a function that says whether Ctrl-C or SIGTERM came. A second one acts at once."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set  # handlers belong to the main thread
        return
    earlier: dict[int, Any] = {}
    number: int

    def request(number: int, _: FrameType | None) -> None:
        requested.set()
        signal.signal(number, earlier[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        earlier[number] = signal.signal(number, request)
    try:
        yield requested.is_set
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextmanager
def repeatable(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """Choose CUDA kernels that repeat exactly, or else the fastest; undone afterwards."""
    if device.type != "cuda":
        yield
        return
    flags = torch.backends.cudnn.flags
    before = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    try:
        with flags(enabled=True, benchmark=not deterministic, deterministic=deterministic):
            yield
    finally:
        torch.use_deterministic_algorithms(before)
