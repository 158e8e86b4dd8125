"""Exact fusion in strips: results of the whole image with the memory of a few rows.

The revised layer norm needs the mean and the deviation of a whole map, so an image is passed over several
times: to embed its features and measure both streams, to run the first block and measure its output, and so
on, and to run the last block and the decoder. What a pass made is kept for the next one as far as the
memory budget allows; the other rows are computed again.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from model.folded import FoldedNetwork, StreamWeights
from model.head import Head
from model.network import GIFNet
from model.row_stream import RowReader, rows_of
from model.strip_layers import StripLayers
from model.transformer import Statistics, Task
from pipeline.files import InputError

#: Pixels of a strip on a CPU: enough to keep every core busy, few enough for the last-level cache.
CPU_STRIP_PIXELS = 20_480
#: Rows of a strip at least: two rows of windows. With fewer, the border around them costs more than it saves.
MIN_STRIP_ROWS = 16
#: Numbers held per pixel of a strip while a chain of all layers works on it.
WORKING_NUMBERS = 2_900
#: Values whose moments are taken at once: they are read three times and should stay in the cache.
MOMENT_VALUES = 1 << 19
#: Rows that the encoder's three convolutions and the embedding see above and below their own.
EMBED_REACH = 4


class FusionEngine:
    """Fuses luminance planes of any size with one network.

    Args:
        network: weights; not modified.
        device: where to compute.
        precision: ``fp32``, ``bf16`` or ``fp16``; statistics are float32 sums either way.
        memory_bytes: for feature maps; what does not fit is computed again.
        strip_rows: rows per strip; None chooses by width and memory.

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
    ) -> None:
        self.network = network
        self.device = torch.device(device)
        self.head: Head = copy.deepcopy(network.head).to(self.device)
        _check_precision(precision, self.device)
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
        self.memory_bytes = memory_bytes
        self.strip_rows = strip_rows
        self._folded: dict[Task, FoldedNetwork] = {}

    def fuse_planes(self, a: np.ndarray, b: np.ndarray, *, main: Task = "dp") -> np.ndarray:
        """Fuse two planes, float32 (H, W) in [0, 1] -> float32 (H, W) in [0, 1].

        Raises:
            InputError: the planes are smaller than the network's windows need.
        """
        assert a.shape == b.shape, f"{a.shape} and {b.shape}"
        if min(a.shape) < (smallest := self.network.config.min_side):
            raise InputError(
                f"an image of {a.shape[0]}x{a.shape[1]} is too small: both sides need {smallest} pixels"
            )
        if main not in self._folded:
            self._folded[main] = FoldedNetwork(self.network, main=main, device=self.device, dtype=self.dtype)
        with torch.inference_mode():
            return _Passes(self, self._folded[main], np.ascontiguousarray(a), np.ascontiguousarray(b)).run()


def _check_precision(precision: str, device: torch.device) -> None:
    if device.type == "cuda":
        return
    if precision == "fp16":
        raise InputError("--precision fp16 needs a GPU; use bf16 or fp32 on the CPU")
    if precision == "bf16" and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        raise InputError("--precision bf16: this processor computes no bf16; use fp32")


