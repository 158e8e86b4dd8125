"""Files of tensors: what is wrong with the machine is not told as damage of the file."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from pipeline.files import InputError, write_bytes
from pipeline.networks.saved_tensors import read_saved, read_tensors, saved_bytes

Reader = Callable[[Path], Any]


def _read_saved(path: Path) -> Any:
    return read_saved(path, torch.device("cpu"))


@pytest.fixture(params=[_read_saved, read_tensors], ids=["saved", "safetensors"])
def reader(request: pytest.FixtureRequest) -> Reader:
    return request.param


@pytest.fixture
def path(tmp_path: Path, reader: Reader) -> Path:
    tensors = {"weight": torch.arange(6.0)}
    return write_bytes(
        tmp_path / "weights", save(tensors) if reader is read_tensors else saved_bytes(tensors)
    )


def test_round_trip(path: Path, reader: Reader) -> None:
    content = reader(path)
    tensors = content[0] if isinstance(content, tuple) else content
    torch.testing.assert_close(tensors, {"weight": torch.arange(6.0)}, rtol=0, atol=0)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 24 bytes"),
        MemoryError(),
    ],
    ids=["gpu", "torch", "python"],
)
def test_want_of_memory_is_no_damage(
    path: Path, reader: Reader, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("pipeline.networks.saved_tensors.torch.load", lacking)
    monkeypatch.setattr("pipeline.networks.saved_tensors.load", lacking)
    with pytest.raises(type(error)) as raised:
        reader(path)
    assert raised.value is error


def test_what_claims_more_than_the_file_has_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "old.pth"
    torch.save({"weight": torch.arange(600.0)}, path, _use_new_zipfile_serialization=False)
    count = b"M" + struct.pack("<H", 600)  # of the numbers in the storage, as pickle writes it
    path.write_bytes(path.read_bytes().replace(count, b"\x8a\x08" + struct.pack("<q", 1 << 50), 1))
    with pytest.raises(InputError, match="or damaged"):
        _read_saved(path)


def _nested(value: Any, levels: int, times: int = 1) -> Any:
    for _ in range(levels):
        value = [value] * times
    return value


def _in_itself() -> list[Any]:
    value: list[Any] = []
    value.append({"again": value})
    return value


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.empty(2, device="meta"), "without values"),
        (torch.ones(2, dtype=torch.complex64).conj(), "plain one"),
        (_in_itself(), "nested too deeply"),
        (_nested(1, 100), "nested too deeply"),
        (_nested(1, 10, times=100), "hold too much"),
        ({None: 1}, "neither names nor numbers"),
        (b"bytes", "holds a bytes"),
    ],
    ids=range(8),
)
def test_only_plain_tensors_and_values_are_read(tmp_path: Path, content: Any, says: str) -> None:
    torch.save({"weight": content}, tmp_path / "odd.pth")
    with pytest.raises(InputError, match=rf"odd\.pth: .*{says}"):
        _read_saved(tmp_path / "odd.pth")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_no_damage(path: Path, reader: Reader) -> None:
    path.chmod(0)
    with pytest.raises(InputError, match=r"weights: cannot be read .*ermission"):
        reader(path)


def test_a_folder_is_no_file_of_tensors(tmp_path: Path, reader: Reader) -> None:
    with pytest.raises(InputError, match=r"cannot be read .*directory"):
        reader(tmp_path)


@pytest.mark.parametrize("keep", [0, 1, 60], ids=str)
def test_damage_is_told_as_such(path: Path, reader: Reader, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match="damaged"):
        reader(path)
