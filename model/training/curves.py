"""Summary and curves of a training run, from its ``metrics.jsonl`` alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.images import write_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The losses that every step and every validation has.
LOSSES = ("mm_task", "mm_public", "dp_task", "dp_public")
#: Steps at either end of a run over which losses are averaged for the summary.
ENDS = 10
#: Steps of the moving average in the plots, at most; short runs use a tenth of their length.
SMOOTHING = 100


def summarise(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """First and last ten means of the four losses, both lambdas, and the best validation of a run.

    A validation whose total was not finite, null in the record, is none. What records lack does not count.
    """
    if not records:
        return {}
    losses = {}
    for name in LOSSES:
        _, values = _series(records, name)
        if len(values):
            losses[name] = {
                f"first_{ENDS}_mean": fmean(values[:ENDS]),
                f"last_{ENDS}_mean": fmean(values[-ENDS:]),
            }
    last = records[-1]
    validations = [record for record in records if record.get("validation_total") is not None]
    best = min(validations, key=lambda record: record["validation_total"], default=None)
    return {
        "steps": last["step"],
        "losses": losses,
        "lambda_mm": last.get("lambda_mm"),
        "lambda_dp": last.get("lambda_dp"),
        "best_validation": best and {"step": best["step"], "total": best["validation_total"]},
        "skipped_updates": sum(
            record.get(f"{task}_gradient_norm", 0) is None for record in records for task in ("mm", "dp")
        ),
        "training_seconds": sum(record.get("seconds") or 0 for record in records),
    }


def draw_curves(records: Sequence[dict[str, Any]], path: Path) -> Path:
    """Plot the four losses (log scale) and both lambdas, as in the supplement's Figure 4, into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(curves_figure(records))
    canvas.draw()
    return write_image(path, np.asarray(canvas.buffer_rgba())[..., :3])


def curves_figure(records: Sequence[dict[str, Any]]) -> Figure:
    """The six panels of :func:`draw_curves`, with room for labels of any length."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import AutoLocator, FormatStrFormatter, LogLocator, NullLocator, ScalarFormatter

    figure = Figure(figsize=(12, 6.5), layout="constrained")
    panels = figure.subplots(2, 3)
    for panel, name in zip(panels.flat, (*LOSSES, "lambda_mm", "lambda_dp"), strict=True):
        panel.set_title(name.replace("_", " "), fontsize=10)
        steps, values = _series(records, name)
        if not len(steps):
            continue
        panel.plot(steps, values, color="tab:blue", alpha=0.3, linewidth=0.8)
        panel.plot(*_smoothed(steps, values), color="tab:blue", linewidth=1.5)
        validated, validation = _series(records, f"validation_{name}")
        if len(validated):
            panel.plot(validated, validation, "o-", color="tab:orange", markersize=3, label="validation")
            panel.legend(fontsize=8).set_in_layout(False)  # whose place takes long to find
        if name in LOSSES and (values > 0).all():
            panel.set_yscale("log")
        low, high = panel.get_ylim()
        panel.yaxis.set_minor_locator(NullLocator())
        if panel.get_yscale() == "log" and high > 10 * low:
            # Two or three decades have few powers of ten.
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
            # No formulas, which take most of the time.
            panel.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        else:  # within a decade labels have one digit
            panel.yaxis.set_major_locator(AutoLocator())
            panel.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
            panel.ticklabel_format(axis="y", style="plain")
        panel.set_xlabel("step", fontsize=8)
        panel.grid(alpha=0.3)
    return figure


def _series(records: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    """Steps at which a number of this name is recorded, and the numbers, (2, N)."""
    known = [(record["step"], record[name]) for record in records if record.get(name) is not None]
    return np.array(known, np.float64).reshape(-1, 2).T


def _smoothed(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    width = max(1, min(SMOOTHING, len(values) // 10))
    window = np.ones(width) / width
    return steps[width - 1 :], np.convolve(values, window, mode="valid")
