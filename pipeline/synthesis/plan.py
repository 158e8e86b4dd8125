"""What a synthesis will make, decided before it makes anything: config + samples -> numbered work units."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.depth import source_identity
from pipeline.exposure import ExposureConfig
from pipeline.exposure.camera_response import curves_identity
from pipeline.files import (
    InputError,
    atomic_path,
    canonical_json,
    json_bytes,
    read_json,
    sha256_text,
    write_bytes,
)
from pipeline.focus import FocusConfig
from pipeline.shards.schema import FAILURES_NAME, INDEX_NAME
from pipeline.sources.listing import SourceSample

PLAN_NAME = "plan.json"
COMPRESSIONS = ("none", "gzip")
#: Side in pixels of the largest tiles: a chunk of HDF5, one tile, has 4 GiB at most.
MAX_TILE = 16384
#: Seconds in which a process that has just made the plan's file writes it, and between two looks at it.
_WRITING_S, _POLL_S = 10.0, 0.1

#: By mode of focus: raised with every change of the program after which one plan gives other bytes. A dataset
#: that was begun before it is then not gone on with.
REVISIONS = {"paper": 2, "thin-lens": 3}


@dataclass(frozen=True, kw_only=True)
class SynthesisConfig:
    """Everything that decides a dataset's content, apart from its source images."""

    #: Roles of the manifest that take the places of the infrared and of the visible image.
    roles: tuple[str, str] = ("infrared", "visible")
    depth: str = "default"  # depth source, see pipeline.depth.load_depth_estimator
    refine_depth: bool = True  # pull a network's depth edges onto the frame's edges
    probe: str = "default"  # exposure probe: default, a weights file, or the folder of the authors' two files
    focus: FocusConfig = field(default_factory=FocusConfig)
    exposure: ExposureConfig = field(default_factory=ExposureConfig)
    tile: int = 160  # side of the square tiles, in pixels
    tiles_per_frame: int = 2  # samples cut from each frame
    samples_per_shard: int = 32  # at most, unless one frame has more: a frame is never split
    compress: str = "none"  # or gzip: 1.8 times smaller, ten times slower to read
    seed: int = 0  # of every random draw

    def __post_init__(self) -> None:
        if len(set(self.roles)) != 2:
            raise InputError(f"roles {', '.join(self.roles)}: name two different roles of the manifest")
        if not self.probe:
            raise InputError("probe: empty; give default, a weights file, or the folder of the authors' two")
        if not 16 <= self.tile <= MAX_TILE:
            raise InputError(
                f"tile {self.tile}: must be 16 pixels, two windows of the network, to {MAX_TILE}"
            )
        if self.tiles_per_frame < 1:
            raise InputError(f"tiles per frame {self.tiles_per_frame}: must be at least 1")
        if self.samples_per_shard < 1:
            raise InputError(f"samples per shard {self.samples_per_shard}: must be at least 1")
        if self.compress not in COMPRESSIONS:
            raise InputError(f"compress {self.compress!r}: use one of {', '.join(COMPRESSIONS)}")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The numbered work units of one dataset. Equal plans and sources give equal shards."""

    config: SynthesisConfig
    settings: Mapping[str, Any]  # config as JSON values, with the source and the digests of what it names
    frames: tuple[SourceSample, ...]

    @property
    def frames_per_shard(self) -> int:
        return max(1, self.config.samples_per_shard // self.config.tiles_per_frame)

    @property
    def num_shards(self) -> int:
        return -(-len(self.frames) // self.frames_per_shard)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over settings and frame ids, in order."""
        return sha256_text(canonical_json([self.settings, [frame.id for frame in self.frames]]))

    def shard_frames(self, shard: int) -> tuple[SourceSample, ...]:
        """The source frames of one shard."""
        return self.frames[shard * self.frames_per_shard : (shard + 1) * self.frames_per_shard]


