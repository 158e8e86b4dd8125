"""Where work units run: every result once, and a worker that dies is one line."""

from __future__ import annotations

import os
import signal

import pytest

from pipeline.engines import RunOptions, run_units
from pipeline.files import InputError


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
    with pytest.raises(InputError, match=r"a worker process was killed.* fewer --jobs") as error:
        list(run_units(_die, range(4), RunOptions(jobs=2)))
    assert "\n" not in str(error.value)
    assert len(list(run_units(_square, range(4), RunOptions(jobs=2)))) == 4, "the next run has workers again"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_worker_of_a_cluster_is_one_line() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match=r"a worker process was killed.* fewer --jobs"):
        list(run_units(_die, range(4), RunOptions(jobs=2, engine="dask")))


def _where(_: int) -> int:
    return os.getpid()


@pytest.mark.slow
def test_a_cluster_of_one_worker_does_the_work_itself() -> None:
    pytest.importorskip("distributed")
    places = {place for _, place in run_units(_where, range(3), RunOptions(jobs=1, engine="dask"))}
    assert len(places) == 1 and os.getpid() not in places
