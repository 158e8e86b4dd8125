"""Pages: what they hold, how large they are, and that hostile names stay text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from metric_pictures import STEMS, picture, write_set
from report_pages import EVIL, Page, content_of, decoded, evaluation, training_run

from model.evaluate import evaluate
from model.evaluation.baselines import BASELINES
from model.evaluation.scoring import EvaluateConfig
from model.report import ReportConfig, report, write_page
from model.report.pictures import coloured_error, data_uri, within_limit
from pipeline.files import write_json
from pipeline.images import read_grey, read_rgb


def test_an_evaluation_page_is_complete_and_needs_nothing_else(tmp_path: Path) -> None:
    summary = json.loads((source := evaluation(tmp_path)).read_text())
    out = report(source, tmp_path / "report.html")
    page, content = Page(out), content_of(out)
    assert page.addresses == ["data:,"]
    assert set(re.findall(r"\w+://[^\s\"']*", out.read_text())) == {"http://www.w3.org/2000/svg"}  # a name
    assert "default-src 'none'" in out.read_text()
    assert [m["name"] for m in content["metrics"]] == ["EN", "SCD", "Qabf"]
    assert [m["name"] for m in content["methods"]] == ["copy", *BASELINES]
    assert content["means"][0][1] == pytest.approx(summary["means"]["copy"]["SCD"], rel=1e-5)
    assert content["metrics"][0]["marks"] == summary["marks"]["EN"] != []
    assert len(content["scores"][0][0]) == 3
    gallery = content["gallery"]
    names = [column["name"] for column in gallery["columns"]]
    assert names == ["a", "b", "copy", *BASELINES]
    assert [pair["image"] for pair in gallery["pairs"]] == [0, 1, 2] and gallery["note"] == ""
    shown = decoded(gallery["pairs"][1]["pictures"][2])
    assert np.abs(shown.astype(int) - picture(51, (64, 80))).mean() < 4


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    out = report(evaluation(tmp_path, name=EVIL), tmp_path / "report.html")
    page = Page(out)
    assert page.tags.count("script") == 2 and "img" not in page.tags
    assert content_of(out)["methods"][0]["name"] == EVIL
    out = report(training_run(tmp_path / "run <b>&"), tmp_path / "run.html")
    assert Page(out).tags.count("script") == 2 and "b" not in Page(out).tags
    assert ["note", EVIL] in content_of(out)["settings"]


def test_error_maps_and_ground_truth_are_in_the_gallery(tmp_path: Path) -> None:
    out = report(evaluation(tmp_path, ground_truth=True), tmp_path / "report.html")
    gallery = content_of(out)["gallery"]
    kinds = [column["kind"] for column in gallery["columns"]]
    assert kinds.count("error") == 1 + len(BASELINES) and gallery["columns"][2]["name"] == "ground truth"
    perfect = decoded(gallery["pairs"][0]["pictures"][kinds.index("error")])
    assert perfect.max() < 10  # the copy is the truth: its error map is dark


@pytest.mark.parametrize("colour", ["luminance", "channels"])
def test_baselines_and_error_maps_are_those_that_were_scored(tmp_path: Path, colour: str) -> None:
    methods = write_set(tmp_path, colour=True)
    config = EvaluateConfig(metrics=("EN",), jobs=1, colour=colour)
    sources, truth = (tmp_path / "a", tmp_path / "b"), tmp_path / "copy"
    out = evaluate(config, *sources, methods, tmp_path / "r.json", ground_truth=truth)
    gallery = content_of(report(out, tmp_path / "r.html"))["gallery"]
    for stem, pair in zip(STEMS, gallery["pairs"], strict=True):
        shown = {
            column["name"]: uri for column, uri in zip(gallery["columns"], pair["pictures"], strict=True)
        }
        files = tmp_path / "a" / f"{stem}.png", tmp_path / "b" / f"{stem}.bmp"
        if colour == "luminance":
            a, b = ([read_grey(file)] for file in files)
        else:
            a, b = (list(read_rgb(file).transpose(2, 0, 1)) for file in files)
        for name, fuse in BASELINES.items():
            planes = [fuse(x, y, stem) for x, y in zip(a, b, strict=True)]
            assert shown[name] == data_uri(np.dstack(planes).squeeze(), 800), name
            worst = np.max([np.abs(x.astype(int) - y) for x, y in zip(planes, b, strict=True)], axis=0)
            assert shown[f"error of {name} (0 to 64 levels)"] == data_uri(coloured_error(worst), 800), name


def test_samples_without_a_file_are_noted(tmp_path: Path) -> None:
    source = evaluation(tmp_path)
    summary = json.loads(source.read_text())
    assert summary["unmatched"] == []
    write_json(source, summary | {"unmatched": [f"x{number}" for number in range(20)]})
    notes = content_of(report(source, tmp_path / "r.html"))["notes"]
    assert notes[-1].endswith("20 of the recipe's samples (x0, x1, x2, x3, x4, x5, x6, x7, and 12 more).")


def test_the_pictures_stay_within_the_limit_and_are_spread_over_the_set(tmp_path: Path) -> None:
    source = evaluation(tmp_path, pairs=8)
    whole = report(source, tmp_path / "whole.html").stat().st_size
    gallery = content_of(tmp_path / "whole.html")["gallery"]
    size = sum(len(uri) for pair in gallery["pairs"] for uri in pair["pictures"])
    limit = size / 2 / 2**20
    out = report(source, tmp_path / "half.html", ReportConfig(pictures_limit_mb=limit))
    gallery = content_of(out)["gallery"]
    assert sum(len(uri) for pair in gallery["pairs"] for uri in pair["pictures"]) <= limit * 2**20
    shown = [pair["image"] for pair in gallery["pairs"]]
    assert len(shown) in (3, 4) and shown[0] == 0 and shown[-1] >= 4 and shown == sorted(shown)
    assert f"{len(shown)} of 8 pairs are shown" in gallery["note"]
    assert out.stat().st_size < whole
    # The table still covers all pairs.
    assert len(content_of(out)["scores"][0][0]) == 8


def test_the_same_evaluation_gives_the_same_page(tmp_path: Path) -> None:
    source = evaluation(tmp_path)
    pages = [report(source, tmp_path / name).read_bytes() for name in ("1.html", "2.html")]
    assert pages[0] == pages[1]


def test_an_evaluation_may_move_with_its_images(tmp_path: Path) -> None:
    evaluation(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    assert report(tmp_path / "new" / "results.json", tmp_path / "report.html").is_file()


def test_a_training_page_shows_every_recorded_number(tmp_path: Path) -> None:
    run = training_run(tmp_path / "run", steps=1000)
    (run / "pictures/.step-00000040.tmp-0.png").write_bytes(b"what a kill left")
    content = content_of(report(run, tmp_path / "run.html"))
    assert content["picturesNote"] == ""
    charts = {chart["title"]: chart for chart in content["charts"]}
    gates = charts["Cross-fusion gates λ"]
    assert [curve["name"] for curve in gates["curves"]] == ["λ of MM", "λ of DP"] and not gates["log"]
    task = charts["MM task loss"]
    assert task["log"] and [curve["name"] for curve in task["curves"]] == ["training", "validation"]
    assert len(task["curves"][0]["points"]) <= 400 and task["curves"][0]["points"][-1][0] == 1000
    step, mean, low, high = task["curves"][0]["points"][0]
    assert (step, low, high) == (3, pytest.approx(1 / 3, rel=1e-4), 1.0) and low < mean < high
    assert charts["something new"]["curves"][0]["points"][-1][1] == pytest.approx(999.5, rel=1e-3)
    assert [picture["label"] for picture in content["pictures"]] == ["step 10", "step 20", "step 30"]
    assert ["best validation", "0.1 at step 20"] in content["facts"]
    assert ["training time", "83 min"] in content["facts"]
    assert ["steps", "1000"] in content["settings"] and ["versions.torch", "2"] in content["settings"]


def test_an_unfinished_run_has_a_page_too(tmp_path: Path) -> None:
    run = training_run(tmp_path / "run", finished=False)
    (run / "config.json").unlink()
    content = content_of(report(run, tmp_path / "run.html"))
    assert ["state", "not finished"] in content["facts"] and content["settings"] == []


def test_the_data_cannot_end_its_element(tmp_path: Path) -> None:
    text = "<!-- script --></script><!-- data --> \u2028 ü"
    out = write_page({"title": text, "kind": "features", "facts": [], "pairs": []}, tmp_path / "p.html")
    assert content_of(out)["title"] == text
    assert Page(out).tags.count("title") == 1


def test_pictures() -> None:
    assert decoded(data_uri(picture(1, (300, 400)), 200)).shape == (150, 200)
    assert decoded(data_uri(picture(1, (30, 40)), 200)).shape == (30, 40)
    flat = np.zeros((50, 50, 3), np.uint8)
    flat[..., 0] = 255
    assert data_uri(flat, 100).startswith("data:image/png")
    assert decoded(data_uri(flat, 100)).min() == 76  # red, not blue
    assert decoded(data_uri(np.full((20, 20), 0x8000, np.uint16), 100)).max() == 128
    error = coloured_error(np.array([[0, 32, 64, 255]], np.uint8))
    assert error.shape == (1, 4, 3) and (np.diff(error.astype(int).sum(-1)[0, :3]) > 0).all()
    assert (error[0, 2] == error[0, 3]).all()


@pytest.mark.parametrize("count", [1, 2, 7, 8, 100])
def test_pictures_within_the_limit_cover_the_range(count: int) -> None:
    def encode(index: int) -> list[str]:
        return [f"{index:0{2**18}}"] * 2  # half a megabyte

    assert list(within_limit(count, encode, count / 2)) == list(range(count))
    few = list(within_limit(count, encode, 2.5))
    assert len(few) == min(5, count)
    assert max(np.diff([*few, count])) <= max(1, count / 2)
    assert len(within_limit(count, encode, 0.1)) == 1


def test_a_gate_that_is_not_finite_is_left_out(tmp_path: Path) -> None:
    run = training_run(tmp_path / "run")
    whole, _, _ = (run / "metrics.jsonl").read_text().rpartition("\n")
    last = {"step": 31, "lambda_mm": None, "lambda_dp": 0.5}
    (run / "metrics.jsonl").write_text(f"{whole}\n{json.dumps(last)}\n")
    facts = dict(content_of(report(run, tmp_path / "r.html"))["facts"])
    assert facts["λ of DP"] == "0.500" and "λ of MM" not in facts
