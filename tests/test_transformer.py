"""The cross-task transformer: window attention by loops, statistics, the two streams, what learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from network_samples import planes, random_network, training_forward
from torch import Tensor

import model.blocks.attention
from model.blocks.attention import log_offsets, window_attention
from model.blocks.transformer import Stream, Task, layer_statistics
from model.network import GIFNet, NetworkConfig

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("shifted", [False, True])
def test_window_attention_equals_loops(shifted: bool) -> None:
    """Every pixel attends to the pixels of its window, written out one by one."""
    window, heads, head_size, height, width = 4, 2, 3, 6, 9
    channels, shift = heads * head_size, 2 if shifted else 0
    generator = torch.Generator().manual_seed(1)
    qkv = torch.randn(1, 3 * channels, height, width, generator=generator, dtype=torch.float64)
    bias = torch.randn(heads, window**2, window**2, generator=generator, dtype=torch.float64)
    result = window_attention(*qkv.chunk(3, dim=1), bias, heads=heads, window=window, shifted=shifted)

    value = qkv[0].numpy()

    def at(part: int, head: int, y: int, x: int) -> np.ndarray:
        """Q, K or V of one head at a pixel in or beyond the image, mirrored at its border."""
        y, x = (_mirror(y, height), _mirror(x, width))
        start = part * channels + head * head_size
        return value[start : start + head_size, y, x]

    for head in range(heads):
        for y in range(height):
            for x in range(width):
                top, left = (y + shift) // window * window - shift, (x + shift) // window * window - shift
                inside = [(top + i, left + j) for i in range(window) for j in range(window)]
                here = inside.index((y, x))
                scores = np.array(
                    [at(0, head, y, x) @ at(1, head, *p) / math.sqrt(head_size) for p in inside]
                )
                scores += bias[head, here].numpy()
                weights = np.exp(scores - scores.max())
                expected = sum(
                    w * at(2, head, *p) for w, p in zip(weights / weights.sum(), inside, strict=True)
                )
                found = result[0, head * head_size : (head + 1) * head_size, y, x].numpy()
                np.testing.assert_allclose(found, expected, atol=1e-12)


def test_offsets_are_signed_logarithms_of_query_minus_key() -> None:
    offsets = log_offsets(8)
    assert offsets.shape == (64, 64, 2)
    query, key = (2, 7), (5, 3)  # row, column
    expected = torch.tensor([-math.log(1 + 3), math.log(1 + 4)])
    torch.testing.assert_close(offsets[query[0] * 8 + query[1], key[0] * 8 + key[1]], expected)


def test_layer_statistics_are_of_the_whole_image_and_of_the_population() -> None:
    x = 100 + torch.randn(3, 7, 6, 5, dtype=torch.float64)
    statistics = layer_statistics(x)
    for i, image in enumerate(x.numpy()):
        assert statistics.mean[i].item() == pytest.approx(image.mean())
        assert statistics.deviation[i].item() == pytest.approx(math.sqrt(image.var() + 1e-5))
    assert layer_statistics(x.bfloat16()).deviation.dtype == torch.float32


def test_windows_in_chunks_equal_windows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, (a, b) = random_network(seed=6), planes(1, 1, 40, 40)
    with torch.inference_mode():
        expected = network(a, b)
        monkeypatch.setattr(model.blocks.attention, "MAX_ATTENTION_BATCH", 14)  # 7 windows of 2 heads
        torch.testing.assert_close(network(a, b), expected, rtol=0, atol=1e-6)


def test_a_fresh_stream_is_nearly_a_plain_residual() -> None:
    stream, (x, mixed) = Stream(8), torch.randn(2, 1, 8, 6, 6)
    grown = x + mixed
    finished = stream.finish(x, mixed, layer_statistics(x))
    torch.testing.assert_close(finished, grown + stream.mlp(grown), rtol=0, atol=0.5)


def test_a_chunk_has_no_more_windows_and_heads_than_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.blocks.attention, "MAX_ATTENTION_BATCH", 14)
    x, seen = torch.rand(16, 4, 6), []

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor, *, scale: float) -> Tensor:
        seen.append(len(query) * len(bias))
        return value

    assert torch.equal(model.blocks.attention.in_chunks(attend, x, x, x, torch.zeros(3, 4, 4), scale=1.0), x)
    assert seen == [12, 12, 12, 12]


def test_tasks_are_mirror_images_without_the_quirk() -> None:
    """With the two streams' weights exchanged, MM as main task gives what DP as main task gave."""
    network, (a, b) = random_network(seed=7).double(), planes(1, 1, 19, 26, dtype=torch.float64)
    swapped = random_network(seed=7).double()
    swapped.load_state_dict({_other_stream(name): value for name, value in network.state_dict().items()})
    with torch.inference_mode():
        torch.testing.assert_close(swapped(a, b, main="mm"), network(a, b, main="dp"), rtol=0, atol=1e-12)


