"""Information measures: the published definition by other means, and what weights should do."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from model.training.information import (
    DENSENET_STAGES,
    PYRAMID_EXPONENT,
    InformationMeasure,
    information_weights,
    load_measure,
    pyramid_energy,
)
from pipeline.files import InputError

CPU = torch.device("cpu")
LAPLACIAN = torch.tensor([[1.0, 1, 1], [1, -8, 1], [1, 1, 1]])[None, None] / 8


@pytest.fixture(scope="module")
def densenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random DenseNet-121 weights of a plausible scale, in a file."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model("densenet121", pretrained=False)
    path = tmp_path_factory.mktemp("densenet") / "weights.pth"
    torch.save(network.state_dict(), path)
    return path


def textures(count: int, side: int = 64) -> Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.random((count, 1, side, side), dtype=np.float32))


def dense_energy(features: Tensor) -> Tensor:
    """The published form: all channels with all channels by one kernel, reflected border, mean square."""
    channels = features.shape[1]
    kernel = LAPLACIAN.repeat(channels, channels, 1, 1)
    return F.conv2d(F.pad(features, (1, 1, 1, 1), mode="reflect"), kernel).square().mean(dim=(1, 2, 3))


def test_densenet_measure_equals_the_dense_convolutions_as_published(densenet_file: Path) -> None:
    measure = load_measure("densenet121", weights=str(densenet_file), device=CPU)
    planes = textures(2)
    network = timm.create_model("densenet121", pretrained=False, checkpoint_path=str(densenet_file)).eval()
    features, expected = planes.repeat(1, 3, 1, 1), torch.zeros(2)
    with torch.no_grad():
        for name, layer in network.get_submodule("features").named_children():
            features = layer(features)
            if name in DENSENET_STAGES:
                expected += dense_energy(features) / 5
            if name == DENSENET_STAGES[-1]:
                break
        found = measure(planes)
    assert torch.allclose(found, expected, rtol=1e-4)
    with torch.no_grad():
        assert torch.allclose(found[:1], measure(planes[:1]), rtol=1e-4), "depends on the batch"
    assert measure(planes).requires_grad is False


def test_pyramid_measure_is_the_laplacian_energy_of_five_octaves() -> None:
    planes, energy = textures(3), torch.zeros(3)
    level = planes
    for _ in range(5):
        energy += dense_energy(level) / 5
        level = F.avg_pool2d(level, 2)
    assert torch.allclose(pyramid_energy(planes), PYRAMID_EXPONENT * torch.log(energy + 1e-6), rtol=1e-5)


def test_weights_follow_the_sharper_source() -> None:
    sharp = textures(2)
    blurred = F.avg_pool2d(F.pad(sharp, (2, 2, 2, 2), mode="reflect"), 5, stride=1)
    w_ir, w_vis = information_weights(pyramid_energy, sharp, blurred)
    assert w_ir.shape == (2,) and (w_ir > 0.9).all()
    assert torch.allclose(w_ir + w_vis, torch.ones(2))
    swapped = information_weights(pyramid_energy, blurred, sharp)
    assert torch.allclose(swapped[1], w_ir) and torch.allclose(swapped[0], w_vis)
    assert torch.allclose(information_weights(pyramid_energy, sharp, sharp)[0], torch.full((2,), 0.5))


def test_weights_are_per_sample_and_ignore_the_exposure_of_the_pair() -> None:
    planes = textures(2) * torch.tensor([1.0, 0.1]).view(2, 1, 1, 1)
    w_ir, _ = information_weights(pyramid_energy, planes, planes.flip(0))
    # An amplitude ratio of 10 is an energy ratio of 100.
    expected = 100**PYRAMID_EXPONENT / (1 + 100**PYRAMID_EXPONENT)
    assert w_ir.tolist() == pytest.approx([expected, 1 - expected], rel=0.2)
    darker, _ = information_weights(pyramid_energy, planes / 3, planes.flip(0) / 3)
    assert torch.allclose(w_ir, darker, atol=0.01)


@pytest.mark.parametrize("side", [32, 33])
def test_flat_images_count_equally(side: int) -> None:
    black, grey = torch.zeros(1, 1, side, side), torch.full((1, 1, side, side), 0.5)
    w_ir, w_vis = information_weights(pyramid_energy, black, grey)
    assert w_ir.item() == pytest.approx(0.5) and w_vis.item() == pytest.approx(0.5)


def test_weights_are_float32_and_without_gradient_under_autocast() -> None:
    planes = textures(2).requires_grad_()
    measure: InformationMeasure = pyramid_energy
    with torch.autocast("cpu", dtype=torch.bfloat16):
        w_ir, w_vis = information_weights(measure, planes, planes * 0.5)
    assert w_ir.dtype == w_vis.dtype == torch.float32 and not w_ir.requires_grad
    assert torch.equal(w_ir, information_weights(measure, planes, planes * 0.5)[0])


def test_densenet_weights_by_other_names_and_in_safetensors(densenet_file: Path, tmp_path: Path) -> None:
    state = torch.load(densenet_file, weights_only=True)
    pattern = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])\.")
    old = {pattern.sub(r"\1.\2.", key): value for key, value in state.items()}
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "torchvision.pth")
    save_file(state, tmp_path / "timm.safetensors")
    planes = textures(2)
    expected = load_measure("densenet121", weights=str(densenet_file), device=CPU)(planes)
    for name in ("torchvision.pth", "timm.safetensors"):
        found = load_measure("densenet121", weights=str(tmp_path / name), device=CPU)(planes)
        assert torch.equal(found, expected)


def test_densenet_weights_that_run_something_do_not(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"conv0.weight": Attack()}, tmp_path / "attack.pth")
    with pytest.raises(InputError, match=r"attack\.pth"):
        load_measure("densenet121", weights=str(tmp_path / "attack.pth"), device=CPU)
    assert not (tmp_path / "owned").exists()


def test_densenet_weights_that_cannot_be_had_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_measure("densenet121", weights=str(tmp_path / "absent.pth"), device=CPU)
    torch.save({"conv0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="not weights of DenseNet-121"):
        load_measure("densenet121", weights=str(tmp_path / "other.pth"), device=CPU)
    for name, content in (("a.pth", b"no weights"), ("b.pth", b""), ("c.safetensors", b"no weights either")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: .*weights file"):
            load_measure("densenet121", weights=str(tmp_path / name), device=CPU)

    def offline(*_: object, **__: object) -> None:
        raise OSError("network is unreachable\nsecond line")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match="pyramid measure") as error:
        load_measure("densenet121", weights="", device=CPU)
    assert "\n" not in str(error.value)
