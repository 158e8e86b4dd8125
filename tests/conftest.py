"""What every test may use: the third-party reference data, where it exists."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny_source
import torch
from joint_data import write_joint
from training_runs import tiny

from model.trainer import train
from pipeline import device

SHARED = Path(os.environ.get("GIFNET_SHARED", Path(__file__).resolve().parents[2] / "shared"))

# Beside other processes of the suite each has a core of its own.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of third-party data (``../shared``, or ``GIFNET_SHARED``); skips where there is none."""
    if not (SHARED / "reference").is_dir():
        pytest.skip(f"third-party reference data is absent ({SHARED})")
    return SHARED


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """On tensors as small as tests have, threads only wait for each other."""
    with device.one_thread():
        yield


@pytest.fixture(scope="session")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small joint dataset."""
    return write_joint(tmp_path_factory.mktemp("data") / "joint")


@pytest.fixture(scope="session")
def straight(joint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps without interruption."""
    with device.one_thread():
        return train(tiny(), joint, tmp_path_factory.mktemp("straight") / "run").parent


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of seven small pairs with exact inverse depth."""
    return tiny_source.make_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def dataset(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a quick synthesis makes of them; tests that change it take a copy."""
    out = tmp_path_factory.mktemp("dataset")
    tiny_source.run(source, out)
    return out