def test_quirk_acts_with_mm_as_main_task_alone() -> None:
    plain, quirky = random_network(seed=8), random_network(seed=8, local_path_quirk=True)
    a, b = planes(1, 1, 16, 16)
    with torch.inference_mode():
        assert torch.equal(plain(a, b, main="dp"), quirky(a, b, main="dp"))
        assert (plain(a, b, main="mm") - quirky(a, b, main="mm")).abs().max() > 1e-5


@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("main", ["mm", "dp"])
def test_attention_of_the_other_stream_learns_nothing(main: Task, amp: bool) -> None:
    network, (a, b) = random_network(seed=10), planes(1, 1, 16, 16)
    with torch.autocast("cpu", torch.bfloat16, enabled=amp):
        fused, reconstruction = training_forward(network, (a, b), (b, a), main)
        loss = fused.float().mean() + reconstruction.float().mean()
    loss.backward()
    other = "dp" if main == "mm" else "mm"
    without = {name for name, p in network.named_parameters() if p.grad is None}
    attention = [f"{layer}.{kind}" for layer in ("qkv", "local", "project") for kind in ("weight", "bias")]
    attention += ["norm_weight", "norm_bias"]
    assert {n for n in without if n.startswith("transformer.cross_block.")} == {
        f"transformer.cross_block.{other}.{name}" for name in attention
    }
    # The other stream does not exist in the second block, and neither does its gate.
    later = {n for n in without if not n.startswith("transformer.cross_block.")}
    assert later == {
        n
        for n, _ in network.named_parameters()
        if n.startswith(f"transformer.refine_blocks.0.{other}.") or n == f"transformer.lambda_{other}"
    }


@pytest.mark.parametrize("main", ["mm", "dp"])
def test_gradients_equal_finite_differences(main: Task) -> None:
    """Where the part without gradient is silenced, the whole network is differentiable as it stands."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = GIFNet(NetworkConfig(feature_growth=1, heads=1, window=4)).double()
        other = network.transformer.cross_block.dp if main == "mm" else network.transformer.cross_block.mm
        torch.nn.init.zeros_(other.project.weight)
        mm, dp = (torch.randn(1, 5, 5, 6, dtype=torch.float64, requires_grad=True) for _ in "ab")

        def fuse(mm: Tensor, dp: Tensor) -> Tensor:
            return network.fuse_features(mm, dp, main=main)

        assert torch.autograd.gradcheck(fuse, (mm, dp), atol=1e-6, fast_mode=True)


def _other_stream(name: str) -> str:
    """The same tensor of the other stream: ``mm`` and ``dp`` exchanged."""
    exchanged = {".mm.": ".dp.", ".dp.": ".mm."}
    exchanged |= {"_mm": "_dp", "_dp": "_mm"}
    for old, new in exchanged.items():
        if old in name:
            return name.replace(old, new)
    return name


def _mirror(index: int, length: int) -> int:
    """Reflection without repeating the border: -1 -> 1, length -> length - 2."""
    index = abs(index)
    return index if index < length else 2 * (length - 1) - index
