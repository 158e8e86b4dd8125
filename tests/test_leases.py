"""Leases: one owner at a time, and none for ever."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.files import write_bytes
from pipeline.runtime import leases
from pipeline.runtime.leases import LEASE_S, clear_litter, holds, lease


def test_only_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "unit.lease"
    with lease(path) as first:
        with lease(path) as second:
            assert first is not None and second is None
        assert path.exists(), "who did not get it must not take it away"
    assert not path.exists()


def test_given_back_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "unit.lease"
    with pytest.raises(RuntimeError), lease(path):
        raise RuntimeError
    with lease(path) as held:
        assert held


def test_a_dead_process_here_loses_its_lease_at_once(tmp_path: Path) -> None:
    path = tmp_path / "unit.lease"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path.write_text(json.dumps({**leases._here(), "pid": dead.pid}))
    with lease(path) as held:
        assert held


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks the kernel of Linux")
def test_so_does_one_whose_end_nobody_has_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "unit.lease"
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    try:
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        path.write_text(json.dumps({**leases._here(), "pid": zombie.pid}))
        with lease(path) as held:
            assert held
    finally:
        zombie.wait()


def test_a_full_disk_is_named_and_leaves_no_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "unit.lease"
    with monkeypatch.context() as patched, pytest.raises(OSError, match=r"No space left.*unit\.lease"):
        patched.setattr("pipeline.runtime.leases.json.dump", full)
        with lease(path):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_process_of_another_container_is_not_judged_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "unit.lease"
    owner = {"host": socket.gethostname(), "container": "pid:[1]", "pid": 1 << 30}
    path.write_text(json.dumps(owner))
    with lease(path) as held:
        assert not held


def test_a_process_of_another_user_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    path = tmp_path / "unit.lease"
    path.write_text(json.dumps({**leases._here(), "pid": os.getpid()}))
    with lease(path) as held:
        assert not held


def test_a_process_elsewhere_loses_it_when_it_falls_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "unit.lease"
    path.write_text(json.dumps({"host": "another-machine", "pid": 1}))
    monkeypatch.setattr(time, "time", lambda: path.stat().st_mtime + 2 * LEASE_S)  # a clock that is fast
    with lease(path) as held:
        assert not held
    content, now = path.read_bytes(), path.stat().st_mtime
    for silent_since in (now - LEASE_S - 1, now + 3600):  # the latter where the clock was put back since
        path.write_bytes(content)
        os.utime(path, (silent_since, silent_since))
        with lease(path) as held:
            assert held


def test_an_owner_that_died_before_it_signed_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / "unit.lease"
    path.touch()
    with lease(path) as held:
        assert not held, "it may be about to sign"
    silent_since = path.stat().st_mtime - LEASE_S - 1
    os.utime(path, (silent_since, silent_since))
    with lease(path) as held:
        assert held
    assert list(tmp_path.iterdir()) == []


def test_one_of_two_contenders_gets_an_expired_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "unit.lease"
    path.touch()
    os.utime(path, (1, 1))
    expired, judged = leases._expired, []

    def overtaken(*arguments: object) -> bool:
        """Between the judgement and the rename of the first contender the second gets the lease."""
        result = expired(*arguments)  # type: ignore[arg-type]
        judged.append(result)
        if len(judged) == 1:
            assert leases._acquire(path, "second")
        return result

    monkeypatch.setattr(leases, "_expired", overtaken)
    with lease(path) as held:
        assert held is None and judged == [True, True]
    assert holds(path, "second") and list(tmp_path.iterdir()) == [path]


def test_a_lease_that_was_taken_over_is_left_to_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "unit.lease"
    with lease(path) as token:
        assert token and holds(path, token)
        os.utime(path, (1, 1))
        assert leases._acquire(path, "successor") and not holds(path, token)
        os.utime(path, (1, 1))
        ended = threading.Event()
        answers, waits = [True, False], []
        monkeypatch.setattr(ended, "wait", lambda seconds: (waits.append(seconds), answers.pop())[1])
        leases._keep(path, lambda: holds(path, token), ended)
        assert max(waits) < LEASE_S / 2, "one sign of life may be late"
        assert path.stat().st_mtime == 1, "it is not kept alive for another either"
    assert holds(path, "successor")


def test_a_lease_is_kept_alive_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the file system has failed for a moment, as a network share does."""
    path = tmp_path / "unit.lease"
    monkeypatch.setattr(leases, "LEASE_S", 0.06)
    failures = iter((OSError(errno.EIO, "Input/output error"), FileNotFoundError()))
    touch = os.utime

    def fail_at_first(*arguments: Any) -> None:
        for failure in failures:
            raise failure
        touch(*arguments)

    with lease(path):
        os.utime(path, (1, 1))
        monkeypatch.setattr(os, "utime", fail_at_first)
        deadline = time.monotonic() + 30
        while path.stat().st_mtime == 1 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.stat().st_mtime > 1


def test_a_machine_of_the_same_name_is_another_one(tmp_path: Path) -> None:
    """Its process of that number cannot be asked for from here."""
    path, dead = tmp_path / "unit.lease", subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path.write_text(json.dumps({**leases._here(), "boot": "another", "pid": dead.pid, "token": "theirs"}))
    with lease(path) as token:
        assert token is None and holds(path, "theirs")


def test_a_contender_whose_lease_was_cleared_away_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the rename of an expired lease and its removal another process may clear the folder."""
    path = tmp_path / "unit.lease"
    path.touch()
    os.utime(path, (1, 1))
    state = leases._state

    def cleared(lease_path: Path) -> tuple[float, bytes]:
        if lease_path != path:
            clear_litter(tmp_path, ["*.stale-*"])
        return state(lease_path)

    monkeypatch.setattr(leases, "_state", cleared)
    with lease(path) as held:
        assert held is None
    with lease(path) as held:
        assert held
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["null", "5", "[]", '{"pid": null}', "{"])
def test_a_file_that_is_no_lease_holds_as_long_as_one_that_is_cut(tmp_path: Path, content: str) -> None:
    path = write_bytes(tmp_path / "x.lease", content.encode())
    with lease(path) as token:
        assert token is None
    os.utime(path, (0, 0))
    with lease(path) as token:
        assert token is not None
