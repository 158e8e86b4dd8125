"""Pages that cannot be made: one line each, before the work where that can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from fusing import tiny_weights
from test_report import evaluation, training_run

import cli
from model.report import ReportConfig, report
from pipeline.files import InputError, write_json


def test_unusable_input(tmp_path: Path) -> None:
    source = evaluation(tmp_path)
    with pytest.raises(InputError, match=r"ending in \.html"):
        report(source, tmp_path / "report.pdf")
    with pytest.raises(InputError, match="no such file"):
        report(tmp_path / "none.json", tmp_path / "r.html")
    with pytest.raises(InputError, match="no training run"):
        report(tmp_path / "a", tmp_path / "r.html")
    write_json(tmp_path / "other.json", {"format": "something"})
    with pytest.raises(InputError, match="not the summary of an evaluation"):
        report(tmp_path / "other.json", tmp_path / "r.html")
    write_json(tmp_path / "newer.json", json.loads(source.read_text()) | {"format_version": 99})
    with pytest.raises(InputError, match="version 99"):
        report(tmp_path / "newer.json", tmp_path / "r.html")
    for key in json.loads(source.read_text()).keys() - {"rises_with"}:
        summary = json.loads(source.read_text())
        del summary[key]
        write_json(source.with_name("part.json"), summary)
        with pytest.raises(InputError, match=r"part\.json: "):
            report(tmp_path / "part.json", tmp_path / "r.html")
    (tmp_path / "a" / "01.png").unlink()
    with pytest.raises(InputError, match="01 have gone since"):
        report(source, tmp_path / "r.html")
    source.with_suffix(".jsonl").write_text("")
    with pytest.raises(InputError, match="does not belong to its summary"):
        report(source, tmp_path / "r.html")
    run = training_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text("")
    with pytest.raises(InputError, match="no step is recorded"):
        report(run, tmp_path / "r.html")
    for bad in ({"picture_side_px": 3}, {"pictures_limit_mb": 0}):
        with pytest.raises(InputError):
            ReportConfig(**bad)


def test_scores_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    source = evaluation(tmp_path)
    scores = source.with_suffix(".jsonl")
    rows = [json.loads(line) for line in scores.read_text().splitlines()]
    for others in (
        [{key: value for key, value in row.items() if key != "SCD"} for row in rows],
        [row | {"image": f"1{row['image']}"} for row in rows],
        [row | {"method": row["method"].upper()} for row in rows],
        rows[:-1],
        [*rows, rows[-1]],
        [list(row) for row in rows],
    ):
        scores.write_text("".join(json.dumps(row) + "\n" for row in others))
        with pytest.raises(InputError, match=r"does not belong to its summary; evaluate again"):
            report(source, tmp_path / "r.html")


def test_a_run_with_another_summary_or_half_a_picture(tmp_path: Path) -> None:
    run = training_run(tmp_path / "run")
    (run / "pictures/.step-00000040.tmp-0.png").write_bytes(b"half of a picture that a kill left")
    assert report(run, tmp_path / "r.html").is_file()
    for other in (
        [1],
        {"best_validation": 3},
        {"best_validation": {"step": 1}},
        {"training_seconds": "x"},
    ):
        write_json(run / "summary.json", other)
        with pytest.raises(InputError, match=r"summary\.json: not the summary of a training run"):
            report(run, tmp_path / "r.html")


def test_the_name_of_the_page_is_checked_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("computed")

    for name in (
        "model.report.read_json",
        "model.checkpoint.load_network",
        "model.inputs.folders.pair_folders",
    ):
        monkeypatch.setattr(name, never)
    pairs = ["--features", "-a", str(tmp_path), "-b", str(tmp_path)]
    for options in ([], pairs):
        arguments = ["report", str(tmp_path / "r.json"), "-o", str(tmp_path / "r.txt"), *options]
        result = CliRunner().invoke(cli.main, arguments)
        assert result.exit_code == 2 and "ending in .html" in result.stderr, result.output


def test_options_that_would_do_nothing_or_harm_are_refused(tmp_path: Path) -> None:
    source, weights = evaluation(tmp_path), tiny_weights(tmp_path)
    pair = ["-a", tmp_path / "a", "-b", tmp_path / "b"]
    for arguments, words in (
        ([source, "-o", tmp_path / "r.html", *pair], "-a and -b belong to --features"),
        ([source, "-o", tmp_path / "r.html", *pair[2:]], "-a and -b belong to --features"),
        ([weights, "-o", tmp_path / "r.html", "--features", *pair[:2]], "give the pairs with -a and -b"),
        ([weights, "-o", tmp_path / "a/r.html", "--features", *pair], "would be among the inputs in"),
    ):
        result = CliRunner().invoke(cli.main, ["report", *map(str, arguments)])
        assert result.exit_code == 2 and words in result.stderr, result.output
    assert not list(tmp_path.rglob("*.html"))
