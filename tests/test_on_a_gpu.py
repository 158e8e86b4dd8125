"""Fusing and synthesis on a pretended GPU: nothing mixes host and device, size costs no more kernels."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from fusing import picture, tiny_network, tiny_weights
from pretended_gpu import pretended_gpu
from tiny_source import make_source

from model.checkpoint import load_network
from model.engine import strips
from model.engine.strips import FusionEngine
from model.fuse import fuse
from model.fusing.fuse_config import FuseConfig
from model.network import GIFNet
from model.training.recorded import Recorded
from pipeline.images import read_image
from pipeline.networks.device import repeatable
from pipeline.networks.graphs import WARM_UPS, record
from pipeline.networks.padding import reflection_pad
from pipeline.shards.dataset import load_arrays, verify
from pipeline.synthesis.engines import RunOptions
from pipeline.synthesis.plan import SynthesisConfig
from pipeline.synthesis.synthesise import synthesise

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="here is a real one"),
]


def planes(side: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(side)
    return rng.random((side, side), np.float32), rng.random((side, side), np.float32)


def network_with(head: str) -> GIFNet:
    return tiny_network() if head == "plane" else load_network(None)


@pytest.mark.parametrize("head", ["plane", "pyramid"])
def test_fused_planes_are_those_of_the_cpu(head: str) -> None:
    network, (a, b) = network_with(head), planes(75)
    expected = FusionEngine(network).fuse_planes(a, b)
    for precision, bound in (("fp32", 1e-5), ("bf16", 5e-2), ("fp16", 1e-2)):
        with pretended_gpu():
            found = FusionEngine(network, device="cuda", precision=precision).fuse_planes(a, b)
        np.testing.assert_allclose(found, expected, atol=bound)


@pytest.mark.parametrize("head", ["plane", "pyramid"])
def test_a_larger_picture_takes_no_more_kernels(head: str) -> None:
    network, kernels = network_with(head), []
    for side in (64, 128):
        with pretended_gpu() as account:
            engine = FusionEngine(network, device="cuda", precision="fp16", memory_bytes=1 << 32)
            engine.fuse_planes(*planes(40))  # which folds the weights
            account.kernels = 0
            account.waits.clear()
            engine.fuse_planes(*planes(side))
        kernels.append(account.kernels)
        assert sum(account.waits.values()) <= 2  # planes and result travel
    assert kernels[1] <= kernels[0]


@pytest.mark.parametrize("head", ["plane", "pyramid"])
def test_pairs_of_one_size_are_recorded_once(head: str) -> None:
    network, launches = network_with(head), []
    pairs = [(np.roll(a, seed), b) for seed in range(4) for a, b in (planes(60),)]
    with pretended_gpu() as account:
        engine, fresh = (
            FusionEngine(network, device="cuda", precision="fp16", memory_bytes=1 << 32) for _ in range(2)
        )
        for pair in (*pairs, planes(44), planes(44), pairs[0]):
            fused = engine.fuse_planes(*pair)
            launches.append(account.launches)
            fresh.fuse_planes(*planes(32))  # so that it meets every size for the first time
            np.testing.assert_array_equal(fused, fresh.fuse_planes(*pair))
    assert launches == [0, 1, 2, 3, 3, 4, 4]


@pytest.mark.parametrize(("most", "launches"), [(24 * 24, 2), (24 * 24 - 1, 0)])
def test_a_record_is_that_of_its_task(most: int, launches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "RECORDED_PIXELS", most)
    factor = {"mm": 0.5, "dp": 0.25}
    monkeypatch.setattr(
        FusionEngine, "_compute", lambda _, network, planes: planes[:, :1] * factor[network.main]
    )
    a, b = planes(24)
    with pretended_gpu() as account:
        engine = FusionEngine(tiny_network(), device="cuda", precision="fp16")
        for main in ("dp", "dp", "mm", "mm", "dp"):
            np.testing.assert_array_equal(engine.fuse_planes(a, b, main=main), a * factor[main])
        assert account.launches == launches


def test_what_cannot_be_recorded_is_computed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> object:
        raise RuntimeError("operation not permitted when stream is capturing")

    with pretended_gpu() as account:
        monkeypatch.setattr(torch.cuda, "graph", refuse)
        engine = FusionEngine(tiny_network(), device="cuda", precision="fp16")
        first = engine.fuse_planes(*planes(40))
        with pytest.warns(UserWarning, match="without CUDA graphs"):
            np.testing.assert_array_equal(engine.fuse_planes(*planes(40)), first)
        np.testing.assert_array_equal(engine.fuse_planes(*planes(40)), first)
        assert not account.launches


def test_each_gpu_records_on_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = []

    @contextmanager
    def graph(_: object, *, stream: object, **__: object) -> Iterator[None]:
        streams.append(stream)
        yield

    with pretended_gpu():
        monkeypatch.setattr(torch.cuda, "graph", graph)
        for number in (0, 1, 0):
            monkeypatch.setattr(torch.cuda, "current_device", lambda number=number: number)
            record(list, torch.device("cuda", number))
    assert streams[0] is streams[2] is not streams[1]


def test_folder(tmp_path: Path) -> None:
    for number in range(5):
        for name in "ab":
            picture(tmp_path / name / f"{number}.png", number, channels=3 if name == "b" else 1)
    weights = tiny_weights(tmp_path)
    results = []
    for device in ("cpu", "cuda"):
        config = FuseConfig(weights=weights, device=device, task="ivif", precision="fp32")
        with pretended_gpu():
            assert fuse(config, [tmp_path / "a", tmp_path / "b"], tmp_path / device).complete
        results.append([read_image(path).astype(int) for path in sorted((tmp_path / device).glob("*.png"))])
    assert len(results[0]) == 5
    for on_cpu, on_gpu in zip(*results, strict=True):
        assert np.abs(on_cpu - on_gpu).max() <= 1


@pytest.mark.parametrize(("device", "precision"), [("cpu", "fp32"), ("cuda", "fp16")])
def test_precision_follows_the_device(device: str, precision: str, tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / name / "1.png", 1)
    with pretended_gpu():
        config = FuseConfig(weights=tiny_weights(tmp_path), device=device)
        assert fuse(config, [tmp_path / "a", tmp_path / "b"], tmp_path / "out").complete
    (line,) = (tmp_path / "out/fused.jsonl").read_text().splitlines()
    assert json.loads(line)["settings"]["precision"] == precision


def test_work_is_recorded_once_for_each_shape() -> None:
    runs = []

    def work(x: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor | None]:
        runs.append(x.shape)
        return [x * y, None]

    with pretended_gpu() as account:
        recorded = Recorded(work, torch.device("cuda"))
        for number, side in enumerate((3, 3, 3, 2)):
            x, y = (torch.full((side,), value).to("cuda") for value in (1.0 + number, 5.0))
            product, nothing = recorded(x, y)
            assert product is not None and nothing is None
            assert product.tolist() == [5.0 * (1 + number)] * side
    assert len(runs) == 2 * (WARM_UPS + 1) and account.launches == 4


def test_attention_asks_for_what_fused_kernels_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documented for attn_mask: kernels other than the unfused one want its last dimension contiguous."""
    plain, seen = torch.nn.functional.scaled_dot_product_attention, []

    def watched(query: torch.Tensor, *rest: torch.Tensor, attn_mask: torch.Tensor, scale: float) -> object:
        seen.append([tensor.stride(-1) for tensor in (query, *rest, attn_mask)])
        assert query.shape[-1] % 8 == 0
        return plain(query, *rest, attn_mask=attn_mask, scale=scale)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    network = tiny_network()
    with pretended_gpu():
        FusionEngine(network, device="cuda", precision="fp16").fuse_planes(*planes(40))
    fused = len(seen)
    with pretended_gpu(), repeatable(torch.device("cuda")), torch.inference_mode():
        a, b = (torch.from_numpy(plane)[None, None].to("cuda") for plane in planes(40))
        network.to("cuda")(a, b)
    assert 0 < fused < len(seen) and all(strides == [1, 1, 1, 1] for strides in seen), seen