def make_plan(
    config: SynthesisConfig,
    frames: Sequence[SourceSample],
    weight_digests: Mapping[str, str],
    source: Mapping[str, str | None],
) -> Plan:
    """Combine a config, the ordered source frames, the digests of the models and a source into a plan.

    Args:
        source: ``manifest``, its name, and ``split``; ``scene``, if the manifest says what a scene is.

    Raises:
        InputError: the table of response curves is missing or cannot be used.
    """
    settings = {
        "revision": REVISIONS[config.focus.mode],
        **asdict(config),
        **weight_digests,
        "source": dict(source),
    }
    # Where weights, depth maps and a table lie does not matter, what is in them does.
    settings["depth"] = source_identity(config.depth)
    settings["probe"] = "default" if config.probe == "default" else "weights"
    settings["exposure"]["camera"]["curves"] = curves_identity(config.exposure.camera.curves)
    return Plan(config=config, settings=settings, frames=tuple(frames))


def settle_plan(plan: Plan, out: Path) -> None:
    """Bind the output folder to this plan, or stop if it already belongs to a different one.

    Raises:
        InputError: the folder holds work of another plan, and the message names the keys that differ; or
            files of the names of a dataset's, but no plan, or a damaged one, and no records of this one.
    """
    path = out / PLAN_NAME
    ids = [frame.id for frame in plan.frames]
    # In this order: another process may begin just now, and its plan is there before its shards.
    foreign = [*sorted(out.glob("shard-*")), *(out / name for name in (INDEX_NAME, FAILURES_NAME))]
    found = [file.name for file in foreign if file.exists()]
    if found and not path.exists() and not _vouched(plan, out):
        raise InputError(f"{out}: holds {found[0]} but no {PLAN_NAME}; choose an empty folder")
    content = json_bytes({"digest": plan.digest, "settings": plan.settings, "frames": ids})
    if _write_new(path, content):
        return
    if _stays_empty(path) and not any(out.glob("shard-*")):  # its process was killed
        write_bytes(path, content)
    try:
        before = read_json(path)
        if before["digest"] == plan.digest:
            return
        changed = _differences(before["settings"], plan.settings)
        if before["frames"] != ids:
            changed.append(_frames_difference(before["frames"], ids))
    except (InputError, AttributeError, KeyError, TypeError):
        if not _vouched(plan, out):
            raise InputError(f"{path}: damaged; choose another folder") from None
        write_bytes(path, content)
        return
    why = "; ".join(changed)
    raise InputError(f"{out}: was begun with another plan ({why}); delete it or choose another folder")


def _vouched(plan: Plan, out: Path) -> bool:
    """Whether the records of finished shards, of which there is one at least, all name this plan."""
    named = set()
    for path in out.glob("shard-*.json"):
        with suppress(InputError, KeyError, TypeError):  # a damaged record counts as absent
            named.add(read_json(path)["plan_digest"])
    return named == {plan.digest}


def _write_new(path: Path, data: bytes) -> bool:
    """Write ``data`` to ``path`` atomically unless a file stands there; returns whether it did.

    On a file system without hard links the file is empty for a moment, and stays so if the process is killed.
    """
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
            try:
                os.link(temporary, path)
            except FileExistsError:
                raise
            except OSError:  # a file system without hard links
                open(path, "xb").close()
    except FileExistsError:
        return False
    return True


def _stays_empty(path: Path) -> bool:
    """Whether a plan is still empty after the time that its process may take to fill it."""
    deadline = time.monotonic() + _WRITING_S
    while (empty := path.is_file() and not path.stat().st_size) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return empty


def _differences(before: Mapping[str, Any], today: Mapping[str, Any], prefix: str = "") -> list[str]:
    changed = []
    for key in sorted(before.keys() | today.keys()):
        old, new = before.get(key), today.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            changed += _differences(old, new, f"{prefix}{key}.")
        elif canonical_json(old) != canonical_json(new):
            changed.append(f"{prefix}{key}: {old} then, {new} now")
    return changed


def _frames_difference(before: Sequence[str], today: Sequence[str]) -> str:
    added, gone = sorted(set(today) - set(before)), sorted(set(before) - set(today))
    found = "added (or completed by a partner that was missing)"
    parts = [f"{len(ids)} {word}, such as {ids[0]}" for ids, word in ((added, found), (gone, "gone")) if ids]
    return f"frames: {', '.join(parts) or 'another order'}"
