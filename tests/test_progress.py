"""Progress: lines without a terminal, a bar on one."""

from __future__ import annotations

import sys

import pytest

from pipeline.runtime import progress
from pipeline.runtime.progress import Progress


def test_without_a_terminal_there_is_one_line_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([5.0, 5.1, 5.2, 6.0, 7.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Progress("synth", total=3, unit="sample") as bar:
        for _ in range(3):
            bar.advance()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "synth: 3/3 sample in 2 s (1.50/s)\n"


def test_without_a_terminal_lines_come_at_intervals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 4.0, 11.0, 11.0, 12.0, 22.0, 22.0, 23.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Progress("train", total=8, unit="step") as bar:
        bar.advance(2)  # at 4 s: too early for a line
        bar.advance(2, note="loss 0.5")  # at 11 s
        bar.advance()  # at 12 s: too early again
        bar.advance(2)  # at 22 s
        bar.message("a word")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "train: 4/8 step in 11 s (0.36/s, 11 s left)  loss 0.5",
        "train: 7/8 step in 22 s (0.32/s, 3 s left)",
        "a word",
        "train: 7/8 step in 23 s (0.30/s, 3 s left)",
    ]


def test_resumed_work_does_not_count_for_the_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 110.0, 110.0, 110.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Progress("train", total=100, initial=80) as bar:
        bar.advance(10)
    assert capsys.readouterr().err.splitlines()[0] == "train: 90/100 it in 10 s (1.00/s, 10 s left)"


def test_a_failure_is_not_reported_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="mine"), Progress("synth", total=3) as bar:
        bar.advance()
        raise ValueError("mine")
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress("synth", total=2, unit="sample") as bar:
        bar.advance(note="010001")
        bar.message("a word")
        bar.advance()
    error = capsys.readouterr().err
    assert "a word\n" in error and "\r" in error
    assert "2/2" in error and "synth" in error and " in 0 s" not in error


def test_nothing_to_do(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.time, "monotonic", lambda: 5.0)
    with Progress("synth", total=0):
        pass
    assert capsys.readouterr().err == "synth: 0/0 it in 0 s (0.00/s)\n"


@pytest.mark.parametrize("error", [BrokenPipeError, OSError], ids=lambda error: error.__name__)
def test_messages_that_nobody_reads_any_more_end_nothing(
    monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    class Gone:
        def isatty(self) -> bool:
            return False

        def write(self, _: str) -> int:
            raise error(5, "gone")

        def flush(self) -> None:
            raise error(5, "gone")

    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.0)
    monkeypatch.setattr(sys, "stderr", Gone())
    with Progress("train", total=2, unit="step") as bar:
        bar.advance()
        bar.message("a word")
    assert bar.done == 1


def test_work_may_turn_out_to_be_less(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("report", total=8, unit="pair") as bar:
        bar.advance(3)
        bar.all_done()
    assert capsys.readouterr().err.startswith("report: 3/3 pair in ")
