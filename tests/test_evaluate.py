"""Evaluating folders of methods, and the tables made of it."""

from __future__ import annotations

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from metric_pictures import STEMS, picture, write_set

from model.evaluate import evaluate, parse_method, parse_methods
from model.evaluation.baselines import BASELINES
from model.evaluation.evaluation_tables import summarise
from model.evaluation.scoring import EvaluateConfig, score_pair
from model.metrics import METRICS, compute_metrics
from model.metrics.conventions import metrics_of
from pipeline.files import InputError
from pipeline.images import write_image

FEW = EvaluateConfig(metrics=("EN", "SF", "SCD", "Qabf", "SSIM", "MSE"), jobs=1)


def read_rows(out: Path) -> list[dict]:
    return [json.loads(line) for line in out.with_suffix(".jsonl").read_text().splitlines()]


def test_scores_are_those_of_the_metrics(tmp_path: Path) -> None:
    methods = write_set(tmp_path)
    out = evaluate(FEW, tmp_path / "a", tmp_path / "b", methods, tmp_path / "out" / "r.json")
    rows, summary = read_rows(out), json.loads(out.read_text())
    assert [row["image"] for row in rows[:: len(methods) + len(BASELINES)]] == list(STEMS)
    a, b = picture(1), picture(11)
    expected = compute_metrics(b, a, b, metrics=metrics_of("standard", FEW.metrics))
    row = next(row for row in rows if row["image"] == "day/2" and row["method"] == "copy of b")
    assert {name: row[name] for name in expected} == expected
    assert row["MSE"] > 0 and summary["means"]["copy of b"]["MSE"] == pytest.approx(
        np.mean([row["MSE"] for row in rows if row["method"] == "copy of b"])
    )
    assert summary["methods"] == [*methods, *BASELINES]
    assert summary["folders"]["a"] == "../a"
    assert {path.name for path in out.parent.iterdir()} == {"r.json", "r.jsonl", "r.md", "r.csv"}


def test_repeats_for_any_number_of_jobs(tmp_path: Path) -> None:
    methods = write_set(tmp_path)
    texts = []
    for jobs in (1, 2):
        config = EvaluateConfig(metrics=("EN", "SCD"), jobs=jobs)
        a, b = ((tmp_path / "a", tmp_path / "b"), (str(tmp_path / "a"), str(tmp_path / "b")))[jobs - 1]
        out = evaluate(config, a, b, methods, tmp_path / str(jobs) / "r.json")  # type: ignore[arg-type]
        texts.append(out.with_suffix(".jsonl").read_text())
    assert texts[0] == texts[1]


