"""A network on a GPU in half precision, by which a picture has the same bits wherever it stands in a batch.

cuDNN's kernels for tensor cores may add up in another order at another place of a batch. So pictures pass one
by one; the many small kernels of one are recorded as a CUDA graph.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.graphs import Repeating


class OneByOne:
    """Its layers compute in float16, but where they turn autocast off themselves.

    Args:
        network: (B, C, H, W) -> (B, ...), without gradient.
        device: where it is; a GPU.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network, self._device = network, device
        self._repeating = Repeating(device, "depth")

    def __call__(self, pictures: Tensor) -> Tensor:
        # The result of a record is the next one's too.
        return torch.cat(
            [self._repeating(one, one.shape, self._forward).clone() for one in pictures.split(1)]
        )

    def _forward(self, picture: Tensor) -> Tensor:
        # Weights that autocast kept from one call to the next would not live as long as a record.
        with torch.autocast(self._device.type, torch.float16, cache_enabled=False):
            output = self._network(picture)
        assert isinstance(output, Tensor)
        return output
