"""The MegaDepth hourglass: single-view log depth (Li and Snavely, CVPR 2018; Chen et al., NIPS 2016).

Five resolutions, from full to 1/16. At each of them one path goes on at that resolution and another goes
down, through the next level and up again; their sum is passed on. All but the first and the last convolution
stand in inception modules. Module order is that of the released files, so their keys load as they are.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.networks.saved_tensors import fill, read_published_state

#: Height and width that the authors evaluated at; both sides of an input must be multiples of 16.
INPUT_SIZE_HW = (384, 512)
STRIDE = 16


class Hourglass(nn.Sequential):
    """RGB in [0, 1] (B, 3, H, W), H and W multiples of 16 -> log depth (B, 1, H, W).

    No mean is subtracted from the input. Depth has no unit (the scale is free); inverse depth is
    ``exp(-output)``. The sky was not supervised and is unreliable.
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 128, 7, padding=3),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            _full_resolution(),
            nn.Conv2d(64, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        *body, head = self
        for layer in body:
            x = layer(x)
        assert isinstance(head, nn.Conv2d)
        with torch.autocast(x.device.type, enabled=False):  # log depth needs more than float16's 11 bits
            return head(x.to(head.weight.dtype))


def load_hourglass(path: Path | str) -> Hourglass:
    """Build the hourglass in eval mode from a released file, with or without its ``module.`` prefix.

    Raises:
        InputError: the file is missing, is not a state dict, or belongs to another network (the
            released one is ``best_generalization_net_G.pth``).
    """
    network = Hourglass()
    fill(network, read_published_state(Path(path)), path, "the MegaDepth hourglass")
    return network.eval()


class _Inception(nn.ModuleList):
    """Parallel branches, concatenated: one 1x1, and for each kernel size a 1x1 followed by that kernel."""

    def __init__(self, channels: int, width: int, bottleneck: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.append(nn.Sequential(*_unit(channels, width, 1)))
        for kernel in kernels:
            self.append(nn.Sequential(*_unit(channels, bottleneck, 1), *_unit(bottleneck, width, kernel)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], dim=1)


class _Sum(nn.ModuleList):
    """Parallel branches that get the same input, added."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = self
        return first(x) + second(x)


def _unit(channels: int, width: int, kernel: int) -> tuple[nn.Module, ...]:
    """Convolution that keeps the size, batch normalisation without affine parameters, ReLU."""
    convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
    return convolution, nn.BatchNorm2d(width, affine=False), nn.ReLU()


def _level(first: list[nn.Module], second: list[nn.Module]) -> nn.Sequential:
    # The wrapping Sequential is one level of the released keys.
    return nn.Sequential(_Sum([nn.Sequential(*first), nn.Sequential(*second)]))


def _up() -> nn.Module:
    return nn.UpsamplingNearest2d(scale_factor=2)


def _full_resolution() -> nn.Sequential:
    down = [
        nn.MaxPool2d(2),
        _Inception(128, 32, 32, (3, 5, 7)),
        _Inception(128, 32, 32, (3, 5, 7)),
        _half_resolution(),
        _Inception(128, 32, 64, (3, 5, 7)),
        _Inception(128, 16, 32, (3, 7, 11)),
        _up(),
    ]
    return _level(down, [_Inception(128, 16, 64, (3, 7, 11))])


def _half_resolution() -> nn.Sequential:
    down = [
        nn.MaxPool2d(2),
        _Inception(128, 32, 32, (3, 5, 7)),
        _Inception(128, 64, 32, (3, 5, 7)),
        _quarter_resolution(),
        _wide(),
        _Inception(256, 32, 32, (3, 5, 7)),
        _up(),
    ]
    return _level(down, [_Inception(128, 32, 32, (3, 5, 7)), _Inception(128, 32, 64, (3, 7, 11))])


def _quarter_resolution() -> nn.Sequential:
    down = [nn.AvgPool2d(2), _wide(), _wide(), _eighth_resolution(), _wide(), _wider(), _up()]
    return _level([_wide(), _wider()], down)


def _eighth_resolution() -> nn.Sequential:
    down = [nn.AvgPool2d(2), _wide(), _wide(), _wide(), _up()]
    return _level([_wide(), _wide()], down)


def _wide() -> nn.Module:
    return _Inception(256, 64, 32, (3, 5, 7))


def _wider() -> nn.Module:
    return _Inception(256, 64, 64, (3, 7, 11))
