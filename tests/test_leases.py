"""Leases: one owner at a time, and none for ever."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from pipeline.leases import LEASE_S, lease


def test_only_one_owner(tmp_path: Path) -> None:
    path = tmp_path / "unit.lease"
    with lease(path) as first:
        with lease(path) as second:
            assert (first, second) == (True, False)
        assert path.exists(), "who did not get it must not take it away"
    assert not path.exists()


def test_given_back_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "unit.lease"
    try:
        with lease(path):
            raise RuntimeError
    except RuntimeError:
        pass
    with lease(path) as held:
        assert held


def test_a_dead_process_here_loses_its_lease_at_once(tmp_path: Path) -> None:
    path = tmp_path / "unit.lease"
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path.write_text(json.dumps({"host": socket.gethostname(), "pid": dead.pid}))
    with lease(path) as held:
        assert held


def test_a_process_elsewhere_loses_it_when_it_falls_silent(tmp_path: Path) -> None:
    path = tmp_path / "unit.lease"
    path.write_text(json.dumps({"host": "another-machine", "pid": 1}))
    with lease(path) as held:
        assert not held
    silent_since = path.stat().st_mtime - LEASE_S - 1
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
