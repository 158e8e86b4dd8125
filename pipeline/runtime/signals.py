"""Signals that end a run: at once like Ctrl-C, or between two steps of it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: What schedulers and ``timeout`` send, and what comes when a terminal closes or its connection is lost.
_ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
_ONE_SIGNAL_S = 2.0


@contextmanager
def end_like_ctrl_c() -> Iterator[None]:
    """Within the block these signals leave no unfinished file either; those ignored, as by nohup, stay so."""
    with _handled(_ENDING, signal.default_int_handler):
        yield


@contextmanager
def stop_on_signal() -> Iterator[Any]:
    """Yield a function that says whether Ctrl-C or one of them came. A second one acts at once.

    But SIGTERM and SIGHUP within two seconds are one: a scheduler that signals all processes of a job, and a
    launcher among these that passes it on, mean the same end.
    """
    requested = threading.Event()
    earlier: dict[int, Any] = {}
    first: dict[int, float] = {}

    def request(number: int, _: FrameType | None) -> None:
        requested.set()
        since = time.monotonic() - first.setdefault(number, time.monotonic())
        if number == signal.SIGINT:
            signal.signal(number, earlier[number])
        elif since > _ONE_SIGNAL_S:
            signal.signal(number, earlier[number])
            signal.raise_signal(number)

    with _handled([signal.SIGINT, *_ENDING], request) as found:
        earlier.update(found)
        yield requested.is_set


@contextmanager
def _handled(numbers: list[signal.Signals], handler: Any) -> Iterator[dict[int, Any]]:
    """Yield what handled them before; nothing in another thread than the main one, which has the handlers."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in numbers}
        before = {number: known for number, known in before.items() if known != signal.SIG_IGN}
    for number in before:
        signal.signal(number, handler)
    try:
        yield before
    finally:
        for number, known in before.items():
            signal.signal(number, known)
