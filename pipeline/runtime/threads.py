"""Threads of the libraries below: by default each process takes as many as there are cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2


@contextmanager
def one_opencv_thread() -> Iterator[None]:
    """Keep OpenCV to one thread, where several processes or threads of ours fill the cores already."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def idle_threads_sleep() -> None:
    """PyTorch's threads sleep while they wait for each other, unless the user's environment decides.

    OpenMP's own default is to spin for milliseconds. On a core that another program wants too, that is taken
    from the thread which all wait for: fusing beside a busy program then takes ten times as long and more.
    It counts in processes that have not imported torch yet, and those that they start.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
