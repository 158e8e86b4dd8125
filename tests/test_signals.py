"""Signals that stop a run between two steps: the first one waits for the step, a second one does not."""

from __future__ import annotations

import signal
import time

import pytest

from pipeline.runtime.signals import end_like_ctrl_c, stop_on_signal

ENDING = [signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("number", [signal.SIGINT, *ENDING])
def test_a_second_signal_acts_at_once(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    with end_like_ctrl_c(), stop_on_signal() as requested:
        assert not requested()
        signal.raise_signal(number)
        assert requested()
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 3)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)


@pytest.mark.parametrize("number", ENDING)
def test_one_signal_that_comes_twice_is_one(number: signal.Signals) -> None:
    """As from a scheduler that signals every process of a job, and from the launcher among them."""
    with end_like_ctrl_c(), stop_on_signal() as requested:
        for _ in range(3):
            signal.raise_signal(number)
        assert requested()


def test_different_signals_are_first_ones_each() -> None:
    with end_like_ctrl_c(), stop_on_signal() as requested:
        for number in (signal.SIGINT, *ENDING):
            signal.raise_signal(number)
        assert requested()


def test_handlers_are_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, *ENDING)]
    with end_like_ctrl_c(), stop_on_signal():
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, *ENDING)] == before
