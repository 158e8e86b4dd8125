"""What is to be fused with what, and under which name: files, folders, stacks, bands."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.folders import Images, ListedFiles, pair_folders
from pipeline.files import InputError
from pipeline.images import SUFFIXES

#: What OpenCV is asked to read and write as video.
VIDEO_SUFFIXES = (".avi", ".mkv", ".mov", ".mp4")
BAND_SUFFIXES = (".tif", ".tiff")


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


def list_jobs(inputs: Sequence[Images], out: Path, *, suffix: str, pansharpen: bool = False) -> JobList:
    """Decide what belongs together.

    Args:
        inputs: one or more files, or one or more folders, or files of a manifest, whose images are paired by
            relative stem. For pan-sharpening two: a file or a folder of multispectral images and the
            panchromatic ones. There a folder beside a single panchromatic file holds the bands of one scene,
            one file each, in order of their names.
        out: a folder; or, for files, the result itself if it ends like an image or a video.
        suffix: ending of results in folders.

    Raises:
        InputError: something is missing, or files and folders are mixed.
    """
    if not inputs:
        raise InputError("fuse: no input; give one file or folder or more")
    paths = [path for path in inputs if not isinstance(path, ListedFiles)]
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist")
    if pansharpen:
        if len(inputs) != 2:
            raise InputError(f"pan-sharpening takes bands and a panchromatic image, not {len(inputs)} inputs")
        suffix = suffix if suffix in BAND_SUFFIXES else BAND_SUFFIXES[0]
        if len(paths) == 2 and paths[0].is_dir() and paths[1].is_file():
            return JobList([_file_job([*_band_files(paths[0]), paths[1]], out, suffix, paths[0].name)], {})
    folders = [path.is_dir() for path in paths]
    if all(folders):
        return _folder_jobs(inputs, out, suffix)
    if any(folders) or len(paths) < len(inputs):
        raise InputError(f"{paths[0]} and the others: give files only or folders only")
    return JobList([_file_job(paths, out, suffix, paths[0].stem)], {})


def is_video(path: Path) -> bool:
    """Whether a file's name is that of a video."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _folder_jobs(inputs: Sequence[Images], out: Path, suffix: str) -> JobList:
    if out.is_file():
        raise InputError(f"{out} is a file; results of folders go into a folder")
    pairs = pair_folders(dict(zip(string.ascii_lowercase, inputs, strict=False)))
    jobs = [Job(stem, tuple(pairs.paths[stem].values()), out / f"{stem}{suffix}") for stem in pairs.stems]
    return JobList(jobs, pairs.unmatched)


def _file_job(inputs: Sequence[Path], out: Path, suffix: str, name: str) -> Job:
    if is_video(inputs[0]):
        suffix = inputs[0].suffix.lower()
    if out.is_dir() or out.suffix.lower() not in (*SUFFIXES, *VIDEO_SUFFIXES):
        return Job(name, tuple(inputs), out / f"{name}{suffix}")
    return Job(name, tuple(inputs), out)


def _band_files(folder: Path) -> list[Path]:
    files = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not files:
        raise InputError(f"{folder}: no image ({', '.join(SUFFIXES)}) in this folder")
    return files
