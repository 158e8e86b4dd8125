"""The exported network, run by ONNX Runtime."""

from __future__ import annotations

import builtins
import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fusing import tiny_network

from model.blocks.transformer import EPSILON, layer_statistics
from model.export_onnx import export_onnx
from pipeline.files import InputError


def run(path: Path, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (fused,) = session.run(["fused"], {"a": a, "b": b})
    return fused


def _export_of_another(export: Callable[..., Any]) -> Callable[..., Any]:
    """Exports a network with other weights than those it is given."""

    def export_changed(fusion: torch.nn.Module, *args: Any, **options: Any) -> Any:
        changed = copy.deepcopy(fusion)
        with torch.no_grad():
            for weights in changed.parameters():
                weights.mul_(1.5)
        return export(changed, *args, **options)

    return export_changed


@pytest.mark.parametrize(
    ("exported", "size_hw", "main", "head"),
    [
        (None, (24, 80), "dp", "plane"),
        pytest.param(None, (48, 80), "dp", "pyramid", marks=pytest.mark.slow),
        pytest.param((21, 34), (21, 34), "dp", "pyramid", marks=pytest.mark.slow),
        pytest.param(None, (48, 56), "mm", "plane", marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error::UserWarning")
def test_agrees_with_the_network(
    tmp_path: Path, exported: tuple[int, int] | None, size_hw: tuple[int, int], main: str, head: str
) -> None:
    pytest.importorskip("onnxscript")
    network = tiny_network(local_path_quirk=True, head=head)
    path = export_onnx(network, tmp_path / "network.onnx", main=main, size_hw=exported)
    assert [file.name for file in tmp_path.iterdir()] == ["network.onnx"]
    a, b = np.random.default_rng(0).random((2, 1, 1, *size_hw), np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(a), torch.from_numpy(b), main=main).numpy()
    tolerance = 1e-5 if head == "plane" else 1e-4  # exponentials magnify float32's rounding
    np.testing.assert_allclose(run(path, a, b), expected, atol=tolerance)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else builtins)
    with pytest.raises(InputError, match=r"needs onnxscript: pip install 'gifnet\[onnx\]'"):
        export_onnx(tiny_network(), tmp_path / "network.onnx")


def test_a_model_is_called_onnx(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"network\.txt: give the model's path, ending in \.onnx"):
        export_onnx(tiny_network(), tmp_path / "network.txt")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_model_that_is_wrong_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(torch.onnx, "export", _export_of_another(torch.onnx.export))
    with pytest.raises(InputError, match=r"off by .* at 32x24; nothing was written"):
        export_onnx(tiny_network(), tmp_path / "network.onnx", size_hw=(24, 32))
    assert not list(tmp_path.iterdir())


def test_what_is_exported_is_in_evaluation_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")

    def seen(fusion: torch.nn.Module, *_: object, **__: object) -> None:
        raise InputError(f"training: {fusion.training}")

    monkeypatch.setattr(torch.onnx, "export", seen)
    with pytest.raises(InputError, match="training: False"):
        export_onnx(tiny_network().train(), tmp_path / "network.onnx")


def test_too_small(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    with pytest.raises(InputError, match="too small"):
        export_onnx(tiny_network(), tmp_path / "network.onnx", size_hw=(4, 30))


class _Spread(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        statistics = layer_statistics(x)
        return torch.cat([statistics.mean, statistics.deviation], dim=1)


@pytest.mark.slow
def test_statistics_of_large_maps_stay_exact(tmp_path: Path) -> None:
    """Of 25 million values float32 keeps no sum that is added up one by one."""
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    x = torch.rand(1, 98, 512, 512, generator=torch.Generator().manual_seed(0)) + 3
    program = torch.onnx.export(_Spread().eval(), (x,), dynamo=True, verbose=False)
    assert program is not None
    program.save(str(tmp_path / "x.onnx"))
    session = runtime.InferenceSession(str(tmp_path / "x.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0].ravel()
    exact = x.double()
    np.testing.assert_allclose(found, [exact.mean(), (exact.var(correction=0) + EPSILON).sqrt()], rtol=1e-6)
