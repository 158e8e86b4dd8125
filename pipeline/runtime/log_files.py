"""Log files that several processes write to, any of which may replace them, and that a crash may damage."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, Any

from pipeline.files import write_bytes

if os.name != "nt":
    import fcntl


@contextmanager
def opened_alone(path: Path, mode: str) -> Iterator[IO[Any]]:
    """Open a file, unbuffered, when no other process or thread has it open so.

    One that was replaced while we waited is opened anew. Where the system or the file system knows no locks,
    nobody waits.

    Args:
        path: the file.
        mode: as of :func:`open`, binary.

    Raises:
        OSError: it cannot be opened.
    """
    while True:
        with open(path, mode, buffering=0) as file:
            if os.name != "nt":
                with suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
            if _is(path, os.fstat(file.fileno())):
                yield file
                return


def copy_aside(path: Path) -> Path:
    """Copy a file to its name with ``.damaged`` after it, or ``.damaged1`` and so on where that is taken."""
    names = (path.with_name(f"{path.name}.damaged{number or ''}") for number in count())
    return write_bytes(next(name for name in names if not name.exists()), path.read_bytes())


def _is(path: Path, opened: os.stat_result) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), opened)
    return False
