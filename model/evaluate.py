"""Evaluate: score any number of methods' fused images against their sources, side by side.

The stage reads folders and writes, beside the summary ``NAME.json``: ``NAME.jsonl`` (one line per image
and method), ``NAME.md`` and ``NAME.csv`` (tables); while it runs, ``NAME.scores.jsonl``, with which a rerun
goes on. ``report`` makes a page of it. Scoring needs no network and no GPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib

from model.evaluation.baselines import BASELINES
from model.evaluation.evaluation_tables import csv_table, markdown_table, summarise
from model.evaluation.score_log import ScoreLog
from model.evaluation.scoring import COLOUR, EvaluateConfig, PairScores, score_pair
from model.inputs.folders import FolderPairs, Images, ListedFiles, check_apart, pair_folders, path_from
from model.metrics import GROUND_TRUTH_METRICS, Metric
from model.metrics.conventions import CONVENTIONS, metrics_of
from pipeline.files import (
    InputError,
    enumerate_some,
    one_line,
    parse_json,
    read_json,
    write_bytes,
    write_json,
)
from pipeline.runtime.progress import Progress

FORMAT, FORMAT_VERSION = "gifnet-evaluation", 2
#: Images named in an error; the rest is counted.
_NAMES_SHOWN = 8


def parse_method(text: str) -> tuple[str, Path]:
    """Split ``NAME=DIR`` as the command line takes it.

    Raises:
        InputError: there is no name or no folder.
    """
    name, _, folder = text.partition("=")
    if not name.strip() or not folder:
        raise InputError(f"-f {text}: give a method as NAME=DIR")
    if one_line(name) != name:
        raise InputError(f"-f {text}: a name holds no line breaks or other control characters")
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

    Scores are kept as they come: a rerun with the same settings goes on with those whose files have not
    changed.

    Args:
        a, b: folders of the sources (infrared and visible, near and far, ...), 8-bit; or files of a manifest.
        methods: name -> folder of its fused images. Files belong together by relative path without suffix.
        out: the summary, ``*.json``, outside all these folders; everything else is written beside it.
        ground_truth: optional folder or files of true images; adds PSNR-GT, SSIM-GT, error maps in the page.

    Raises:
        InputError: folders do not hold the same images (those that a manifest left out do not count), an
            image cannot be read or has another size than its sources, a method has no name or that of a
            baseline, ``out`` lies where images are read, a file to be replaced is not of an evaluation, such
            as the log of a run, or a metric is named that needs a ground truth and there is none. Nothing of
            the summary is written then.
    """
    out = Path(out)
    if out.suffix != ".json":
        raise InputError(f"-o {out}: give the summary's path, ending in .json")
    folders: dict[str, Images] = {"a": a, "b": b, **{f"method {name}": d for name, d in methods.items()}}
    if ground_truth is not None:
        folders["ground truth"] = ground_truth
    elif needy := [name for name in config.metrics if name in GROUND_TRUTH_METRICS]:
        raise InputError(f"--metric {needy[0]}: needs true images; give --ground-truth, or leave it out")
    folders = {role: one if isinstance(one, ListedFiles) else Path(one) for role, one in folders.items()}
    _check_names(methods)
    check_apart(out, folders.values())
    _check_replaced(out)
    pairs = pair_folders(folders).require_complete()
    if same := pairs.of_one_file("a", "b"):
        print(f"evaluate: a and b are one file: {enumerate_some(same, most=3)}", file=sys.stderr)
    log = ScoreLog(out.with_suffix(".scores.jsonl"), config, list(methods))
    scored = _score_all(config, pairs, log)
    rows = [row for pair in scored for row in pair.rows]
    metrics, left_out = _common_metrics(config, rows, ground_truth is not None)
    names = [*methods, *BASELINES]
    summary: dict[str, Any] = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "config": asdict(config),
        "colour": COLOUR[config.colour],
        "convention": CONVENTIONS[config.convention].source,
        "folders": {role: _recorded(images_of, out) for role, images_of in folders.items()},
        "images": pairs.stems,
        "digests": {pair.image: pair.files for pair in scored},  # of what was scored
        "unmatched": _unmatched(folders.values()),
        "methods": names,
        "baselines": list(BASELINES),
        "metrics": [
            {"name": name, "title": m.title, "unit": m.unit, "higher_is_better": m.higher_is_better}
            for name, m in metrics.items()
        ],
        "left_out": left_out,
        **summarise(rows, names, metrics),
    }
    lines = [json.dumps({key: value for key, value in row.items() if key not in left_out}) for row in rows]
    write_bytes(out.with_suffix(".jsonl"), ("\n".join(lines) + "\n").encode())
    for suffix, table in ((".md", markdown_table(summary)), (".csv", csv_table(summary))):
        # A method's name may be no UTF-8, which is escaped as in JSON.
        write_bytes(out.with_suffix(suffix), table.encode(errors="backslashreplace"))
    write_json(out, summary)  # last: a summary means a complete evaluation
    log.remove()
    return out


