"""Which device there is, and what it can compute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_source import run

from pipeline.files import InputError
from pipeline.networks.device import computes_bfloat16, resolve_device
from pipeline.synthesis import synthesise as synthesis


@pytest.mark.parametrize("name", ["tpu", "meta", "cuda:99", ""])
def test_a_device_that_is_not_there_is_one_line(name: str) -> None:
    with pytest.raises(InputError, match=rf"^--device {name}: [^\n]*use [^\n]*$"):
        resolve_device(name)


def test_a_build_without_onednn_computes_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    monkeypatch.delattr(torch.ops, "mkldnn", raising=False)
    assert not computes_bfloat16(torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_workers_of_a_cluster_have_devices_of_their_own(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = set()

    def elsewhere(_: Any, units: Sequence[Any], __: Any) -> Iterator[tuple[Any, dict[str, float]]]:
        devices.update(unit.device for unit in units)
        return iter([(unit, {}) for unit in units])

    monkeypatch.setattr(synthesis, "run_units", elsewhere)
    run(source, tmp_path / "out", engine="dask", device="cuda")
    assert devices == {"cuda"}
    with pytest.raises(InputError, match="0 CUDA"):
        run(source, tmp_path / "local", device="cuda")