def test_tables(tmp_path: Path) -> None:
    methods = write_set(tmp_path)
    out = evaluate(FEW, tmp_path / "a", tmp_path / "b", methods, tmp_path / "r.json")
    table = out.with_suffix(".md").read_text()
    assert "| EN ↑ⁿˢ |" in table and "| MSE ↓ |" in table and "| SSIM ↑ |" in table
    assert "*average + noise*" in table and "mean \\| \\<b>" in table
    scores, _, shares = table.partition("Share of pairs on which a method is ahead of Laplacian pyramid:")
    rows = [line for line in scores.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + len(methods) + len(BASELINES)
    for column in range(2, 2 + len(FEW.metrics)):
        cells = [row.replace("\\|", "").split("|")[column] for row in rows[2:]]
        assert 1 <= sum("**" in cell for cell in cells) < len(cells)
    summary = json.loads(out.read_text())
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


def test_a_baseline_that_is_only_noisier_or_sharper_is_shown_as_such(tmp_path: Path) -> None:
    config = EvaluateConfig(jobs=1)
    write_set(tmp_path, shape=(180, 190))
    out = evaluate(config, tmp_path / "a", tmp_path / "b", {}, tmp_path / "r.json")
    marks = json.loads(out.read_text())["marks"]
    for name in ("EI", "AG", "SF", "EN", "SD"):
        assert marks[name] == ["noise", "sharpening"], name
    for name in ("CC", "SSIM", "MS-SSIM", "PSNR", "MSE", "Nabf"):
        assert marks[name] == [], name
    assert "sharpening" in marks["SCD"] and "noise" not in marks["SCD"]


def test_colour(tmp_path: Path) -> None:
    methods = write_set(tmp_path, colour=True)
    config = EvaluateConfig(metrics=("SF",), jobs=1, colour="channels")
    out = evaluate(config, tmp_path / "a", tmp_path / "b", methods, tmp_path / "r.json")
    row = next(row for row in read_rows(out) if row["method"] == "copy of b")
    channels = [picture(10), picture(20), picture(10)[::-1]]
    plain = metrics_of("standard", ("SF",))
    expected = np.mean([compute_metrics(c, c, c, metrics=plain)["SF"] for c in channels])
    assert row["SF"] == pytest.approx(expected)
    vifb = evaluate(
        replace(config, convention="vifb"), tmp_path / "a", tmp_path / "b", methods, tmp_path / "v.json"
    )
    row = next(row for row in read_rows(vifb) if row["method"] == "copy of b")
    assert row["SF"] == pytest.approx(17.8138916816, rel=1e-10)  # what VIFB's own function gave in Octave
    luminance = evaluate(FEW, tmp_path / "a", tmp_path / "b", methods, tmp_path / "l.json")
    assert json.loads(luminance.read_text())["colour"].startswith("BT.601")


def test_ground_truth(tmp_path: Path) -> None:
    methods = write_set(tmp_path)
    out = evaluate(
        FEW, tmp_path / "a", tmp_path / "b", methods, tmp_path / "r.json", ground_truth=tmp_path / "copy"
    )
    means = json.loads(out.read_text())["means"]
    assert means["copy of b"]["PSNR-GT"] == 150.0 and means["copy of b"]["SSIM-GT"] == pytest.approx(1.0)
    assert means["average"]["PSNR-GT"] < 40


@pytest.mark.parametrize("names", [["PSNR-GT"], ["EN", "SSIM-GT"]])
def test_metrics_of_a_ground_truth_may_be_named(tmp_path: Path, names: list[str]) -> None:
    methods, sources = write_set(tmp_path), (tmp_path / "a", tmp_path / "b")
    config, out = EvaluateConfig(metrics=tuple(names), jobs=1), tmp_path / "r.json"
    with pytest.raises(InputError, match=f"--metric {names[-1]}: needs true images; give --ground-truth"):
        evaluate(config, *sources, methods, out)
    evaluate(config, *sources, methods, out, ground_truth=tmp_path / "copy")
    columns = [metric["name"] for metric in json.loads(out.read_text())["metrics"]]
    assert columns == [*names[:-1], "PSNR-GT", "SSIM-GT"]  # which come by themselves
    assert "| SSIM-GT" in out.with_suffix(".md").read_text()


def test_threads_of_opencv_are_left_as_they_were(tmp_path: Path) -> None:
    """Where there is one core, pairs are scored in this very process."""
    write_set(tmp_path)
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        paths = {role: tmp_path / role / f"day/1.{suffix}" for role, suffix in (("a", "png"), ("b", "bmp"))}
        assert not isinstance(score_pair(EvaluateConfig(metrics=("EN",)), "day/1", paths), str)
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_metrics_that_small_images_do_not_allow_are_left_out_with_the_reason(tmp_path: Path) -> None:
    methods = write_set(tmp_path)
    config = EvaluateConfig(metrics=("EN", "MS-SSIM"), jobs=1)
    out = evaluate(config, tmp_path / "a", tmp_path / "b", methods, tmp_path / "r.json")
    summary = json.loads(out.read_text())
    assert [metric["name"] for metric in summary["metrics"]] == ["EN"]
    assert summary["left_out"] == {"MS-SSIM": "needs 176 pixels a side"}
    assert "MS-SSIM is left out: needs 176 pixels a side" in out.with_suffix(".md").read_text()
    with pytest.raises(InputError, match="too small for MS-SSIM"):
        evaluate(
            EvaluateConfig(metrics=("MS-SSIM",), jobs=1),
            tmp_path / "a",
            tmp_path / "b",
            methods,
            tmp_path / "s.json",
        )


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


def test_numbers_in_files_are_json(tmp_path: Path) -> None:
    methods = write_set(tmp_path)
    out = evaluate(FEW, tmp_path / "a", tmp_path / "a", methods, tmp_path / "r.json")

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    json.loads(out.read_text(), parse_constant=refuse)
    for row in read_rows(out):
        assert all(math.isfinite(value) for value in row.values() if isinstance(value, float))


def test_bad_input_is_listed_and_nothing_is_written(tmp_path: Path) -> None:
    methods = write_set(tmp_path)
    out = tmp_path / "out" / "r.json"
    (tmp_path / "copy" / "day" / "2.png").unlink()
    write_image(tmp_path / "copy" / "extra.png", picture(1))
    with pytest.raises(InputError, match=r"method copy of b lacks day/2; a lacks extra"):
        evaluate(FEW, tmp_path / "a", tmp_path / "b", methods, out)
    (tmp_path / "copy" / "extra.png").unlink()
    write_image(tmp_path / "copy" / "day" / "2.png", picture(1, (60, 57)))
    (tmp_path / "mean" / "night" / "1.tif").write_bytes(b"II*\0nothing")
    with pytest.raises(InputError, match="2 of 3 pairs") as error:
        evaluate(FEW, tmp_path / "a", tmp_path / "b", methods, out)
    assert "day/2: a and method copy of b differ in size, 57x50 and 57x60" in str(error.value)
    assert "night/1.tif" in str(error.value) and "\n" not in str(error.value)
    assert [path.name for path in out.parent.iterdir()] == ["r.scores.jsonl"]


def test_bad_arguments(tmp_path: Path) -> None:
    write_set(tmp_path)
    a, b, out = tmp_path / "a", tmp_path / "b", tmp_path / "r.json"
    with pytest.raises(InputError, match=r"ending in \.json"):
        evaluate(FEW, a, b, {}, tmp_path / "table.csv")
    for name in BASELINES:
        with pytest.raises(InputError, match="is the name of a baseline; choose another"):
            evaluate(FEW, a, b, {name: tmp_path / "copy"}, out)
    with pytest.raises(InputError, match="NAME=DIR"):
        evaluate(FEW, a, b, {" ": tmp_path / "copy"}, out)
    for bad in ({"convention": "x"}, {"metrics": ("XX",)}, {"colour": "lab"}, {"jobs": 0}):
        with pytest.raises(InputError):
            EvaluateConfig(**bad)
    assert parse_method("SeAFusion=a/b=c") == ("SeAFusion", Path("a/b=c"))
    assert list(parse_methods(["b=1", "a=2"])) == ["b", "a"]
    with pytest.raises(InputError, match="given twice"):
        parse_methods(["a=1", "a=2"])
    for text in ("SeAFusion", "=dir", "name="):
        with pytest.raises(InputError, match="NAME=DIR"):
            parse_method(text)
