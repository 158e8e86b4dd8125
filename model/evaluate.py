"""Evaluate: score any number of methods' fused images against their sources, side by side.

The stage reads folders and writes, beside the summary ``NAME.json``: ``NAME.jsonl`` (one line per image
and method), ``NAME.md`` and ``NAME.csv`` (tables), and ``NAME-images/`` (the baselines as images, and error
maps where there is a ground truth). ``report`` makes a page of it. Scoring needs no network and no GPU.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np

from model.baselines import BASELINES
from model.evaluation_tables import csv_table, markdown_table, summarise
from model.folders import FolderPairs, Images, ListedFiles, pair_folders
from model.metrics import GROUND_TRUTH_METRICS, Metric, compute_metrics
from model.metrics.conventions import CONVENTIONS, metrics_of
from model.metrics.similarity import error_map
from pipeline.files import InputError, write_bytes, write_json
from pipeline.images import read_grey, read_rgb, write_image
from pipeline.progress import Progress

FORMAT, FORMAT_VERSION = "gifnet-evaluation", 1
COLOUR = {
    "luminance": "BT.601 luminance of every image, rounded to 8 bits",
    "channels": "mean over R, G and B; a grey image counts as three equal channels",
}
#: Images named in an error; the rest is counted.
_NAMES_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How to score."""

    convention: str = "standard"  # whose definitions: standard, matlab-toolbox, cddfuse, vifb
    metrics: tuple[str, ...] = ()  # which of its metrics; empty = all
    colour: str = "luminance"  # what is scored of a colour image: luminance, or channels (their mean)
    jobs: int = -1  # pairs scored at the same time; -1 = one per processor core

    def __post_init__(self) -> None:
        metrics_of(self.convention, self.metrics)
        if self.colour not in COLOUR:
            raise InputError(f"--colour {self.colour}: unknown; use one of {', '.join(COLOUR)}")
        if self.jobs == 0 or self.jobs < -1:
            raise InputError(f"--jobs {self.jobs}: give a number of pairs, or -1 for one per core")


def parse_method(text: str) -> tuple[str, Path]:
    """Split ``NAME=DIR`` as the command line takes it.

    Raises:
        InputError: there is no name or no folder.
    """
    name, _, folder = text.partition("=")
    if not name.strip() or not folder:
        raise InputError(f"-f {text}: give a method as NAME=DIR")
    return name.strip(), Path(folder)


def parse_methods(texts: Iterable[str]) -> dict[str, Path]:
    """Name -> folder of several ``NAME=DIR``, in their order.

    Raises:
        InputError: one is not of that form, or a name occurs twice.
    """
    methods: dict[str, Path] = {}
    for name, folder in map(parse_method, texts):
        if name in methods:
            raise InputError(f"-f {name}=...: given twice; every method needs a name of its own")
        methods[name] = folder
    return methods


def evaluate(
    config: EvaluateConfig,
    a: Images,
    b: Images,
    methods: Mapping[str, Path],
    out: Path,
    *,
    ground_truth: Images | None = None,
) -> Path:
    """Score every method and the baselines on every pair; return ``out``, the summary.

    Args:
        a, b: folders of the sources (infrared and visible, near and far, ...), 8-bit; or files of a manifest.
        methods: name -> folder of its fused images. Files belong together by relative path without suffix.
        out: the summary, ``*.json``; everything else is written beside it.
        ground_truth: optional folder or files of true images; adds PSNR-GT, SSIM-GT and error maps.

    Raises:
        InputError: folders do not hold the same images, an image cannot be read or has another size than
            its sources, or names clash. Nothing of the summary is written then.
    """
    out = Path(out)
    if out.suffix != ".json":
        raise InputError(f"-o {out}: give the summary's path, ending in .json")
    folders: dict[str, Images] = {"a": a, "b": b, **{f"method {name}": d for name, d in methods.items()}}
    if ground_truth is not None:
        folders["ground truth"] = ground_truth
    _check_names(methods)
    pairs = pair_folders(folders).require_complete()
    images = out.with_name(f"{out.stem}-images")
    rows = _score_all(config, pairs, images)
    metrics, left_out = _common_metrics(config, rows, ground_truth is not None)
    names = [*methods, *BASELINES]
    summary: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": asdict(config),
        "colour": COLOUR[config.colour],
        "convention": CONVENTIONS[config.convention].source,
        "folders": {role: _recorded(images_of, out) for role, images_of in folders.items()},
        "images_folder": images.name,
        "images": pairs.stems,
        "methods": names,
        "baselines": {name: _folder_name(name) for name in BASELINES},  # -> folder of its images
        "error_maps": {name: f"errors/{_folder_name(name)}" for name in names if ground_truth is not None},
        "metrics": [
            {"name": name, "title": m.title, "unit": m.unit, "higher_is_better": m.higher_is_better}
            for name, m in metrics.items()
        ],
        "left_out": left_out,
        **summarise(rows, names, metrics),
    }
    lines = [
        json.dumps({key: value for key, value in row.items() if key not in left_out}, ensure_ascii=False)
        for row in rows
    ]
    write_bytes(out.with_suffix(".jsonl"), ("\n".join(lines) + "\n").encode())
    write_bytes(out.with_suffix(".md"), markdown_table(summary).encode())
    write_bytes(out.with_suffix(".csv"), csv_table(summary).encode())
    return write_json(out, summary)  # last: a summary means a complete evaluation


def recorded_images(recorded: str | dict[str, Any], summary_path: Path) -> Images:
    """Where the images of a role of a summary's ``folders`` are."""
    base = summary_path.parent
    if isinstance(recorded, str):
        return base / recorded
    return ListedFiles(recorded["name"], {stem: base / file for stem, file in recorded["files"].items()})


