"""Evaluate: score any number of methods' fused images against their sources, side by side.

The stage reads folders and writes, beside the summary ``NAME.json``: ``NAME.jsonl`` (one line per image
and method), ``NAME.md`` and ``NAME.csv`` (tables), and ``NAME-images/`` (the baselines as images, and error
maps where there is a ground truth). ``report`` makes a page of it. Scoring needs no network and no GPU.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import joblib

from model.evaluation.baselines import BASELINES
from model.evaluation.evaluation_tables import csv_table, markdown_table, summarise
from model.evaluation.scoring import COLOUR, ERRORS, EvaluateConfig, folder_name, score_pair
from model.inputs.folders import FolderPairs, Images, ListedFiles, check_apart, pair_folders, path_from
from model.metrics import GROUND_TRUTH_METRICS, Metric
from model.metrics.conventions import CONVENTIONS, metrics_of
from pipeline.files import InputError, enumerate_some, one_line, read_json, write_bytes, write_json
from pipeline.progress import Progress

FORMAT, FORMAT_VERSION = "gifnet-evaluation", 1
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

    Args:
        a, b: folders of the sources (infrared and visible, near and far, ...), 8-bit; or files of a manifest.
        methods: name -> folder of its fused images. Files belong together by relative path without suffix.
        out: the summary, ``*.json``, outside all these folders; everything else is written beside it.
        ground_truth: optional folder or files of true images; adds PSNR-GT, SSIM-GT and error maps.

    Raises:
        InputError: folders do not hold the same images (those that a manifest left out do not count), an
            image cannot be read or has another size than its sources, names clash, ``out`` or a folder of
            pictures lies where images are read, a file to be replaced is not of an evaluation, such as the
            log of a run, or a metric is named that needs a ground truth and there is none. Nothing of the
            summary is written then.
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
    images = out.with_name(f"{out.stem}-images")
    for place in (out, *(images / folder_name(name) for name in BASELINES), images / ERRORS):
        check_apart(place, folders.values())
    _check_replaced(out)
    pairs = pair_folders(folders).require_complete()
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
        "baselines": {name: folder_name(name) for name in BASELINES},  # -> folder of its images
        "error_maps": {name: f"{ERRORS}/{folder_name(name)}" for name in names if ground_truth is not None},
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
    return write_json(out, summary)  # last: a summary means a complete evaluation


def recorded_images(recorded: str | dict[str, Any], summary_path: Path) -> Images:
    """Where the images of a role of a summary's ``folders`` are."""
    base = summary_path.parent
    if isinstance(recorded, str):
        return base / recorded
    return ListedFiles(recorded["name"], {stem: base / file for stem, file in recorded["files"].items()})


def _check_names(methods: Mapping[str, Path]) -> None:
    taken: dict[str, str] = {folder_name(name): name for name in BASELINES}
    for name in methods:
        other = taken.setdefault(folder_name(name), name)
        if not folder_name(name):
            raise InputError(f"-f {name}=...: a name needs a letter or a digit; choose another")
        if other != name or name in BASELINES:
            raise InputError(f"-f {name}=...: the name is too like {other!r}; choose another")


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
            row = json.loads(file.readline())
        ours = isinstance(row, dict) and {"image", "method"} <= row.keys()
    except FileNotFoundError:
        return
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise InputError(f"{path}: is there, and not of an evaluation; choose another -o")


def _recorded(images: Images, out: Path) -> str | dict[str, Any]:
    """How the summary says where images are; :func:`recorded_images` reads it."""
    if isinstance(images, ListedFiles):
        return {"name": images.name, "files": {stem: _portable(p, out) for stem, p in images.files.items()}}
    return _portable(images, out)


def _portable(path: Path, out: Path) -> str:
    return Path(path_from(out.parent, path)).as_posix()


def _score_all(config: EvaluateConfig, pairs: FolderPairs, images: Path) -> list[dict[str, Any]]:
    """One row per image and method, in the order of the images."""
    work = joblib.Parallel(n_jobs=config.jobs, return_as="generator")(
        joblib.delayed(score_pair)(config, stem, pairs.paths[stem], images) for stem in pairs.stems
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
        listed = enumerate_some(failures, most=_NAMES_SHOWN, separator="; ")
        raise InputError(f"{len(failures)} of {len(pairs.stems)} pairs cannot be scored: {listed}")
    return rows


def _common_metrics(
    config: EvaluateConfig, rows: list[dict[str, Any]], with_ground_truth: bool
) -> tuple[dict[str, Metric], dict[str, str]]:
    """Metrics that every image is large enough for, and the others with the reason."""
    wanted = metrics_of(config.convention, config.metrics)
    if with_ground_truth:
        wanted |= GROUND_TRUTH_METRICS
    left_out = {
        name: f"needs {metric.min_side_px} pixels a side"
        for name, metric in wanted.items()
        if any(name not in row for row in rows)
    }
    metrics = {name: metric for name, metric in wanted.items() if name not in left_out}
    if not metrics:
        raise InputError(f"the images are too small for {', '.join(left_out)}; choose another --metric")
    return metrics, left_out
