"""What every test may use: the same chance each time, reference data where they exist, small datasets."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import random_shards
import tiny_source
import torch
from joint_data import write_joint
from training_runs import tiny

from model.trainer import train
from pipeline.networks import device

SHARED = Path(os.environ.get("GIFNET_SHARED", Path(__file__).resolve().parents[2] / "shared"))

# Beside other processes of the suite each has a core of its own.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1))


def pytest_configure() -> None:
    """Signals act here, and in children, where the suite runs under nohup or behind a script too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)  # before those that -m leaves out are chosen
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that use the third-party data, themselves or by their fixtures, have the mark ``shared``."""
    for item in items:
        if "shared" in getattr(item, "fixturenames", ()):
            item.add_marker("shared")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What torch draws in a test does not depend on the tests before it."""
    torch.manual_seed(0)


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


@pytest.fixture
def make_joint(tmp_path: Path) -> Callable[..., Path]:
    """Writes such a dataset as it is told, see :func:`joint_data.write_joint`."""
    return partial(write_joint, tmp_path / "joint")


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


@pytest.fixture(scope="session")
def random_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of three and two random samples; tests that change it take a copy."""
    return random_shards.make_dataset(tmp_path_factory.mktemp("random"))
