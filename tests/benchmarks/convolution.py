"""Gradients of the network's 3x3 convolutions on the CPU: PyTorch's beside the product's.

    python tests/benchmarks/convolution.py [--threads 2] [--repeats 5] [--shapes 8,98,98,128 ...]

Maps are float32 and channels last, batch and size those of a training step. ``for x`` is the gradient of the
input, whose arithmetic is as much as that of the weights'. The product's form, of
``pipeline.networks.convolution``, is used where ``torch.backends.cpu.get_cpu_capability()``, which is
printed, is AVX2. Medians of milliseconds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from model.memory import kept_in_process
from pipeline.networks.convolution import Convolution

#: Batch, channels in and out, side: published shape, then shipped shape.
SHAPES = ["8,98,98,128", "8,98,64,128", "8,64,32,128", "16,44,44,160", "16,44,32,160"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="Batch, channels in and out, side.")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    capability = torch.backends.cpu.get_cpu_capability()
    print(f"{capability}, {arguments.threads} threads, torch {torch.__version__}\n")
    print("| batch, channels, side | for x | for weight and bias | the product's | times faster |")
    print("|---|---|---|---|---|")
    with kept_in_process(torch.device("cpu")):
        for shape in arguments.shapes:
            batch, inputs, outputs, side = map(int, shape.split(","))
            for_x, plain, ours = compare(batch, inputs, outputs, side, repeats=arguments.repeats)
            row = f"| {batch}, {inputs} -> {outputs}, {side} | {for_x:.0f} | {plain:.0f} | {ours:.0f}"
            print(f"{row} | {plain / ours:.1f} |", flush=True)


def compare(batch: int, inputs: int, outputs: int, side: int, *, repeats: int) -> list[float]:
    """Median milliseconds of three gradients, in turns."""

    def values(*size: int) -> Tensor:
        return torch.randn(size).to(memory_format=torch.channels_last)

    x, weight = values(batch, inputs, side + 2, side + 2), values(outputs, inputs, 3, 3)
    bias, gradient = torch.randn(outputs), values(batch, outputs, side, side)

    def backward(apply: Callable[..., Tensor], *learning: int) -> Callable[[], object]:
        leaves = [v.detach().requires_grad_(i in learning) for i, v in enumerate((x, weight, bias))]
        out = apply(*leaves)
        return lambda: torch.autograd.grad(out, [leaves[i] for i in learning], gradient, retain_graph=True)

    runs = [
        backward(torch.conv2d, 0),
        backward(torch.conv2d, 1, 2),
        backward(Convolution.apply, 1, 2),
    ]
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(repeats + 1):
        for run, seen in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            run()
            seen.append(time.perf_counter() - start)
    return [median(seen[1:]) * 1e3 for seen in seconds]


if __name__ == "__main__":
    main()
