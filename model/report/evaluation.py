"""What the page of an evaluation shows: scores, win rates and a gallery of all methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model.evaluate import FORMAT, FORMAT_VERSION, recorded_images
from model.evaluation.evaluation_tables import notes
from model.evaluation.scoring import pair_digest, pair_planes
from model.inputs.folders import Images, pair_folders
from model.metrics.similarity import error_map
from model.report import ReportConfig
from model.report.pictures import ERROR_RANGE_LEVELS, coloured_error, data_uri, within_limit
from pipeline.files import InputError, parse_json
from pipeline.images import read_image
from pipeline.runtime.progress import Progress

#: What is read of a summary.
_KEYS = {
    *("baselines", "colour", "config", "convention", "digests", "folders", "images", "left_out", "marks"),
    *("means", "methods", "metrics", "standard_errors", "unmatched", "win_rates"),
}


@dataclass(frozen=True)
class _Column:
    """One of the pictures that stand side by side."""

    kind: str  # source, method, baseline or error
    role: str  # of its file, or "method NAME"
    name: str
    method: int | None = None  # place among the methods, whose scores are shown with it


def evaluation_content(path: Path, summary: Any, config: ReportConfig) -> dict[str, Any]:
    """Content of the page for the evaluation summary at ``path``.

    Raises:
        InputError: it is no summary of this version, is damaged, or its images have gone or changed since.
    """
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        raise InputError(f"{path}: not the summary of an evaluation; give what evaluate wrote")
    if (version := summary.get("format_version")) != FORMAT_VERSION:
        raise InputError(
            f"{path}: version {version} of {FORMAT}, this program reads {FORMAT_VERSION}; evaluate again"
        )
    if missing := sorted(_KEYS - summary.keys()):
        raise InputError(f"{path}: {', '.join(missing)} is missing; evaluate again")
    try:
        folders = {role: recorded_images(recorded, path) for role, recorded in summary["folders"].items()}
        columns = _columns(summary, folders)
        digests = {stem: summary["digests"][stem] for stem in summary["images"]}
        content = _numbers(summary, _scores(path.with_suffix(".jsonl"), summary))
    except (AttributeError, LookupError, OverflowError, TypeError, ValueError):
        raise InputError(f"{path}: damaged; evaluate again") from None
    pairs = pair_folders(folders)

    def pictures(stem: str) -> list[np.ndarray]:
        if stem not in pairs.paths:
            raise InputError(f"{path}: the images of {stem} have gone since; restore them or evaluate again")
        paths = pairs.paths[stem]
        if pair_digest(paths) != digests[stem]:
            raise InputError(f"{path}: the images of {stem} have changed since; evaluate again")
        return _pictures(stem, paths, columns, summary["config"]["colour"])

    return content | {"gallery": _gallery(list(digests), columns, pictures, config)}


def _numbers(summary: Mapping[str, Any], scores: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Everything but the pictures."""
    methods, metrics, config = summary["methods"], _names(summary), summary["config"]
    return {
        "kind": "evaluation",
        "title": "Fusion evaluation",
        "facts": [
            ["pairs scored", len(summary["images"])],
            ["methods compared", len(methods) - len(summary["baselines"])],
            ["baselines beside them", len(summary["baselines"])],
            ["convention", config["convention"]],
            ["scored", config["colour"]],
        ],
        "notes": notes(summary),
        "methods": [{"name": name, "baseline": name in summary["baselines"]} for name in methods],
        "metrics": [
            {
                "name": metric["name"],
                "title": metric["title"],
                "unit": metric["unit"],
                "higher": metric["higher_is_better"],
                "marks": summary["marks"][metric["name"]],
            }
            for metric in summary["metrics"]
        ],
        "images": summary["images"],
        "means": [[_short(summary["means"][m][name]) for name in metrics] for m in methods],
        "errors": [[_short(summary["standard_errors"][m][name]) for name in metrics] for m in methods],
        "scores": [[[_short(v) for v in scores[name][m]] for m in methods] for name in metrics],
        "wins": [
            [[summary["win_rates"][name][m].get(other) for other in methods] for m in methods]
            for name in metrics
        ],
    }


