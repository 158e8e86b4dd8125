"""Export of the whole network to ONNX, for runtimes other than PyTorch."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import torch
from torch import Tensor, nn

from model.network import GIFNet
from model.transformer import Task
from pipeline.files import InputError, atomic_path

#: Version of the operator set: the oldest one the exporter writes without converting.
OPSET = 18
#: Height and width of a model for any size are multiples of this.
SIZE_STEP = 8
#: What the export needs beside PyTorch (extra ``onnx``).
_PACKAGES = ("onnx", "onnxscript")


def export_onnx(
    network: GIFNet, path: Path | str, *, main: Task = "dp", size_hw: tuple[int, int] | None = None
) -> Path:
    """Write the network as one self-contained ONNX file, atomically.

    Inputs ``a`` and ``b`` and output ``fused`` are float32 (1, 1, H, W) in [0, 1]. The layer norm takes its
    statistics from the whole input, so an image must be given whole, with the memory that takes.

    Args:
        main: stream that is decoded.
        size_hw: fixed height and width; None leaves both open, to multiples of 8.

    Raises:
        InputError: a package of the extra ``onnx`` is missing, or the size is too small.
    """
    path = Path(path)
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX export needs {' and '.join(missing)}: pip install gifnet[onnx]")
    smallest = network.config.min_side
    if size_hw is not None and min(size_hw) < smallest:
        raise InputError(f"{size_hw[0]}x{size_hw[1]} is too small: both sides need {smallest} pixels")
    height, width = size_hw or (6 * SIZE_STEP, 7 * SIZE_STEP)
    planes = tuple(torch.rand(1, 1, height, width) for _ in "ab")
    dynamic = None
    if size_hw is None:
        rows, columns = (
            torch.export.Dim(name, min=2, max=1 << 12) * SIZE_STEP for name in ("rows", "columns")
        )
        dynamic = {name: {2: rows, 3: columns} for name in "ab"}
    with torch.no_grad():
        program = torch.onnx.export(
            _Fusion(copy.deepcopy(network).cpu().eval(), main),
            planes,
            input_names=["a", "b"],
            output_names=["fused"],
            dynamic_shapes=dynamic,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    with atomic_path(path) as temporary:
        program.save(str(temporary), external_data=False)
    return path


class _Fusion(nn.Module):
    """The network with its main task fixed."""

    def __init__(self, network: GIFNet, main: Task) -> None:
        super().__init__()
        self.network, self.main = network, main

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.network(a, b, main=self.main)
