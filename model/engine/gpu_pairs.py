"""Pairs of planes on a GPU, and one launch for what comes again.

A pair takes hundreds of kernels, many of which run for less time than the host needs to launch one. So the
second pair of one size is recorded as a CUDA graph, which the following ones replay.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from pipeline.graphs import record

#: Pixels of a plane up to which launching kernels takes time that matters.
RECORDED_PIXELS = 1 << 22


class GpuPairs:
    """Takes pairs to the GPU and has them fused there; for one thread at a time.

    Planes and record of the last kind of pair are kept. A record holds what computing one pair takes, which
    the engine's memory budget bounds; what was held for computing without it has been given back by then.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kind: Hashable = None
        self._planes = torch.empty(0)
        self._launch: Callable[[], Sequence[Tensor | None]] | None = None
        self._recordable = True

    def fuse(self, pair: Tensor, kind: Hashable, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Fuse one pair of planes.

        Args:
            pair: (1, 2, H, W) float32 on the host or the device.
            kind: pairs of equal kind have equal sizes and are computed alike, without waiting for the device.
            compute: planes on the device -> (1, 1, H, W) there.

        Returns:
            what was computed, on the device, valid until the next call.
        """
        again = kind == self._kind
        if not again:
            self._begin(kind, pair)
        self._planes.copy_(pair)
        if again and self._launch is None and self._recordable and pair[0, 0].numel() <= RECORDED_PIXELS:
            self._record(compute)
        if self._launch is None:
            return compute(self._planes)
        (fused,) = self._launch()
        assert fused is not None
        return fused

    def _begin(self, kind: Hashable, pair: Tensor) -> None:
        """Make room for pairs of another kind."""
        if self._launch is not None:
            self._launch = None
            torch.cuda.empty_cache()
        self._kind = kind
        self._planes = torch.empty(pair.shape, device=self._device)

    def _record(self, compute: Callable[[Tensor], Tensor]) -> None:
        planes = self._planes
        try:
            self._launch = record(lambda: [compute(planes)], self._device)
        except RuntimeError as error:
            self._recordable = False
            warnings.warn(f"{self._device}: fusing without CUDA graphs ({error})", stacklevel=2)