def test_a_gradient_that_does_not_repeat_is_refused() -> None:
    with pretended_gpu(), repeatable(torch.device("cuda")):
        x = torch.rand(1, 1, 8, 8).to("cuda").requires_grad_()
        assert reflection_pad(x, (1, 1, 1, 1)).shape == (1, 1, 10, 10)
        with pytest.raises(AssertionError, match="does not repeat"):
            torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")


def test_synthesis_differs_from_the_cpu_by_rounding_alone(tmp_path: Path) -> None:
    manifest = make_source(tmp_path / "source")
    config = SynthesisConfig(tile=32, tiles_per_frame=2, samples_per_shard=8)
    arrays = []
    for device in ("cpu", "cuda"):
        with pretended_gpu():
            summary = synthesise(
                config, manifest, tmp_path / device, options=RunOptions(device=device, jobs=1)
            )
        assert (summary.written, summary.failed) == (14, 0)
        assert verify(tmp_path / device) == []
        arrays.append(load_arrays(tmp_path / device, ("inverse_depth", "visible_over", "tile_row")))
    for name, on_cpu in arrays[0].items():
        tolerance = {"inverse_depth": 5e-3, "visible_over": 1}.get(name, 0)
        np.testing.assert_allclose(on_cpu.astype(float), arrays[1][name].astype(float), atol=tolerance)
