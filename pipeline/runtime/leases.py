"""Leases on work units, so that any number of processes can share one output folder.

A lease is a file made with O_EXCL and touched while its owner lives. One that has not been touched for
:data:`LEASE_S`, or whose process on this host is gone, has expired and is taken over. An owner that was
paused for long has thus lost its lease; where two must never write, it asks :func:`holds` before it does.
Shards need no such question: two owners of the same unit write the same bytes, and either rename will do.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.files import errors_name, parse_json

#: Seconds without a sign of life after which a lease may be taken over.
LEASE_S = 60.0


@contextmanager
def lease(path: Path) -> Iterator[str | None]:
    """Yield the token of the lease at ``path``, None if another process has it; give it back at the end."""
    token = uuid.uuid4().hex
    if not _acquire(path, token):
        yield None
        return
    try:
        # Not where it was taken over during a long pause; the result is the same.
        with _touched(path, lambda: holds(path, token)):
            yield token
    finally:
        if holds(path, token):
            path.unlink(missing_ok=True)


@contextmanager
def kept_from_clearing(path: Path) -> Iterator[None]:
    """Within the block :func:`clear_litter` of other processes leaves an unfinished file alone."""
    with _touched(path, path.exists):
        yield


def holds(path: Path, token: str) -> bool:
    """Whether the lease at ``path`` is still the one of ``token``: after a long pause it may be another's."""
    try:
        return _owner(path.read_bytes()).get("token") == token
    except (FileNotFoundError, ValueError):
        return False


def clear_litter(folder: Path, patterns: Iterable[str]) -> None:
    """Remove what killed processes left: files of these patterns, untouched for :data:`LEASE_S`."""
    now = _now_of_filesystem(folder)
    for path in chain.from_iterable(folder.glob(pattern) for pattern in patterns):
        with suppress(FileNotFoundError):  # another process clears too
            if now - path.stat().st_mtime > LEASE_S:
                path.unlink()


def _acquire(path: Path, token: str) -> bool:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return _take_away(path) and _acquire(path, token)
    with errors_name(path):
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump({**_here(), "pid": os.getpid(), "token": token}, file)
        except OSError:  # without an owner's name it would bar everybody for a while
            path.unlink(missing_ok=True)
            raise
    return True


def _take_away(path: Path) -> bool:
    """Remove the lease if it has expired; True for who has done so.

    While one of several contenders judges anew, another may take the lease that a third one holds: rarely
    two are owners for a while, of which :func:`holds` is true for the last one.
    """
    stale = path.with_name(f"{path.name}.stale-{uuid.uuid4().hex}")
    try:
        judged = _state(path)
        if not _expired(path.parent, *judged):
            return False
        path.rename(stale)
        if _state(stale) != judged:
            os.replace(stale, path)  # of a faster contender, or of an owner that woke up
            return False
        stale.unlink()
    except FileNotFoundError:
        return False  # just given back, taken or cleared away; the caller will look again
    return True


def _state(path: Path) -> tuple[float, bytes]:
    return path.stat().st_mtime, path.read_bytes()


def _expired(folder: Path, touched: float, content: bytes) -> bool:
    silent_s = abs(_now_of_filesystem(folder) - touched)  # the clock may have been put back since
    try:
        owner = _owner(content)
    except ValueError:
        return silent_s > LEASE_S  # its owner died, or has not written its name yet
    here = _here().items() <= owner.items()
    return silent_s > LEASE_S or (here and not _alive(owner["pid"]))


def _owner(content: bytes) -> dict[str, Any]:
    """What a lease says; raises ``ValueError`` where it is cut or no lease."""
    owner = parse_json(content)
    if not isinstance(owner, dict) or not isinstance(owner.get("pid"), int):
        raise ValueError("not a lease")
    return owner


def _here() -> dict[str, Any]:
    """Where numbers of processes mean the same: on one host, and there in one container."""
    try:
        container = os.readlink("/proc/self/ns/pid")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()  # hosts may share a name
    except OSError:
        return {"host": socket.gethostname()}  # not Linux
    return {"host": socket.gethostname(), "boot": boot, "container": container}


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
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended, though the one that started it has not asked how."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return False  # not Linux, or gone this moment
    return state in (b"Z", b"X")


@contextmanager
def _touched(path: Path, ours: Callable[[], bool]) -> Iterator[None]:
    """Within the block a file gives signs of life, by a thread, as long as it is ours."""
    ended = threading.Event()
    keeper = threading.Thread(target=_keep, args=(path, ours, ended), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()


def _keep(path: Path, ours: Callable[[], bool], ended: threading.Event) -> None:
    while not ended.wait(LEASE_S / 6):
        with suppress(OSError):  # a network share may fail for a moment; the next sign of life may not
            if ours():
                os.utime(path)