def _check_names(methods: Mapping[str, Path]) -> None:
    taken: dict[str, str] = {_folder_name(name): name for name in BASELINES}
    for name in methods:
        other = taken.setdefault(_folder_name(name), name)
        if not _folder_name(name) or other != name or name in BASELINES:
            raise InputError(f"-f {name}=...: the name is empty or too like {other!r}; choose another")


def _folder_name(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name.lower()).strip("-.")


def _recorded(images: Images, out: Path) -> str | dict[str, Any]:
    """How the summary says where images are; :func:`recorded_images` reads it."""
    if isinstance(images, ListedFiles):
        return {"name": images.name, "files": {stem: _portable(p, out) for stem, p in images.files.items()}}
    return _portable(images, out)


def _portable(folder: Path, out: Path) -> str:
    """Path relative to the summary where there is one, so that both can move together."""
    try:
        return Path(os.path.relpath(folder, out.parent)).as_posix()
    except ValueError:  # another drive
        return folder.resolve().as_posix()


def _score_all(config: EvaluateConfig, pairs: FolderPairs, images: Path) -> list[dict[str, Any]]:
    """One row per image and method, in the order of the images."""
    work = joblib.Parallel(n_jobs=config.jobs, return_as="generator")(
        joblib.delayed(_score_pair)(config, stem, pairs.paths[stem], images) for stem in pairs.stems
    )
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    with Progress("evaluate", total=len(pairs.stems), unit="pair") as progress:
        for scored in work:
            if isinstance(scored, str):
                failures.append(scored)
            else:
                rows.extend(scored)
            progress.advance()
    if failures:
        more = len(failures) - _NAMES_SHOWN
        listed = "; ".join(failures[:_NAMES_SHOWN]) + (f"; and {more} more" if more > 0 else "")
        raise InputError(f"{len(failures)} of {len(pairs.stems)} pairs cannot be scored: {listed}")
    return rows


def _score_pair(
    config: EvaluateConfig, stem: str, paths: Mapping[str, Path], images: Path
) -> list[dict[str, Any]] | str:
    """Rows of one pair, or what is wrong with it."""
    if config.jobs != 1:
        cv2.setNumThreads(1)  # the pairs already fill the cores
    try:
        planes = {role: _planes(path, config.colour) for role, path in paths.items()}
        for role, stack in planes.items():
            if stack.shape != planes["a"].shape:
                sizes = " and ".join(f"{s.shape[2]}x{s.shape[1]}" for s in (planes["a"], stack))
                return f"{stem}: a and {role} differ in size, {sizes}"
    except InputError as error:
        return str(error)
    for name, fuse in BASELINES.items():
        stack = np.stack([fuse(x, y, stem) for x, y in zip(planes["a"], planes["b"], strict=True)])
        planes[f"method {name}"] = stack
        write_image(images / _folder_name(name) / f"{stem}.png", _picture(stack))
    metrics = {
        name: metric
        for name, metric in metrics_of(config.convention, config.metrics).items()
        if min(planes["a"].shape[1:]) >= metric.min_side_px
    }
    rows = []
    for role, fused in planes.items():
        if role.startswith("method "):
            name = role.removeprefix("method ")
            rows.append({"image": stem, "method": name, **_scores(fused, planes, metrics)})
            if "ground truth" in planes:
                errors = [error_map(*pair) for pair in zip(fused, planes["ground truth"], strict=True)]
                path = images / "errors" / _folder_name(name) / f"{stem}.png"
                write_image(path, np.max(errors, axis=0))
    return rows


def _scores(
    fused: np.ndarray, planes: Mapping[str, np.ndarray], metrics: Mapping[str, Metric]
) -> dict[str, float]:
    """Mean over the planes (one, or three channels), or what they score side by side."""
    truth = planes.get("ground truth")
    per_plane = [
        compute_metrics(
            fused[i],
            planes["a"][i],
            planes["b"][i],
            ground_truth=None if truth is None else truth[i],
            metrics=metrics,
        )
        for i in range(len(fused))
    ]
    means = {name: float(np.mean([scores[name] for scores in per_plane])) for name in per_plane[0]}
    joined = {name: metric for name, metric in metrics.items() if metric.joined}
    if joined and len(fused) > 1:
        side_by_side = (np.hstack(list(stack)) for stack in (fused, planes["a"], planes["b"]))
        means |= compute_metrics(*side_by_side, metrics=joined)
    return means


def _planes(path: Path, colour: str) -> np.ndarray:
    """(1, H, W) luminance or (3, H, W) channels, uint8."""
    if colour == "channels":
        return np.ascontiguousarray(read_rgb(path).transpose(2, 0, 1))
    return read_grey(path)[None]


def _picture(stack: np.ndarray) -> np.ndarray:
    return stack[0] if len(stack) == 1 else np.ascontiguousarray(stack.transpose(1, 2, 0))


def _common_metrics(
    config: EvaluateConfig, rows: list[dict[str, Any]], with_ground_truth: bool
) -> tuple[dict[str, Metric], dict[str, str]]:
    """Metrics that every image is large enough for, and the others with the reason."""
    wanted = metrics_of(config.convention, config.metrics)
    left_out = {
        name: f"needs {metric.min_side_px} pixels a side"
        for name, metric in wanted.items()
        if any(name not in row for row in rows)
    }
    metrics = {name: metric for name, metric in wanted.items() if name not in left_out}
    if with_ground_truth:
        metrics |= GROUND_TRUTH_METRICS
    if not metrics:
        raise InputError(f"the images are too small for {', '.join(left_out)}; choose other --metrics")
    return metrics, left_out
