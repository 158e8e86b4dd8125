"""Evaluating folders of methods: scores, colour, ground truths, and what is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from metric_pictures import STEMS, picture, write_set

from model.evaluate import evaluate, parse_method, parse_methods
from model.evaluation.baselines import BASELINES
from model.evaluation.scoring import EvaluateConfig, score_pair
from model.metrics import compute_metrics
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


def test_sources_of_one_file_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        write_image(tmp_path / name / "1.png", picture(ord(name)))
    config = EvaluateConfig(metrics=("EN",), jobs=1)
    for number, other in enumerate("ba"):
        methods = {"copy": tmp_path / "b"}
        evaluate(config, tmp_path / "a", tmp_path / other, methods, tmp_path / f"{number}.json")
        assert ("a and b are one file: 1" in capsys.readouterr().err) is (other == "a")


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
    for bad, says in (
        ({"convention": "x"}, "--convention x: unknown"),
        ({"metrics": ("XX",)}, "XX: no metric of convention standard"),
        ({"colour": "lab"}, "--colour lab: unknown"),
        ({"jobs": 0}, "--jobs 0: give"),
    ):
        with pytest.raises(InputError, match=says):
            EvaluateConfig(**bad)
    assert parse_method("SeAFusion=a/b=c") == ("SeAFusion", Path("a/b=c"))
    assert list(parse_methods(["b=1", "a=2"])) == ["b", "a"]
    with pytest.raises(InputError, match="given twice"):
        parse_methods(["a=1", "a=2"])
    for text in ("SeAFusion", "=dir", "name="):
        with pytest.raises(InputError, match="NAME=DIR"):
            parse_method(text)
