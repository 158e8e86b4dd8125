"""Exact fusion in strips: results of the whole image with the memory of a few rows.

The revised layer norm needs the mean and the deviation of a whole map, so an image is passed over several
times: to embed its features and measure both streams, to run the first block and measure its output, and so
on, and to run the last block and the decoder. What a pass made is kept for the next one as far as the
memory budget allows; the other rows are computed again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from model.folded import FoldedNetwork, StreamWeights
from model.network import GIFNet
from model.row_stream import RowReader, Strips, convolve, convolved, padded_blocks, rows_of
from model.strip_block import HALO, StreamStrip, parts, relu_, window_grid
from model.transformer import Statistics, Task
from pipeline.files import InputError

#: Pixels of a strip on a CPU: enough to keep every core busy, few enough for the last-level cache.
CPU_STRIP_PIXELS = 20_000
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
        memory_bytes: for feature maps; beyond it they are computed again.
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
        self.a, self.b = torch.from_numpy(a), torch.from_numpy(b)
        self.height, self.width = a.shape
        step = network.alignment
        self.map_height = self.height + -self.height % step
        self.map_width = self.width + -self.width % step
        self.rows = engine.strip_rows or max(8, CPU_STRIP_PIXELS // self.width // 8 * 8)
        # Of map 0, with twice the channels, the first rows are kept, of the others the last rows: so the
        # next map grows where this one has been used up, and no two of them together exceed the budget.
        rows = engine.memory_bytes // (self.map_width * network.channels * self.dtype.itemsize)
        last = range(max(0, self.map_height - rows), self.map_height)
        self.kept = [
            _Kept(range(min(rows // 2, self.map_height))),
            *(_Kept(last) for _ in network.blocks[1:]),
        ]
        self.weights: list[tuple[StreamWeights, ...]] = []

    def run(self) -> np.ndarray:
        for index, kept in enumerate(self.kept):
            moments = [_Moments() for _ in range(2 if index == 0 else 1)]
            for strip in self.compute(index):
                for moment, part in zip(moments, strip.split(self.network.channels, dim=1), strict=True):
                    moment.add(part)
                kept.add(strip)
            tasks = (self.network.main, self.network.other)[: len(moments)]
            self.weights.append(
                tuple(
                    self.network.stream(index, task, moment.statistics())
                    for task, moment in zip(tasks, moments, strict=True)
                )
            )
        fused = torch.empty((self.height, self.width), dtype=torch.float32)
        row = 0
        for strip in self.decode(self.compute(len(self.kept)), self.encode()):
            fused[row : row + strip.shape[2]] = strip[0, 0]
            row += strip.shape[2]
        return fused.numpy()

    def compute(self, index: int) -> Iterator[Tensor]:
        """Strips of map ``index``, from what is kept of the map before it."""
        if index == 0:
            return self.embed(self.encode())
        return self.cross(self.map(0)) if index == 1 else self.refine(index - 1, self.map(index - 1))

    def map(self, index: int) -> Iterator[Tensor]:
        """Strips of map ``index``: kept ones where there are any, the others computed again."""
        nothing = _Kept(range(self.map_height, self.map_height))
        kept, self.kept[index] = self.kept[index], nothing
        if kept.rows.start:
            yield from rows_of(self.compute(index), range(kept.rows.start))
        yield from kept.drain()
        if kept.rows.stop < self.map_height:
            assert index == 0, "of later maps the last rows are kept"
            yield from self.embed_from(kept.rows.stop)

    def embed_from(self, row: int) -> Iterator[Tensor]:
        """Map 0 from ``row`` on."""
        # Begun a few rows earlier, as if the image did, the wrong border has left the map by then.
        step = self.network.alignment
        start = max(0, min(row, self.height - step) - EMBED_REACH) // step * step
        strips = self.embed(self.encode(start), start)
        return rows_of(strips, range(row - start, self.map_height - start))

    def encode(self, start: int = 0) -> Iterator[Tensor]:
        """Encoder features of the rows from ``start`` on, (1, C, rows, W)."""
        strips = self.planes(start)
        for affine in self.network.encoder:
            strips = (
                torch.cat([rows, relu_(out)], dim=1)
                for rows, out in convolved(strips, self.height - start, affine)
            )
        return strips

    def planes(self, start: int) -> Iterator[Tensor]:
        # The last strip is never a thin one: it is reflected within itself.
        rows = range(start, max(self.height - 8, start + 1), self.rows)
        for first, stop in itertools.pairwise([*rows, self.height]):
            pair = torch.stack([self.a[first:stop], self.b[first:stop]], dim=-1)[None].permute(0, 3, 1, 2)
            yield pair.to(device=self.device, dtype=self.dtype)

    def embed(self, features: Strips, start: int = 0) -> Iterator[Tensor]:
        """Features -> both embedded streams (1, 2C, rows, W'), main first."""
        if (self.map_height, self.map_width) != (self.height, self.width):
            features = padded_blocks(features, self.height - start, halo=0, step=self.network.alignment)
        for _, embedded in convolved(features, self.map_height - start, self.network.embed):
            yield embedded

    def cross(self, embedded: Strips) -> Iterator[Tensor]:
        """First block and gate."""
        network, channels = self.network, self.network.channels
        main_weights, other_weights = self.weights[0]
        twin = itertools.tee(embedded)
        main_strips = (strip[:, :channels] for strip in twin[0])
        other_strips = (strip[:, channels:] for strip in twin[1])
        bias, window = network.position_bias[0], network.window
        for (main_block, crop), (other_block, _) in zip(
            self.blocks(main_strips, 0), self.blocks(other_strips, 0), strict=True
        ):
            main = StreamStrip(main_block, main_weights, window)
            borrowed = main.padded_value if network.borrows_value else None
            other = StreamStrip(other_block, other_weights, window, local_value=borrowed)
            out = torch.empty_like(main_block[:, :, HALO:-HALO, HALO:-HALO])
            grid = window_grid(out, window)
            for part in parts(grid):
                x, query = main.run(part, bias)
                x.add_(other.run(part, bias, query)[0], alpha=network.gate)
                grid[part] = x.view(grid[part].shape)
            yield out[:, :, *crop]

    def refine(self, index: int, strips: Strips) -> Iterator[Tensor]:
        """Block ``index`` of the main stream."""
        (weights,) = self.weights[index]
        bias, window = self.network.position_bias[index], self.network.window
        for block, crop in self.blocks(strips, -(window // 2) if index % 2 else 0):
            stream = StreamStrip(block, weights, window)
            out = torch.empty_like(block[:, :, HALO:-HALO, HALO:-HALO])
            grid = window_grid(out, window)
            for part in parts(grid):
                grid[part] = stream.run(part, bias)[0].view(grid[part].shape)
            yield out[:, :, *crop]

    def blocks(self, strips: Strips, origin: int) -> Iterator[tuple[Tensor, tuple[slice, slice]]]:
        """Padded blocks of whole windows, and where the map lies in them."""
        start = origin
        columns = slice(-origin, self.map_width - origin)
        for block in padded_blocks(
            strips, self.map_height, halo=HALO, step=self.network.window, origin=origin
        ):
            stop = start + block.shape[2] - 2 * HALO
            yield block, (slice(max(0, -start), min(stop, self.map_height) - start), columns)
            start = stop

    def decode(self, refined: Strips, features: Strips) -> Iterator[Tensor]:
        """Last block's output and encoder features -> fused rows (1, 1, rows, W), float32."""
        strips: Strips = self.merge(refined, RowReader(features))
        *hidden, last = self.network.decoder
        for affine in hidden:
            strips = (relu_(out) for _, out in convolved(strips, self.height, affine))
        for _, out in convolved(strips, self.height, last):
            yield out.float().tanh_().mul_(0.5).add_(0.5)

    def merge(self, refined: Strips, features: RowReader) -> Iterator[Tensor]:
        left = self.height
        for _, merged in convolved(refined, self.map_height, self.network.merge_refined):
            rows = min(merged.shape[2], left)
            if rows:
                left -= rows
                merged = merged[:, :, :rows, : self.width]
                yield relu_(merged.add_(convolve(features.take(rows), self.network.merge_features)))


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
