"""A network on a GPU in half precision, by which a picture has the same bits wherever it stands in a batch.

cuDNN's kernels for tensor cores may add up in another order at another place of a batch. So pictures pass one
by one; the many small kernels of one are recorded as a CUDA graph from the second picture of a size on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pipeline.files import first_line
from pipeline.graphs import record


class OneByOne:
    """Its layers compute in float16, but where they turn autocast off themselves.

    Args:
        network: (B, C, H, W) -> (B, ...), without gradient.
        device: where it is; a GPU.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network, self._device = network, device
        self._picture = torch.empty(0)
        self._launch: Callable[[], Sequence[Tensor | None]] | None = None
        self._recordable = True

    def __call__(self, pictures: Tensor) -> Tensor:
        return torch.cat([self._one(picture) for picture in pictures.split(1)])

    def _one(self, picture: Tensor) -> Tensor:
        if picture.shape != self._picture.shape:
            self._picture, self._launch = picture.clone(), None
            return self._forward()
        self._picture.copy_(picture)
        if self._launch is None and self._recordable:
            try:
                self._launch = record(lambda: [self._forward()], self._device)
            except RuntimeError as error:
                self._recordable = False
                warnings.warn(
                    f"{self._device}: depth without CUDA graphs ({first_line(error)})", stacklevel=2
                )
        if self._launch is None:
            return self._forward()
        (output,) = self._launch()
        assert output is not None
        return output.clone()

    def _forward(self) -> Tensor:
        # Weights that autocast kept from one call to the next would not live as long as a record.
        with torch.autocast(self._device.type, torch.float16, cache_enabled=False):
            output = self._network(self._picture)
        assert isinstance(output, Tensor)
        return output
