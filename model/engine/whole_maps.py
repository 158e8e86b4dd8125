"""A pair through the network on a GPU as one whole: each layer one launch of a Triton kernel.

For half precision, windows of 8 pixels, and images whose maps fit the memory budget; all else passes in strips
of PyTorch's operators.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from model.blocks.transformer import EPSILON, Statistics
from model.engine.folded import Affine, FoldedNetwork, StreamWeights

try:
    import triton

    from model.engine import gpu_kernels as kernels
except ImportError:  # PyTorch brings it for CUDA on Linux alone
    triton = kernels = None

#: Pixels that a program convolves at a time, and channels that it reads at once.
_PIXELS, _CHANNELS = 128, 32
#: Hidden channels of the MLP that a program computes at once.
_HIDDEN = 64
#: Windows that a program takes through a block.
_WINDOWS = 2


def fits(network: FoldedNetwork, height: int, width: int, memory_bytes: int) -> bool:
    """Whether a pair of this size can pass as a whole within so many bytes of maps."""
    suits = triton is not None and network.padded and network.dtype.itemsize == 2
    numbers = network.feature_channels + 6 * network.channels
    return (
        suits
        and network.window == kernels.WINDOW
        and numbers * network.dtype.itemsize * height * width <= memory_bytes
    )


class WholeMaps:
    """The maps of one pair of planes.

    Args:
        network: padded, see :mod:`model.engine.layout`.
        planes: (1, 2, H, W) float32 on the network's device.
    """

    def __init__(self, network: FoldedNetwork, planes: Tensor) -> None:
        self.network = network
        self.height, self.width = planes.shape[2:]
        # The transformer's maps are reflected to whole multiples.
        self.map_hw = [side + -side % network.alignment for side in (self.height, self.width)]
        self.features = self._encode(planes)

    def decoded(self) -> Tensor:
        """The decoder's maps for the head, (1, maps, H, W) float32."""
        network = self.network
        x, other = (self._embed(number) for number in range(2))
        for index in range(network.depth):
            tasks = [network.main, network.other][: 2 if index == 0 else 1]
            weights = [
                network.stream(index, task, _statistics(partials))
                for task, (_, partials) in zip(tasks, (x, other), strict=False)
            ]
            x = self._block(index, x[0], weights[0], *([(other[0], weights[1])] if index == 0 else []))
        merged = self._map(len(network.merge_features.weight), like=(self.height, self.width))
        _convolve(x[0], network.merge_refined, merged, slope=0.0, extra=(self.features, network.merge_features))
        *hidden, last = network.decoder
        for affine in hidden:
            before, merged = merged, self._map(len(affine.weight), like=(self.height, self.width))
            _convolve(before, affine, merged, slope=network.head.slope)
        maps = network.head.channels
        decoded = torch.empty((maps, self.height, self.width), device=network.device)
        bias = None if last.bias is None else last.bias[:maps]
        _convolve(merged, Affine(last.weight[:maps], bias), decoded.permute(1, 2, 0))
        return decoded[None]

    def _encode(self, planes: Tensor) -> Tensor:
        """(H, W, C): each convolution writes beside what it reads."""
        network = self.network
        features = self._map(network.feature_channels, like=(self.height, self.width))
        given = network.input(planes)[0].permute(1, 2, 0)
        stop = given.shape[2]
        features[..., :stop] = given
        for affine in network.encoder:
            start, stop = stop, stop + len(affine.weight)
            _convolve(features[..., :start], affine, features[..., start:stop], slope=0.0)
        return features

    def _embed(self, number: int) -> tuple[Tensor, Tensor]:
        """A stream's map, main or other, and its partial statistics."""
        network, channels = self.network, self.network.channels
        own = slice(number * channels, (number + 1) * channels)
        weight, bias = network.embed
        embedded = self._map(channels)
        affine = Affine(weight[own], None if bias is None else bias[own])
        return embedded, _convolve(self.features, affine, embedded, measured=self._heads())

    def _block(
        self, index: int, x: Tensor, weights: StreamWeights, helper: tuple[Tensor, StreamWeights] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Block ``index``: a stream's map, with the other one's in the first block -> its new map."""
        network, channels = self.network, self.network.channels
        height, width = self.map_hw
        value = self._values(x, weights)
        main = [x, value, *_projection(weights.query_key, slice(channels))]
        main += [*_projection(weights.query_key, slice(channels, None)), *_stream(weights)]
        if helper is None:
            other: list[Tensor] = [x, value, value, *main[4:]]  # which is not read
        else:
            of_other = self._values(*helper)
            local = value if network.borrows_value else of_other
            other = [helper[0], of_other, local, *_projection(helper[1].query_key, slice(None))]
            other += _stream(helper[1])
        origin = -(kernels.WINDOW // 2) if index % 2 else 0
        rows, windows = (-(-(side - origin) // kernels.WINDOW) for side in (height, width))
        columns = -(-windows // _WINDOWS)
        out, partials = self._map(channels), self._partials(rows * columns)
        heads, used = self._heads()
        kernels.block[(rows * columns,)](
            *main, *other, network.gate, network.position_bias[index], out, partials,
            height, width, columns, origin,
            CROSS=helper is not None, CHANNELS=channels, HEADS=network.heads, HEAD_USED=used,
            HIDDEN=len(weights.expand.weight), WINDOWS=_WINDOWS,
            C=_power(channels), N=_power(heads), H=_HIDDEN,
            num_warps=4 * _WINDOWS, num_stages=1,
        )  # fmt: skip
        return out, partials

    def _values(self, x: Tensor, weights: StreamWeights) -> Tensor:
        value = self._map(self.network.channels)
        _convolve(x, weights.value, value)
        return value

    def _map(self, channels: int, like: Any = None) -> Tensor:
        size = self.map_hw if like is None else like
        return torch.empty((*size, channels), dtype=self.network.dtype, device=self.network.device)

    def _partials(self, count: int) -> Tensor:
        return torch.empty((count, 3), device=self.network.device)

    def _heads(self) -> tuple[int, int]:
        """Channels of a head, and how many of them the network has."""
        network = self.network
        return network.channels // network.heads, len(network.places) // network.heads


def _convolve(
    x: Tensor,
    affine: Affine,
    out: Tensor,
    *,
    slope: float | None = None,
    extra: tuple[Tensor, Affine] | None = None,
    measured: tuple[int, int] | None = None,
) -> Tensor:
    """Convolve a map (H, W, C) into one that may be smaller or, reflected, larger; returns statistics of parts.

    Args:
        slope: of the ReLU below 0; None is without.
        extra: a map of the result's size, and the 1x1 convolution of it that is added.
        measured: channels of a head and how many count; None measures nothing.
    """
    weight = affine.weight.contiguous(memory_format=torch.channels_last)
    count, channels, side = len(weight), x.shape[2], weight.shape[2]
    height, width = out.shape[:2]
    programs = -(-height * width // _PIXELS)
    partials = torch.empty((programs if measured else 0, 3), device=x.device)
    more, more_affine = extra or (x, affine)
    head, used = measured or (1, 1)
    kernels.convolve[(programs,)](
        x, x.stride(1), channels, *x.shape[:2], max(x.shape[0], height), max(x.shape[1], width),
        weight, weight if affine.bias is None else affine.bias,
        more, more.stride(1), more.shape[2], more_affine.weight,
        out, out.stride(1), out.stride(2), count, width, height * width, partials, slope or 0.0,
        SIDE=side, BIASED=affine.bias is not None, EXTRA=extra is not None, ACTIVE=slope is not None,
        MEASURED=measured is not None, HEAD=head, HEAD_USED=used,
        M=_PIXELS, N=_power(count), K=min(_CHANNELS, _power(channels)),
        num_warps=8 if count > 64 else 4, num_stages=3,
    )  # fmt: skip
    return partials


def _projection(affine: Affine, rows: slice) -> list[Tensor]:
    assert affine.bias is not None
    return [affine.weight[rows], affine.bias[rows]]


def _stream(weights: StreamWeights) -> list[Tensor]:
    """Local path (taps, C), projection, MLP."""
    expand, contract = weights.expand, weights.contract
    assert expand.bias is not None
    local = weights.local.weight.flatten(1).t().contiguous()
    return [local, weights.project.weight, expand.weight, expand.bias, contract.weight]


def _statistics(partials: Tensor) -> Statistics:
    """Of (parts, 3): counts, means and squared distances from them, combined in float64 (Chan et al. 1979)."""
    count, mean, squares = partials.double().unbind(1)
    total = count.sum()
    whole = (count * mean).sum() / total
    variance = (squares.sum() + (count * (mean - whole).square()).sum()) / total
    return Statistics(whole, (variance + EPSILON).sqrt())


def _power(count: int) -> int:
    """The next power of two, at least 16, which a product needs."""
    return max(16, triton.next_power_of_2(count))
