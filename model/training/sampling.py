"""Which samples make up which batch, and where they are cropped: a function of the seed and the step alone.

Nothing here has state that a restart could lose. Batches are cut from one endless list of samples, epoch
after epoch, each epoch in its own order; every process of a distributed run sees the same one, so neither
their number nor the number of restarts changes what is learned from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pipeline.runtime.randomness import random_stream


@dataclass(frozen=True, kw_only=True)
class Crops:
    """Square crops of B samples; every field is an int64 array (B,)."""

    samples: np.ndarray  # index of the sample
    tops: np.ndarray  # first row of the crop
    lefts: np.ndarray  # first column of the crop
    flips: np.ndarray  # bit 0: rows reversed, bit 1: columns reversed


class SampleOrder:
    """The endless sequence of crops of one data set."""

    def __init__(
        self, count: int, *, tile: int, crop: int, seed: int, flip: bool, name: str = "joint"
    ) -> None:
        """
        Args:
            count: samples in the set.
            tile, crop: sides of the stored tiles and of the crops, in pixels; crop <= tile.
            seed: of the run.
            flip: whether half of the crops are mirrored along each axis.
            name: sets with different names are shuffled independently.
        """
        assert count > 0 and crop <= tile, (count, tile, crop)
        self.count = count
        self._tile, self._crop, self._flip = tile, crop, flip
        self._seed, self._name = seed, name
        self._epoch = lru_cache(maxsize=2)(self._draw_epoch)

    def batch(self, step: int, batch_size: int) -> Crops:
        """The global batch of a step (counted from 0). It may reach over the end of an epoch."""
        positions = np.arange(step * batch_size, (step + 1) * batch_size)
        epochs, places = positions // self.count, positions % self.count
        parts = [self._epoch(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)]
        samples, tops, lefts, flips = np.concatenate(parts).T
        return Crops(samples=samples, tops=tops, lefts=lefts, flips=flips)

    def _draw_epoch(self, epoch: int) -> np.ndarray:
        """(count, 4): sample, top, left, flips in the order of the epoch.

        Offsets belong to the sample (row i of the draw is sample i), not to its place in the order.
        """
        order = random_stream(self._seed, "train", f"{self._name}:{epoch}", "order").permutation(self.count)
        rng = random_stream(self._seed, "train", f"{self._name}:{epoch}", "crop")
        limit = self._tile - self._crop + 1
        places = rng.integers(0, (limit, limit, 4 if self._flip else 1), size=(self.count, 3))
        return np.column_stack([order, places[order]])


def centre_crops(samples: np.ndarray, *, tile: int, crop: int) -> Crops:
    """Unflipped crops from the middle of the tiles, for validation."""
    offset = np.full(len(samples), (tile - crop) // 2)
    return Crops(samples=samples, tops=offset, lefts=offset, flips=np.zeros_like(offset))