class _Passes:
    """The passes over one pair of planes. Map 0 is both embedded streams, map i the output of block i - 1."""

    def __init__(self, engine: FusionEngine, network: FoldedNetwork, a: np.ndarray, b: np.ndarray) -> None:
        self.network, self.device, self.dtype = network, engine.device, engine.dtype
        self.head = engine.head
        self.a, self.b = torch.from_numpy(a), torch.from_numpy(b)
        self.layers = StripLayers(network, *a.shape)
        self.height = self.layers.map_height
        pixel_bytes = WORKING_NUMBERS * self.dtype.itemsize
        pixels = CPU_STRIP_PIXELS if self.device.type == "cpu" else engine.memory_bytes // 2 // pixel_bytes
        self.rows = engine.strip_rows or max(MIN_STRIP_ROWS, pixels // a.shape[1] // 8 * 8)
        spare = max(0, engine.memory_bytes - min(self.rows, self.height) * a.shape[1] * pixel_bytes)
        # Of map 0, with twice the channels, the first rows are kept, of the others the last rows: so the
        # next map grows where this one has been used up, and no two of them together exceed the budget.
        rows = spare // (self.layers.map_width * network.channels * self.dtype.itemsize)
        last = range(max(0, self.height - rows), self.height)
        self.kept = [_Kept(range(min(rows // 2, self.height))), *(_Kept(last) for _ in network.blocks[1:])]
        self.weights: list[tuple[StreamWeights, ...]] = []

    def run(self) -> np.ndarray:
        for index, kept in enumerate(self.kept):
            tasks = [self.network.main, self.network.other][: 2 if index == 0 else 1]
            moments = [_Moments() for _ in tasks]
            for strip in self.compute(index):
                for moment, part in zip(moments, strip.split(self.network.channels, dim=1), strict=True):
                    moment.add(part)
                kept.add(strip)
                del strip
            measured = zip(tasks, moments, strict=True)
            self.weights.append(
                tuple(self.network.stream(index, task, moment.statistics()) for task, moment in measured)
            )
        strips = [self.head.pooled(strip.float()) for strip in self.decoded()]
        maps = [torch.cat(parts, dim=2) for parts in zip(*strips, strict=True)]
        del strips
        # The planes in full precision, whatever the network computes in.
        planes = torch.stack([self.a, self.b])[None].to(self.device)
        return self.head(maps, planes)[0, 0].cpu().numpy()

    def decoded(self) -> Iterator[Tensor]:
        """The decoder's maps in strips of whole blocks of the head."""
        height, block = self.layers.height, self.head.block
        refined, features = self.compute(len(self.kept)), self.layers.encode(self.planes())
        reader = RowReader(self.layers.decode(refined, features))
        rows = -(-self.rows // block) * block
        return (reader.take(min(rows, height - row)) for row in range(0, height, rows))

    def compute(self, index: int) -> Iterator[Tensor]:
        """Strips of map ``index``, from what is kept of the map before it."""
        if index == 0:
            return self.embed()
        before = self.map(index - 1)
        if index == 1:
            return self.layers.cross(before, *self.weights[0])
        return self.layers.refine(index - 1, before, *self.weights[index - 1])

    def map(self, index: int) -> Iterator[Tensor]:
        """Strips of map ``index``: kept ones where there are any, the others computed again."""
        kept, self.kept[index] = self.kept[index], _Kept(range(self.height, self.height))
        if kept.rows.start:
            yield from rows_of(self.compute(index), range(kept.rows.start))
        yield from kept.drain()
        if kept.rows.stop < self.height:
            assert index == 0, "of later maps the last rows are kept"
            # Begun a few rows earlier, as if the image did, the wrong border has left the map by then.
            step = self.network.alignment
            start = max(0, min(kept.rows.stop, self.layers.height - step) - EMBED_REACH) // step * step
            yield from rows_of(self.embed(start), range(kept.rows.stop - start, self.height - start))

    def embed(self, start: int = 0) -> Iterator[Tensor]:
        """Map 0 of the image that begins at row ``start``."""
        return self.layers.embed(self.layers.encode(self.planes(start), start), start)

    def planes(self, start: int = 0) -> Iterator[Tensor]:
        """Both planes as strips (1, 2, rows, W)."""
        height = self.layers.height
        # The last strip is never a thin one: it is reflected within itself.
        rows = range(start, max(height - 8, start + 1), self.rows)
        for first, stop in itertools.pairwise([*rows, height]):
            pair = torch.stack([self.a[first:stop], self.b[first:stop]], dim=-1)[None].permute(0, 3, 1, 2)
            yield pair.to(device=self.device, dtype=self.dtype)


class _Moments:
    """Mean and variance of a map from its strips, parts combined in float64 (Chan et al. 1979)."""

    def __init__(self) -> None:
        self._counts: list[int] = []
        self._parts: list[tuple[Tensor, Tensor]] = []  # mean, sum of squared distances from it

    def add(self, strip: Tensor) -> None:
        rows = max(1, MOMENT_VALUES * strip.shape[2] // strip.numel())
        for part in strip.split(rows, dim=2):
            values = part.float()
            mean = values.mean()
            self._counts.append(values.numel())
            self._parts.append((mean, (values - mean).square_().sum()))

    def statistics(self) -> Statistics:
        means, squares = (torch.stack(values).double() for values in zip(*self._parts, strict=True))
        weights = torch.tensor(self._counts, dtype=torch.float64, device=means.device) / sum(self._counts)
        mean = weights @ means
        variance = squares.sum() / sum(self._counts) + weights @ (means - mean).square()
        return Statistics(mean, (variance + 1e-5).sqrt())


class _Kept:
    """Some rows of a map, kept for the next pass."""

    def __init__(self, rows: range) -> None:
        self.rows = rows
        self._received = 0
        self._strips: list[Tensor] = []

    def add(self, strip: Tensor) -> None:
        """Take the next strip of the map; rows outside the range are not held."""
        start, self._received = self._received, self._received + strip.shape[2]
        low, high = max(start, self.rows.start), min(self._received, self.rows.stop)
        if high - low == strip.shape[2]:
            self._strips.append(strip)
        elif low < high:
            part = strip[:, :, low - start : high - start]
            self._strips.append(part.clone(memory_format=torch.channels_last))

    def drain(self) -> Iterator[Tensor]:
        """Hand the strips out, once, and forget them."""
        while self._strips:
            yield self._strips.pop(0)
