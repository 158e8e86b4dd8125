"""Where work units run: in this machine's processes or on Ray through joblib, or on Dask by its own client.

Of a task that Dask gives up, for a worker that died or a function that no worker can load, joblib's backend
never hears, and waits for ever; and it does all work by itself where a cluster has one slot.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import joblib

from pipeline.files import InputError, first_line
from pipeline.runtime.signals import end_like_ctrl_c
from pipeline.runtime.workers import KILLED, check_jobs

ENGINES = ("local", "dask", "ray")
#: On Ray, units for each worker between two moments at which their results are seen.
ROUND = 8
Unit = TypeVar("Unit")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a synthesis is run; none of it but the device, by its rounding, changes a byte of the result."""

    device: str = "auto"  # of the networks: auto, cpu, cuda, cuda:N
    jobs: int = -1  # worker processes; -1 = one for each core
    engine: str = "local"  # or dask, ray
    part: tuple[int, int] = (1, 1)  # make the K-th of N shares of the shards

    def __post_init__(self) -> None:
        check_jobs(self.jobs)
        if self.engine not in ENGINES:
            raise InputError(f"engine {self.engine!r}: use one of {', '.join(ENGINES)}")
        number, count = self.part
        if not 1 <= number <= count:
            raise InputError(f"part {number}/{count}: give K/N with 1 <= K <= N")


def run_units(
    make: Callable[[Unit], Result], units: Sequence[Unit], options: RunOptions
) -> Iterator[tuple[Unit, Result]]:
    """Run ``make(unit)`` for every unit and yield ``(unit, result)`` as they are done, in any order.

    ``local`` means processes here, ``dask`` the cluster of ``DASK_SCHEDULER_ADDRESS`` and ``ray`` the one of
    ``RAY_ADDRESS``; where these are not set, a cluster is started on this machine for the while.

    Raises:
        InputError: the engine is not installed, no scheduler is at its address, a cluster's worker was
            killed, or workers of a cluster lack gifnet.
        BrokenProcessPool: a worker of this machine was killed.
    """
    if options.engine == "local" and (options.jobs == 1 or len(units) <= 1):
        for unit in units:
            yield unit, make(unit)
        return
    if options.engine == "dask":
        yield from _run_on_dask(make, units, options.jobs)
        return
    with joblib.parallel_config(backend="loky") if options.engine == "local" else _ray():
        # Ray's backend hands results out at the end alone: so in rounds.
        on_ray = options.engine == "ray"
        workers = joblib.effective_n_jobs(options.jobs)
        at_once = ROUND * workers if on_ray else len(units)
        return_as = "list" if on_ray else "generator_unordered"
        parallel = joblib.Parallel(n_jobs=min(workers, len(units)), return_as=return_as, batch_size=1)
        for start in range(0, len(units), at_once):
            some = units[start : start + at_once]
            yield from parallel(joblib.delayed(_labelled)(make, unit) for unit in some)


def _labelled(make: Callable[[Unit], Result], unit: Unit) -> tuple[Unit, Result]:
    return unit, make(unit)


def _run_on_dask(
    make: Callable[[Unit], Result], units: Sequence[Unit], jobs: int
) -> Iterator[tuple[Unit, Result]]:
    try:
        import dask
        from distributed import Client, KilledWorker, as_completed
    except ImportError:
        raise InputError("engine dask: not installed; pip install 'gifnet[dask]'") from None
    address = dask.config.get("scheduler-address", None)
    local: dict[str, Any] = {
        "n_workers": min(jobs if jobs > 0 else joblib.cpu_count(), len(units)),
        "threads_per_worker": 1,
        "dashboard_address": None,
        "silence_logs": logging.CRITICAL,  # what fails comes back here, and is told once
    }
    try:
        client = Client(**(local if address is None else {}))
    except (OSError, ValueError) as error:
        if address is None:
            raise
        raise InputError(
            f"DASK_SCHEDULER_ADDRESS {address}: no scheduler answers there ({first_line(error)}); give "
            "HOST:PORT of one, or none, to use this machine"
        ) from None
    with client:
        futures = {client.submit(make, unit, pure=False): unit for unit in units}
        for future in as_completed(list(futures)):
            try:
                result = future.result()
            except KilledWorker:
                raise InputError(KILLED) from None
            except ModuleNotFoundError as error:
                raise InputError(
                    f"engine dask: a worker lacks the module {error.name}; install gifnet there"
                ) from None
            except RuntimeError as error:
                if "deserialization" not in str(error):
                    raise
                raise InputError(
                    "engine dask: the cluster cannot load this program; install gifnet there, of this version"
                ) from None
            yield futures.pop(future), result


@contextmanager
def _ray() -> Iterator[None]:
    try:
        import ray
        from ray.exceptions import RayActorError
        from ray.util.joblib import register_ray
    except ImportError:
        raise InputError("engine ray: not installed; pip install 'gifnet[ray]'") from None
    register_ray()
    started = not ray.is_initialized()
    # Ray answers SIGTERM with a report of a crash. So its handler is replaced, and put away in the end.
    with end_like_ctrl_c():
        if started:
            # By itself Ray also looks for what an earlier cluster of this machine left behind, dead or not.
            address = None if os.environ.get("RAY_ADDRESS") else "local"
            ray.init(address, include_dashboard=False, log_to_driver=False)
        try:
            with end_like_ctrl_c(), joblib.parallel_config(backend="ray"):
                yield
        except RayActorError:
            raise InputError(KILLED) from None
        finally:
            if started:
                ray.shutdown()
