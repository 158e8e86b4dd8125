"""Fuse files, folders, stacks, bands and videos: read ahead, compute, write behind, keep account."""

from __future__ import annotations

import errno
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import joblib
import torch

from model.checkpoint import load_network
from model.checkpoint.digest import weights_digest
from model.engine.strips import FusionEngine
from model.fusing.device_pictures import MOST_PIXELS
from model.fusing.fuse_config import FuseConfig
from model.fusing.fuse_jobs import Job, clear_unfinished, is_video, list_jobs
from model.fusing.fuse_recipes import Recipe, choose_recipe
from model.fusing.fused_log import FusedLog, digests_of
from model.inputs.folders import Images, ListedFiles
from model.memory import free_memory_bytes, kept_in_process
from pipeline.files import InputError
from pipeline.images import num_pixels
from pipeline.networks.device import resolve_device
from pipeline.runtime.progress import Progress
from pipeline.runtime.workers import lacks_memory

#: Threads that read, and as many that write, beside a GPU at most: a colour pair of 1280x1024 takes a core
#: about 50 ms to decode and encode, and a GPU a few to fuse and colour.
GPU_JOBS = 12
#: The same of large pictures and of scenes of many bands.
LARGE_JOBS = 2
#: Results beside those being written that wait before the network waits for them.
WRITES_BEHIND = 1
#: Of the pixels of sharpened bands and of images alone: earlier versions, with a lower number in their log or
#: none, made them otherwise. Raise it when they change.
PANSHARPEN_REVISION, ENHANCEMENT_REVISION = 3, 2
#: What may be the failure of one job alone; :func:`_reason` decides.
_FAILURES = (InputError, OSError, MemoryError, RuntimeError, cv2.error)
#: Errors of writing one result that all others would meet too.
_FAULTS_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}


