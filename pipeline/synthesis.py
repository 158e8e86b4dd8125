"""Stage one as a whole: manifest -> plan -> shards -> index; resumable, and identical however it is run.

The work unit is one shard, whose content depends on the plan and its number alone. Any number of processes,
on any number of machines, may work on one output folder.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.depth import load_depth_estimator
from pipeline.device import one_thread, resolve_device
from pipeline.engines import RunOptions, run_units
from pipeline.leases import LEASE_S, lease
from pipeline.manifest import SourceSample, list_samples, load_manifest
from pipeline.plan import SynthesisConfig, make_plan, settle_plan
from pipeline.probe import load_probe
from pipeline.progress import Progress
from pipeline.records import (
    finished_records,
    read_record,
    unmatched_reason,
    versions,
    write_index,
    write_record,
)
from pipeline.samples import Models, make_samples
from pipeline.shard_file import write_shard
from pipeline.shards import shard_name

#: Seconds between two looks at shards that other processes are making.
_POLL_S = 0.5


@dataclass(frozen=True, kw_only=True)
class SynthesisSummary:
    """The account of the finished shards: ``seen == written + skipped + failed``, in samples."""

    index: Path | None  # None while other parts of the dataset are still to be made
    seen: int
    written: int
    skipped: int
    failed: int
    problems: tuple[str, ...]  # one line for each skipped frame and failed sample
    seconds: Mapping[str, float]  # by stage, summed over the workers of this run


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """One work unit: everything that a worker on any machine needs to make one shard."""

    shard: int
    num_shards: int
    frames: tuple[SourceSample, ...]
    plan_digest: str
    config: SynthesisConfig
    settings: Mapping[str, Any]
    out: Path
    device: str

    @property
    def path(self) -> Path:
        return self.out / shard_name(self.shard, self.num_shards)

    def is_done(self) -> bool:
        """Whether the shard and its record stand, made from this plan and these sources."""
        return read_record(self.path, self.plan_digest, self.frames) is not None


def synthesise(
    config: SynthesisConfig,
    manifest: Path | str,
    out: Path | str,
    *,
    root: Path | str | None = None,
    split: str | None = None,
    options: RunOptions | None = None,
) -> SynthesisSummary:
    """Write the joint dataset of a manifest's infrared/visible pairs into ``out``.

    A run that was stopped goes on where it was; shards that had failures are tried again.

    Raises:
        InputError: an unusable manifest, root, model or device, or ``out`` belongs to another plan.
    """
    out, options = Path(out), options or RunOptions()
    resolve_device(options.device)
    recipe = load_manifest(manifest)
    listing = list_samples(recipe, root=root, split=split, roles=config.roles[::-1])
    infrared, visible = config.roles
    frames = [
        SourceSample(id=one.id, paths={"infrared": one.paths[infrared], "visible": one.paths[visible]})
        for one in listing.samples
    ]
    models = _models(config.depth, config.refine_depth, config.probe, "cpu")
    digests = {"depth_digest": models.depth.digest, "probe_digest": models.probe.digest}
    plan = make_plan(config, frames, digests)
    settle_plan(plan, out)

    number, count = options.part
    tasks = [
        ShardTask(
            shard=shard,
            num_shards=plan.num_shards,
            frames=plan.shard_frames(shard),
            plan_digest=plan.digest,
            config=config,
            settings=plan.settings,
            out=out,
            device=options.device,
        )
        for shard in range(number - 1, plan.num_shards, count)
    ]
    seconds = _make_all(tasks, options)
    records = finished_records(plan, out)
    index = None
    if len(records) == plan.num_shards:
        source = {"manifest": recipe.name, "split": split}
        index = write_index(plan, records, listing.unmatched, source, out)
    failures = [failure for record in records for failure in record["failures"]]
    written = sum(record["entry"]["samples"] for record in records)
    skipped = len(listing.unmatched) * config.tiles_per_frame
    return SynthesisSummary(
        index=index,
        seen=sum(record["seen"] for record in records) + skipped,
        written=written,
        skipped=skipped,
        failed=len(failures),
        problems=(
            *(f"{entry.id}: {unmatched_reason(entry)}" for entry in listing.unmatched),
            *(f"{failure['id']}: {failure['reason']}" for failure in failures),
        ),
        seconds=seconds,
    )


def make_shard(task: ShardTask) -> dict[str, float] | None:
    """Make one work unit and return the seconds that each stage took; None if another process has it."""
    with lease(task.path.with_suffix(".lease")) as held:
        if not held:
            return None
        if task.is_done():
            return {}  # another process was faster
        for litter in task.out.glob(f".{task.path.stem}.tmp-*"):
            litter.unlink(missing_ok=True)  # of a process that was killed while it wrote this shard
        config = task.config
        with one_thread():  # whatever the engine
            models = _models(config.depth, config.refine_depth, config.probe, task.device)
            content = make_samples(task.frames, config, models)
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
                frames=task.frames,
                entry=entry,
                seen=content.seen,
                failures=content.failures,
            )
    return dict(content.seconds)


def _make_all(tasks: Sequence[ShardTask], options: RunOptions) -> dict[str, float]:
    """Make what is missing, waiting for what other processes make and taking over what they left."""
    for task in tasks:
        record = read_record(task.path, task.plan_digest, task.frames)
        if record is not None and record["failures"]:
            task.path.with_suffix(".json").unlink(missing_ok=True)  # try again what failed
    todo = []
    for task in tasks:
        if not task.is_done():
            todo.append(task)
        else:
            # Of a process that was killed between its last byte and giving the shard back; nobody needs it.
            task.path.with_suffix(".lease").unlink(missing_ok=True)
    seconds: dict[str, float] = {}
    with Progress("synth", total=len(tasks), unit="shard", initial=len(tasks) - len(todo)) as progress:
        while todo:
            elsewhere = []
            for task, spent in run_units(make_shard, todo, options):
                if spent is None:
                    elsewhere.append(task)
                    continue
                for stage in spent:
                    seconds[stage] = seconds.get(stage, 0.0) + spent[stage]
                progress.advance()
            todo = _wait(elsewhere, progress)
    return seconds


def _wait(tasks: Sequence[ShardTask], progress: Progress) -> list[ShardTask]:
    """Wait for shards of other processes; return those to be claimed because their lease has ended."""
    waiting = list(tasks)
    deadline = time.monotonic() + LEASE_S
    while waiting and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        for task in list(waiting):
            if task.is_done():
                waiting.remove(task)
                progress.advance()
            elif not task.path.with_suffix(".lease").exists():
                return waiting
    return waiting


@lru_cache(maxsize=2)
def _models(depth: str, refine: bool, probe: str, device: str) -> Models:
    """The networks, loaded once in each process."""
    resolved = resolve_device(device)
    return Models(
        depth=load_depth_estimator(depth, device=resolved, refine=refine),
        probe=load_probe(None if probe == "default" else Path(probe), device=resolved),
    )
