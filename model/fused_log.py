"""``fused.jsonl``: one line per result, written as results are, and the rule of what is made again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.fuse_jobs import Job
from pipeline.files import InputError, write_bytes

LOG_NAME = "fused.jsonl"


class FusedLog:
    """Log of one output folder.

    Each line is an object with ``name``, ``output`` (relative to the folder), ``inputs``, ``size_hw``,
    ``seconds`` (of the network, without reading and writing) and ``settings`` (all that decides on pixels,
    the digest of the weights among it).
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder, self._settings = folder, dict(settings)
        self._path = folder / LOG_NAME
        self._records = _read(self._path)

    def split(self, jobs: list[Job], *, overwrite: bool) -> tuple[list[Job], list[Job]]:
        """Jobs to do and jobs that were done. Only complete files have a final name, so existing is done.

        Raises:
            InputError: a result that would stay was made with other settings.
        """
        if overwrite:
            return list(jobs), []
        done = [job for job in jobs if job.output.exists()]
        for job in done:
            settings = self._records.get(job.name, {}).get("settings", self._settings)
            differing = sorted(
                key
                for key in settings.keys() | self._settings.keys()
                if settings.get(key) != self._settings.get(key)
            )
            if differing:
                raise InputError(
                    f"{job.output} was made with another {', '.join(differing)}; "
                    "use --overwrite or another output folder"
                )
        finished = {job.name for job in done}
        return [job for job in jobs if job.name not in finished], done

    def begin(self, jobs: list[Job]) -> None:
        """Forget what was said of ``jobs``, which are about to be made again."""
        stale = self._records.keys() & {job.name for job in jobs}
        if stale or not self._path.exists():
            kept = [record for name, record in self._records.items() if name not in stale]
            write_bytes(self._path, "".join(map(_line, kept)).encode())

    def append(self, job: Job, *, size_hw: tuple[int, int], seconds: float) -> None:
        """Note a result that has been written."""
        record = {
            "name": job.name,
            "output": os.path.relpath(job.output, self._folder),
            "inputs": [str(path) for path in job.inputs],
            "size_hw": list(size_hw),
            "seconds": round(seconds, 4),
            "settings": self._settings,
        }
        # One write of one line: a reader sees all of it or, after a crash, a last line without its end.
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(_line(record))


def _read(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines.pop()
    try:
        return {record["name"]: record for record in map(json.loads, lines)}
    except (ValueError, LookupError, TypeError):
        raise InputError(f"{path}: damaged; remove it to start a new one") from None


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True) + "\n"
