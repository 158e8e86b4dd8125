"""Triton's kernels of a whole pair, by Triton's interpreter on the CPU, and where a GPU cannot have them."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import warnings
import weakref
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fusing import tiny_network
from network_samples import planes, random_network
from pretended_gpu import pretended_gpu

from model.checkpoint import load_network
from model.engine import strips, whole_maps
from model.engine.folded import FoldedNetwork
from model.engine.strips import FusionEngine
from model.engine.whole_maps import WholeMaps, fits
from model.network import GIFNet

NETWORKS = {
    "tiny": lambda: tiny_network(1),
    "quirk": lambda: tiny_network(1, local_path_quirk=True),
    "deep": lambda: tiny_network(1, depth=3),
    "published": lambda: random_network(5),
    "shipped": lambda: load_network(None),
}
#: Name of a network, main task, size and type. Sizes are no multiples of a window or of the alignment; the
#: smallest has one window, whose reach the reflection fills.
CASES = [
    ("tiny", "dp", (5, 9), "float32"),
    ("quirk", "mm", (13, 18), "float32"),
    ("deep", "dp", (13, 10), "float32"),
    ("shipped", "dp", (13, 18), "float16"),
    ("published", "mm", (9, 13), "float32"),
]
BOUNDS = {"float32": 2e-6, "float16": 5e-3}


def pair_of(size_hw: tuple[int, int]) -> torch.Tensor:
    return torch.cat([plane[:1] for plane in planes(3, 1, *size_hw)], dim=1)


def folded(network: GIFNet, dtype: torch.dtype, main: str = "dp", multiple: int = 8) -> FoldedNetwork:
    return FoldedNetwork(network, main=main, device=torch.device("cpu"), dtype=dtype, multiple=multiple)


def largest_difference(name: str, main: str, size_hw: tuple[int, int], dtype: str) -> float:
    """Between fused planes of the kernels and of the network itself in float64."""
    network, pair = NETWORKS[name](), pair_of(size_hw)
    whole = folded(network, getattr(torch, dtype), main)
    with torch.inference_mode():
        fused = whole.head.fuse(whole.head.pooled(WholeMaps(whole, pair).decoded()), pair)
        expected = network.double()(*pair.double().split(1, dim=1), main=main)
    return float((fused - expected).abs().max())


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            number, id=name, marks=[pytest.mark.slow] if name in ("quirk", "deep", "shipped") else []
        )
        for number, (name, *_) in enumerate(CASES)
    ],
)
def test_a_whole_pair_is_that_of_the_network(case: int) -> None:
    pytest.importorskip("triton")
    # Triton decides at its import whether it interprets.
    done = subprocess.run(
        [sys.executable, __file__, str(case)],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "TypeError: only 0-dimensional arrays can be converted to Python scalars" in done.stderr:
        pytest.skip("the interpreter of this Triton (3.6) fails with this NumPy (2.4 and later)")
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) <= BOUNDS[CASES[case][3]]


def test_what_does_not_fit_passes_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    network = folded(tiny_network(), torch.float16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    assert fits(network, 64, 64, 1 << 30)
    assert not fits(network, 64, 64, 1 << 10)
    assert not fits(folded(tiny_network(), torch.float32), 64, 64, 1 << 30)
    assert not fits(folded(tiny_network(window=4), torch.float16), 64, 64, 1 << 30)
    assert not fits(folded(tiny_network(decoder_channels=512), torch.float16), 64, 64, 1 << 30)
    assert not fits(folded(tiny_network(), torch.float16, multiple=1), 64, 64, 1 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert not fits(network, 64, 64, 1 << 30)
    monkeypatch.setattr(whole_maps, "gpu_kernels", lambda: None)
    assert not fits(network, 64, 64, 1 << 30)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find C compiler"),
        PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/root/.triton"),
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "x86_64-conda-linux-gnu-cc"),
        ImportError("launcher.so: failed to map segment from shared object"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_gpu_that_cannot_have_the_kernels_fuses_all_the_same(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def without_kernels(*_: object) -> object:
        raise error

    pytest.importorskip("triton")
    pair = pair_of((24, 32))[0].numpy()
    with pretended_gpu():
        expected = FusionEngine(tiny_network(), device="cuda", precision="fp16").fuse_pair(pair)
        monkeypatch.setattr(strips, "fits", lambda *_: True)
        monkeypatch.setattr(strips, "WholeMaps", without_kernels)
        engine = FusionEngine(tiny_network(), device="cuda", precision="fp16")
        with pytest.warns(UserWarning, match=f"without Triton's kernels .*{re.escape(str(error))}"):
            np.testing.assert_array_equal(engine.fuse_pair(pair), expected)
        with warnings.catch_warnings():  # it does not try again
            warnings.simplefilter("error")
            np.testing.assert_array_equal(engine.fuse_pair(pair), expected)


def test_a_full_gpu_is_no_reason_to_do_without_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    pair = pair_of((24, 32))[0].numpy()
    with pretended_gpu():
        monkeypatch.setattr(strips, "fits", lambda *_: True)
        monkeypatch.setattr(strips, "WholeMaps", _without_memory)
        engine = FusionEngine(tiny_network(), device="cuda", precision="fp16")
        for rows in (24, 16):
            with pytest.raises(torch.OutOfMemoryError):
                engine.fuse_pair(pair[:, :rows])


def test_maps_leave_the_memory_that_the_head_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setattr(strips, "RECORDED_PIXELS", 0)
    pair, network = pair_of((8, 9))[0].numpy(), tiny_network()
    monkeypatch.setattr(strips, "WholeMaps", _without_memory)
    with pretended_gpu():
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
        engine = FusionEngine(network, device="cuda", precision="fp16")
        folds = engine._network_for(8, 9, "dp")
        maps = next(size for size in range(0, 1 << 20, 2 * 8 * 9) if fits(folds, 8, 9, size))
        engine.memory_bytes = maps + 4 * network.head.working_numbers(8, 9) - 1
        assert engine.fuse_pair(pair).shape == (8, 9)
        engine.memory_bytes += 1
        with pytest.raises(torch.OutOfMemoryError):  # as a whole
            engine.fuse_pair(pair)


@pytest.mark.parametrize("asked", ["strip_rows", "panel_columns"])
def test_strips_that_are_asked_for_are_strips(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "fits", lambda *_: True)
    monkeypatch.setattr(strips, "WholeMaps", None)
    with pretended_gpu():
        engine = FusionEngine(tiny_network(), device="cuda", precision="fp16", **{asked: 16})
        assert engine.fuse_pair(pair_of((8, 9))[0].numpy()).shape == (8, 9)


@pytest.mark.parametrize("name", ["published", "shipped"])
def test_a_whole_pair_holds_no_more_than_has_to_fit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = defaultdict[object, object](lambda: lambda *_, **__: None)
    kernels = SimpleNamespace(WINDOW=8, PIECE=8, block=launches, filter_local=launches)
    monkeypatch.setattr(whole_maps, "gpu_kernels", lambda: kernels)
    monkeypatch.setattr(whole_maps, "_convolve", lambda *_, **__: torch.ones(4, 2, 3))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    network, held, most = folded(NETWORKS[name](), torch.float16), [], 0
    plain = torch.empty

    def empty(*size: object, **options: object) -> torch.Tensor:
        nonlocal most
        made = plain(*size, **options)
        if made.dtype == torch.float16:
            held.append(weakref.ref(made))
            most = max(most, sum(x.numel() * 2 for made in held if (x := made()) is not None))
        return made

    monkeypatch.setattr(torch, "empty", empty)
    monkeypatch.setattr(torch, "empty_like", lambda x: empty(x.shape, dtype=x.dtype))
    WholeMaps(network, pair_of((32, 40))).decoded()
    assert fits(network, 32, 40, most) and not fits(network, 32, 40, most - 1)


def _without_memory(*_: object) -> object:
    raise torch.OutOfMemoryError("CUDA out of memory")


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(largest_difference(*CASES[int(sys.argv[1])]))
