"""Leases on work units, so that any number of processes can share one output folder.

A lease is a file made with O_EXCL and touched while its owner lives. One that has not been touched for
:data:`LEASE_S`, or whose process on this host is gone, has expired and is taken over. A lease only saves
work: should two owners ever make the same unit, both write the same bytes and either rename will do.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Seconds without a sign of life after which a lease may be taken over.
LEASE_S = 60.0


@contextmanager
def lease(path: Path) -> Iterator[bool]:
    """Yield whether this process now holds the lease at ``path``; give it back at the end."""
    if not _acquire(path):
        yield False
        return
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(path, ended), daemon=True)
    keeper.start()
    try:
        yield True
    finally:
        ended.set()
        keeper.join()
        path.unlink(missing_ok=True)


def _acquire(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        if not _expired(path):
            return False
        # Whoever renames the stale file away owns the right to try again; the others find it gone.
        stale = path.with_name(f"{path.name}.stale-{uuid.uuid4().hex}")
        try:
            path.rename(stale)
        except FileNotFoundError:
            return False
        stale.unlink()
        return _acquire(path)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"host": socket.gethostname(), "pid": os.getpid()}, file)
    return True


def _expired(path: Path) -> bool:
    try:
        silent_s = _now_of_filesystem(path.parent) - path.stat().st_mtime
        owner = json.loads(path.read_text())
    except FileNotFoundError:
        return False  # just given back; the caller will look again
    except ValueError:
        return silent_s > LEASE_S  # its owner died, or has not written its name yet
    here = owner.get("host") == socket.gethostname()
    return silent_s > LEASE_S or (here and not _alive(int(owner.get("pid", 0))))


def _now_of_filesystem(folder: Path) -> float:
    """Time by the clock that stamps the leases, which on a network share is not this machine's."""
    probe = folder / f".clock-{uuid.uuid4().hex}"
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink()


def _alive(pid: int) -> bool:
    if os.name == "nt":
        return True  # there, signal 0 is no question but a Ctrl-C; the time limit has to do
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _keep(path: Path, ended: threading.Event) -> None:
    while not ended.wait(LEASE_S / 6):
        try:
            os.utime(path)
        except FileNotFoundError:
            return  # taken over after a long pause of this machine; the result is the same
