"""The passes of a training step as CUDA graphs, whose inputs may lie anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.files import InputError, first_line
from pipeline.networks.graphs import record


class Recorded:
    """A function of tensors on a GPU, recorded at its first call, and again when a shape changes.

    Inputs are copied to where the record reads them, so the caller keeps its own; results are not copied.

    Args:
        function: of tensors, otherwise as ``work`` of :func:`pipeline.networks.graphs.record`.
        device, pool: as there.
    """

    def __init__(
        self, function: Callable[..., Sequence[Tensor | None]], device: torch.device, *, pool: Any = None
    ) -> None:
        self._function, self._device, self._pool = function, device, pool
        self._inputs: list[Tensor] = []
        self._launch: Callable[[], Sequence[Tensor | None]] | None = None

    def __call__(self, *inputs: Tensor) -> Sequence[Tensor | None]:
        """The function's results: the same tensors each time, valid until the next call.

        Raises:
            InputError: the function cannot be recorded.
        """
        if self._launch is None or [x.shape for x in self._inputs] != [x.shape for x in inputs]:
            self._inputs = [x.clone() for x in inputs]
            try:
                self._launch = record(lambda: self._function(*self._inputs), self._device, pool=self._pool)
            except torch.OutOfMemoryError:
                raise  # without a graph it would not fit either
            except RuntimeError as error:
                raise InputError(
                    f"{self._device}: no CUDA graph ({first_line(error)}); use --no-cuda-graphs"
                ) from error
        else:
            torch._foreach_copy_(self._inputs, list(inputs))
        return self._launch()
