"""Syntheses of the small source in processes of their own, and the bytes they leave."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from child_processes import start
from tiny_source import run

from pipeline.synthesis import work_units


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


def spawn(function: Callable[..., None], *arguments: object) -> subprocess.Popen[str]:
    """One of the functions below in a process of its own, which heads a group."""
    return start(function, *arguments, stdout=subprocess.PIPE, text=True, start_new_session=True)


def synthesise(manifest: str, out: str) -> None:
    run(Path(manifest), Path(out))


def die_before(manifest: str, out: str, name: str) -> None:
    """Synthesise, and end by SIGKILL when the file of this name is written, but has not got it yet."""
    replace = os.replace

    def replace_or_die(source: Path, target: Path) -> None:
        if Path(target).name == name:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = replace_or_die  # type: ignore[assignment]
    synthesise(manifest, out)


def synthesise_with_another(manifest: str, out: str, meeting: str) -> None:
    """Synthesise, and print the shards that are made here; the first waits until another process has one."""
    write = work_units.write_shard

    def write_and_tell(path: Path, *arguments: Any, **options: Any) -> dict[str, Any]:
        print(path.name, flush=True)
        (Path(meeting) / str(os.getpid())).touch()
        deadline = time.monotonic() + 60
        while len(list(Path(meeting).iterdir())) < 2:
            assert time.monotonic() < deadline, "no other process came"
            time.sleep(0.01)
        return write(path, *arguments, **options)

    work_units.write_shard = write_and_tell
    synthesise(manifest, out)