def recorded_images(recorded: str | dict[str, Any], summary_path: Path) -> Images:
    """Where the images of a role of a summary's ``folders`` are."""
    base = summary_path.parent
    if isinstance(recorded, str):
        return base / recorded
    return ListedFiles(recorded["name"], {stem: base / file for stem, file in recorded["files"].items()})


def _check_names(methods: Mapping[str, Path]) -> None:
    for name, folder in methods.items():
        if not name.strip():
            raise InputError(f"-f {name}={folder}: give a method as NAME=DIR")
        if name in BASELINES:
            raise InputError(f"-f {name}={folder}: {name} is the name of a baseline; choose another")


def _check_replaced(out: Path) -> None:
    """Refuse to replace files that are not of an evaluation."""
    lines = out.with_suffix(".jsonl")
    _check_lines(lines)
    there = [path for suffix in (".json", ".md", ".csv") if (path := out.with_suffix(suffix)).exists()]
    # A stopped evaluation has left lines, which are written first, and no summary, which is last.
    ours = _is_summary(out) if out.exists() else lines.exists()
    if there and not ours:
        raise InputError(f"{there[0]}: is there, and not of an evaluation; choose another -o")


def _is_summary(path: Path) -> bool:
    try:
        summary = read_json(path)
    except InputError:
        return False
    return isinstance(summary, dict) and summary.get("format") == FORMAT


def _check_lines(path: Path) -> None:
    """Refuse to replace lines that are not those of an evaluation: they may be the only log of a run."""
    try:
        with open(path, "rb") as file:
            row = parse_json(file.readline())
        ours = isinstance(row, dict) and {"image", "method"} <= row.keys()
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise InputError(f"{path}: is there, and not of an evaluation; choose another -o")


def _unmatched(folders: Iterable[Images]) -> list[str]:
    """Samples that a manifest leaves out, since a file of theirs is absent."""
    return sorted({stem for one in folders if isinstance(one, ListedFiles) for stem in one.left_out})


def _recorded(images: Images, out: Path) -> str | dict[str, Any]:
    """How the summary says where images are; :func:`recorded_images` reads it."""
    if isinstance(images, ListedFiles):
        return {"name": images.name, "files": {stem: _portable(p, out) for stem, p in images.files.items()}}
    return _portable(images, out)


def _portable(path: Path, out: Path) -> str:
    return Path(path_from(out.parent, path)).as_posix()


def _score_all(config: EvaluateConfig, pairs: FolderPairs, log: ScoreLog) -> list[PairScores]:
    """Scores of all pairs, in the order of the images; those in the log are taken from there."""
    done = log.scored(pairs.paths)
    todo = [stem for stem in pairs.stems if stem not in done]
    work = joblib.Parallel(n_jobs=config.jobs, return_as="generator_unordered")(
        joblib.delayed(score_pair)(config, stem, pairs.paths[stem]) for stem in todo
    )
    failures: list[str] = []
    with Progress("evaluate", total=len(todo), unit="pair") as progress:
        if done:
            progress.message(f"evaluate: {len(done)} of {len(pairs.stems)} pairs are scored already")
        try:
            for scored in work:
                if isinstance(scored, str):
                    failures.append(scored)
                else:
                    log.append(scored)
                    done[scored.image] = scored
                progress.advance()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"{len(done)} of {len(pairs.stems)} pairs are scored; run it again"
            ) from None
    if failures:
        listed = enumerate_some(sorted(failures), most=_NAMES_SHOWN, separator="; ")
        raise InputError(
            f"{len(failures)} of {len(pairs.stems)} pairs cannot be scored: {listed}; mend them and "
            "run it again: the scores of the others are kept"
        )
    return [done[stem] for stem in pairs.stems]


def _common_metrics(
    config: EvaluateConfig, rows: list[dict[str, Any]], with_ground_truth: bool
) -> tuple[dict[str, Metric], dict[str, str]]:
    """Metrics that every image is large enough for, and the others with the reason."""
    wanted = metrics_of(config.convention, config.metrics)
    if with_ground_truth:
        wanted |= GROUND_TRUTH_METRICS
    images, left_out = {row["image"] for row in rows}, {}
    for name, metric in wanted.items():
        if small := sorted({row["image"] for row in rows if name not in row}):
            left_out[name] = f"needs {metric.min_side_px} pixels a side"
            if len(small) < len(images):
                left_out[name] += f", and {len(small)} of {len(images)} pairs have fewer, such as {small[0]}"
    metrics = {name: metric for name, metric in wanted.items() if name not in left_out}
    if not metrics:
        reasons = "; ".join(f"{name} {reason}" for name, reason in left_out.items())
        raise InputError(f"the images are too small: {reasons}; choose another --metric")
    return metrics, left_out
