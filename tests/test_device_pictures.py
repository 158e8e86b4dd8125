"""Pictures whose colour a GPU computes, here a pretended one: the results are those of the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fusing import picture, tiny_weights
from pretended_gpu import pretended_gpu

from model.blocks.transformer import Task
from model.engine.strips import FusionEngine
from model.fuse import FuseSummary, fuse
from model.fusing import device_pictures
from model.fusing.fuse_config import FuseConfig
from pipeline.images import read_image

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="here is a real one"),
]


class _Engine(FusionEngine):
    """Counts pairs that come and go as tensors of the device."""

    pairs = 0

    def fuse_device(self, planes: torch.Tensor, *, main: Task = "dp") -> torch.Tensor:
        assert planes.shape[:2] == (1, 2) and planes.dtype == torch.float32
        type(self).pairs += planes.is_cuda
        return super().fuse_device(planes, main=main)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> type[_Engine]:
    monkeypatch.setattr("model.fuse.FusionEngine", _Engine)
    monkeypatch.setattr(_Engine, "pairs", 0)
    return _Engine


def fused_on(device: str, inputs: list[Path], out: Path, weights: Path, **settings: Any) -> FuseSummary:
    config = FuseConfig(weights=weights, device=device, precision="fp32", jobs=2, **settings)
    with pretended_gpu():
        return fuse(config, inputs, out)


def same_results(tmp_path: Path, inputs: list[Path], **settings: Any) -> int:
    """Fuse on both devices; how many results there are."""
    weights = tiny_weights(tmp_path)
    for device in ("cpu", "cuda"):
        assert fused_on(device, inputs, tmp_path / device, weights, **settings).complete
    results = sorted(path.name for path in (tmp_path / "cpu").glob("*.*") if path.suffix != ".jsonl")
    for name in results:
        on_cpu, on_gpu = (read_image(tmp_path / device / name) for device in ("cpu", "cuda"))
        assert on_gpu.shape == on_cpu.shape and on_gpu.dtype == on_cpu.dtype
        assert np.abs(on_cpu.astype(int) - on_gpu).max() <= 1 + (on_gpu.dtype == np.uint16)
    return len(results)


@pytest.mark.parametrize("task", ["ivif", "medical", "auto"])
@pytest.mark.parametrize("channels", [(1, 1), (1, 3), (3, 1), (3, 3)])
def test_pairs(tmp_path: Path, engine: type[_Engine], channels: tuple[int, int], task: str) -> None:
    for number in range(4):
        for role, count in zip("ab", channels, strict=True):
            picture(tmp_path / role / f"{number}.png", number + ord(role), channels=count)
    assert same_results(tmp_path, [tmp_path / "a", tmp_path / "b"], task=task) == 4
    assert engine.pairs == 4


def test_other_endings_and_the_other_stream(tmp_path: Path, engine: type[_Engine]) -> None:
    for role in "ab":
        picture(tmp_path / role / "1.png", ord(role), channels=3)
    inputs = [tmp_path / "a", tmp_path / "b"]
    assert same_results(tmp_path, inputs, suffix=".tif", main_task="ivif") == 1
    assert engine.pairs == 1


@pytest.mark.parametrize("range_16bit", ["full", "percentile", "2000:50000"])
def test_sixteen_bits_in(tmp_path: Path, engine: type[_Engine], range_16bit: str) -> None:
    picture(tmp_path / "a/1.png", 1, dtype="uint16")
    picture(tmp_path / "b/1.png", 2, dtype="uint16", channels=3)
    assert same_results(tmp_path, [tmp_path / "a", tmp_path / "b"], range_16bit=range_16bit) == 1
    assert engine.pairs == 1


@pytest.mark.parametrize("settings", [{"bits": 16}, {"colour": "upstream"}], ids=str)
def test_what_the_host_colours(tmp_path: Path, engine: type[_Engine], settings: dict[str, object]) -> None:
    for role in "ab":
        picture(tmp_path / role / "1.png", ord(role), channels=3)
    assert same_results(tmp_path, [tmp_path / "a", tmp_path / "b"], **settings) == 1
    assert engine.pairs == 0


def test_stacks_images_alone_and_large_pictures_go_the_hosts_way(
    tmp_path: Path, engine: type[_Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / role for role in "abc"]
    for folder in folders:
        picture(folder / "1.png", ord(folder.name), channels=3)
    assert same_results(tmp_path / "stack", folders) == 1 and engine.pairs == 0
    assert same_results(tmp_path / "alone", folders[:1]) == 1 and engine.pairs == 0
    monkeypatch.setattr(device_pictures, "MOST_PIXELS", 24 * 24)
    for folder in folders[:2]:
        picture(folder / "2.png", ord(folder.name), channels=3, size_hw=(24, 25))
    assert same_results(tmp_path / "pairs", folders[:2]) == 2 and engine.pairs == 1


def test_failures_are_those_of_the_host(tmp_path: Path, engine: type[_Engine]) -> None:
    for name in ("good", "tiny", "text", "zfine"):
        for role in "ab":
            picture(tmp_path / role / f"{name}.png", 1, size_hw=(2, 2) if name == "tiny" else (20, 24))
    (tmp_path / "b/text.png").write_text("no image")
    weights = tiny_weights(tmp_path)
    on_cpu, on_gpu = (
        fused_on(device, [tmp_path / "a", tmp_path / "b"], tmp_path / device, weights)
        for device in ("cpu", "cuda")
    )
    assert on_gpu.done == on_cpu.done == ["good", "zfine"] and on_gpu.failed == on_cpu.failed
