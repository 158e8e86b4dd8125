"""Tables of an evaluation: means and win rates, names in Markdown, and which metrics are left out."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from metric_pictures import write_set

from model.evaluate import evaluate
from model.evaluation.baselines import BASELINES
from model.evaluation.evaluation_tables import markdown_table, summarise
from model.evaluation.scoring import EvaluateConfig
from model.metrics import METRICS
from pipeline.files import InputError

FEW = EvaluateConfig(metrics=("EN", "SF", "SCD", "Qabf", "SSIM", "MSE"), jobs=1)


def test_tables(tmp_path: Path) -> None:
    methods = write_set(tmp_path)
    out = evaluate(FEW, tmp_path / "a", tmp_path / "b", methods, tmp_path / "r.json")
    table = out.with_suffix(".md").read_text()
    assert "| EN ↑ⁿˢ |" in table and "| MSE ↓ |" in table and "| SSIM ↑ |" in table
    assert "*average + noise*" in table and "mean \\| \\<b>" in table
    scores, _, shares = table.partition("Share of pairs on which a method is ahead of Laplacian pyramid;")
    rows = [line for line in scores.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(methods) + len(BASELINES)
    summary = json.loads(out.read_text())
    for column, name in enumerate(FEW.metrics, 2):
        cells = [row.replace("\\|", "").split("|")[column] for row in rows[2:]]
        means = [summary["means"][method][name] for method in summary["methods"]]
        best = min(means) if name == "MSE" else max(means)
        assert ["**" in cell for cell in cells] == [mean == best for mean in means]
    won = [line for line in shares.splitlines() if line.startswith("|")][2:]
    assert len(won) == len(methods)
    for row, method in zip(won, methods, strict=True):
        cells = row.replace("\\|", "").split("|")[2:-1]
        expected = [summary["win_rates"][name][method]["Laplacian pyramid"] for name in FEW.metrics]
        assert [cell.strip() for cell in cells] == [f"{share:.0%}" for share in expected]
    with open(out.with_suffix(".csv"), newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["method"] for line in lines] == summary["methods"]
    assert {line["kind"] for line in lines} == {"method", "baseline"}
    assert float(lines[1]["SSIM"]) == summary["means"]["mean | <b>"]["SSIM"]


def test_names_are_shown_as_they_are_in_markdown(tmp_path: Path) -> None:
    write_set(tmp_path)
    name = r"R&D &amp; <i>*_~`[x](y)|\\"
    out = evaluate(FEW, tmp_path / "a", tmp_path / "b", {name: tmp_path / "copy"}, tmp_path / "r.json")
    cell = out.with_suffix(".md").read_text().splitlines()[2].removeprefix("| ").partition(" | ")[0]
    # CommonMark: a backslash takes the meaning from the punctuation behind it.
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell) == name
    assert not re.search(r"(?<!\\)[&<*_~`\[|]", re.sub(r"\\\\", "", cell))


def test_summary_statistics_by_hand() -> None:
    metrics = {name: METRICS[name] for name in ("EN", "MSE")}
    values = {"x": [(1.0, 4.0), (3.0, 4.0)], "average": [(1.0, 9.0), (2.0, 1.0)]}
    values |= {"average + noise": [(2.0, 9.0), (3.0, 2.0)], "average + unsharp": [(0.0, 9.0), (3.0, 0.0)]}
    rows = [
        {"image": str(i), "method": method, "EN": scores[i][0], "MSE": scores[i][1]}
        for i in range(2)
        for method, scores in values.items()
    ]
    summary = summarise(rows, list(values), metrics)
    assert summary["means"]["x"] == {"EN": 2.0, "MSE": 4.0}
    assert summary["standard_errors"]["x"] == {"EN": pytest.approx(1.0), "MSE": 0.0}
    # EN: a tie and a win; MSE, lower is better: a win and a defeat.
    assert summary["win_rates"]["EN"]["x"]["average"] == 0.75
    assert summary["win_rates"]["MSE"]["x"]["average"] == 0.5
    assert summary["win_rates"]["MSE"]["average"]["x"] == 0.5
    assert summary["rises_with"]["EN"] == {"noise": 1.0, "sharpening": 0.5}
    assert summary["marks"] == {"EN": ["noise"], "MSE": ["sharpening"]}
    one = summarise(rows[:4], list(values), metrics)
    assert one["standard_errors"]["x"]["EN"] is None


def test_shares_have_no_arrow_and_say_that_ties_count_half(tmp_path: Path) -> None:
    methods = write_set(tmp_path)
    config = EvaluateConfig(metrics=("EN", "MSE"), jobs=1)
    out = evaluate(config, tmp_path / "a", tmp_path / "b", methods, tmp_path / "r.json")
    means, shares = out.with_suffix(".md").read_text().split("Share of pairs")
    assert "MSE ↓" in means and "↓" not in shares and "a tie counts half" in shares
    summary = json.loads(out.read_text())
    for rates in summary["win_rates"].values():
        for others in rates.values():
            others.update(dict.fromkeys(others, 0.125))
    assert "| 13% | 13% |" in markdown_table(summary)  # as pages round it


def test_metrics_that_small_images_do_not_allow_are_left_out_with_the_reason(tmp_path: Path) -> None:
    methods = write_set(tmp_path)
    config = EvaluateConfig(metrics=("EN", "MS-SSIM"), jobs=1)
    out = evaluate(config, tmp_path / "a", tmp_path / "b", methods, tmp_path / "r.json")
    summary = json.loads(out.read_text())
    assert [metric["name"] for metric in summary["metrics"]] == ["EN"]
    assert summary["left_out"] == {"MS-SSIM": "needs 176 pixels a side"}
    assert "MS-SSIM is left out: needs 176 pixels a side" in out.with_suffix(".md").read_text()
    with pytest.raises(InputError, match="too small: MS-SSIM needs 176 pixels a side; choose"):
        evaluate(
            EvaluateConfig(metrics=("MS-SSIM",), jobs=1),
            tmp_path / "a",
            tmp_path / "b",
            methods,
            tmp_path / "s.json",
        )


def test_a_metric_that_one_image_does_not_allow_is_left_out_for_all(tmp_path: Path) -> None:
    methods = write_set(tmp_path)
    write_set(tmp_path / "small", shape=(9, 12))
    for path in (tmp_path / "small").rglob("night/1.*"):
        path.replace(tmp_path / path.relative_to(tmp_path / "small"))
    config = EvaluateConfig(metrics=("EN", "SSIM"), jobs=1)
    out = evaluate(config, tmp_path / "a", tmp_path / "b", methods, tmp_path / "r.json")
    (reason,) = json.loads(out.read_text())["left_out"].values()
    assert reason == "needs 11 pixels a side, and 1 of 3 pairs have fewer, such as night/1"
    assert not any("SSIM" in json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines())


def test_so_is_the_ground_truth_metric_that_needs_more_pixels(tmp_path: Path) -> None:
    methods = write_set(tmp_path, shape=(9, 12))
    config = EvaluateConfig(metrics=("EN", "SSIM"), jobs=1)
    sources = tmp_path / "a", tmp_path / "b"
    out = evaluate(config, *sources, methods, tmp_path / "r.json", ground_truth=tmp_path / "copy")
    summary = json.loads(out.read_text())
    assert [metric["name"] for metric in summary["metrics"]] == ["EN", "PSNR-GT"]
    assert summary["left_out"] == dict.fromkeys(("SSIM", "SSIM-GT"), "needs 11 pixels a side")
    assert summary["means"]["copy of b"]["PSNR-GT"] == 150.0
    assert "SSIM-GT is left out: needs 11 pixels a side" in out.with_suffix(".md").read_text()
