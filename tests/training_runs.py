"""Short training runs for tests: their settings, processes and kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from child_processes import start
from torch.distributed import TCPStore

from model.checkpoint import load_network
from model.checkpoint.digest import weights_digest
from model.trainer import train
from model.training.feed import Batch, TrainingData
from model.training.train_config import TrainConfig
from model.training.training_log import TrainingLog, read_metrics
from pipeline.files import InputError

#: Settings of runs that take a second or two.
TINY: dict[str, Any] = {
    "batch_size": 2,
    "crop": 32,
    "device": "cpu",
    "checkpoint_every": 2,
    "validate_every": 2,
    "warmup_steps": 0,
    # Narrow networks, where no number is that of the published one.
    "feature_growth": 8,
    "decoder_channels": 16,
    "head": "plane",
}


def tiny(**settings: Any) -> TrainConfig:
    return TrainConfig(**TINY | {"steps": 4} | settings)


def digest(run: Path) -> str:
    return weights_digest(load_network(run / "weights.safetensors"))


def without_times(run: Path) -> list[dict[str, Any]]:
    return [
        {k: v for k, v in record.items() if k != "seconds"} for record in read_metrics(run / "metrics.jsonl")
    ]


def stop_at(monkeypatch: pytest.MonkeyPatch, step: int, action: Callable[[], None]) -> None:
    """Do something when the batch of a step (from 0) is fetched."""
    fetch = TrainingData.batch

    def fetch_and_act(data: TrainingData, number: int) -> Batch:
        if number == step:
            action()
        return fetch(data, number)

    monkeypatch.setattr(TrainingData, "batch", fetch_and_act)


def spawn(
    joint: Path, out: Path, settings: dict[str, Any], stderr: int | None = None, **environment: str
) -> subprocess.Popen[bytes]:
    """A training in a process of its own, see :func:`train_here`."""
    return start(
        train_here, joint, out, json.dumps(settings), stderr=stderr, env={**os.environ, **environment}
    )


def train_here(joint: str, out: str, written: str) -> None:
    """Train in this process.

    ``resume`` among the settings is train's; with ``kill_after`` the process is killed as soon as its log has
    so many lines, and with ``end_at`` it gets SIGTERM when the batch of that step (from 0) is fetched.
    """
    torch.set_num_threads(1)
    settings = json.loads(written)
    resume, kill_after = settings.pop("resume", False), settings.pop("kill_after", None)
    if (end_at := settings.pop("end_at", None)) is not None:
        stop_at(pytest.MonkeyPatch(), end_at, lambda: os.kill(os.getpid(), signal.SIGTERM))
    write = TrainingLog.write

    def write_and_die(log: TrainingLog, record: dict[str, Any]) -> None:
        write(log, record)
        if record["step"] == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    pytest.MonkeyPatch().setattr(TrainingLog, "write", write_and_die)
    try:
        train(tiny(**settings), Path(joint), Path(out), resume=resume)
    except (InputError, KeyboardInterrupt) as error:
        print(error, file=sys.stderr, flush=True)
        # An interpreter that ends right after a collective may be aborted by gloo's threads.
        os._exit(1)


def run_processes(count: int, joint: Path, outs: list[Path], settings: dict[str, Any]) -> None:
    """What torchrun does: the same command in every process, with its rank in the environment.

    ``outs`` is what each sees as the folder of the run.
    """
    with _torchrun(count) as environments:
        processes = [
            spawn(joint, out, settings, **environment)
            for out, environment in zip(outs, environments, strict=True)
        ]
        codes = [process.wait(timeout=280) for process in processes]
    for code, process in zip(codes, processes, strict=True):
        if code:
            raise subprocess.CalledProcessError(code, process.args)


def run_apart(joint: Path, out: Path, settings: list[dict[str, Any]]) -> tuple[list[int], str]:
    """The same with settings of their own; exit statuses and all that was said."""
    with _torchrun(len(settings)) as environments:
        processes = [
            spawn(joint, out, mine, stderr=subprocess.PIPE, **environment)
            for mine, environment in zip(settings, environments, strict=True)
        ]
        said = [process.communicate(timeout=280)[1].decode() for process in processes]
    return [process.returncode for process in processes], "".join(said)


@contextmanager
def _torchrun(count: int) -> Iterator[list[dict[str, str]]]:
    """What torchrun puts into the environment of each process; within the block it keeps their store, too.

    So the port is bound before anyone is told of it, and nobody else can take it.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    common |= {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    yield [{"RANK": str(rank), "LOCAL_RANK": str(rank), **common} for rank in range(count)]


def run_killed(joint: Path, out: Path, lines: int) -> None:
    """A training that SIGKILL ends as soon as its log has so many lines."""
    assert spawn(joint, out, {"kill_after": lines}).wait(timeout=250) == -signal.SIGKILL
