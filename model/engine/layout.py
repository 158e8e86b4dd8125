"""Where a map's channels lie when a GPU is given more of them than the network has.

Tensor cores and wide loads want channels in pieces of 16 bytes, which 49 channels of a head are not. So each
group of channels that is used by itself, such as a head, begins a new piece, and the channels that fill the
last one up are 0: their weights are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Channels of a map."""

    channels: int  # with those that fill up
    places: Tensor  # of the network's own among them, in order
    #: One that fills up and is 1 in every pixel: the weights that read it are the next layer's bias, which
    #: then costs no pass over the result. Reflection at a border keeps it.
    one: int | None = None

    @classmethod
    def of(cls, groups: Iterable[int], multiple: int, *, one: bool = False) -> Layout:
        """Groups of so many channels, each padded to a multiple; ``multiple`` 1 leaves everything as it is.

        Args:
            one: whether the first group is to have a channel of ones behind it, where there is padding.
        """
        places: list[int] = []
        start, constant = 0, None
        for size in groups:
            places += range(start, start + size)
            if one and multiple > 1 and start == 0:
                constant = size
                size += 1
            start += -(-size // multiple) * multiple
        return cls(start, torch.tensor(places), constant)

    def spread(self, values: Tensor, dim: int) -> Tensor:
        """One value for each of the network's channels along ``dim`` -> one for each channel, 0 elsewhere."""
        shape = [*values.shape]
        shape[dim] = self.channels
        return values.new_zeros(shape).index_copy_(dim, self.places, values)
