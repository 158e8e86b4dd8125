"""Conventions: what published codes print, and the table that documents it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_runs import run
from metric_pictures import picture

from model.evaluation.baselines import BASELINES
from model.metrics import GROUND_TRUTH_METRICS, METRICS, compute_metrics, conventions
from model.metrics.conventions import CONVENTIONS, Convention, metrics_of
from pipeline.files import InputError
from pipeline.images import read_grey

#: What the definitions of the published codes give for SeAFusion's result on TNO pair 01, images read as
#: grey: those in Matlab under GNU Octave 7.3 (image package), CDDFuse's in Python with scikit-image 0.26.
#: Octave has no dwt2 and another edge(): both were written out there after Matlab's, with its 'dmey' taps.
PRINTED = {
    "matlab-toolbox": {
        "EN": 7.171017,
        "SD": 8.897743,
        "MI": 2.566855,
        "VIF": 0.835791,
        "MSE": 0.044452,
        "FMI_pixel": 0.896846,
        "FMI_dct": 0.270170685,
        "FMI_w": 0.317629372,
    },
    "cddfuse": {
        "EN": 7.171017,
        "SD": 48.149006,
        "SF": 12.802565,
        "AG": 5.011991,
        "MI": 1.763534,
        "MSE": 2890.498779,
        "CC": 0.355269,
        "PSNR": 13.521076,
        "SCD": 1.810507,
        "VIF": 0.631394,
        "Qabf": 0.473940,
        "SSIM": 0.996761,
    },
    "vifb": {
        "SF": 12.792882,
        "MI": 1.763534,
        "PSNR": 59.20172,
        "RMSE": 0.078146,
        "CE": 1.275725,
        "Qabf": 0.473940,
        "Qcb": 0.526118,
        "Qcv": 620.44988,
    },
}
#: Where neighbouring gradients are equal, rounding decides which of them is the edge: in double precision
#: the order of the sums alone moves this value by 2e-5. On whole grey levels Octave gives ours, 0.8968613.
TOLERANCE = {"FMI_pixel": 1e-4}


def scores(convention: str) -> dict[str, float]:
    fused, a, b = (picture(seed, (180, 184)) for seed in (1, 2, 3))
    return compute_metrics(fused, a, b, metrics=metrics_of(convention))


@pytest.mark.parametrize("convention", PRINTED)
def test_published_codes_print_the_same(shared: Path, convention: str) -> None:
    root = shared / "reference" / "metrics"
    fused, a, b = (read_grey(root / folder / "01.png") for folder in ("seafusion", "ir", "vi"))
    metrics = metrics_of(convention, tuple(PRINTED[convention]))
    for name, value in compute_metrics(fused, a, b, metrics=metrics).items():
        tolerance = TOLERANCE.get(name, 1e-5)
        assert value == pytest.approx(PRINTED[convention][name], rel=tolerance, abs=6e-7), name


def test_documented_factors() -> None:
    standard, toolbox = scores("standard"), scores("matlab-toolbox")
    cddfuse, vifb = scores("cddfuse"), scores("vifb")
    assert toolbox["SF"] == pytest.approx(standard["SF"] / 255)
    assert toolbox["PSNR"] - standard["PSNR"] == pytest.approx(20 * np.log10(255))
    assert toolbox["MS-SSIM"] == standard["MEF-SSIM"]
    assert toolbox["SD"] < 16 < standard["SD"]
    assert cddfuse["MI"] == pytest.approx(standard["MI"] * np.log(2))
    assert cddfuse["AG"] == pytest.approx(standard["AG"] * 179 * 183 / (180 * 184))
    assert vifb["SSIM"] == pytest.approx(2 * standard["SSIM"])
    assert vifb["PSNR"] > standard["PSNR"] + 20


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_what_is_called_the_same_is_the_same_and_what_differs_differs(convention: str) -> None:
    standard, others = scores("standard"), scores(convention)
    for name in CONVENTIONS[convention].same:
        assert others[name] == standard[name], name
    for name, difference in CONVENTIONS[convention].differs.items():
        assert difference.note
        # Level 255 does not occur in these images, so nothing saturates in the joint histogram.
        if name in standard and (convention, name) != ("matlab-toolbox", "MI"):
            assert others[name] != pytest.approx(standard[name], rel=1e-6), name


def test_selection() -> None:
    assert list(metrics_of()) == list(METRICS)
    assert list(metrics_of("vifb", ("Qcb", "EI"))) == ["EI", "Qcb"]  # in the order of the table
    assert metrics_of("matlab-toolbox")["MS-SSIM"].min_side_px == 44
    assert metrics_of("matlab-toolbox")["FMI_dct"].min_side_px == 3
    assert not [name for name in metrics_of() if name.startswith("FMI_")]
    assert list(metrics_of("vifb", ("EI", "PSNR-GT"))) == ["EI"]  # which comes with its ground truth
    with pytest.raises(InputError, match="unknown; use one of standard"):
        metrics_of("matlab")
    with pytest.raises(InputError, match="SCD: no metric of convention vifb"):
        metrics_of("vifb", ("SCD",))


def test_units_are_those_of_the_convention() -> None:
    for name, mi, sf in (
        ("standard", "bit", "grey level"),
        ("matlab-toolbox", "bit", ""),
        ("cddfuse", "nat", "grey level"),
        ("vifb", "nat", "grey level"),
    ):
        metrics = metrics_of(name, ("MI", "SF"))
        assert (metrics["MI"].unit, metrics["SF"].unit) == (mi, sf), name


def _metrics_table() -> str:
    """The standard metrics as a Markdown table, and those of a ground truth."""
    lines = ["| metric | what | unit | better |", "|---|---|---|---|"]
    for name, metric in (METRICS | GROUND_TRUTH_METRICS).items():
        better = "higher" if metric.higher_is_better else "lower"
        lines.append(f"| {name} | {metric.title} | {metric.unit or '–'} | {better} |")
    return "\n".join(lines) + "\n"


def _conventions_table() -> str:
    """Every difference between the conventions as a Markdown table, and where the codes are."""
    others = {name: convention for name, convention in CONVENTIONS.items() if name != "standard"}
    lines = ["| metric | " + " | ".join(others) + " |", "|---" * (len(others) + 1) + "|"]
    for metric in (*METRICS, *conventions._EXTRA):
        cells = [_cell(convention, metric) for convention in others.values()]
        if any(cells):
            lines.append(f"| {metric} | " + " | ".join(cell or "–" for cell in cells) + " |")
    lines.append("")
    for name, convention in others.items():
        lines.append(f"- `{name}`: {convention.source}. {convention.remark}".rstrip())
    return "\n".join(lines) + "\n"


def _cell(convention: Convention, metric: str) -> str:
    if metric in convention.differs:
        return convention.differs[metric].note
    return "as standard" if metric in convention.same else ""


@pytest.fixture(scope="module")
def page() -> str:
    return Path(conventions.__file__).with_name("CONVENTIONS.md").read_text(encoding="utf-8")


def test_the_page_of_conventions_is_what_the_code_says(page: str) -> None:
    assert page.startswith("# ") and page.endswith("\n\n" + _conventions_table())
    assert page.index("\n\n" + _metrics_table() + "\n") < page.index(_conventions_table())
    assert "model/metrics/CONVENTIONS.md" in (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def test_every_metric_is_listed_with_its_unit_and_its_better_side(page: str) -> None:
    table = page.partition("|---|---|---|---|\n")[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()]
    metrics = METRICS | GROUND_TRUTH_METRICS
    assert [name for name, *_ in rows] == list(metrics)
    assert {name for name, *_, better in rows if better == "lower"} == {"Nabf", "Qcv", "MSE"}
    assert {name for name, _, unit, _ in rows if unit == "dB"} == {"PSNR", "PSNR-GT"}
    shown = run("evaluate", "--help").output
    assert ", ".join(BASELINES) in " ".join(shown.split())
    words = (
        shown.partition("--metric")[2].partition("--colour")[0].replace(",", " ").replace(";", " ").split()
    )
    assert not [name for name in metrics if name not in words]
