"""Where work units run: in this machine's processes, on Dask, or on Ray; always through joblib."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import joblib

from pipeline.files import InputError

ENGINES = ("local", "dask", "ray")
Unit = TypeVar("Unit")
Result = TypeVar("Result")


def run_units(
    make: Callable[[Unit], Result], units: Sequence[Unit], *, engine: str, jobs: int
) -> Iterator[tuple[Unit, Result]]:
    """Run ``make(unit)`` for every unit and yield ``(unit, result)`` as they are done, in any order.

    Args:
        engine: ``local`` (processes here), ``dask`` (the cluster of ``DASK_SCHEDULER_ADDRESS``, else a local
            one) or ``ray`` (the cluster of ``RAY_ADDRESS``, else a local one).
        jobs: number of local workers; -1 = all cores. On a running cluster, its own workers count.
    """
    if engine == "local" and (jobs == 1 or len(units) == 1):
        for unit in units:
            yield unit, make(unit)
        return
    with _backend(engine, jobs):
        parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
        yield from parallel(joblib.delayed(_labelled)(make, unit) for unit in units)


def _labelled(make: Callable[[Unit], Result], unit: Unit) -> tuple[Unit, Result]:
    return unit, make(unit)


def _backend(engine: str, jobs: int) -> AbstractContextManager[Any]:
    if engine == "local":
        return joblib.parallel_config(backend="loky")
    if engine == "dask":
        return _dask(jobs)
    if engine == "ray":
        return _ray()
    raise InputError(f"engine {engine!r}: use one of {', '.join(ENGINES)}")


@contextmanager
def _dask(jobs: int) -> Iterator[None]:
    try:
        import dask
        from distributed import Client
    except ImportError:
        raise InputError("engine dask: not installed; pip install 'gifnet[dask]'") from None
    local: dict[str, Any] = {}
    if dask.config.get("scheduler-address", None) is None:
        local = {"n_workers": jobs if jobs > 0 else None, "threads_per_worker": 1, "dashboard_address": None}
    with Client(**local), joblib.parallel_config(backend="dask"):
        yield


@contextmanager
def _ray() -> Iterator[None]:
    try:
        import ray
        from ray.util.joblib import register_ray
    except ImportError:
        raise InputError("engine ray: not installed; pip install 'gifnet[ray]'") from None
    register_ray()  # joblib knows Dask by itself, but not Ray
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False)
    try:
        with joblib.parallel_config(backend="ray"):
            yield
    finally:
        if started:
            ray.shutdown()
