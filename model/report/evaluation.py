"""What the page of an evaluation shows: scores, win rates and a gallery of all methods."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from model.evaluate import FORMAT, FORMAT_VERSION, recorded_images
from model.evaluation.evaluation_tables import notes
from model.inputs.folders import Images, pair_folders
from model.report import ReportConfig
from model.report.pictures import ERROR_RANGE_LEVELS, coloured_error, data_uri, within_limit
from pipeline.files import InputError
from pipeline.images import read_grey, read_image
from pipeline.progress import Progress

#: What is read of a summary.
_KEYS = {
    *("baselines", "colour", "config", "convention", "error_maps", "folders", "images", "images_folder"),
    *("left_out", "marks", "means", "methods", "metrics", "standard_errors", "win_rates"),
}

_Reader = Callable[[str], np.ndarray]


def evaluation_content(path: Path, summary: Any, config: ReportConfig) -> dict[str, Any]:
    """Content of the page for the evaluation summary at ``path``.

    Raises:
        InputError: it is no summary of this version, or its images are no longer where they were.
    """
    if not isinstance(summary, dict) or summary.get("format") != FORMAT:
        raise InputError(f"{path}: not the summary of an evaluation; give what evaluate wrote")
    if (version := summary.get("format_version")) != FORMAT_VERSION:
        raise InputError(
            f"{path}: version {version} of {FORMAT}, this program reads {FORMAT_VERSION}; evaluate again"
        )
    if missing := sorted(_KEYS - summary.keys()):
        raise InputError(f"{path}: {', '.join(missing)} is missing; evaluate again")
    methods, metrics = summary["methods"], _names(summary)
    scores = _scores(path.with_suffix(".jsonl"), summary)
    config_of = summary["config"]
    return {
        "kind": "evaluation",
        "title": "Fusion evaluation",
        "facts": [
            ["pairs scored", len(summary["images"])],
            ["methods compared", len(methods) - len(summary["baselines"])],
            ["baselines beside them", len(summary["baselines"])],
            ["convention", config_of["convention"]],
            ["scored", config_of["colour"]],
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
        "gallery": _gallery(path, summary, config),
    }


def _scores(path: Path, summary: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """metric -> method -> one value per image, from the lines beside the summary."""
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
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


def _gallery(path: Path, summary: Mapping[str, Any], config: ReportConfig) -> dict[str, Any]:
    """Pictures of as many pairs as the limit allows, spread over the set."""
    folders = {role: recorded_images(recorded, path) for role, recorded in summary["folders"].items()}
    columns, readers = _columns(path, summary, folders)
    images = summary["images"]
    with Progress("report", total=len(images), unit="pair") as progress:

        def encode(index: int) -> list[str]:
            progress.advance()
            return [data_uri(read(images[index]), config.picture_side_px) for read in readers]

        pairs = within_limit(len(images), encode, config.pictures_limit_mb)
    note = ""
    if len(pairs) < len(images):
        note = (
            f"{len(pairs)} of {len(images)} pairs are shown, spread over the set: the page's pictures are "
            f"limited to {config.pictures_limit_mb:g} MB. Tables and plots cover all pairs."
        )
    return {
        "columns": columns,
        "pairs": [{"image": index, "pictures": pictures} for index, pictures in pairs.items()],
        "note": note,
    }


def _columns(
    path: Path, summary: Mapping[str, Any], folders: Mapping[str, Images]
) -> tuple[list[dict[str, Any]], list[_Reader]]:
    """What stands side by side for a pair, and how each picture is read by the image's name."""
    pairs = pair_folders(folders)

    def original(stem: str, *, role: str) -> np.ndarray:
        if stem not in pairs.paths:
            raise InputError(f"{path}: the images of {stem} have gone since; restore them or evaluate again")
        return read_image(pairs.paths[stem][role])

    def written(stem: str, *, folder: Path) -> np.ndarray:
        return read_image(folder / f"{stem}.png")

    def error(stem: str, *, folder: Path) -> np.ndarray:
        return coloured_error(read_grey(folder / f"{stem}.png"))

    made = path.parent / summary["images_folder"]
    columns: list[dict[str, Any]] = []
    readers: list[_Reader] = []

    def add(name: str, kind: str, reader: _Reader, method: int | None = None) -> None:
        columns.append({"name": name, "kind": kind, "method": method})
        readers.append(reader)

    for role in ("a", "b"):
        name = folders[role].name
        add(role if name == role else f"{role} ({name})", "source", partial(original, role=role))
    truth = "ground truth" in summary["folders"]
    if truth:
        add("ground truth", "source", partial(original, role="ground truth"))
    for index, name in enumerate(summary["methods"]):
        folder = summary["baselines"].get(name)
        if folder is None:
            add(name, "method", partial(original, role=f"method {name}"), index)
        else:
            add(name, "baseline", partial(written, folder=made / folder), index)
    for name in summary["methods"]:
        if name in summary["error_maps"]:
            label = f"error of {name} (0 to {ERROR_RANGE_LEVELS} levels)"
            add(label, "error", partial(error, folder=made / summary["error_maps"][name]))
    return columns, readers


def _names(summary: Mapping[str, Any]) -> list[str]:
    return [metric["name"] for metric in summary["metrics"]]


def _short(value: float | None) -> float | None:
    """Six digits are more than a page shows."""
    return None if value is None else float(f"{value:.6g}")
