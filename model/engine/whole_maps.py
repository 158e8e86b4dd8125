"""A pair through the network on a GPU as one whole: each layer one launch of a Triton kernel.

For half precision, windows of 8 pixels, and images whose maps fit the memory budget; all else passes in
strips of PyTorch's operators.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from model.engine.folded import Affine, FoldedNetwork, StreamWeights
from model.engine.moments import statistics_of

#: Least compute capability of a GPU that the kernels are written for.
_CAPABILITY = (8, 0)
#: Pixels that a program convolves at a time, and those that it filters.
_PIXELS, _FILTERED = 128, 32
#: Hidden channels of the MLP that a program computes at once.
_HIDDEN = 64
#: By the most channels that a convolution gives: channels that it reads at once, and warps.
_CONVOLVING = {64: (32, 4), 256: (64, 8)}
#: Steps of a convolution whose inputs are on their way at a time, at most.
_STAGES = 3
#: Not left to Triton's default, which changes with its version.
_ROUNDING = {"enable_fp_fusion": True}


@cache
def gpu_kernels() -> Any:
    """The module of Triton's kernels, or None: PyTorch brings Triton for CUDA on Linux alone.

    Not before a GPU asks for it: a CPU would hold its 70 MB for nothing.
    """
    try:
        from model.engine import gpu_kernels as kernels
    except ImportError:
        return None
    return kernels


def fits(network: FoldedNetwork, height: int, width: int, memory_bytes: int) -> bool:
    """Whether a pair of this size can pass as a whole within so many bytes of maps."""
    if not network.padded or network.dtype.itemsize != 2:
        return False
    if torch.cuda.get_device_capability(network.device) < _CAPABILITY:
        return False
    kernels = gpu_kernels()
    if kernels is None or network.window != kernels.WINDOW:
        return False
    layers = (*network.encoder, network.embed, network.merge_features, *network.decoder)
    if max(len(layer.weight) for layer in layers) > max(_CONVOLVING):
        return False
    numbers = network.feature_channels + 6 * network.channels
    return numbers * network.dtype.itemsize * height * width <= memory_bytes


class WholeMaps:
    """The maps of one pair of planes.

    Args:
        network: padded, see :mod:`model.engine.layout`.
        planes: (1, 2, H, W) float32 on the network's device.
    """

    def __init__(self, network: FoldedNetwork, planes: Tensor) -> None:
        self.network, self._kernels = network, gpu_kernels()
        self.size_hw = planes.shape[2], planes.shape[3]
        # The transformer's maps are reflected to whole multiples.
        self.map_hw = tuple(side + -side % network.alignment for side in self.size_hw)
        self.features = self._encode(planes)

    def decoded(self) -> Tensor:
        """The decoder's maps for the head, (1, maps, H, W) float32."""
        network = self.network
        x = self._cross()
        for index in range(1, network.depth):
            x = self._block(index, *x)
        merged = self._map(len(network.merge_features.weight), self.size_hw)
        _convolve(
            x[0], network.merge_refined, merged, slope=0.0, extra=(self.features, network.merge_features)
        )
        *hidden, last = network.decoder
        for affine in hidden:
            before, merged = merged, self._map(len(affine.weight), self.size_hw)
            _convolve(before, affine, merged, slope=network.head.slope)
        maps = network.head.channels
        decoded = torch.empty((maps, *self.size_hw), device=network.device)
        bias = None if last.bias is None else last.bias[:maps]
        _convolve(merged, Affine(last.weight[:maps], bias), decoded.permute(1, 2, 0))
        return decoded[None]

    def _encode(self, planes: Tensor) -> Tensor:
        """(H, W, C): each convolution writes beside what it reads."""
        network = self.network
        features = self._map(network.feature_channels, self.size_hw)
        given = network.input(planes)[0].permute(1, 2, 0)
        stop = given.shape[2]
        features[..., :stop] = given
        for affine in network.encoder:
            start, stop = stop, stop + len(affine.weight)
            _convolve(features[..., :start], affine, features[..., start:stop], slope=0.0)
        return features

    def _cross(self) -> tuple[Tensor, Tensor]:
        """The first block and its gate: main stream's map, and statistics of its parts."""
        network, channels = self.network, self.network.channels
        embedded = self._map(2 * channels, self.map_hw)
        parts = _convolve(self.features, network.embed, embedded, measured=(2, *self._heads()))
        (x, y), tasks = embedded.split(channels, dim=2), (network.main, network.other)
        main, other = (
            network.stream(0, task, statistics_of(parts[:, number])) for number, task in enumerate(tasks)
        )
        value, of_other = self._values(x, main), self._values(y, other)
        out, _ = self._windows(0, x, main, value, self._local(value, main))
        filtered = self._local(value if network.borrows_value else of_other, other)
        return self._windows(0, y, other, of_other, filtered, asking=(x, main), before=out)

    def _block(self, index: int, x: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
        """Block ``index`` of the main stream, likewise."""
        weights = self.network.stream(index, self.network.main, statistics_of(parts))
        value = self._values(x, weights)
        return self._windows(index, x, weights, value, self._local(value, weights))

    def _windows(
        self,
        index: int,
        x: Tensor,
        weights: StreamWeights,
        value: Tensor,
        local: Tensor,
        *,
        asking: tuple[Tensor, StreamWeights] | None = None,
        before: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """A stream through block ``index``, by its own queries or by those of another.

        With ``before`` the result is that plus the gate times the stream's, in its place.
        """
        network, channels, (height, width) = self.network, self.network.channels, self.map_hw
        origin = -(self._kernels.WINDOW // 2) if index % 2 else 0
        rows, columns = (-(-(side - origin) // self._kernels.WINDOW) for side in (height, width))
        out = self._map(channels, self.map_hw) if before is None else before
        parts = torch.empty((rows * columns, 3), device=network.device)
        other, of_other = asking or (x, weights)
        queries = _rows(of_other.query_key, slice(channels))
        keys = _rows(weights.query_key, slice(-channels, None))
        expand, contract = weights.expand, weights.contract
        heads, size, used = self._heads()
        self._kernels.block[(rows * columns,)](
            x, x.stride(1) // self._kernels.PIECE, value, local, other, *queries, *keys,
            weights.project.weight, *expand, contract.weight, network.position_bias[index], out, network.gate,
            out, parts, height, width, columns, origin,
            CROSS=before is not None, CHANNELS=channels, HEADS=heads, HEAD_USED=used,
            HIDDEN=len(expand.weight), C=_power(channels), N=_power(size), H=_HIDDEN,
            num_warps=4, num_stages=1, **_ROUNDING,
        )  # fmt: skip
        return out, parts

    def _values(self, x: Tensor, weights: StreamWeights) -> Tensor:
        value = self._map(self.network.channels, self.map_hw)
        _convolve(x, weights.value, value)
        return value

    def _local(self, value: Tensor, weights: StreamWeights) -> Tensor:
        """The local path of a map of values."""
        (height, width, channels), out = value.shape, torch.empty_like(value)
        taps = weights.local.weight.flatten(1).t().contiguous()
        self._kernels.filter_local[(-(-height * width // _FILTERED),)](
            value, taps, out, height, width, height * width,
            CHANNELS=channels, C=_power(channels), M=_FILTERED, num_warps=4, **_ROUNDING,
        )  # fmt: skip
        return out

    def _map(self, channels: int, size_hw: tuple[int, ...]) -> Tensor:
        return torch.empty((*size_hw, channels), dtype=self.network.dtype, device=self.network.device)

    def _heads(self) -> tuple[int, int, int]:
        """Heads of a map, channels of each, and how many of these the network has."""
        network = self.network
        return network.heads, network.channels // network.heads, len(network.places) // network.heads


def _convolve(
    x: Tensor,
    affine: Affine,
    out: Tensor,
    *,
    slope: float | None = None,
    extra: tuple[Tensor, Affine] | None = None,
    measured: tuple[int, int, int, int] | None = None,
) -> Tensor:
    """Convolve a map (H, W, C) into one that may be smaller or, reflected, larger.

    Args:
        slope: of the ReLU below 0; None is without.
        extra: a map of the result's size, and the 1x1 convolution of it that is added.
        measured: maps that lie side by side in the result, heads of each, channels of each head and how many
            of these count.

    Returns:
        what :func:`statistics_of` takes of each map, (parts, maps, 3).
    """
    kernels = gpu_kernels()
    piece = kernels.PIECE
    weight = affine.weight.contiguous(memory_format=torch.channels_last)
    count, channels, side = len(weight), x.shape[2], weight.shape[2]
    height, width = out.shape[:2]
    planar = out.stride(2) != 1
    programs = -(-height * width // _PIXELS)
    maps, heads, head, used = measured or (0, 1, 1, 1)
    parts = torch.empty((programs, maps, 3), device=x.device)
    more, more_affine = extra or (x, affine)
    at_once, warps = next(how for most, how in _CONVOLVING.items() if count <= most)
    at_once = min(at_once, _power(channels))
    stage_bytes = at_once * (_PIXELS + _power(count)) * x.element_size()
    kernels.convolve[(programs,)](
        x, x.stride(1) // piece, channels // piece, *x.shape[:2], *map(max, x.shape[:2], out.shape[:2]),
        weight, weight if affine.bias is None else affine.bias,
        more, more.shape[2] // piece, more_affine.weight,
        out, 0 if planar else out.stride(1) // piece, count, width, height * width, parts, slope or 0.0,
        SIDE=side, BIASED=affine.bias is not None, EXTRA=extra is not None, ACTIVE=slope is not None,
        PLANAR=planar, MAPS=maps, HEADS=heads, HEAD=head, HEAD_USED=used,
        M=_PIXELS, N=_power(count), K=at_once,
        num_warps=warps, num_stages=max(1, min(_STAGES, _shared_bytes(x.device) // stage_bytes)), **_ROUNDING,
    )  # fmt: skip
    return parts


def _shared_bytes(device: torch.device) -> int:
    """Memory that the threads of a program may share; that of GPUs differs."""
    if device.type == "cpu":  # which interprets
        return 1 << 20
    return torch.cuda.get_device_properties(device).shared_memory_per_block_optin


def _rows(affine: Affine, rows: slice) -> list[Tensor]:
    """Weight and bias of some of the outputs."""
    assert affine.bias is not None
    return [affine.weight[rows], affine.bias[rows]]


def _power(count: int) -> int:
    """The next power of two, at least 16, which a product needs."""
    return max(16, 1 << (count - 1).bit_length())
