"""Mean and deviation of whole maps from their strips, parts combined in float64 (Chan et al. 1979)."""

from __future__ import annotations

import torch
from torch import Tensor

from model.blocks.transformer import EPSILON, Statistics
from model.engine.folded import FoldedNetwork

#: Values whose moments a CPU takes at once: they are read three times and should stay in the cache.
MOMENT_VALUES = 1 << 19


def moments(network: FoldedNetwork, maps: int) -> StreamMoments | ChannelMoments:
    """Moments of ``maps`` of a network's maps side by side.

    Each strip, (1, maps * C, rows, W), is added; then there are statistics of each map, scalars in float64.
    """
    return ChannelMoments(network, maps) if network.padded else StreamMoments(maps)


class StreamMoments:
    """All channels of a map at once."""

    def __init__(self, maps: int) -> None:
        self._maps = [_Parts() for _ in range(maps)]

    def add(self, strip: Tensor) -> None:
        for parts, own in zip(self._maps, strip.chunk(len(self._maps), dim=1), strict=True):
            parts.add(own)

    def statistics(self) -> list[Statistics]:
        return [parts.statistics() for parts in self._maps]


class _Parts:
    """Mean and variance of each part of a map."""

    def __init__(self) -> None:
        self._counts: list[int] = []
        self._parts: list[list[float]] = []  # mean, sum of squared distances from it

    def add(self, strip: Tensor) -> None:
        for part in strip.split(max(1, MOMENT_VALUES * strip.shape[2] // strip.numel()), dim=2):
            values = part.float()
            mean = values.mean()
            distances = torch.sub(values, mean, out=None if values is part else values)
            self._counts.append(values.numel())
            # Numbers, for a small tensor that outlives its strip cuts a large free block of the heap, and the
            # next strip needs a new one: a gigabyte in an image.
            self._parts.append(torch.stack([mean, distances.square_().sum()]).tolist())

    def statistics(self) -> Statistics:
        means, squares = torch.tensor(self._parts).double().unbind(1)
        weights = torch.tensor(self._counts, dtype=torch.float64) / sum(self._counts)
        mean = weights @ means
        variance = squares.sum() / sum(self._counts) + weights @ (means - mean).square()
        return Statistics(mean, (variance + EPSILON).sqrt())


class ChannelMoments:
    """Each channel by itself, so that those that fill up are left out; nothing waits for the device."""

    def __init__(self, network: FoldedNetwork, maps: int) -> None:
        self._places, self._maps = network.places, maps
        self._pixels: list[int] = []
        self._parts: list[Tensor] = []  # mean and variance of every channel, (2, maps, C)

    def add(self, strip: Tensor) -> None:
        # Of a crop the kernels would read every channel by itself.
        whole = strip.contiguous(memory_format=torch.channels_last)
        if whole.dtype.itemsize >= torch.float32.itemsize:
            # In one pass, with Welford's recurrence: no large numbers are subtracted.
            found = torch.stack(torch.batch_norm_update_stats(whole, None, None, 0.0))
        else:
            # Values of three digits need no such care, and two plain sums take a third of the time.
            pixels = whole.permute(0, 2, 3, 1).flatten(0, 2)
            mean = pixels.mean(0, dtype=torch.float32)
            norm = torch.linalg.vector_norm(pixels, dim=0, dtype=torch.float32)
            found = torch.stack([mean, (norm.square() / len(pixels) - mean.square()).clamp_min(0)])
        self._pixels.append(strip.shape[2] * strip.shape[3])
        self._parts.append(found.unflatten(1, (self._maps, -1)))

    def statistics(self) -> list[Statistics]:
        shares = [pixels / sum(self._pixels) for pixels in self._pixels]
        means, variances = torch.stack(self._parts).double()[..., self._places].unbind(1)  # (parts, maps, C)
        mean = _weighted(shares, means.mean(2))
        distances = (means - mean[:, None]).square()
        variance = _weighted(shares, (variances + distances).mean(2))
        return [
            Statistics(*both)
            for both in zip(mean.unbind(), (variance + EPSILON).sqrt().unbind(), strict=True)
        ]


def statistics_of(parts: Tensor) -> Statistics:
    """Of one map's parts on a device, (parts, 3): counts, means, sums of squared distances from these."""
    count, mean, squares = parts.double().unbind(1)
    total = count.sum()
    whole = (count * mean).sum() / total
    variance = (squares.sum() + (count * (mean - whole).square()).sum()) / total
    return Statistics(whole, (variance + EPSILON).sqrt())


def _weighted(shares: list[float], values: Tensor) -> Tensor:
    """Sum over the parts: (parts, maps) -> (maps,)."""
    # Numbers from the host, one kernel each: a tensor of them would have to be copied.
    return torch.stack([share * value for share, value in zip(shares, values.unbind(), strict=True)]).sum(0)
