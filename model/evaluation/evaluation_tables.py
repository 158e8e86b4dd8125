"""Tables of an evaluation: means, standard errors, paired win rates, and which metrics can be gamed."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model.metrics import Metric
from pipeline.files import enumerate_some

#: Baselines that are nothing but the average made worse: what they win, a metric gives away.
GAMES = {"noise": "average + noise", "sharpening": "average + unsharp"}
#: The baseline that is hardest to beat.
RIVAL = "Laplacian pyramid"
MARKS = {"noise": "ⁿ", "sharpening": "ˢ"}
#: Samples named in a note; the rest is counted.
_NAMES_SHOWN = 8

GAMED_NOTE = (
    "ⁿ, ˢ: on more than half of these pairs a plain average scores better once noise (10 grey levels) or an "
    "unsharp mask (2, sigma 2 px) is added. A lead in such a column alone proves nothing."
)


def summarise(
    rows: Sequence[Mapping[str, Any]], methods: Sequence[str], metrics: Mapping[str, Metric]
) -> dict[str, Any]:
    """Reduce per-image rows to the numbers of the summary.

    Returns:
        ``means`` and ``standard_errors``: method -> metric -> number (None for one image);
        ``win_rates``: metric -> method -> method -> share of images on which the first is better, a tie
        counting half; ``rises_with``: metric -> noise, sharpening -> share of images on which the
        average gains by it; ``marks``: metric -> what more than half of the images gain by.
    """
    scores = {
        name: {method: np.array([row[name] for row in rows if row["method"] == method]) for method in methods}
        for name in metrics
    }
    win_rates = {
        name: {
            one: {
                other: _win_rate(values[one], values[other], metrics[name].higher_is_better)
                for other in methods
                if other != one
            }
            for one in methods
        }
        for name, values in scores.items()
    }
    rises = {
        name: {game: win_rates[name][baseline]["average"] for game, baseline in GAMES.items()}
        for name in metrics
    }
    return {
        "means": {m: {name: float(scores[name][m].mean()) for name in metrics} for m in methods},
        "standard_errors": {m: {name: _standard_error(scores[name][m]) for name in metrics} for m in methods},
        "win_rates": win_rates,
        "rises_with": rises,
        "marks": {name: [game for game in GAMES if rises[name][game] > 0.5] for name in metrics},
    }


def markdown_table(summary: Mapping[str, Any]) -> str:
    """Mean ± standard error per method and metric, the best of each column bold, baselines italic; and how
    often each method is ahead of the strongest baseline."""
    metrics = summary["metrics"]
    header = [
        "| method | " + " | ".join(_heading(summary, metric) for metric in metrics) + " |",
        "|---" + "|---:" * len(metrics) + "|",
    ]
    lines = list(header)
    columns = [_column(summary, metric) for metric in metrics]
    for row, method in enumerate(summary["methods"]):
        label = _escaped(method)
        label = f"*{label}*" if method in summary["baselines"] else label
        lines.append("| " + " | ".join([label, *(column[row] for column in columns)]) + " |")
    listed = ["Bold is best; italic rows are baselines without any network.", *map(_escaped, notes(summary))]
    lines += ["", *(f"- {note}" for note in listed)]
    if methods := [method for method in summary["methods"] if method not in summary["baselines"]]:
        lines += ["", f"Share of pairs on which a method is ahead of {RIVAL}; a tie counts half:", ""]
        names = [_escaped(metric["name"]) for metric in metrics]
        lines += ["| method | " + " | ".join(names) + " |", header[1]]
        for method in methods:
            shares = (summary["win_rates"][metric["name"]][method][RIVAL] for metric in metrics)
            # As the page rounds: halves up.
            percent = (f"{math.floor(100 * share + 0.5)}%" for share in shares)
            lines.append("| " + " | ".join([_escaped(method), *percent]) + " |")
    return "\n".join(lines) + "\n"


def csv_table(summary: Mapping[str, Any]) -> str:
    """One line per method: name, kind, number of images, then mean and standard error of each metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [metric["name"] for metric in summary["metrics"]]
    columns = [column for name in names for column in (name, f"{name} standard error")]
    writer.writerow(["method", "kind", "images", *columns])
    for method in summary["methods"]:
        kind = "baseline" if method in summary["baselines"] else "method"
        means, errors = summary["means"][method], summary["standard_errors"][method]
        values = [value for name in names for value in (means[name], errors[name])]
        # What begins like a formula is text to a spreadsheet behind an apostrophe.
        name = f"'{method}" if method.startswith(("=", "+", "-", "@")) else method
        writer.writerow([name, kind, len(summary["images"]), *("" if v is None else v for v in values)])
    return text.getvalue()


def notes(summary: Mapping[str, Any]) -> list[str]:
    """What a reader of the table has to know."""
    count, config = len(summary["images"]), summary["config"]
    lines = [
        f"Mean ± standard error over {count} pair{'' if count == 1 else 's'}.",
        f"Scored: {summary['colour']}. Convention: {config['convention']} ({summary['convention']}).",
    ]
    if any(summary["marks"].values()):
        lines.append(GAMED_NOTE)
    lines += [f"{name} is left out: {reason}." for name, reason in summary["left_out"].items()]
    if unmatched := summary["unmatched"]:
        shown = enumerate_some(unmatched, most=_NAMES_SHOWN)
        lines.append(f"Not scored, for want of a file: {len(unmatched)} of the recipe's samples ({shown}).")
    return lines


def _escaped(text: str) -> str:
    """Markdown that shows the text as it is."""
    return re.sub(r"([\\`*_|<\[~&])", r"\\\1", text)


def _heading(summary: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """Abbreviation, arrow towards better, and marks of what it can be gamed with."""
    marks = "".join(MARKS[game] for game in summary["marks"][metric["name"]])
    return f"{metric['name']} {'↑' if metric['higher_is_better'] else '↓'}{marks}"


def _column(summary: Mapping[str, Any], metric: Mapping[str, Any]) -> list[str]:
    """Cells of one metric, with as many decimals as give its largest mean about four digits."""
    means = [summary["means"][method][metric["name"]] for method in summary["methods"]]
    errors = [summary["standard_errors"][method][metric["name"]] for method in summary["methods"]]
    largest = max(abs(mean) for mean in means)
    decimals = int(np.clip(3 - np.floor(np.log10(largest)), 0, 4)) if largest else 4
    best = max(means) if metric["higher_is_better"] else min(means)
    cells = []
    for mean, error in zip(means, errors, strict=True):
        text = f"{mean:.{decimals}f}" + ("" if error is None else f" ± {error:.{decimals}f}")
        cells.append(f"**{text}**" if mean == best else text)
    return cells


def _win_rate(one: np.ndarray, other: np.ndarray, higher_is_better: bool) -> float:
    wins = one > other if higher_is_better else one < other
    return float((wins + 0.5 * (one == other)).mean())


def _standard_error(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
