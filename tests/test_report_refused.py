"""Pages that cannot be made: one line each, before the work where that can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_runs import run
from fusing import tiny_weights
from metric_pictures import picture
from report_pages import content_of, evaluation, training_run

from model.report import ReportConfig, report
from pipeline.files import InputError, write_json
from pipeline.images import write_image


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
    before = (tmp_path / "copy" / "01.png").read_bytes()
    write_image(tmp_path / "copy" / "01.png", picture(99, (64, 80)))
    with pytest.raises(InputError, match="the images of 01 have changed since; evaluate again"):
        report(source, tmp_path / "r.html")
    (tmp_path / "copy" / "01.png").write_bytes(before)
    assert report(source, tmp_path / "r.html").is_file()
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
    for bad, says in (
        ({"picture_side_px": 3}, "--picture-side-px 3: use 64"),
        ({"pictures_limit_mb": 0}, "--pictures-limit-mb 0: use more"),
    ):
        with pytest.raises(InputError, match=says):
            ReportConfig(**bad)


@pytest.mark.parametrize("damage", [None, {}, [], 5, "x", [{}], {"copy": {}}, {"a": 3}], ids=str)
def test_damaged_summaries_are_one_line(tmp_path: Path, damage: object) -> None:
    source = evaluation(tmp_path)
    summary = json.loads(source.read_text())
    unread = {"format", "format_version", "rises_with"}
    for key in summary.keys() - unread:
        insides = [damage]
        if isinstance(summary[key], dict) and key not in ("win_rates", "marks", "left_out"):
            insides += [dict(list(summary[key].items())[1:]), dict.fromkeys(summary[key], damage)]
        for inside in insides:
            write_json(source, summary | {key: inside})
            try:
                report(source, tmp_path / "r.html")
            except InputError as error:
                assert "evaluate again" in str(error) or "does not exist" in str(error), (key, inside)


@pytest.mark.parametrize(
    ("key", "inside"),
    [
        ("means", {"copy": {}}),
        ("means", {"copy": {"EN": "high"}}),
        ("means", {"copy": {"EN": 10**400}}),
        ("config", None),
        ("metrics", [{"name": "EN"}]),
        ("folders", {"a": "a", "b": "b"}),
        ("digests", {}),
        ("unmatched", 5),
    ],
)
def test_what_is_damaged_inside_is_told(tmp_path: Path, key: str, inside: object) -> None:
    source = evaluation(tmp_path)
    write_json(source, json.loads(source.read_text()) | {key: inside})
    with pytest.raises(InputError, match=r"results\.json: damaged; evaluate again"):
        report(source, tmp_path / "r.html")


@pytest.mark.parametrize("key", ["means", "standard_errors", "win_rates"])
def test_numbers_that_are_not_finite_are_one_line(tmp_path: Path, key: str) -> None:
    source = evaluation(tmp_path)
    summary = json.loads(source.read_text())
    outer = next(iter(summary[key]))
    inner = next(iter(summary[key][outer]))
    summary[key][outer][inner] = {"copy": float("nan")} if key == "win_rates" else float("inf")
    write_json(source, summary)
    with pytest.raises(InputError, match=r"not finite; make it again|damaged; evaluate again"):
        report(source, tmp_path / "r.html")


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
    scores.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"nested too deeply\); evaluate again"):
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
        {"training_seconds": float("inf")},
    ):
        write_json(run / "summary.json", other)
        with pytest.raises(InputError, match=r"summary\.json: not the summary of a training run"):
            report(run, tmp_path / "r.html")


def test_damaged_pictures_of_a_run_are_left_out_and_named(tmp_path: Path) -> None:
    run = training_run(tmp_path / "run")
    pictures = sorted((run / "pictures").iterdir())
    for count, shown in ((1, ["step 20", "step 30"]), (3, [])):
        for path in pictures[:count]:
            path.write_bytes(b"half of a picture")
        content = content_of(report(run, tmp_path / "r.html"))
        assert [picture["label"] for picture in content["pictures"]] == shown
        note = content["picturesNote"] if shown else content["notes"][-1]  # beside the curves
        assert note == f"Left out, damaged: {', '.join(path.name for path in pictures[:count])}."


@pytest.mark.parametrize("value", ["NaN", "-Infinity", "1e999", '"x"', "[1]", "true"])
def test_a_log_of_other_values_than_numbers_is_one_line(tmp_path: Path, value: str) -> None:
    run = training_run(tmp_path / "run")
    lines = (run / "metrics.jsonl").read_text().split("\n")
    lines[4] = f'{{"step": 5, "mm_task": {value}}}'
    (run / "metrics.jsonl").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"metrics\.jsonl:5: not the .*; restore the file, or resume"):
        report(run, tmp_path / "r.html")
    lines[4] = '{"step": 5}'  # an earlier version may have written less
    (run / "metrics.jsonl").write_text("\n".join(lines))
    assert report(run, tmp_path / "r.html").is_file()


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
    pairs = ["--features", "-a", tmp_path, "-b", tmp_path]
    for options in ([], pairs):
        result = run("report", tmp_path / "r.json", "-o", tmp_path / "r.txt", *options)
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
        result = run("report", *arguments)
        assert result.exit_code == 2 and words in result.stderr, result.output
    assert not list(tmp_path.rglob("*.html"))
