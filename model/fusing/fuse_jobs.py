"""What is to be fused with what, and under which name: files, folders, stacks, bands."""

from __future__ import annotations

import fnmatch
import os
import re
import string
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.fusing.fuse_config import BAND_SUFFIXES, FuseConfig
from model.fusing.video_files import CODECS
from model.inputs.folders import Images, ListedFiles, check_apart, holds, pair_folders
from pipeline.files import TEMPORARY, InputError, temporary_pattern
from pipeline.images import SIXTEEN_BIT_SUFFIXES, SUFFIXES
from pipeline.runtime.leases import clear_litter

#: What OpenCV is asked to read and write as video.
VIDEO_SUFFIXES = tuple(CODECS)


@dataclass(frozen=True)
class Job:
    """One result: its name below the output folder, without suffix; its inputs in order; its file."""

    name: str
    inputs: tuple[Path, ...]
    output: Path


@dataclass(frozen=True)
class JobList:
    """All results of one run; ``unmatched`` maps a name to the inputs (a, b, ...) that lack it."""

    jobs: list[Job]
    unmatched: dict[str, list[str]]
    passed_over: dict[str, Counter[str]] = field(default_factory=dict)  # folder -> endings of no images


def clear_unfinished(jobs: Sequence[Job]) -> None:
    """Remove what killed runs left of these results; what a run is writing is not old enough."""
    patterns: dict[Path, set[str]] = {}
    for job in jobs:
        patterns.setdefault(job.output.parent, set()).add(temporary_pattern(job.output))
    for folder, own in patterns.items():
        left = [path.name for path in folder.glob(TEMPORARY)]
        if left:  # each pattern searches the folder
            clear_litter(folder, (one for one in own if fnmatch.filter(left, one)))


def list_jobs(config: FuseConfig, inputs: Sequence[Images], out: Path) -> JobList:
    """Decide what belongs together, and check where results are to go before any is made.

    Args:
        config: how; its task and bits decide what a result may be called.
        inputs: one or more files, or up to 26 folders, or files of a manifest, whose images are paired by
            relative stem; their videos are where the first folder holds no image. For pan-sharpening two: a
            file or a folder of multispectral images and the panchromatic ones. There a folder beside a single
            panchromatic file holds the bands of one scene, one file each, in order of their names with
            numbers as numbers: B2 before B10. The panchromatic file may lie among them.
        out: a folder, outside those of the inputs; or, for files, the result itself if it has a suffix.

    Raises:
        InputError: something is missing, files and folders are mixed, a file would be fused with itself, a
            result cannot have the format of its name, ``config.suffix`` is set where it decides on nothing,
            or results would take the place of inputs or lie among them.
    """
    if not inputs:
        raise InputError("fuse: no input; give one file or folder or more")
    paths = [path for path in inputs if not isinstance(path, ListedFiles)]
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist; give a file or folder of images")
    check_apart(out, inputs)
    if config.task == "pansharpen" and len(inputs) != 2:
        raise InputError(f"pan-sharpening takes bands and a panchromatic image, not {len(inputs)} inputs")
    folders = [path.is_dir() for path in paths]
    if config.task == "pansharpen" and folders == [True, False]:
        bands, pan = paths
        listed = JobList([_file_job(config, [*_band_files(bands, pan), pan], out, bands.resolve().name)], {})
    elif all(folders):
        listed = _folder_jobs(config, inputs, out)
    elif any(folders) or len(paths) < len(inputs):
        raise InputError(f"{paths[0]} and the others: give files only or folders only")
    else:
        listed = JobList([_file_job(config, paths, out, paths[0].stem)], {})
    for folder in sorted({job.output.parent for job in listed.jobs}):
        check_apart(folder, inputs)  # results keep their subfolders, and one of these may be of inputs
    _check_files(listed.jobs)
    return listed


