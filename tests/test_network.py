"""GIFNet as a whole: the published numbers, an independent plain implementation, sizes and precision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.published_baseline import published_encode, published_forward, published_reconstruct
from network_samples import planes, published_state, random_network, to_published, training_forward

from model.blocks.transformer import Task
from model.checkpoint import load_network
from model.checkpoint.published import UNUSED_NAMES
from model.network import GIFNet, NetworkConfig
from model.training.losses import dp_loss, mm_loss, ms_dissimilarity, public_loss
from pipeline.files import InputError

SOURCES = {"dp": "main_mfif", "mm": "main_ivif"}


@pytest.fixture(scope="module")
def published(shared: Path) -> GIFNet:
    return load_network(shared / "reference/gifnet/Final.model").to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def reference(shared: Path) -> np.lib.npyio.NpzFile:
    return np.load(shared / "reference/gifnet/inference.npz")


@pytest.mark.parametrize("main", ["dp", "mm"])
@pytest.mark.parametrize(
    "case", ["remote_band1", "nir", "meif", "ivif", "medical", pytest.param("mfif", marks=pytest.mark.slow)]
)
def test_inference_reproduces_the_published_images(
    published: GIFNet, reference: np.lib.npyio.NpzFile, case: str, main: Task
) -> None:
    a, b = (torch.from_numpy(reference[f"{case}/{k}"]).float()[None, None] / 255 for k in "ab")
    with torch.inference_mode():
        fused = published(a, b, main=main)
    assert np.abs(fused[0, 0].numpy() - reference[f"{case}/{SOURCES[main]}"]).max() <= 1e-5


def test_reconstruction_reproduces_the_published_one(
    published: GIFNet, reference: np.lib.npyio.NpzFile
) -> None:
    a, b = (torch.from_numpy(reference[f"nir/{k}"]).float()[None, None] / 255 for k in "ab")
    with torch.inference_mode():
        reconstruction = published.reconstruct(published.encode(a, b))
    assert np.abs(reconstruction[0, 0].numpy() - reference["nir/reconstruction"]).max() <= 1e-5


@pytest.mark.parametrize("main", ["mm", "dp"])
def test_training_step_reproduces_the_published_losses_and_gradients(
    shared: Path, published: GIFNet, main: Task
) -> None:
    folder = shared / "reference/gifnet"
    inputs, outputs = np.load(folder / "train_inputs.npz"), np.load(folder / f"train_{main}.npz")
    expected = json.loads((folder / "train_losses.json").read_text())[main]
    ir, vis, near, far = (torch.from_numpy(inputs[name]) for name in ("ir", "vis", "near", "far"))
    fused, reconstruction = training_forward(published, (ir, vis), (near, far), main)
    weights = torch.full((4,), 0.4), torch.full((4,), 0.6)
    task = mm_loss(fused, ir, vis, *weights) if main == "mm" else dp_loss(fused, vis)
    public = public_loss(reconstruction, vis)
    published.zero_grad()
    (task + public).backward()

    assert np.abs(fused.detach().numpy() - outputs["fused"]).max() <= 1e-5
    assert np.abs(reconstruction.detach().numpy() - outputs["reconstruction"]).max() <= 1e-5
    assert task.item() == pytest.approx(expected["task_loss"], rel=1e-5)
    assert 1 - ms_dissimilarity(reconstruction, vis).item() == pytest.approx(expected["ms_ssim"], rel=1e-5)
    # The published 1 - MS-SSIM is a float32 difference of numbers near 1: it is known to 2^-23 and no better.
    assert public.item() == pytest.approx(expected["public_loss"], rel=1e-5, abs=2**-23)
    assert (task + public).item() == pytest.approx(expected["total"], rel=1e-5, abs=2**-23)

    norms = {
        part: gradient.norm().item()
        for name, parameter in published.named_parameters()
        if parameter.grad is not None
        for part, gradient in to_published(name, parameter.grad).items()
    }
    assert norms.keys() == expected["grad_norm"].keys()
    for name, norm in norms.items():
        # A constant added to all scores of a window changes nothing, so the last bias of the position MLP
        # has a gradient of 0, and what the file lists for it (1e-12 and less) is rounding.
        rounding = 1e-9 if name.endswith("attn.attn.meta.2.bias") else 0.0
        assert norm == pytest.approx(expected["grad_norm"][name], rel=1e-3, abs=rounding), name


def test_the_benchmarks_baseline_is_the_published_network(
    shared: Path, reference: np.lib.npyio.NpzFile
) -> None:
    state = torch.load(shared / "reference/gifnet/Final.model", weights_only=True)
    a, b = (torch.from_numpy(reference[f"remote_band1/{k}"]).float()[None, None] / 255 for k in "ab")
    with torch.inference_mode():
        for main, key in SOURCES.items():
            fused = published_forward(state, a, b, main)[0, 0].numpy()
            assert np.abs(fused - reference[f"remote_band1/{key}"]).max() <= 1e-5


@pytest.mark.parametrize("main", ["dp", "mm"])
@pytest.mark.parametrize("size_hw", [(5, 5), (8, 16), (13, 22), (23, 9)])
def test_equals_the_plain_network_with_both_branches(main: Task, size_hw: tuple[int, int]) -> None:
    """In float64, for random weights: among other things, the branch left out cannot reach the output."""
    network = random_network(seed=size_hw[1], local_path_quirk=True)
    state = {name: value.double() for name, value in published_state(network).items()}
    network = network.double()
    a, b = planes(2, 1, *size_hw, dtype=torch.float64)
    with torch.inference_mode():
        fused, plain = network(a, b, main=main), published_forward(state, a, b, main)
        features = network.encode(a, b)
        assert torch.equal(features, published_encode(state, a, b))
        torch.testing.assert_close(network.reconstruct(features), published_reconstruct(state, features))
    assert fused.std() > 1e-3
    torch.testing.assert_close(fused, plain, rtol=0, atol=1e-7)  # offsets of the position bias are float32


@pytest.mark.parametrize("size_hw", [(5, 5), (5, 40), (7, 12), (31, 17), (33, 64)])
@pytest.mark.parametrize("main", ["dp", "mm"])
def test_output_has_the_size_and_range_of_the_inputs(size_hw: tuple[int, int], main: Task) -> None:
    with torch.inference_mode():
        fused = random_network(seed=3)(*planes(1, 1, *size_hw), main=main)
    assert fused.shape == (1, 1, *size_hw)
    assert fused.min() >= 0 and fused.max() <= 1


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        ((1, 1, 4, 64), (1, 1, 4, 64), "64x4"),
        ((1, 1, 1, 1), (1, 1, 1, 1), "1x1"),
        ((1, 1, 16, 16), (1, 1, 16, 17), "differ"),
        ((1, 3, 16, 16), (1, 3, 16, 16), "single planes"),
        ((16, 16), (16, 16), "single planes"),
    ],
)
def test_unusable_inputs_are_refused(a: tuple[int, ...], b: tuple[int, ...], says: str) -> None:
    with pytest.raises(InputError, match=says) as refusal:
        GIFNet(NetworkConfig())(torch.rand(a), torch.rand(b))
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "config",
    [
        NetworkConfig(feature_growth=1, heads=1, window=4),
        NetworkConfig(feature_growth=2, heads=4, window=6, depth=3),
    ],
)
def test_other_shapes_work_down_to_their_own_minimum(config: NetworkConfig) -> None:
    network = GIFNet(config)
    smallest = network(*planes(1, 1, config.min_side, config.min_side + 2))
    assert smallest.shape == (1, 1, config.min_side, config.min_side + 2)
    with pytest.raises(InputError, match="too small"):
        network(*planes(1, 1, config.min_side - 1, 32))


@pytest.mark.parametrize(
    "values",
    [{"window": 7}, {"window": 2}, {"heads": 3}, {"depth": 0}, {"feature_growth": 0}, {"window": 64}],
)
def test_impossible_shapes_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(InputError, match="network: "):
        NetworkConfig(**values)


def test_published_shape_has_the_published_size() -> None:
    network = GIFNet(NetworkConfig())
    unused_gates = len(UNUSED_NAMES)
    assert sum(p.numel() for p in network.parameters()) == 822_780 - unused_gates


def test_images_of_a_batch_do_not_touch_each_other() -> None:
    network, (a, b) = random_network(seed=4).double(), planes(3, 1, 20, 11, dtype=torch.float64)
    with torch.inference_mode():
        together = network(a, b)
        alone = torch.cat([network(a[i : i + 1], b[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_memory_format_changes_nothing() -> None:
    network, (a, b) = random_network(seed=5), planes(2, 1, 24, 21)
    with torch.inference_mode():
        expected = network(a, b, main="mm")
        last = network.to(memory_format=torch.channels_last)
        found = last(*(x.to(memory_format=torch.channels_last) for x in (a, b)), main="mm")
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_bfloat16_stays_near_float32(published_or_random: GIFNet) -> None:
    a, b = planes(1, 1, 48, 40)
    with torch.inference_mode():
        expected = published_or_random(a, b)
        with torch.autocast("cpu", torch.bfloat16):
            fused = published_or_random(a, b).float()
    assert (fused - expected).abs().mean() < 5e-3


@pytest.fixture(params=["random", pytest.param("published", marks=pytest.mark.shared)])
def published_or_random(request: pytest.FixtureRequest) -> GIFNet:
    return random_network(seed=11) if request.param == "random" else request.getfixturevalue("published")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("main", ["mm", "dp"])
def test_cuda_equals_the_cpu_in_float64(main: Task) -> None:
    """Forward and gradients, with the padded head size that only CUDA uses."""
    a, b = planes(2, 1, 45, 52)
    runs = {}
    for device, dtype in (("cpu", torch.float64), ("cuda", torch.float32)):
        network = random_network(seed=12).to(device, dtype)
        inputs = [x.to(device, dtype) for x in (a, b)]
        fused, _ = training_forward(network, (inputs[0], inputs[1]), (inputs[1], inputs[0]), main)
        fused.square().mean().backward()
        gradients = {n: p.grad.double().cpu() for n, p in network.named_parameters() if p.grad is not None}
        runs[device] = (fused.detach().double().cpu(), gradients)
    torch.testing.assert_close(runs["cuda"][0], runs["cpu"][0], rtol=0, atol=1e-4)
    assert runs["cuda"][1].keys() == runs["cpu"][1].keys()
    for name, gradient in runs["cpu"][1].items():
        assert (runs["cuda"][1][name] - gradient).norm() <= 1e-2 * gradient.norm() + 1e-6, name
