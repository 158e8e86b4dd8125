"""``fused.jsonl``: one line per result, written as results are, and the rule of what is made again."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from model.fusing.fuse_jobs import Job
from model.inputs.folders import path_from
from pipeline.files import InputError, errors_name, make_folder, parse_json, source_digest, write_bytes
from pipeline.runtime.log_files import copy_aside, opened_alone

LOG_NAME = "fused.jsonl"


class FusedLog:
    """Log of one output folder.

    Each line is an object with ``name``, ``output`` and ``inputs`` (relative to the folder, so that all may
    move together), ``digests`` (of the content of the inputs; absent in older logs), ``size_hw``, ``seconds``
    (of fusing, without reading and writing; of videos with both; on a GPU, which is not waited for, about
    those of the pair before) and ``settings`` (all that decides on pixels, the digest of the weights among
    it). The last line of an output counts: what is made again is described by the line before until the new
    one is there.

    Raises:
        InputError: there is a file of this name, and it is somebody else's.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder, self._settings = folder, dict(settings)
        self._path = folder / LOG_NAME
        self._records = self._read()[0]
        #: What to tell where :meth:`begin` found lines that cannot be read.
        self.damage: str | None = None
        self._appending = threading.Lock()
        self._read_to = 0
        self._later: dict[str, dict[str, Any]] = {}  # records that were added since begin, by output
        self._places: dict[Path, Path] = {}  # folder of a file -> the folder's path from here

    def split(self, jobs: list[Job], *, overwrite: bool) -> tuple[list[Job], list[Job]]:
        """Jobs to do and jobs that were done. Only complete files have a final name, so existing is done,
        also what has no line here.

        What was made of files that have been replaced since is to do again.

        Raises:
            InputError: a result that would stay was made of other inputs or with other settings.
        """
        if overwrite:
            return list(jobs), []
        done = [job for job in jobs if os.path.isfile(job.output)]  # false of a name that is too long
        for job in done:
            if differing := self._differing(job, self._records):
                raise InputError(
                    f"{job.output} was made with different {', '.join(differing)}; "
                    "use --overwrite or another output folder"
                )
        done = [job for job in done if not self._replaced(job)]
        finished = {job.output for job in done}
        return [job for job in jobs if job.output not in finished], done

    def begin(self, *, adds: bool) -> None:
        """Make the log, or write it anew if it is not one whole line for each result that is there.

        Args:
            adds: whether there will be results to note.

        Raises:
            OSError: it cannot be written to: then no result is begun, let alone one taken away.
        """
        make_folder(self._folder)
        with errors_name(self._path):
            if not self._path.exists():
                self._path.touch()
            # Others that add to it wait: what they wrote between reading and writing would be lost.
            with opened_alone(self._path, "rb"):
                self._records, tidy, damaged = self._read()  # as it is now
                if damaged:
                    lines = f"{damaged} damaged line" + "s" * (damaged > 1)
                    self.damage = (
                        f"{self._path}: {lines} left out, the file as it was is {copy_aside(self._path)}; "
                        "results without a line count as done, --overwrite makes anew"
                    )
                kept = {
                    output: record
                    for output, record in self._records.items()
                    if (self._folder / output).exists()
                }
                if not tidy or len(kept) < len(self._records):
                    write_bytes(self._path, "".join(map(_line, kept.values())).encode())
            if adds:
                with open(self._path, "ab") as file:
                    self._read_to = file.tell()

    def check_unclaimed(self, job: Job) -> None:
        """Look whether another run has made this result since :meth:`begin`.

        Raises:
            InputError: it has, of other inputs or with other settings.
        """
        with self._appending, suppress(FileNotFoundError), open(self._path, "rb") as file:
            if self._path.stat().st_size < self._read_to:  # written anew by a run that has begun since
                self._read_to = 0
            file.seek(self._read_to)
            *lines, cut = file.read().split(b"\n")
            self._read_to = file.tell() - len(cut)
            self._later |= _records(lines)[0]
        if differing := self._differing(job, self._later):
            raise InputError(
                f"{job.output}: another run makes it with different {', '.join(differing)}; use another "
                "output folder"
            )

    def append(
        self, job: Job, *, digests: list[str | None], size_hw: tuple[int, int], seconds: float
    ) -> None:
        """Note a result that has been written. Any number of threads may do so at once.

        Args:
            digests: :func:`digests_of` the job before its inputs were read.

        Raises:
            OSError: it cannot be noted, for a full disk for example; the log is as it was.
        """
        record = {
            "name": job.name,
            "output": self._relative(job.output),
            "inputs": self._inputs(job),
            "digests": digests,
            "size_hw": list(size_hw),
            "seconds": round(seconds, 4),
            "settings": self._settings,
        }
        # One write of one line: a reader sees all of it or, after a crash, a last line without its end.
        line = _line(record).encode()
        with (
            self._appending,
            errors_name(self._path),
            opened_alone(self._path, "ab") as file,
        ):
            before = file.tell()
            if file.write(line) < len(line):  # as far as it went; a disk that was full before raises
                file.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _read(self) -> tuple[dict[str, dict[str, Any]], bool, int]:
        """Records by output, whether there is one whole line for each and no more, and damaged lines.

        Raises:
            InputError: it is somebody else's file.
        """
        if not self._path.exists():
            return {}, True, 0
        *lines, cut = self._path.read_bytes().split(b"\n")  # a crash leaves a last line without its end
        records, damaged = _records(lines)
        if not records and any(map(_of_another_kind, (*lines, cut))):
            raise InputError(f"{self._path}: is there, and not of fusing; choose another output folder")
        return records, not cut and len(records) == len(lines), damaged

    def _differing(self, job: Job, records: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """In what a job differs from the record of its result; in nothing, if there is none."""
        if (record := records.get(self._relative(job.output))) is None:
            return []
        now, then = {"inputs": self._inputs(job), **self._settings}, _origin(record)
        return sorted(key for key in then.keys() | now.keys() if then.get(key) != now.get(key))

    def _inputs(self, job: Job) -> list[str]:
        return [self._relative(path) for path in job.inputs]

    def _relative(self, path: Path) -> str:
        """:func:`path_from` the log's folder, which asks the system for every folder above, once for each."""
        if path.parent not in self._places:
            self._places[path.parent] = Path(path_from(self._folder, path)).parent
        return os.fspath(self._places[path.parent] / path.name)

    def _replaced(self, job: Job) -> bool:
        """Whether an input has other content than when the result was made, as far as the log knows."""
        recorded = self._records.get(self._relative(job.output), {}).get("digests")
        return recorded is not None and recorded != digests_of(job)


def _records(lines: Iterable[bytes]) -> tuple[dict[str, dict[str, Any]], int]:
    """The last record of each output, and how many lines are damaged."""
    records: dict[str, dict[str, Any]] = {}
    damaged = 0
    for line in lines:
        try:
            record = parse_json(line)
            _origin(record)  # raises where something is missing
            records[os.fspath(record["output"])] = record
        except (ValueError, LookupError, TypeError):
            damaged += 1
    return records, damaged


def _of_another_kind(line: bytes) -> bool:
    """Whether a line is whole, but never was a record, such as those of an evaluation."""
    with suppress(ValueError):
        found = parse_json(line)
        return isinstance(found, dict) and bool(found) and "output" not in found
    return False


def digests_of(job: Job) -> list[str | None]:
    """Of the content of a job's inputs, None where one is not there."""
    return [source_digest(path) for path in job.inputs]


def _origin(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a result was made of and with."""
    return {"inputs": record["inputs"], **record["settings"]}


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True) + "\n"