@dataclass
class FuseSummary:
    """What became of everything that was found: each name is in one of these."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # results that existed
    failed: dict[str, str] = field(default_factory=dict)  # name -> reason
    unmatched: dict[str, list[str]] = field(default_factory=dict)  # name -> inputs that lack it
    passed_over: dict[str, Counter[str]] = field(default_factory=dict)  # folder -> endings of no images

    @property
    def complete(self) -> bool:
        """Whether nothing failed. Unmatched files are told, but no failure."""
        return not self.failed


def fuse(config: FuseConfig, inputs: Sequence[Images], out: Path) -> FuseSummary:
    """Fuse whatever the inputs are.

    Args:
        config: how.
        inputs: one (to enhance it), two, or more (fused in order) files, folders or files of a manifest; see
            :func:`model.fusing.fuse_jobs.list_jobs`. Videos are files.
        out: folder of results, with a log ``fused.jsonl``; or the result's file. Not among the inputs.

    Raises:
        InputError: nothing can be done at all. What concerns one result is in the summary instead.
    """
    out = Path(out)
    inputs = [one if isinstance(one, ListedFiles) else Path(one) for one in inputs]
    listed = list_jobs(config, inputs, out)
    network = load_network(config.weights)
    device = resolve_device(config.device)
    budget = free_memory_bytes(device) // 2 if config.memory_bytes is None else config.memory_bytes
    precision = config.precision
    if precision == "auto":
        precision = "fp32" if device.type == "cpu" else "fp16"
    engine = FusionEngine(network, device=device, precision=precision, memory_bytes=budget)
    settings = {
        "weights": weights_digest(network),
        "task": config.task,
        "main_task": config.main_task,
        "precision": precision,
        "colour": config.colour,
        "range_16bit": config.range_16bit,
        "bits": None if config.task == "pansharpen" else config.bits,  # there the type is that of the bands
        "resize": config.resize,
    }
    if config.task == "pansharpen":
        settings["revision"] = PANSHARPEN_REVISION
    elif len(inputs) == 1:
        settings["revision"] = ENHANCEMENT_REVISION
    log = FusedLog(out if listed.jobs[0].output != out else out.parent, settings)
    todo, done = log.split(listed.jobs, overwrite=config.overwrite)
    log.begin(adds=bool(todo))
    clear_unfinished(todo)
    summary = FuseSummary(
        skipped=[job.name for job in done], unmatched=listed.unmatched, passed_over=listed.passed_over
    )
    jobs = _side_by_side(config, device, todo) if config.jobs is None else config.jobs
    jobs = joblib.effective_n_jobs(jobs)
    unit = "video" if is_video(listed.jobs[0].inputs[0]) else "image"
    with kept_in_process(device), Progress("fuse", total=len(todo), unit=unit) as progress:
        if log.damage:
            progress.message(log.damage)
        recipe = choose_recipe(
            config, engine, todo, check_unclaimed=log.check_unclaimed, tell=progress.message
        )
        _Overlap(recipe, summary, log, progress, at_once=jobs).run(todo)
    return summary


def _side_by_side(config: FuseConfig, device: torch.device, jobs: Sequence[Job]) -> int:
    """How many inputs are read, and results written, at a time, unless the user says so.

    Large ones, of which dozens would take the memory, keep the network busy for longer than the host needs.
    """
    if device.type == "cpu":
        return 1
    small = config.task != "pansharpen" and (not jobs or num_pixels(jobs[0].inputs[0]) <= MOST_PIXELS)
    return min(GPU_JOBS if small else LARGE_JOBS, joblib.cpu_count())


class _Overlap:
    """Read ahead, fuse, write behind: what is bad input is collected, everything else gets through."""

    def __init__(
        self, recipe: Recipe, summary: FuseSummary, log: FusedLog, progress: Progress, *, at_once: int
    ) -> None:
        self.recipe, self.summary, self.log, self.progress = recipe, summary, log, progress
        self.at_once = at_once
        self.writing: deque[tuple[Job, Future[None]]] = deque()

    def run(self, jobs: Sequence[Job]) -> None:
        """Fuse jobs in order, ``at_once`` being read and as many written meanwhile."""
        waiting: deque[tuple[Job, Future[tuple[list[str | None], Any]]]] = deque()
        upcoming = iter(jobs)
        with ThreadPoolExecutor(self.at_once) as readers, ThreadPoolExecutor(self.at_once) as writers:
            waiting.extend((job, readers.submit(self._read, job)) for job in islice(upcoming, self.at_once))
            while waiting:
                job, reading = waiting.popleft()
                waiting.extend((job, readers.submit(self._read, job)) for job in islice(upcoming, 1))
                try:
                    found, loaded = reading.result()
                    self.log.check_unclaimed(job)  # before the work, too
                    start = time.perf_counter()
                    result = self.recipe.fuse(loaded)
                except _FAILURES as error:
                    self._fail(job, error)
                    continue
                seconds = time.perf_counter() - start
                self.writing.append((job, writers.submit(self._write, job, result, found, seconds)))
                self._finish_writes(behind=self.at_once + WRITES_BEHIND)
            self._finish_writes(behind=0)

    def _read(self, job: Job) -> tuple[list[str | None], Any]:
        for path in job.inputs:
            if path.exists() and not path.is_file():
                raise InputError(f"{path}: not a file")
        return digests_of(job), self.recipe.read(job)  # of what is read, whatever replaces it meanwhile

    def _write(self, job: Job, result: Any, found: list[str | None], seconds: float) -> None:
        self.log.check_unclaimed(job)
        # The log here and not later, so that whatever ends the run leaves no result without its line.
        size_hw = self.recipe.write(job, result)
        try:
            self.log.append(job, digests=found, size_hw=size_hw, seconds=seconds)
        except OSError:
            job.output.unlink(missing_ok=True)
            raise
        self.progress.advance(note=job.name)

    def _finish_writes(self, *, behind: int) -> None:
        """Take note of the writes that have ended, and wait until no more than ``behind`` have not."""
        while self.writing and (len(self.writing) > behind or self.writing[0][1].done()):
            job, future = self.writing.popleft()
            try:
                future.result()
            except _FAILURES as error:
                self._fail(job, error)
            else:
                self.summary.done.append(job.name)

    def _fail(self, job: Job, error: Exception) -> None:
        reason = self.summary.failed[job.name] = _reason(job, error)
        named = any(str(path) in reason for path in (*job.inputs, job.output))
        self.progress.message(f"failed: {reason}" if named else f"failed: {job.name}: {reason}")
        self.progress.advance()


def _reason(job: Job, error: Exception) -> str:
    """What is wrong with one job, in one line; whatever is no fault of its own is raised again."""
    if isinstance(error, InputError):
        return str(error)
    if lacks_memory(error):
        return "needs more memory than is free; give less --memory or --jobs, or smaller images"
    if (
        isinstance(error, OSError)
        and error.filename == str(job.output)
        and error.errno not in _FAULTS_OF_THE_DISK
    ):
        return f"{job.output}: cannot be written ({error.strerror})"
    raise error
