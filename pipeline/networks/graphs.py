"""CUDA graphs: work on a GPU that is recorded once, then launched as a whole.

A training step is thousands of kernels of some microseconds, and the host takes longer to launch one than the
GPU to run it. Recorded, they take the GPU's time. Values are the same, bit for bit.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from pipeline.files import first_line

#: Runs before the record: kernels are chosen, libraries make their workspaces.
WARM_UPS = 2


class Repeating:
    """Work on a GPU that comes again and again: recorded from the second input of one kind on.

    Input and record of the last kind are kept; another kind gives their memory back. What cannot be recorded
    is launched as it is, with a warning. For one thread at a time.

    Args:
        device: of the work.
        name: what the work is, for the warning.
    """

    def __init__(self, device: torch.device, name: str) -> None:
        self._device, self._name = device, name
        self._kind: Hashable = None
        self._input = torch.empty(0)
        self._launch: Callable[[], Sequence[Tensor | None]] | None = None
        self._recordable = True

    def __call__(
        self, given: Tensor, kind: Hashable, compute: Callable[[Tensor], Tensor], *, records: bool = True
    ) -> Tensor:
        """Do it once.

        Args:
            given: on the host or the device; it is copied.
            kind: inputs of equal kind have equal shapes and types and are computed alike.
            compute: the input on the device -> the result, as ``work`` of :func:`record`.
            records: whether a record pays.

        Returns:
            the result, valid until the next call.
        """
        again = kind == self._kind
        if not again:
            self._begin(kind, given)
        self._input.copy_(given)
        if again and records and self._launch is None and self._recordable:
            self._record(compute)
        if self._launch is None:
            return compute(self._input)
        (result,) = self._launch()
        assert result is not None
        return result

    def _begin(self, kind: Hashable, given: Tensor) -> None:
        if self._launch is not None:
            self._launch = None
            torch.cuda.empty_cache()
        self._kind = kind
        self._input = torch.empty_strided(given.shape, given.stride(), dtype=given.dtype, device=self._device)

    def _record(self, compute: Callable[[Tensor], Tensor]) -> None:
        kept = self._input
        try:
            self._launch = record(lambda: [compute(kept)], self._device)
        except RuntimeError as error:
            self._recordable = False
            warnings.warn(
                f"{self._device}: {self._name} without CUDA graphs ({first_line(error)})", stacklevel=2
            )


def record(
    work: Callable[[], Sequence[Tensor | None]], device: torch.device, *, pool: Any = None
) -> Callable[[], Sequence[Tensor | None]]:
    """Run ``work`` a few times and record it; returns what launches the record.

    Args:
        work: launches kernels on tensors that stay where they are, and returns tensors: the same ones at each
            launch. It neither waits for the device nor decides anything by values, and it is run a few times.
        device: of all tensors.
        pool: memory shared with other records, none of which is launched before the results of the one
            before are used up; see :func:`torch.cuda.graph_pool_handle`.

    Raises:
        RuntimeError: it cannot be recorded.
    """
    # A failed record may leave its stream behind as the current one.
    with torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream(device)):
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                work()
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads, which read what comes next, may do meanwhile what a record cannot hold.
        stream = _recording(torch.cuda.current_device())
        with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
            results = work()

    def launch() -> Sequence[Tensor | None]:
        graph.replay()
        return results

    return launch


@cache
def _recording(device: int) -> torch.cuda.Stream:
    """The stream on which a GPU's work is recorded: one, for records that share memory share their stream.

    PyTorch's own belongs to the GPU that was the first.
    """
    return torch.cuda.Stream(device)
