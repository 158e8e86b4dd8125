"""Short training runs for tests: their settings, processes and kills."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.checkpoint import load_network
from model.digest import weights_digest
from model.training.feed import Batch, TrainingData
from model.training.train_config import TrainConfig
from model.training.training_log import read_metrics

REPOSITORY = Path(__file__).resolve().parents[1]
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
    """A training in a process of its own; ``resume`` among the settings is train's."""
    settings = {**TINY, "steps": 4, **settings}
    code = (
        "import sys, json, os, torch\n"
        "torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from model.trainer import TrainConfig, train\n"
        "from pipeline.files import InputError\n"
        "settings = json.loads(sys.argv[3])\n"
        "resume = settings.pop('resume', False)\n"
        "try:\n"
        "    train(TrainConfig(**settings), Path(sys.argv[1]), Path(sys.argv[2]), resume=resume)\n"
        "except InputError as error:\n"
        "    print(error, file=sys.stderr, flush=True)\n"
        # An interpreter that ends right after a collective may be aborted by gloo's threads.
        "    os._exit(1)\n"
    )
    arguments = [sys.executable, "-c", code, str(joint), str(out), json.dumps(settings)]
    return subprocess.Popen(arguments, cwd=REPOSITORY, env={**os.environ, **environment}, stderr=stderr)


def run_processes(count: int, joint: Path, outs: list[Path], settings: dict[str, Any]) -> None:
    """What torchrun does: the same command in every process, with its rank in the environment.

    ``outs`` is what each sees as the folder of the run.
    """
    processes = [spawn(joint, outs[rank], settings, **one) for rank, one in enumerate(_ranks(count))]
    codes = [process.wait(timeout=280) for process in processes]
    for code, process in zip(codes, processes, strict=True):
        if code:
            raise subprocess.CalledProcessError(code, process.args)


def run_apart(joint: Path, out: Path, settings: list[dict[str, Any]]) -> tuple[list[int], str]:
    """The same with settings of their own; exit statuses and all that was said."""
    processes = [
        spawn(joint, out, mine, stderr=subprocess.PIPE, **environment)
        for mine, environment in zip(settings, _ranks(len(settings)), strict=True)
    ]
    said = [process.communicate(timeout=280)[1].decode() for process in processes]
    return [process.returncode for process in processes], "".join(said)


def _ranks(count: int) -> list[dict[str, str]]:
    """What torchrun puts into the environment of each process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{"RANK": str(rank), "LOCAL_RANK": str(rank), **common} for rank in range(count)]


def kill_after_lines(joint: Path, out: Path, lines: int) -> None:
    """SIGKILL a training as soon as its log has so many lines."""
    process = spawn(joint, out, {})
    deadline = time.monotonic() + 250
    while not (out / "metrics.jsonl").is_file() or (out / "metrics.jsonl").read_text().count("\n") < lines:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.005)
    process.kill()
    process.wait()
