"""The account of each finished shard, and the index that is put together from them.

A record ``shard-....json`` is written after its shard. Whether a shard is done is decided by what was meant,
not by what lies there: the plan, the sources and the file must still be the ones of the record.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.files import (
    InputError,
    canonical_json,
    read_json,
    sha256_file,
    sha256_text,
    source_digest,
    write_bytes,
    write_json,
)
from pipeline.runtime.versions import installed_versions
from pipeline.shards.dataset import check_entry, dataset_digest, shard_name
from pipeline.shards.schema import FAILURES_NAME, FORMAT, FORMAT_VERSION, INDEX_NAME
from pipeline.sources.listing import SourceSample, Unmatched
from pipeline.synthesis.plan import Plan

_PACKAGES = ("gifnet", "torch", "timm", "numpy", "opencv-python-headless", "h5py", "Pillow")


def inputs_digest(frames: Sequence[SourceSample]) -> str:
    """Digest of the ids and of the sources' content: a mended or replaced source makes its shard again."""
    contents = [
        [frame.id, role, source_digest(path)]
        for frame in frames
        for role, path in sorted(frame.paths.items())
    ]
    return sha256_text(canonical_json(contents))


def write_record(
    path: Path,
    *,
    plan_digest: str,
    inputs: str,
    entry: Mapping[str, Any],
    seen: int,
    failures: Sequence[Mapping[str, str]],
) -> None:
    """Write the record beside the shard at ``path``: its index entry and ``seen == samples + failures``.

    Args:
        inputs: :func:`inputs_digest` from before the sources were read; one that was replaced meanwhile
            makes the shard again.
    """
    assert seen == entry["samples"] + len(failures)
    record = {
        "plan_digest": plan_digest,
        "inputs": inputs,
        "entry": entry,
        "seen": seen,
        "failures": failures,
    }
    write_json(path.with_suffix(".json"), record)


def read_record(path: Path, plan_digest: str, frames: Sequence[SourceSample]) -> dict[str, Any] | None:
    """The record of the finished shard at ``path``, or None if the shard is to be made (again)."""
    try:
        record = read_json(path.with_suffix(".json"))
        entry, failures = record["entry"], record["failures"]
        check_entry(entry)  # as the index will have it
        current = (
            record["plan_digest"] == plan_digest
            and type(record["seen"]) is int
            and record["seen"] == entry["samples"] + len(failures)
            and all(failure.keys() == {"id", "reason"} for failure in failures)
            and all(isinstance(text, str) for failure in failures for text in failure.values())
            and entry.keys() == {"name", "bytes", "sha256", "samples", "arrays"}
            and entry["name"] == path.name
            and path.stat().st_size == entry["bytes"]
            # Last, since it reads the sources.
            and record["inputs"] == inputs_digest(frames)
        )
    except (InputError, FileNotFoundError, AttributeError, KeyError, TypeError, ValueError):
        return None  # missing or damaged
    return record if current else None


def finished_records(plan: Plan, out: Path) -> list[dict[str, Any]]:
    """The records of all shards of the plan that are done, in order."""
    records = (
        read_record(out / shard_name(shard, plan.num_shards), plan.digest, plan.shard_frames(shard))
        for shard in range(plan.num_shards)
    )
    return [record for record in records if record is not None]


def damaged_shards(records: Sequence[Mapping[str, Any]], out: Path) -> set[str]:
    """The names of those whose bytes have changed since."""
    entries = [record["entry"] for record in records]
    return {entry["name"] for entry in entries if sha256_file(out / entry["name"]) != entry["sha256"]}


def account(
    plan: Plan, records: Sequence[Mapping[str, Any]], unmatched: Sequence[Unmatched]
) -> dict[str, int]:
    """What became of the samples of finished shards: ``seen`` == ``written`` + ``skipped`` + ``failed``."""
    skipped = len(unmatched) * plan.config.tiles_per_frame
    return {
        "seen": sum(record["seen"] for record in records) + skipped,
        "written": sum(record["entry"]["samples"] for record in records),
        "skipped": skipped,
        "failed": sum(len(record["failures"]) for record in records),
    }


def forget(names: Iterable[str], out: Path) -> None:
    """Remove the records of shards, so that they are made again."""
    for name in names:
        (out / name).with_suffix(".json").unlink(missing_ok=True)


def write_index(
    plan: Plan, records: Sequence[Mapping[str, Any]], unmatched: Sequence[Unmatched], out: Path
) -> Path:
    """Write ``failures.jsonl`` and then the index, last of all files."""
    entries = [record["entry"] for record in records]
    failures = [failure for record in records for failure in record["failures"]]
    skipped = [{"id": entry.id, "reason": unmatched_reason(entry)} for entry in unmatched]
    lines = "".join(canonical_json(line) + "\n" for line in [*skipped, *failures])
    write_bytes(out / FAILURES_NAME, lines.encode())
    counts = account(plan, records, unmatched)
    return write_json(
        out / INDEX_NAME,
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "plan_digest": plan.digest,
            "config": plan.settings,
            "given": given_names(plan),
            "source": plan.settings["source"],
            "shards": entries,
            "num_samples": counts["written"],
            "digest": dataset_digest(entries),
            **counts,
            "failures": failures,
            "skipped_frames": skipped,
            "versions": versions(),
        },
    )


def given_names(plan: Plan) -> dict[str, str]:
    """What the run that ended called its models and tables: for people, since the content is what counts."""
    config = plan.config
    return {"curves": config.exposure.camera.curves, "depth": config.depth, "probe": config.probe}


def unmatched_reason(entry: Unmatched) -> str:
    """Why a frame is skipped, in words."""
    return f"no {entry.missing_role}, expected at {entry.expected}"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide pixels; absent ones are left out."""
    return {"python": platform.python_version(), **installed_versions(_PACKAGES)}
