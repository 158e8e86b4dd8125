"""Information measures: how much each source of the MM task should count in its loss.

A measure maps planes (B, 1, H, W) to one number g per sample; ``w_ir, w_vis = softmax(g_ir, g_vis)``. All of
them look at the squared response of the 8-neighbour Laplacian, at several scales. They are evaluated in
float32 without gradient: the weights are constants of a step.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.checkpoint.file_checks import is_safetensors
from pipeline.files import InputError, first_line
from pipeline.networks.saved_tensors import fill, read_published_state, read_tensors

#: (B, 1, H, W) float planes in [0, 1] -> g, (B,).
InformationMeasure = Callable[[Tensor], Tensor]

#: Octaves of the pyramid: full resolution to 1/16.
PYRAMID_LEVELS = 5
#: Exponent of the ratio of energies. It makes the larger of the two weights 0.84 on average over 128 x 128
#: crops of LLVIP (0.72 of RoadScene). The published network puts 0.84 on the infrared image on both: the
#: weights that its measure gave in training show in its MM output, which regresses to w_ir * ir + w_vis *
#: vis.
PYRAMID_EXPONENT = 1.5
#: About the energy that rounding to 8 bits leaves in a flat image: below it there is nothing to compare.
PYRAMID_FLOOR = 1e-6
#: Ends of the five DenseNet-121 stages that the published measure reads, at 1/4, 1/8, 1/16, 1/32 and 1/32.
DENSENET_STAGES = ("pool0", "transition1", "transition2", "transition3", "denseblock4")


def load_measure(name: str, *, weights: str, device: torch.device) -> InformationMeasure:
    """The measure of a name: ``pyramid`` or ``densenet121``.

    Args:
        weights: file of ImageNet weights for ``densenet121``; empty: timm downloads them.

    Raises:
        InputError: the weights cannot be downloaded or read.
    """
    if name == "pyramid":
        return pyramid_energy
    assert name == "densenet121", name
    return DenseNetEnergy(weights).to(device)


@torch.no_grad()
def information_weights(
    measure: InformationMeasure, infrared: Tensor, visible: Tensor
) -> tuple[Tensor, Tensor]:
    """(w_ir, w_vis), each float32 (B,); they sum to 1 for every sample."""
    with torch.autocast(infrared.device.type, enabled=False):
        both = measure(torch.cat([infrared, visible]).float())
    w_ir, w_vis = torch.softmax(torch.stack(both.chunk(2)), dim=0)
    return w_ir, w_vis


def pyramid_energy(planes: Tensor) -> Tensor:
    """Log of the mean Laplacian energy over an image pyramid, (B, 1, H, W) -> (B,).

    Through the softmax, ``w_ir : w_vis`` is the ratio of the two energies to the power of 1.5, so the
    weights depend on the contrast of the sources relative to each other and not on the exposure of the
    pair.
    """
    energy = torch.zeros(len(planes), dtype=planes.dtype, device=planes.device)
    for level in range(PYRAMID_LEVELS):
        if level:
            planes = F.avg_pool2d(planes, 2)
        energy = energy + _laplacian_energy(planes) / PYRAMID_LEVELS
    return PYRAMID_EXPONENT * torch.log(energy + PYRAMID_FLOOR)


class DenseNetEnergy(nn.Module):
    """The published measure: Laplacian energy of the channel sums of five DenseNet-121 stages.

    Mean over the stages of the mean squared response. The authors convolve all channels with all channels
    by one repeated kernel, which sums the channels first; summing them and then filtering one plane is the
    same and far cheaper. Planes are repeated to three channels and, as published, not normalised. The
    authors average over the batch; here every sample gets its own number.
    """

    def __init__(self, weights: str) -> None:
        super().__init__()
        features = _densenet121(weights)
        self.stages = nn.ModuleList()
        stage = nn.Sequential()
        for name, layer in features.named_children():
            stage.append(layer)
            if name in DENSENET_STAGES:
                self.stages.append(stage)
                stage = nn.Sequential()
        assert len(self.stages) == len(DENSENET_STAGES), [name for name, _ in features.named_children()]
        self.eval().requires_grad_(False)

    def forward(self, planes: Tensor) -> Tensor:
        """(B, 1, H, W) in [0, 1], sides of at least 32 pixels -> (B,)."""
        energy = torch.zeros(len(planes), dtype=planes.dtype, device=planes.device)
        features = planes.expand(-1, 3, -1, -1)
        for stage in self.stages:
            features = stage(features)
            energy = energy + _laplacian_energy(features.sum(dim=1, keepdim=True)) / len(self.stages)
        return energy


def _laplacian_energy(planes: Tensor) -> Tensor:
    """Mean squared response of [1 1 1; 1 -8 1; 1 1 1] / 8 with mirrored border, (B, 1, H, W) -> (B,)."""
    # Replication equals reflection but for the outermost ring, and it exists for planes of one pixel too.
    mode = "reflect" if min(planes.shape[-2:]) > 1 else "replicate"
    padded = F.pad(planes, (1, 1, 1, 1), mode=mode)
    # Mean of the nine pixels, rescaled: 9/8 * (mean - centre) = mean of the eight neighbours - centre.
    response = (F.avg_pool2d(padded, 3, stride=1) - planes) * (9 / 8)
    return response.square().mean(dim=(1, 2, 3))


def _densenet121(weights: str) -> nn.Sequential:
    import timm

    if weights:
        if not Path(weights).is_file():
            raise InputError(f"{weights}: no such file of DenseNet-121 weights")
        network = timm.create_model("densenet121", pretrained=False)
        # Nothing of a file is run: the loader of timm 1.0.15 would run what a pickle holds.
        path = Path(weights)
        state = read_tensors(path)[0] if is_safetensors(path) else read_published_state(path)
        state = {_of_timm(name): value for name, value in state.items()}
        fill(network, state, path, "weights of DenseNet-121")
        return _features(network)
    try:
        return _features(timm.create_model("densenet121", pretrained=True))
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"DenseNet-121 weights cannot be downloaded ({first_line(error)}); give a file with "
            "--information-weights, or use the pyramid measure"
        ) from None


def _of_timm(name: str) -> str:
    """The name that timm gives a tensor; torchvision's own file has those of a version long past."""
    return re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2.", name)


def _features(network: nn.Module) -> nn.Sequential:
    features = network.features
    assert isinstance(features, nn.Sequential), type(features)
    return features
