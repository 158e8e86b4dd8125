"""Stage one as a whole: manifest -> plan -> shards -> index; resumable, and identical however it is run.

The work unit is one shard, whose content depends on the plan and its number alone. Any number of processes,
on any number of machines, may work on one output folder.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.depth import DepthEstimator
from pipeline.files import temporary_pattern
from pipeline.networks.device import resolve_device
from pipeline.runtime.leases import LEASE_S, clear_litter
from pipeline.runtime.progress import Progress
from pipeline.shards.schema import FAILURES_NAME, INDEX_NAME
from pipeline.sources.listing import SampleListing, SourceSample, list_samples
from pipeline.sources.manifest import load_manifest
from pipeline.synthesis.engines import RunOptions, run_units
from pipeline.synthesis.plan import PLAN_NAME, Plan, SynthesisConfig, make_plan, settle_plan
from pipeline.synthesis.records import (
    account,
    damaged_shards,
    finished_records,
    forget,
    unmatched_reason,
    write_index,
)
from pipeline.synthesis.work_units import ShardTask, load_models, make_shard

#: Seconds between two looks at shards that other processes are making.
_POLL_S = 0.5
#: Seconds of such waiting before it is told.
_SILENT_S = 5.0
#: What processes leave in the folder of a dataset that are killed while they write, apart from shards.
_LITTER = (
    *map(temporary_pattern, (PLAN_NAME, INDEX_NAME, FAILURES_NAME)),
    ".clock-*",
    "shard-*.lease.stale-*",
)


@dataclass(frozen=True, kw_only=True)
class SynthesisSummary:
    """The account of the finished shards: ``seen == written + skipped + failed``, in samples."""

    index: Path | None  # None while shards of the dataset are still to be made
    seen: int
    written: int
    skipped: int
    failed: int
    #: A line for each skipped frame and each failed sample of this part, which begins with that word, and for
    #: each shard that could not be finished, which begins with its name.
    problems: tuple[str, ...]
    seconds: Mapping[str, float]  # by stage, summed over the workers of this run


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

    A run that was stopped goes on where it was; shards that had failures are tried again, damaged ones and
    those whose sources changed meanwhile are made once more.

    Raises:
        InputError: an unusable manifest, root, model or device, or ``out`` belongs to another plan.
    """
    out, options = Path(out), options or RunOptions()
    if options.engine == "local":  # workers of a cluster have devices of their own
        resolve_device(options.device)
    recipe = load_manifest(manifest)
    listing = list_samples(recipe, root=root, split=split, roles=config.roles[::-1])
    models = load_models(config.depth, config.refine_depth, config.probe, "cpu")
    digests = {"depth_digest": models.depth.digest, "probe_digest": models.probe.digest}
    source = {"manifest": recipe.name, "split": listing.split}
    if recipe.scene:
        source["scene"] = recipe.scene
    plan = make_plan(config, _source_frames(listing, config.roles, models.depth), digests, source)
    settle_plan(plan, out)

    own = {task.path.name: task for task in _tasks(plan, out, options)}
    seconds: dict[str, float] = {}
    records, faults = _make_part(plan, own, out, options, seconds)
    index = None
    if len(records) == plan.num_shards and not faults:
        index = write_index(plan, records, listing.unmatched, out)
        clear_litter(out, _LITTER)
    own_failures = [f for record in records if record["entry"]["name"] in own for f in record["failures"]]
    return SynthesisSummary(
        index=index,
        **account(plan, records, listing.unmatched),
        problems=(
            *faults,
            *(f"skipped {entry.id}: {unmatched_reason(entry)}" for entry in listing.unmatched),
            *(f"failed {failure['id']}: {failure['reason']}" for failure in own_failures),
        ),
        seconds=seconds,
    )


def _tasks(plan: Plan, out: Path, options: RunOptions) -> Iterator[ShardTask]:
    """The work units of the part that is to be made."""
    number, count = options.part
    for shard in range(number - 1, plan.num_shards, count):
        yield ShardTask(
            shard=shard,
            num_shards=plan.num_shards,
            frames=plan.shard_frames(shard),
            plan_digest=plan.digest,
            config=plan.config,
            settings=plan.settings,
            folder=Path.cwd(),
            out=out,
            device=options.device,
        )


def _source_frames(
    listing: SampleListing, roles: tuple[str, str], depth: DepthEstimator
) -> list[SourceSample]:
    """The files of each frame under the names of their places in a sample, the depth map's among them."""
    frames = []
    for one in listing.samples:
        paths = {"infrared": one.paths[roles[0]], "visible": one.paths[roles[1]]}
        if (depth_map := depth.path_of(one.id)) is not None:
            paths["inverse_depth"] = depth_map
        frames.append(SourceSample(id=one.id, paths=paths))
    return frames


def _make_part(
    plan: Plan, tasks: Mapping[str, ShardTask], out: Path, options: RunOptions, seconds: dict[str, float]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Make the shards of one part; return the records of all finished ones, and a line for each fault.

    A shard whose sources changed while it was made, or whose bytes have since, is made once more.

    Args:
        tasks: by the names of their shards.
    """
    _make_all(list(tasks.values()), options, seconds, retry=True)
    records = finished_records(plan, out)
    if changed := tasks.keys() - _names(records):
        _make_all([tasks[name] for name in sorted(changed)], options, seconds)
        records = finished_records(plan, out)
    damaged = damaged_shards(records, out) if len(records) == plan.num_shards else set()
    if damaged:  # until they are made again, nobody may take the dataset for finished
        (out / INDEX_NAME).unlink(missing_ok=True)
    if again := damaged & tasks.keys():
        forget(again, out)
        _make_all([tasks[name] for name in sorted(again)], options, seconds)
        records = finished_records(plan, out)
    return records, [
        *(
            f"{name}: its sources changed while it was made; run it again"
            for name in sorted(tasks.keys() - _names(records))
        ),
        *(f"{name}: damaged; run the part that makes it again" for name in sorted(damaged - tasks.keys())),
    ]


def _names(records: Sequence[Mapping[str, Any]]) -> set[str]:
    return {record["entry"]["name"] for record in records}


def _make_all(
    tasks: Sequence[ShardTask], options: RunOptions, seconds: dict[str, float], *, retry: bool = False
) -> None:
    """Make what is missing, waiting for what other processes make and taking over what they left.

    Args:
        seconds: the time that each stage took is added to it.
        retry: make again what had failures. Once in a run: two on one folder would have no end of it.
    """
    todo = []
    for task in tasks:
        record = task.record()
        if record is None:
            todo.append(task)
        elif retry and record["failures"]:
            forget([task.path.name], task.out)
            todo.append(task)
        else:
            # Of a process that was killed between its last byte and giving the shard back; nobody needs it.
            task.path.with_suffix(".lease").unlink(missing_ok=True)
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


def _wait(tasks: Sequence[ShardTask], progress: Progress) -> list[ShardTask]:
    """Wait for shards of other processes; return those to be claimed because their lease has ended."""
    waiting = list(tasks)
    began = time.monotonic()
    told = False
    while waiting and time.monotonic() < began + LEASE_S:
        time.sleep(_POLL_S)
        if not told and time.monotonic() > began + _SILENT_S:
            told = True
            progress.message(
                f"synth: waiting for {len(waiting)} shard(s) that other processes are making; those of one "
                f"that has died are taken over {LEASE_S:.0f} s after its last sign of life"
            )
        for task in list(waiting):
            if task.record() is not None:
                waiting.remove(task)
                progress.advance()
            elif not task.path.with_suffix(".lease").exists():
                return waiting
    return waiting
