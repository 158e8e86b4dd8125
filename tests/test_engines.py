"""Where work units run: every result once, and a worker that dies is one line."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import click
import joblib
import pytest
from child_processes import TESTS, start
from click.testing import CliRunner

from pipeline.commands.options import Commands
from pipeline.files import InputError
from pipeline.runtime.workers import KILLED
from pipeline.synthesis.engines import RunOptions, run_units


def _square(number: int) -> int:
    return number * number


def _die(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_unit_comes_back_once_with_its_result(jobs: int) -> None:
    results = sorted(run_units(_square, range(5), RunOptions(jobs=jobs)))
    assert results == [(number, number * number) for number in range(5)]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_worker_is_one_line() -> None:
    @click.command()
    def killed() -> None:
        list(run_units(_die, range(4), RunOptions(jobs=2)))

    group = Commands("gifnet", commands=[killed])
    result = CliRunner().invoke(group, ["killed"])
    assert result.exit_code == 2
    assert result.stderr == f"error: gifnet killed: {KILLED}\n"
    assert len(list(run_units(_square, range(4), RunOptions(jobs=2)))) == 4, "the next run has workers again"


def _fail(number: int) -> None:
    raise InputError(f"bad unit {number}")


@pytest.mark.slow
def test_what_fails_on_a_cluster_is_told_once(capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="bad unit"):
        list(run_units(_fail, range(4), RunOptions(jobs=2, engine="dask")))
    assert capfd.readouterr().err == ""


def test_a_schedulers_address_that_is_none_is_one_line() -> None:
    pytest.importorskip("distributed")
    dask = pytest.importorskip("dask")
    with dask.config.set({"scheduler-address": "foo"}):
        with pytest.raises(
            InputError, match=r"^DASK_SCHEDULER_ADDRESS foo: no scheduler .* HOST:PORT"
        ) as error:
            list(run_units(_square, range(3), RunOptions(engine="dask")))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("engine", ["local", "dask"])
def test_no_more_workers_are_started_than_there_are_units(
    monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    class Started(Exception):
        pass

    def start(*_: object, n_jobs: int = 0, n_workers: int = 0, **__: object) -> None:
        raise Started(n_jobs or n_workers)

    monkeypatch.setattr(joblib, "Parallel", start)
    if engine == "dask":
        monkeypatch.setattr(pytest.importorskip("distributed"), "Client", start)
    for jobs, units, workers in ((4, 3, 3), (2, 3, 2)):
        with pytest.raises(Started, match=str(workers)):
            list(run_units(_square, range(units), RunOptions(jobs=jobs, engine=engine)))


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_worker_of_a_cluster_is_one_line() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match=r"a worker process was killed.* fewer --jobs"):
        list(run_units(_die, range(4), RunOptions(jobs=2, engine="dask")))


def _begin(place: str) -> None:
    Path(place).touch()
    time.sleep(60)


def wait_on_ray(place: str) -> None:
    """A command that says in a file that its work has begun, and waits."""

    @click.command()
    def wait() -> None:
        list(run_units(_begin, [place] * 2, RunOptions(jobs=2, engine="ray")))

    Commands("gifnet", commands=[wait])(["wait"])


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGTERM")
def test_a_run_on_ray_ends_at_a_signal_as_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own answer to SIGTERM is a report of a crash."""
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(TESTS))  # of the workers
    before = signal.getsignal(signal.SIGTERM)
    assert len(list(run_units(_square, range(3), RunOptions(jobs=2, engine="ray")))) == 3
    assert signal.getsignal(signal.SIGTERM) == before
    begun = tmp_path / "begun"
    child = start(wait_on_ray, begun, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not begun.exists():
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    child.send_signal(signal.SIGTERM)
    printed = child.communicate(timeout=60)[1].splitlines()
    # Of its start Ray prints lines of its log.
    assert [line for line in printed if line and not line[:4].isdecimal()] == ["stopped"], printed
    assert child.returncode == 1


def _where(_: int) -> int:
    return os.getpid()


@pytest.mark.slow
def test_a_cluster_of_one_worker_does_the_work_itself() -> None:
    pytest.importorskip("distributed")
    places = {place for _, place in run_units(_where, range(3), RunOptions(jobs=1, engine="dask"))}
    assert len(places) == 1 and os.getpid() not in places
