"""Exact fusion in strips: results of the whole image with the memory of a few rows.

The revised layer norm needs the mean and the deviation of a whole map, so an image is passed over several
times: to embed its features and measure both streams, to run the first block and measure its output, and so
on, and to run the last block and the decoder. What a pass made is kept for the next one as far as the
memory budget allows; the other rows are computed again. Each pass takes one panel of columns after the other.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from model.arena import Arena
from model.folded import FoldedNetwork, StreamWeights
from model.host_memory import kept_in_process
from model.network import GIFNet
from model.panels import Panel, cut
from model.transformer import Statistics, Task
from pipeline.device import computes_bfloat16, repeatable_kernels
from pipeline.files import InputError

#: Pixels of a strip on a CPU: enough to keep every core busy, few enough for the last-level cache.
CPU_STRIP_PIXELS = 20_480
#: Rows of a strip at least: two rows of windows. With fewer, the border around them costs more than it saves.
MIN_STRIP_ROWS = 16
#: Numbers held per pixel of a strip while a chain of all layers works on it.
WORKING_NUMBERS = 2_900
#: Values whose moments a CPU takes at once: they are read three times and should stay in the cache.
MOMENT_VALUES = 1 << 19
#: Columns of a panel on a CPU at most.
CPU_PANEL_COLUMNS = 1280


class FusionEngine:
    """Fuses luminance planes of any size with one network.

    Args:
        network: weights; not modified.
        device: where to compute.
        precision: ``fp32``, ``bf16`` or ``fp16``; statistics are float32 sums either way.
        memory_bytes: for feature maps; what does not fit is computed again.
        strip_rows: rows per strip; None chooses by width and memory.
        panel_columns: columns per panel at most; None chooses by device.

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
    ) -> None:
        self.network = network
        self.device = torch.device(device)
        _check_precision(precision, self.device)
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self.memory_bytes = memory_bytes
        self.strip_rows, self.panel_columns = strip_rows, panel_columns
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
        height, width = pair.shape[1:]
        if min(height, width) < (smallest := self.network.config.min_side):
            raise InputError(f"an image of {height}x{width} is too small: both sides need {smallest} pixels")
        if main not in self._folded:
            self._folded[main] = FoldedNetwork(self.network, main=main, device=self.device, dtype=self.dtype)
        planes = torch.from_numpy(pair)[None]
        with torch.inference_mode(), kept_in_process(self.device), repeatable_kernels():
            return _Passes(self, self._folded[main], planes).run()

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


class _Passes:
    """The passes over one pair of planes, (1, 2, H, W)."""

    def __init__(self, engine: FusionEngine, network: FoldedNetwork, planes: Tensor) -> None:
        # Both planes in full precision, whatever the network computes in; they are read several times.
        self.network, self.planes = network, planes.to(network.device)
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
        streams = 2 * network.channels * network.dtype.itemsize * height * read
        arena = engine.arena(min(spare, streams)) if on_cpu else None
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
            )
            for panel in columns
        ]

    def run(self) -> np.ndarray:
        for index in range(len(self.network.blocks)):
            tasks = [self.network.main, self.network.other][: 2 if index == 0 else 1]
            moments = [_Moments() for _ in tasks]
            for panel in self.panels:
                for strip in panel.measured(index):
                    for moment, part in zip(moments, strip.split(self.network.channels, dim=1), strict=True):
                        moment.add(part)
                    del strip, part
            measured = zip(tasks, moments, strict=True)
            self.weights.append(
                tuple(self.network.stream(index, task, moment.statistics()) for task, moment in measured)
            )
        return self.network.head.fuse(self.decoded(), self.planes)[0, 0].cpu().numpy()

    def decoded(self) -> list[Tensor]:
        """What the head keeps of the decoder's maps."""
        head, (height, width) = self.network.head, self.planes.shape[2:]
        maps = [
            torch.empty((1, 1, -(-height >> level), -(-width >> level)), device=self.network.device)
            for level in head.levels
        ]
        for panel in self.panels:
            row = 0
            for strip in panel.decoded():
                for whole, part, level in zip(maps, head.pooled(strip.float()), head.levels, strict=True):
                    top, left = row >> level, panel.columns.own.start >> level
                    whole[:, :, top : top + part.shape[2], left : left + part.shape[3]] = part
                row += strip.shape[2]
                del strip, part
        return maps


class _Moments:
    """Mean and variance of a map from its strips, parts combined in float64 (Chan et al. 1979)."""

    def __init__(self) -> None:
        self._counts: list[int] = []
        self._parts: list[Tensor | list[float]] = []  # mean, sum of squared distances from it

    def add(self, strip: Tensor) -> None:
        on_cpu = strip.device.type == "cpu"
        rows = max(1, MOMENT_VALUES * strip.shape[2] // strip.numel()) if on_cpu else strip.shape[2]
        for part in strip.split(rows, dim=2):
            values = part.float()
            mean = values.mean()
            found = torch.stack([mean, (values - mean).square_().sum()])
            self._counts.append(values.numel())
            # Numbers, for a small tensor that outlives its strip cuts a large free block of the heap, and the
            # next strip needs a new one: a gigabyte in an image. On a GPU they would wait for the device.
            self._parts.append(found.tolist() if on_cpu else found)

    def statistics(self) -> Statistics:
        means, squares = torch.stack([torch.as_tensor(part) for part in self._parts]).double().unbind(1)
        weights = torch.tensor(self._counts, dtype=torch.float64, device=means.device) / sum(self._counts)
        mean = weights @ means
        variance = squares.sum() / sum(self._counts) + weights @ (means - mean).square()
        return Statistics(mean, (variance + 1e-5).sqrt())
