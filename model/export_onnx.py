"""Export of the whole network to ONNX, for runtimes other than PyTorch."""

from __future__ import annotations

import copy
import importlib.util
import math
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.blocks.transformer import Task
from model.network import GIFNet
from pipeline.files import InputError, atomic_path, check_output

#: Version of the operator set: the oldest one the exporter writes without converting.
OPSET = 18
#: Height and width of a model for any size are multiples of this, and of the head's blocks.
SIZE_STEP = 8
#: What the export needs beside PyTorch (extra ``onnx``).
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
#: The model's result may be this far from the network's: the exponentials of a head magnify rounding.
TOLERANCE = 1e-3
#: Larger images are not tried: whole, the published network takes 18 KB for a pixel.
MOST_PIXELS = 1 << 17
#: No larger model is written: the published network would take a terabyte to run it.
LIMIT_PIXELS = 1 << 26


def export_onnx(
    network: GIFNet, path: Path | str, *, main: Task = "dp", size_hw: tuple[int, int] | None = None
) -> Path:
    """Write the network as one self-contained ONNX file, atomically, once ONNX Runtime agrees with it.

    A model for one fixed size above :data:`MOST_PIXELS` is written without that.

    Inputs ``a`` and ``b`` and output ``fused`` are float32 (1, 1, H, W) in [0, 1]. The layer norm takes its
    statistics from the whole input, so an image must be given whole, with the memory that takes.

    Args:
        main: stream that is decoded.
        size_hw: fixed height and width; None leaves both open, to multiples of 8 (pyramid head: 16), which
            takes minutes and is told.

    Raises:
        InputError: a package of the extra ``onnx`` is missing, the size is too small or too large, there can
            be no such file, or the model that came out does not compute what the network does.
    """
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise InputError(f"{path}: give the model's path, ending in .onnx")
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"ONNX export needs {' and '.join(missing)}: pip install 'gifnet[onnx]'")
    if size_hw is not None:
        network.config.check_size(*size_hw)
        if math.prod(size_hw) > LIMIT_PIXELS:
            raise InputError(f"{size_hw[1]}x{size_hw[0]} is too large: it may have {LIMIT_PIXELS} pixels")
    check_output(path)
    step = math.lcm(SIZE_STEP, network.head.block)
    height, width = size_hw or (6 * step, 7 * step)
    fusion = _Fusion(copy.deepcopy(network).cpu(), main).eval()
    dynamic = None
    if size_hw is None:
        print("a model for images of any size takes minutes; for one size, --size is faster", file=sys.stderr)
        rows, columns = (torch.export.Dim(name, min=2, max=1 << 12) * step for name in ("rows", "columns"))
        dynamic = {name: {2: rows, 3: columns} for name in "ab"}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the exporter; what came out is checked
        program = torch.onnx.export(
            fusion,
            _planes(height, width),
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
        # A size other than the exported one, too: what was taken for fixed there would show.
        for size in {(height, width), size_hw or (4 * step, 3 * step)}:
            if math.prod(size) <= MOST_PIXELS:
                _check(temporary, fusion, _planes(*size))
    return path


def _planes(height: int, width: int) -> tuple[Tensor, Tensor]:
    a, b = torch.rand(2, 1, 1, height, width, generator=torch.Generator().manual_seed(0))
    return a, b


@torch.inference_mode()
def _check(model: Path, fusion: nn.Module, planes: tuple[Tensor, Tensor]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    (fused,) = session.run(["fused"], {name: plane.numpy() for name, plane in zip("ab", planes, strict=True)})
    error = float(np.abs(fused - fusion(*planes).numpy()).max())
    if not error <= TOLERANCE:  # NaN is not either
        height, width = planes[0].shape[2:]
        raise InputError(
            f"the exported model is off by {error:.2g} at {width}x{height}; nothing was written; "
            "try the versions of torch and onnxscript in constraints.txt"
        )


class _Fusion(nn.Module):
    """The network with its main task fixed."""

    def __init__(self, network: GIFNet, main: Task) -> None:
        super().__init__()
        self.network, self.main = network, main

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.network(a, b, main=self.main)
