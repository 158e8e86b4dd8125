"""One pair: its planes, the baselines, which are computed of them, and the scores of all."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.evaluation.baselines import BASELINES
from model.metrics import Metric, compute_metrics
from model.metrics.conventions import metrics_of
from pipeline.files import InputError, canonical_json, sha256_text, source_digest
from pipeline.images import read_grey, read_rgb, size_text
from pipeline.runtime.threads import one_opencv_thread
from pipeline.runtime.workers import check_jobs

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


@dataclass(frozen=True, kw_only=True)
class PairScores:
    """What :func:`score_pair` found."""

    image: str
    files: str  # pair_digest of the files that were scored
    rows: list[dict[str, Any]]  # one for each method and baseline: image, method, scores by metric


def pair_digest(paths: Mapping[str, Path]) -> str:
    """Digest of the content of a pair's files (role -> file), 16 hexadecimal digits."""
    return sha256_text(canonical_json({role: source_digest(path) for role, path in paths.items()}))[:16]


def score_pair(config: EvaluateConfig, stem: str, paths: Mapping[str, Path]) -> PairScores | str:
    """Scores of one pair (role -> file), or what is wrong with it."""
    files = pair_digest(paths)  # of what is read, whatever replaces it meanwhile
    # Several pairs at a time already fill the cores.
    with nullcontext() if config.jobs == 1 else one_opencv_thread():
        try:
            planes = pair_planes(stem, paths, config.colour)
        except InputError as error:
            return str(error)
        return PairScores(image=stem, files=files, rows=_rows(config, stem, planes))


def pair_planes(stem: str, paths: Mapping[str, Path], colour: str) -> dict[str, np.ndarray]:
    """Planes (N, H, W) uint8 of a pair by role, and those of the baselines as ``method NAME``.

    Args:
        stem: name of the pair, on which the noise of a baseline depends.
        paths: role -> file; a and b are the sources.
        colour: luminance (one plane) or channels (three).

    Raises:
        InputError: an image cannot be read, has 16 bits, or is not of the size of a.
    """
    planes = {role: _read_planes(path, colour) for role, path in paths.items()}
    for role, stack in planes.items():
        if stack.shape != planes["a"].shape:
            sizes = " and ".join(size_text(one[0]) for one in (planes["a"], stack))
            raise InputError(f"{stem}: a and {role} differ in size, {sizes}")
    sources = list(zip(planes["a"], planes["b"], strict=True))
    for name, fuse in BASELINES.items():
        planes[f"method {name}"] = np.stack([fuse(a, b, stem) for a, b in sources])
    return planes


def _rows(config: EvaluateConfig, stem: str, planes: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    metrics = {
        name: metric
        for name, metric in metrics_of(config.convention, config.metrics).items()
        if min(planes["a"].shape[1:]) >= metric.min_side_px
    }
    return [
        {"image": stem, "method": role.removeprefix("method "), **_scores(fused, planes, metrics)}
        for role, fused in planes.items()
        if role.startswith("method ")
    ]


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


def _read_planes(path: Path, colour: str) -> np.ndarray:
    """(1, H, W) luminance or (3, H, W) channels, uint8."""
    if colour == "channels":
        return np.ascontiguousarray(read_rgb(path).transpose(2, 0, 1))
    return read_grey(path)[None]
