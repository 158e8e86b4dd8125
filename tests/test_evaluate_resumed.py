"""Evaluations that were stopped: what was scored is kept, and the results are those of one that was not."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from metric_pictures import STEMS, picture, write_set

from model.evaluate import evaluate
from model.evaluation.scoring import EvaluateConfig, PairScores, score_pair
from pipeline.files import InputError
from pipeline.images import write_image

FEW = EvaluateConfig(metrics=("EN", "SCD", "MSE"), jobs=1)

Run = Callable[..., list[str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Evaluates and returns which pairs were scored; ``stop_after`` some of them Ctrl-C comes."""
    methods = write_set(tmp_path)

    def run(
        config: EvaluateConfig = FEW, *, stop_after: int | None = None, reverse: bool = False
    ) -> list[str]:
        names = list(methods)[::-1] if reverse else list(methods)
        scored: list[str] = []

        def counted(config: EvaluateConfig, stem: str, paths: dict[str, Path]) -> PairScores | str:
            if len(scored) == stop_after:
                raise KeyboardInterrupt
            scored.append(stem)
            return score_pair(config, stem, paths)

        with monkeypatch.context() as patch:
            patch.setattr("model.evaluate.score_pair", counted)
            arguments = tmp_path / "a", tmp_path / "b", {name: methods[name] for name in names}
            try:
                evaluate(config, *arguments, tmp_path / "r.json", ground_truth=tmp_path / "copy")
            except KeyboardInterrupt as stop:
                assert re.fullmatch(r"[12] of 3 pairs are scored; run it again", str(stop))
        return scored

    return run


def results(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in root.glob("r.*")}


def test_a_stopped_evaluation_goes_on_to_the_same_bytes(tmp_path: Path, run: Run) -> None:
    assert run() == list(STEMS)
    whole = results(tmp_path)
    assert set(whole) == {"r.json", "r.jsonl", "r.md", "r.csv"}  # no log is left
    for name in whole:
        (tmp_path / name).unlink()
    assert run(stop_after=2) == list(STEMS[:2])
    assert set(results(tmp_path)) == {"r.scores.jsonl"}
    assert run() == [STEMS[2]]
    assert results(tmp_path) == whole


def test_one_is_stopped_twice_and_its_last_line_cut(tmp_path: Path, run: Run) -> None:
    log = tmp_path / "r.scores.jsonl"
    assert run(stop_after=1) == [STEMS[0]]
    assert run(stop_after=1) == [STEMS[1]]
    log.write_bytes(log.read_bytes()[:-30])
    assert run(stop_after=1) == [STEMS[1]]
    assert all(json.loads(line) for line in log.read_text().splitlines())
    log.write_bytes(log.read_bytes()[:20])  # nothing of use is left
    assert run() == list(STEMS)


def test_files_that_were_replaced_are_scored_again(tmp_path: Path, run: Run) -> None:
    run(stop_after=2)
    write_image(tmp_path / "mean" / f"{STEMS[0]}.tif", picture(99))
    assert run() == [STEMS[0], STEMS[2]]
    resumed = results(tmp_path)
    assert run() == list(STEMS)  # of a finished one nothing is taken over
    assert results(tmp_path) == resumed


@pytest.mark.parametrize("change", [{"metrics": ("EN",)}, {"colour": "channels"}, {"convention": "cddfuse"}])
def test_other_settings_start_anew(tmp_path: Path, run: Run, change: dict[str, object]) -> None:
    run(stop_after=2)
    assert run(replace(FEW, **change)) == list(STEMS)
    assert run() == list(STEMS)[2:]  # and cost nothing of what was kept
    assert not list(tmp_path.glob("r.scores*"))


def test_scores_are_kept_until_the_summary_is_written(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr("model.evaluate.write_json", full)
        run()
    assert run() == [] and (tmp_path / "r.json").is_file()


def test_so_do_other_versions_of_what_computes_scores(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(run(stop_after=1)) == 1
    monkeypatch.setattr("model.evaluation.score_log.installed_versions", lambda names: {"numpy": "0"})
    assert run() == list(STEMS)


def test_so_do_other_methods_but_not_other_jobs(tmp_path: Path, run: Run) -> None:
    run(stop_after=2)
    assert run(reverse=True) == list(STEMS)
    run(stop_after=2)
    assert run(replace(FEW, jobs=2)) == []  # which are scored in processes of their own
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 3 * 7


def test_a_picture_that_cannot_be_read_costs_the_scores_of_no_other(tmp_path: Path, run: Run) -> None:
    bad = tmp_path / "mean" / f"{STEMS[1]}.tif"
    good = bad.read_bytes()
    bad.write_bytes(b"II*\0nothing")
    with pytest.raises(
        InputError, match=r"^1 of 3 pairs .*day/2\.tif.*; mend them and run it again: the sco"
    ):
        run()
    assert set(results(tmp_path)) == {"r.scores.jsonl"}
    bad.write_bytes(good)
    assert run() == [STEMS[1]]
    resumed = results(tmp_path)
    run()
    assert results(tmp_path) == resumed


@pytest.mark.parametrize("text", ["", '{"image": "1", "method": "m", "EN": 1.0}\n', "notes", "\n"])
def test_a_file_of_others_is_no_log(tmp_path: Path, run: Run, text: str) -> None:
    log = tmp_path / "r.scores.jsonl"
    log.write_text(text)
    if not text:  # an empty one holds nothing that could be lost
        assert run() == list(STEMS) and not log.exists()
        return
    with pytest.raises(InputError, match=r"r\.scores\.jsonl: is there, and not of an evaluation; choose"):
        run()
    assert log.read_text() == text


def test_damaged_lines_are_passed_over(tmp_path: Path, run: Run) -> None:
    log = tmp_path / "r.scores.jsonl"
    run(stop_after=2)
    first, second = log.read_text().splitlines()
    log.write_text("\n".join([first[:-9], "null", "3", "[" * 10**5, second, ""]))
    assert run() == [STEMS[0], STEMS[2]]


@pytest.mark.parametrize(
    "rows", [5, [1], [], [{"method": "copy"}], [{"method": "copy", "EN": "x"}]], ids=json.dumps
)
def test_lines_without_all_scores_are_passed_over(tmp_path: Path, run: Run, rows: object) -> None:
    log = tmp_path / "r.scores.jsonl"
    run(stop_after=2)
    first, second = (json.loads(line) for line in log.read_text().splitlines())
    whole = first["rows"]
    if isinstance(rows, list) and rows and isinstance(rows[0], dict):
        rows = [{**whole[0], **rows[0]} if "EN" in rows[0] else {"image": STEMS[0], **rows[0]}, *whole[1:]]
    log.write_text(f"{json.dumps({**first, 'rows': rows})}\n{json.dumps(second)}\n")
    assert run() == [STEMS[0], STEMS[2]]
