"""Threads of the libraries below: by default each process takes as many as there are cores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import cv2

#: Turns of a thread that waits before it sleeps, some 50 microseconds: what GNU OpenMP itself takes where it
#: knows of more threads than cores.
SPIN_COUNT = 1000


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
    """PyTorch's threads soon sleep while they wait for each other, unless the user's environment decides.

    GNU OpenMP lets them spin for milliseconds first. On a core that another program wants too, those are
    taken from the thread which all wait for: fusing beside busy programs then takes ten times as long. It
    counts in processes that have not imported torch yet, and those that they start.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))
