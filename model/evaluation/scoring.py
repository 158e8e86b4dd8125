"""Scores of one pair: of the methods' fused images and of the baselines, which are computed for it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from model.evaluation.baselines import BASELINES
from model.metrics import Metric, compute_metrics
from model.metrics.conventions import metrics_of
from model.metrics.similarity import error_map
from pipeline.command_line import check_jobs
from pipeline.files import InputError
from pipeline.images import read_grey, read_rgb, write_image

#: Folder of the error maps, beside those of the baselines.
ERRORS = "errors"
COLOUR = {
    "luminance": "BT.601 luminance of every image, rounded to 8 bits",
    "channels": "mean over R, G and B; a grey image counts as three equal channels",
}


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
        check_jobs(self.jobs)


def folder_name(name: str) -> str:
    """Of the images of a method or baseline, from its name."""
    return re.sub(r"[^\w.]+", "-", name.lower()).strip("-.")


def score_pair(
    config: EvaluateConfig, stem: str, paths: Mapping[str, Path], images: Path
) -> list[dict[str, Any]] | str:
    """Rows of one pair, or what is wrong with it."""
    # Several pairs at a time already fill the cores.
    with nullcontext() if config.jobs == 1 else _one_thread():
        return _score_pair(config, stem, paths, images)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep OpenCV to one thread; where there is one core, pairs are scored in the caller's own process."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _score_pair(
    config: EvaluateConfig, stem: str, paths: Mapping[str, Path], images: Path
) -> list[dict[str, Any]] | str:
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
        write_image(images / folder_name(name) / f"{stem}.png", _picture(stack))
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
                path = images / ERRORS / folder_name(name) / f"{stem}.png"
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
