"""What the page of a training run shows: losses, both lambdas, settings and validation pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model.report import ReportConfig
from model.report.pictures import data_uri, within_limit
from pipeline.files import InputError, enumerate_some, read_json
from pipeline.images import read_image

#: Points of one curve; longer runs are averaged in bins.
_POINTS = 400
#: Title, record keys with their labels, whether a logarithmic axis suits; in the order of the page.
_CHARTS: tuple[tuple[str, dict[str, str], bool], ...] = (
    ("Cross-fusion gates λ", {"lambda_mm": "λ of MM", "lambda_dp": "λ of DP"}, False),
    ("MM task loss", {"mm_task": "training", "validation_mm_task": "validation"}, True),
    ("DP task loss", {"dp_task": "training", "validation_dp_task": "validation"}, True),
    ("MM public loss", {"mm_public": "training", "validation_mm_public": "validation"}, True),
    ("DP public loss", {"dp_public": "training", "validation_dp_public": "validation"}, True),
    ("Validation loss, total", {"validation_total": "validation"}, True),
    ("Weight of infrared in the MM loss", {"w_ir": "w_ir"}, False),
    ("Gradient norm", {"mm_gradient_norm": "MM", "dp_gradient_norm": "DP"}, True),
    ("Learning rate", {"lr": "learning rate"}, False),
    ("Seconds per step", {"seconds": "seconds"}, False),
)


def training_content(run: Path, config: ReportConfig) -> dict[str, Any]:
    """Content of the page for the training run in folder ``run``.

    Keys of ``metrics.jsonl`` that the page does not know get charts of their own.

    Raises:
        InputError: the run has no step yet, or one of its files is damaged.
    """
    from model.training.training_log import read_metrics

    records = read_metrics(run / "metrics.jsonl")
    if not records:
        raise InputError(
            f"{run}: no step is recorded, yet or any more; a run that goes on records its next one"
        )
    last = records[-1]
    facts: list[list[Any]] = [["steps", last["step"]]]
    for key, label in (("lambda_mm", "λ of MM"), ("lambda_dp", "λ of DP")):
        if last.get(key) is not None:
            facts.append([label, f"{last[key]:.3f}"])
    facts += _summary_facts(run / "summary.json")
    pictures, note = _pictures(run / "pictures", config)
    return {
        "kind": "training",
        "title": f"Training · {run.resolve().name}",
        "facts": facts,
        "notes": [
            "Curves: mean of each bin of steps; the band spans its smallest and largest value.",
            *([] if pictures or not note else [note]),  # beside which there is nothing to be
        ],
        "charts": _charts(records),
        "pictures": pictures,
        "picturesNote": note,
        "settings": _settings(run / "config.json"),
    }


def _charts(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    recorded = {key for record in records for key in record}
    known = {key for _, series, _ in _CHARTS for key in series} | {"step"}
    charts: list[tuple[str, dict[str, str], bool]] = list(_CHARTS)
    charts += [(key.replace("_", " "), {key: key}, False) for key in sorted(recorded - known)]
    drawn = []
    for title, labels, logarithmic in charts:
        curves: list[dict[str, Any]] = [
            {"name": label, "points": points, "sparse": key.startswith("validation_")}
            for key, label in labels.items()
            if (points := _curve(records, key))
        ]
        if curves:
            positive = all(point[2] > 0 for curve in curves for point in curve["points"])
            drawn.append({"title": title, "curves": curves, "log": logarithmic and positive})
    return drawn


def _curve(records: Sequence[Mapping[str, Any]], key: str) -> list[list[float]]:
    """At most 400 points: last step, mean, least and greatest value of each bin."""
    values = [(record["step"], record[key]) for record in records if record.get(key) is not None]
    size = -(-len(values) // _POINTS) or 1
    points = []
    for start in range(0, len(values), size):
        steps, numbers = zip(*values[start : start + size], strict=True)
        mean = sum(numbers) / len(numbers)
        points.append([steps[-1], *(float(f"{v:.5g}") for v in (mean, min(numbers), max(numbers)))])
    return points


def _pictures(folder: Path, config: ReportConfig) -> tuple[list[dict[str, Any]], str]:
    """Validation pictures by step, spread over the run where the limit does not allow all, and a note.

    Damaged ones are left out and named in the note.
    """
    files = sorted(folder.glob("[!.]*.png")) if folder.is_dir() else []  # what a kill left is hidden
    damaged: list[str] = []

    def encode(index: int) -> list[str]:
        try:
            image = read_image(files[index])
        except InputError:
            damaged.append(files[index].name)
            return []
        # These are contact sheets of many small planes: they may be twice as wide.
        return [data_uri(image, 2 * config.picture_side_px)]

    shown = within_limit(len(files), encode, config.pictures_limit_mb)
    pictures = [
        {"label": _step_label(files[index]), "picture": uri} for index, uris in shown.items() for uri in uris
    ]
    notes = []
    if len(shown) < len(files):
        limit = f"the page's pictures are limited to {config.pictures_limit_mb:g} MB"
        notes.append(f"{len(pictures)} of {len(files)} pictures are shown: {limit}.")
    if damaged:
        notes.append(f"Left out, damaged: {enumerate_some(sorted(damaged), most=3)}.")
    return pictures, " ".join(notes)


def _step_label(path: Path) -> str:
    match = re.search(r"(\d+)$", path.stem)
    return f"step {int(match[1])}" if match else path.stem


def _summary_facts(path: Path) -> list[list[Any]]:
    """What the summary of a finished run adds; a run that still goes on has none."""
    if not path.is_file():
        return [["state", "not finished"]]
    summary = read_json(path)
    facts: list[list[Any]] = []
    try:
        if best := summary.get("best_validation"):
            facts.append(["best validation", f"{best['total']:.4g} at step {best['step']}"])
        if seconds := summary.get("training_seconds"):
            facts.append(["training time", _duration(seconds)])
    except (AttributeError, TypeError, LookupError, ValueError, OverflowError):
        raise InputError(f"{path}: not the summary of a training run; resume the run, or delete it") from None
    return facts


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _settings(path: Path) -> list[list[str]]:
    """Settings and versions as rows of name and value."""
    if not path.is_file():
        return []
    rows: list[list[str]] = []

    def collect(value: Any, name: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                collect(inner, f"{name}.{key}" if name else str(key))
        else:
            rows.append([name.removeprefix("config."), str(value)])

    collect(read_json(path), "")
    return rows
