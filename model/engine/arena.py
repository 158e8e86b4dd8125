"""Memory of its own for what a pass over an image keeps for the next one.

Kept strips live long and come in several sizes. In the heap they would not fit the holes that others left,
and it would grow from pair to pair, at 1280x1024 in float32 by up to 300 MB.
"""

from __future__ import annotations

import bisect
import mmap
import weakref

import numpy as np
import torch
from torch import Tensor

#: Bytes to which every strip is aligned: a line of the cache.
_ALIGNMENT = 64


class Arena:
    """Holds copies of strips in one block of host memory; a copy's place is free once nobody refers to it.

    Pages are taken from the system as they are first used, and given back with the arena.
    """

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        # Private pages: their first touch takes half the time of shared ones, the default, or of large ones.
        private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
        memory = mmap.mmap(-1, max(1, num_bytes), **private)
        self._memory = np.frombuffer(memory, np.uint8)
        self._free = [(0, num_bytes)]  # first byte and the one behind the last, in order, not touching

    def keep(self, strip: Tensor) -> Tensor:
        """A copy of (1, C, rows, W) in the arena, channels last; of a strip that does not fit, elsewhere."""
        _, channels, rows, width = strip.shape
        need = strip.numel() * strip.element_size()
        place = self._take(-(-need // _ALIGNMENT) * _ALIGNMENT)
        if place is None:
            return strip.clone(memory_format=torch.channels_last)
        own = self._memory[place[0] : place[0] + need]
        # The tensor refers to this very array, and so does each of its views.
        weakref.finalize(own, self._release, place).atexit = False
        kept = torch.from_numpy(own).view(strip.dtype).view(rows, width, channels).permute(2, 0, 1)[None]
        return kept.copy_(strip)

    def _take(self, need: int) -> tuple[int, int] | None:
        """The lowest free place."""
        for index, (start, stop) in enumerate(self._free):
            if stop - start >= need:
                self._free[index : index + 1] = [(start + need, stop)] if stop - start > need else []
                return start, start + need
        return None

    def _release(self, place: tuple[int, int]) -> None:
        index = bisect.bisect(self._free, place)
        start, stop = place
        if index < len(self._free) and self._free[index][0] == stop:
            stop = self._free.pop(index)[1]
        if index and self._free[index - 1][1] == start:
            index -= 1
            start = self._free.pop(index)[0]
        self._free.insert(index, (start, stop))
