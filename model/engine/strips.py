"""Exact fusion in strips: results of the whole image with the memory of a few rows.

The revised layer norm needs the mean and the deviation of a whole map, so an image is passed over several
times: to embed its features and measure both streams, to run the first block and measure its output, and so
on, and to run the last block and the decoder. What a pass made is kept for the next one as far as the
memory budget allows; the other rows are computed again. Each pass takes one panel of columns after the other.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from functools import partial

import numpy as np
import torch
from torch import Tensor

from model.blocks.transformer import Task
from model.engine.arena import Arena
from model.engine.folded import FoldedNetwork, StreamWeights
from model.engine.moments import moments
from model.engine.panels import Panel, cut
from model.engine.strip_block import prepared
from model.engine.whole_maps import WholeMaps, fits, gpu_kernels
from model.memory import kept_in_process
from model.network import GIFNet
from pipeline.files import InputError, first_line
from pipeline.networks.device import computes_bfloat16, full_float32
from pipeline.networks.graphs import Repeating

#: Pixels of a plane up to which launching kernels on a GPU takes time that matters.
RECORDED_PIXELS = 1 << 22
#: Pixels of a strip on a CPU: enough to keep every core busy, few enough for the last-level cache.
CPU_STRIP_PIXELS = 20_480
#: Rows of a strip at least: two rows of windows. With fewer, the border around them costs more than it saves.
MIN_STRIP_ROWS = 16
#: Numbers held per pixel of a strip while a chain of all layers works on it.
WORKING_NUMBERS = 2_900
#: Columns of a panel on a CPU at most.
CPU_PANEL_COLUMNS = 1280
#: Bytes of channels that a GPU loads at once; heads and maps are padded to multiples.
GPU_PIECE_BYTES = 16


class FusionEngine:
    """Fuses luminance planes of any size with one network.

    Args:
        network: weights; not modified.
        device: where to compute.
        precision: ``fp32``, ``bf16`` or ``fp16``; statistics are float32 sums either way.
        memory_bytes: for feature maps; what does not fit is computed again.
        strip_rows: rows per strip; None chooses by width and memory.
        panel_columns: columns per panel at most; None chooses by device.
        multiple: channels of heads and maps are padded to multiples of it; None chooses by device. A GPU
            needs whole pieces of 16 bytes.

    Raises:
        InputError: the device does not compute in this precision.
    """

    def __init__(
        self,
        network: GIFNet,
        *,
        device: torch.device | str = "cpu",
        precision: str = "fp32",
        memory_bytes: int = 1 << 30,
        strip_rows: int | None = None,
        panel_columns: int | None = None,
        multiple: int | None = None,
    ) -> None:
        self.network = network
        self.device = torch.device(device)
        _check_precision(precision, self.device)
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self.memory_bytes = memory_bytes
        self.strip_rows, self.panel_columns = strip_rows, panel_columns
        on_cpu = self.device.type == "cpu"
        self.multiple = multiple or (1 if on_cpu else GPU_PIECE_BYTES // self.dtype.itemsize)
        self._repeating = None if on_cpu else Repeating(self.device, "fusing")
        self._whole = strip_rows is None and panel_columns is None
        self._folded: dict[Task, FoldedNetwork] = {}
        self._arena = Arena(0)

    def fuse_planes(self, a: np.ndarray, b: np.ndarray, *, main: Task = "dp") -> np.ndarray:
        """Fuse two planes, float32 (H, W) in [0, 1] -> float32 (H, W) in [0, 1].

        Raises:
            InputError: the planes are smaller than the network's windows need.
        """
        assert a.shape == b.shape, f"{a.shape} and {b.shape}"
        return self.fuse_pair(np.stack([a, b]), main=main)

    def fuse_pair(self, pair: np.ndarray, *, main: Task = "dp") -> np.ndarray:
        """:meth:`fuse_planes` of both in one array, float32 (2, H, W): it is not copied."""
        planes = torch.from_numpy(pair)[None]
        if self._repeating is not None:
            return self.fuse_device(planes, main=main)[0, 0].cpu().numpy()
        network = self._network_for(pair.shape[1], pair.shape[2], main)
        with torch.inference_mode(), kept_in_process(self.device), _kernels():
            return _Passes(self, network, planes).run()[0, 0].numpy()

    def fuse_device(self, planes: Tensor, *, main: Task = "dp") -> Tensor:
        """The same on a GPU, without waiting for it: (1, 2, H, W) float32, here or there -> (1, 1, H, W).

        The result is the caller's until the next call.
        """
        assert self._repeating is not None, "a CPU has no stream to launch on"
        height, width = planes.shape[2:]
        network = self._network_for(height, width, main)
        # Triton launches on the device that is current.
        with torch.cuda.device(self.device), torch.inference_mode(), _kernels():
            return self._repeating(
                planes,
                (main, height, width),
                partial(self._compute, network),
                records=height * width <= RECORDED_PIXELS,
            )

    def _compute(self, network: FoldedNetwork, planes: Tensor) -> Tensor:
        """Planes on the GPU -> the fused plane there, as a whole where that is possible."""
        head, (height, width) = network.head, planes.shape[2:]
        budget = self.memory_bytes - 4 * head.working_numbers(height, width)
        if self._whole and fits(network, height, width, budget):
            try:
                return head.fuse(head.pooled(WholeMaps(network, planes).decoded()), planes)
            except gpu_kernels().FAILURES as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                self._whole = False
                reason = first_line(error)
                warnings.warn(f"{self.device}: fusing without Triton's kernels ({reason})", stacklevel=2)
        return _Passes(self, network, planes).run()

    def head_maps(self, pair: np.ndarray, *, main: Task = "dp") -> list[Tensor]:
        """What the network tells its head of a pair, float32 (2, H, W), on a CPU."""
        network = self._network_for(pair.shape[1], pair.shape[2], main)
        with torch.inference_mode(), kept_in_process(self.device), _kernels():
            return _Passes(self, network, torch.from_numpy(pair)[None]).maps()

    def _network_for(self, height: int, width: int, main: Task) -> FoldedNetwork:
        self.network.config.check_size(height, width)
        if main not in self._folded:
            self._folded[main] = FoldedNetwork(
                self.network, main=main, device=self.device, dtype=self.dtype, multiple=self.multiple
            )
        return self._folded[main]

    def arena(self, num_bytes: int) -> Arena:
        """Memory for kept rows on the CPU; the engine holds it for the next pair."""
        if self._arena.num_bytes < num_bytes:
            self._arena = Arena(num_bytes)
        return self._arena


def _check_precision(precision: str, device: torch.device) -> None:
    if device.type == "cuda":
        return
    if precision == "fp16":
        raise InputError("--precision fp16 needs a GPU; use bf16 or fp32 on the CPU")
    if precision == "bf16" and not computes_bfloat16(device):
        raise InputError("--precision bf16: this processor computes no bf16; use fp32")


def _kernels() -> AbstractContextManager[None]:
    """On CUDA convolutions by cuDNN's own choice, the same for the same shapes, in full float32.

    Asked for deterministic ones, it takes kernels without tensor cores for some shapes.
    """
    return full_float32(deterministic=False)


class _Passes:
    """The passes over one pair of planes, (1, 2, H, W) on the network's device."""

    def __init__(self, engine: FusionEngine, network: FoldedNetwork, planes: Tensor) -> None:
        # Both planes in full precision, whatever the network computes in; they are read several times.
        self.network, self.planes = network, planes
        on_cpu = network.device.type == "cpu"
        height, width = planes.shape[2:]
        columns = cut(width, engine.panel_columns or (CPU_PANEL_COLUMNS if on_cpu else width), network)
        widest = max(len(panel.read) for panel in columns)
        pixel_bytes = WORKING_NUMBERS * network.dtype.itemsize
        pixels = CPU_STRIP_PIXELS if on_cpu else engine.memory_bytes // 2 // pixel_bytes
        rows = engine.strip_rows or max(MIN_STRIP_ROWS, pixels // widest // 8 * 8)
        working = min(rows, height) * widest * pixel_bytes
        # The head works when the strips are done, but what was kept of them lies there still.
        decoded = sum(4 * height * width >> 2 * level for level in network.head.levels)
        blended = 4 * network.head.working_numbers(height, width)
        spare = max(0, engine.memory_bytes - max(working, blended) - decoded)
        read = sum(len(panel.read) for panel in columns)
        channel = network.dtype.itemsize * height * read
        streams, features = 2 * network.channels * channel, network.feature_channels * channel
        arena = engine.arena(min(spare, streams)) if on_cpu else None
        keeps_features = not on_cpu and streams + features <= spare
        if keeps_features:
            spare -= features
        self.weights: list[tuple[StreamWeights, ...]] = []
        self.panels = [
            Panel(
                network,
                self.planes,
                panel,
                rows=rows,
                memory_bytes=spare * len(panel.read) // read,
                weights=self.weights,
                arena=arena,
                keeps_features=keeps_features,
            )
            for panel in columns
        ]

    def run(self) -> Tensor:
        """The fused plane, (1, 1, H, W); on a GPU nothing waits for it."""
        return self.network.head.fuse(self.maps(), self.planes)

    def maps(self) -> list[Tensor]:
        """What the head keeps of the decoder's maps, after all passes."""
        network = self.network
        for index in range(network.depth):
            tasks = [network.main, network.other][: 2 if index == 0 else 1]
            measured = moments(network, len(tasks))
            for panel in self.panels:
                for strip in panel.measured(index):
                    measured.add(strip)
                    del strip
            both = zip(tasks, measured.statistics(), strict=True)
            self.weights.append(tuple(prepared(network.stream(index, *each)) for each in both))
        return self.decoded()

    def decoded(self) -> list[Tensor]:
        """The last pass."""
        head, (height, width) = self.network.head, self.planes.shape[2:]
        maps = [
            torch.empty((1, 1, -(-height >> level), -(-width >> level)), device=self.network.device)
            for level in head.levels
        ]
        for panel in self.panels:
            row = 0
            for strip in panel.decoded():
                # On a GPU maps that are read one by one should not lie between each other.
                order = torch.preserve_format if strip.device.type == "cpu" else torch.contiguous_format
                pooled = head.pooled(strip.to(torch.float32, memory_format=order))
                for whole, part, level in zip(maps, pooled, head.levels, strict=True):
                    top, left = row >> level, panel.columns.own.start >> level
                    whole[:, :, top : top + part.shape[2], left : left + part.shape[3]] = part
                row += strip.shape[2]
                del strip, part, pooled
        return maps