def is_video(path: Path) -> bool:
    """Whether a file's name is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _folder_jobs(config: FuseConfig, inputs: Sequence[Images], out: Path) -> JobList:
    if out.is_file():
        raise InputError(f"{out} is a file; results of folders go into a folder")
    if len(inputs) > len(string.ascii_lowercase):
        raise InputError(f"fuse: {len(inputs)} folders; give {len(string.ascii_lowercase)} at most")
    named = dict(zip(string.ascii_lowercase, inputs, strict=False))
    pairs = pair_folders(named, _kind(config, inputs[0]))
    jobs = []
    for stem in pairs.stems:
        files = tuple(pairs.paths[stem].values())
        jobs.append(Job(stem, files, out / f"{stem}{_form(config, files[0])[2]}"))
    passed_over = {str(named[role]): endings for role, endings in pairs.passed_over.items() if endings}
    return JobList(jobs, pairs.unmatched, passed_over)


def _kind(config: FuseConfig, first: Images) -> Collection[str]:
    """Endings of what folders are to give: of videos where the first one has these and no image."""
    if isinstance(first, ListedFiles) or config.task == "pansharpen" or holds(first, SUFFIXES):
        return SUFFIXES
    return VIDEO_SUFFIXES if holds(first, VIDEO_SUFFIXES) else SUFFIXES


def _file_job(config: FuseConfig, inputs: Sequence[Path], out: Path, name: str) -> Job:
    if len({is_video(path) for path in inputs}) > 1:
        raise InputError(f"{inputs[0]} and the others: give pictures only or videos only")
    what, endings, suffix = _form(config, inputs[0])
    if out.is_dir() or not out.suffix:
        return Job(name, tuple(inputs), out / f"{name}{suffix}")
    if out.suffix.lower() not in endings:
        raise InputError(f"{out}: {what} end in {', '.join(endings)}; call it so, or name an existing folder")
    if config.suffix is not None:
        raise InputError(f"{out}: the name of one result has its ending; leave out --suffix {config.suffix}")
    return Job(name, tuple(inputs), out)


def _form(config: FuseConfig, first: Path) -> tuple[str, tuple[str, ...], str]:
    """What results of files are, how their names may end, and how they do where only a folder is given."""
    if config.task == "pansharpen":
        return "sharpened bands", BAND_SUFFIXES, config.suffix or BAND_SUFFIXES[0]
    if is_video(first):
        if config.bits != 8:
            raise InputError(f"{first}: videos hold 8 bits; leave out --bits {config.bits}")
        if config.suffix is not None:
            raise InputError(f"{first}: videos keep their ending; leave out --suffix {config.suffix}")
        return "videos", VIDEO_SUFFIXES, first.suffix.lower()
    endings = SIXTEEN_BIT_SUFFIXES if config.bits == 16 else SUFFIXES
    return f"{config.bits}-bit pictures", endings, config.suffix or ".png"


def _check_files(jobs: Sequence[Job]) -> None:
    # realpath, because resolve() raises at a link to itself, which is for its own job to say.
    real = [[os.path.realpath(path) for path in job.inputs] for job in jobs]
    sources = {path for paths in real for path in paths}
    for job, paths in zip(jobs, real, strict=True):
        if len(set(paths)) < len(paths):
            named = " and ".join(map(str, job.inputs))
            raise InputError(f"{job.name}: {named} are one file; give each input a file of its own")
        if os.path.realpath(job.output) in sources:
            raise InputError(f"{job.output}: the result would replace an input; choose another -o")


def _band_files(folder: Path, pan: Path) -> list[Path]:
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and os.path.realpath(path) != os.path.realpath(pan)
    ]
    if not files:
        raise InputError(f"{folder}: no band ({', '.join(SUFFIXES)}) in this folder")
    return sorted(files, key=_natural_order)


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    """By name, numbers as numbers; names that differ in leading zeros alone by their characters."""
    parts = re.split(r"(\d+)", path.name)  # text and digits by turns
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], path.name
