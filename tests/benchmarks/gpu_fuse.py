"""Speed of fusing on a device: the network beside its floor, and whole folders. Sections of gpu.py."""

from __future__ import annotations

import time
from functools import partial
from math import prod
from typing import Any

import numpy as np
import torch
from gpu_bench import DTYPES, Bench
from gpu_report import Report
from torch.utils.flop_counter import FlopCounterMode

from model.checkpoint import save_weights
from model.engine.strips import FusionEngine
from model.fuse import GPU_JOBS, fuse
from model.fusing.fuse_config import FuseConfig
from model.memory import free_memory_bytes
from model.network import GIFNet

TARGET_PAIRS_PER_SECOND = 100
#: Pairs of a folder: a second or more of work at the target.
PAIRS = 160


def network(bench: Bench, report: Report) -> None:
    """Time of one pair, planes on the device, beside the larger of two floors; kernels and idle share."""
    height, width = bench.size_hw
    planes = torch.from_numpy(np.random.default_rng(3).random((1, 2, height, width), np.float32))
    on_device = planes.to(bench.device)
    budget = free_memory_bytes(bench.device) // 2
    for name, net in bench.networks.items():
        macs = _macs_per_pixel(net, bench)
        report.figure(f"{name}: multiply-adds a pixel", macs)
        for precision in bench.precisions:
            engine = FusionEngine(net, device=bench.device, precision=precision, memory_bytes=budget)
            seconds = bench.seconds(fused := partial(_fuse, engine, on_device))
            dtype = DTYPES[precision]
            by_operations = 2 * macs * height * width / bench.matrix_rate(dtype)
            by_bytes = _bytes_per_pixel(net, dtype) * height * width / bench.copy_rate
            floor = max(by_operations, by_bytes)
            report.say(
                f"{name}, {precision}: {seconds * 1e3:.2f} ms a pair ({1 / seconds:.1f}/s); floor "
                f"{floor * 1e3:.2f} ms (operations {by_operations * 1e3:.2f}, bytes {by_bytes * 1e3:.2f}), "
                f"{seconds / floor:.1f} times the floor"
            )
            report.keep(f"{name}, {precision}: network", seconds * 1e3, "ms a pair")
            report.keep(f"{name}, {precision}: floor", floor * 1e3, "ms a pair")
        trace = bench.trace(fused)
        report.figure(f"{name}, {precision}: kernels a pair", trace.kernels)
        report.figure(f"{name}, {precision}: device idle", max(0.0, 1 - trace.busy / seconds))


def _fuse(engine: FusionEngine, planes: torch.Tensor) -> None:
    """What :func:`model.fuse.fuse` does beside reading, colouring and writing."""
    if engine.device.type == "cpu":
        engine.fuse_pair(planes[0].numpy())
    else:
        engine.fuse_device(planes)


def folder(bench: Bench, report: Report) -> None:
    """Colour pairs per second of ``fuse``, reading and writing included."""
    pairs = 3 if bench.quick else PAIRS
    source, few = bench.source(pairs), bench.source(2)
    for name, net in bench.networks.items():
        weights = save_weights(bench.new_folder() / "weights.safetensors", net, {})
        for jobs in (1,) if bench.quick else (GPU_JOBS, 16, 6):
            config = FuseConfig(
                weights=weights,
                precision=bench.precisions[-1],
                task="ivif",
                device=str(bench.device),
                jobs=jobs,
            )
            fuse(config, [few / "infrared", few / "visible"], bench.new_folder() / "fused")  # which compiles
            start = time.perf_counter()
            summary = fuse(config, [source / "infrared", source / "visible"], bench.new_folder() / "fused")
            seconds = time.perf_counter() - start
            if len(summary.done) != pairs:
                raise RuntimeError(f"{len(summary.done)} of {pairs} pairs were fused: {summary.failed}")
            report.figure(
                f"{name}, {config.precision}, --jobs {jobs}: {pairs} colour pairs read, fused, written",
                pairs / seconds,
                "pairs/s",
                at_least=TARGET_PAIRS_PER_SECOND,
            )


def _macs_per_pixel(net: GIFNet, bench: Bench) -> float:
    """Counted on the CPU in one strip, where no head is padded and the encoder alone is computed twice.

    For the published shape 644e3, without what no result depends on, and what windows over the border add.
    """
    height, width = (64, 96) if bench.quick else (256, 320)
    planes = np.zeros((2, height, width), np.float32)
    engine = FusionEngine(net, strip_rows=height)
    more: Any = {
        torch.ops.mkldnn._convolution_pointwise: _convolution_flop,
        torch.ops.mkldnn._linear_pointwise: _convolution_flop,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flop,
    }
    with FlopCounterMode(display=False, custom_mapping=more) as counter:
        engine.fuse_pair(planes)
    again = sum(layer.weight.numel() for layer in net.encoder.convolutions)
    return counter.get_total_flops() / 2 / (height * width) - again


def _convolution_flop(_x: Any, weight: Any, *_: Any, out_shape: Any, **__: Any) -> int:
    """Of shapes; the counter does not know these operators of oneDNN."""
    return 2 * prod(out_shape) * prod(weight[1:])


def _attention_flop(query: Any, key: Any, *_: Any, **__: Any) -> int:
    """Two products of (..., N, size) each; nor does every PyTorch know the fused operator of the CPU."""
    return 4 * prod(query) * key[-2]


def _bytes_per_pixel(net: GIFNet, dtype: torch.dtype) -> float:
    """Least traffic with the device's memory.

    The norm's statistics are of the whole image, so what is before and after each block has to be written and
    read again: both streams before the first one, the main stream after each but the last. Beside them the
    two planes are read and the result is written, in float32.
    """
    maps = 2 + net.config.depth - 1
    return 2 * maps * net.config.channels * dtype.itemsize + 3 * 4