def _scores(path: Path, summary: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """metric -> method -> one value per image, from the lines beside the summary."""
    try:
        rows = [parse_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); evaluate again") from None
    methods = summary["methods"]
    try:
        listed = [(row["image"], row["method"]) for row in rows]
        scores = {
            name: {method: [row[name] for row in rows if row["method"] == method] for method in methods}
            for name in _names(summary)
        }
    except (LookupError, TypeError):  # another evaluation's: no such metric, or no rows at all
        listed, scores = [], {}
    if listed != [(image, method) for image in summary["images"] for method in methods]:
        raise InputError(f"{path}: does not belong to its summary; evaluate again")
    return scores


def _columns(summary: Mapping[str, Any], folders: Mapping[str, Images]) -> list[_Column]:
    """What stands side by side for a pair."""
    columns = []
    for role in ("a", "b"):
        name = folders[role].name
        columns.append(_Column("source", role, role if name == role else f"{role} ({name})"))
    if truth := "ground truth" in folders:
        columns.append(_Column("source", "ground truth", "ground truth"))
    for index, name in enumerate(summary["methods"]):
        kind = "baseline" if name in summary["baselines"] else "method"
        columns.append(_Column(kind, f"method {name}", name, index))
    if truth:
        label = f"(0 to {ERROR_RANGE_LEVELS} levels)"
        columns += [
            _Column("error", f"method {name}", f"error of {name} {label}") for name in summary["methods"]
        ]
    if absent := [one.role for one in columns if one.kind == "method" and one.role not in folders]:
        raise LookupError(absent)
    return columns


def _pictures(
    stem: str, paths: Mapping[str, Path], columns: Sequence[_Column], colour: str
) -> list[np.ndarray]:
    """Pictures of one pair (role -> file): sources and results as they are, the rest as it was scored."""
    planes = pair_planes(stem, paths, colour)

    def picture(column: _Column) -> np.ndarray:
        if column.kind == "error":
            pairs = zip(planes[column.role], planes["ground truth"], strict=True)
            return coloured_error(np.max([error_map(*pair) for pair in pairs], axis=0))
        if column.kind == "baseline":
            stack = planes[column.role]
            return stack[0] if len(stack) == 1 else np.ascontiguousarray(stack.transpose(1, 2, 0))
        return read_image(paths[column.role])

    return [picture(column) for column in columns]


def _gallery(
    images: Sequence[str],
    columns: Sequence[_Column],
    pictures: Callable[[str], list[np.ndarray]],
    config: ReportConfig,
) -> dict[str, Any]:
    """Pictures of as many pairs as the limit allows, spread over the set."""
    with Progress("report", total=len(images), unit="pair") as progress:

        def encode(index: int) -> list[str]:
            progress.advance()
            return [data_uri(picture, config.picture_side_px) for picture in pictures(images[index])]

        pairs = within_limit(len(images), encode, config.pictures_limit_mb)
        progress.all_done()
    note = ""
    if len(pairs) < len(images):
        note = (
            f"{len(pairs)} of {len(images)} pairs are shown, spread over the set: the page's pictures are "
            f"limited to {config.pictures_limit_mb:g} MB. Tables and plots cover all pairs."
        )
    return {
        "columns": [{"name": one.name, "kind": one.kind, "method": one.method} for one in columns],
        "pairs": [{"image": index, "pictures": uris} for index, uris in pairs.items()],
        "note": note,
    }


def _names(summary: Mapping[str, Any]) -> list[str]:
    return [metric["name"] for metric in summary["metrics"]]


def _short(value: float | None) -> float | None:
    """Six digits are more than a page shows."""
    return None if value is None else float(f"{value:.6g}")
