"""One work unit of stage one: a shard, made by whichever process gets hold of it, on whichever machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.depth import load_depth_estimator
from pipeline.exposure.camera_response import curves_identity
from pipeline.exposure.probe import load_probe
from pipeline.files import InputError, temporary_pattern
from pipeline.networks.device import one_thread, resolve_device
from pipeline.runtime.leases import holds, lease
from pipeline.shards.dataset import shard_name
from pipeline.shards.file import write_shard
from pipeline.shards.schema import INDEX_NAME
from pipeline.sources.listing import SourceSample
from pipeline.synthesis.plan import SynthesisConfig
from pipeline.synthesis.records import inputs_digest, read_record, versions, write_record
from pipeline.synthesis.samples import Models, make_samples

#: A process makes one shard at a time, though a worker of a cluster may have several threads: the working
#: folder, from which paths count, and the networks with their CUDA graphs belong to all of them.
_ONE_SHARD = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """Everything that a worker on any machine needs to make one shard."""

    shard: int
    num_shards: int
    frames: tuple[SourceSample, ...]
    plan_digest: str
    config: SynthesisConfig
    settings: Mapping[str, Any]
    folder: Path  # where the run was started; all paths may be relative to it
    out: Path
    device: str

    @property
    def path(self) -> Path:
        return self.out / shard_name(self.shard, self.num_shards)

    def record(self) -> dict[str, Any] | None:
        """The shard's record, if both stand and were made from this plan and these sources."""
        return read_record(self.path, self.plan_digest, self.frames)


def make_shard(task: ShardTask) -> dict[str, float] | None:
    """Make one work unit and return the seconds that each stage took; None if another process has it.

    Threads of one process take turns, also those of different runs.

    Raises:
        InputError: this machine lacks the folder of the run, or has other models than the plan names.
    """
    with _ONE_SHARD:
        _enter(task.folder)
        return _claim_and_make(task)


def _claim_and_make(task: ShardTask) -> dict[str, float] | None:
    claim = task.path.with_suffix(".lease")
    with lease(claim) as token:
        if token is None:
            return None
        if task.record() is not None:
            return {}  # another process was faster
        # Shards that are made again are others: until all are, nobody may take the dataset for finished.
        (task.out / INDEX_NAME).unlink(missing_ok=True)
        try:
            return _make(task)
        except (InputError, FileNotFoundError):
            if holds(claim, token):
                raise
            return None  # after a long pause: who took over has removed what was begun here


def load_models(depth: str, refine: bool, probe: str, device: str) -> Models:
    """The networks, loaded once in each process, and again where a file of theirs was replaced."""
    return _loaded(depth, refine, probe, device, (*_stamps(depth), *_stamps(probe), os.getcwd()))


@lru_cache(maxsize=2)
def _loaded(depth: str, refine: bool, probe: str, device: str, _: object) -> Models:
    resolved = resolve_device(device)
    return Models(
        depth=load_depth_estimator(depth, device=resolved, refine=refine),
        probe=load_probe(None if probe == "default" else Path(probe), device=resolved),
    )


def _stamps(source: str) -> list[tuple[str, int, int]]:
    """Name, time and size of the files that a ``--depth`` or ``--probe`` names, if it names any."""
    path = Path(source.rpartition(":")[2])
    files = sorted(path.iterdir()) if path.is_dir() and not source.startswith("files:") else [path]
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    return [(name, status.st_mtime_ns, status.st_size) for name, status in stats]


def _make(task: ShardTask) -> dict[str, float]:
    for litter in task.out.glob(temporary_pattern(task.path)):
        litter.unlink(missing_ok=True)  # of a process that was killed while it wrote this shard
    inputs = inputs_digest(task.frames)
    with one_thread():  # whatever the engine
        content = make_samples(task.frames, task.config, _planned_models(task))
    attributes = {
        "plan_digest": task.plan_digest,
        "config": task.settings,
        "shard": task.shard,
        "num_shards": task.num_shards,
        "versions": versions(),
    }
    with content.timed("write"):
        entry = write_shard(
            task.path,
            content.samples,
            tile=task.config.tile,
            attributes=attributes,
            compress=task.config.compress,
        )
        write_record(
            task.path,
            plan_digest=task.plan_digest,
            inputs=inputs,
            entry=entry,
            seen=content.seen,
            failures=content.failures,
        )
    return dict(content.seconds)


def _enter(folder: Path) -> None:
    """Go to the folder from which the paths of a task count; a worker of a cluster may stand elsewhere."""
    try:
        if not os.path.samefile(os.curdir, folder):
            os.chdir(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: a worker cannot go there ({error.strerror}); share the folder in which synth is run, "
            "and those of its files, with all machines"
        ) from None


def _planned_models(task: ShardTask) -> Models:
    config = task.config
    models = load_models(config.depth, config.refine_depth, config.probe, task.device)
    for option, model in (("depth", models.depth), ("probe", models.probe)):
        if model.digest != task.settings[f"{option}_digest"]:
            raise InputError(
                f"--{option} {getattr(config, option)}: a worker has other weights than the plan; give all "
                "machines the same file, and start the workers anew"
            )
    curves = config.exposure.camera.curves
    if curves_identity(curves) != task.settings["exposure"]["camera"]["curves"]:
        raise InputError(
            f"--curves {curves}: a worker has another table than the plan; give all machines the same file"
        )
    return models
