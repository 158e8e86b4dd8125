"""What the fusing benchmark runs in processes of their own. Each returns what it measured."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from network_samples import published_state
from published_baseline import published_forward

from model.checkpoint import load_network
from model.fuse import fuse
from model.fuse_config import FuseConfig, parse_memory
from model.memory import free_memory_bytes
from model.network import GIFNet
from model.strips import FusionEngine
from pipeline.images import read_grey, to_uint8, write_image

#: Multiply-adds per pixel of the engine: what is left of the published 785,000.
MACS_PER_PIXEL = 673_000


def baseline(weights: str, folder: str, pairs: int) -> dict[str, float]:
    """The published architecture on the first pairs of a folder, read and written."""
    state = published_state(_network(weights))
    for path in sorted(Path(folder, "a").iterdir())[:pairs]:
        a, b = (read_grey(Path(folder, side, path.name)) for side in "ab")
        with torch.inference_mode():
            fused = published_forward(
                state, *(torch.from_numpy(x / np.float32(255))[None, None] for x in (a, b))
            )
        write_image(Path(folder, "baseline", path.name), to_uint8(fused[0, 0].numpy()))
    return {}


def folder(
    weights: str,
    folder: str,
    out: str,
    precision: str,
    memory: str | None,
    device: str = "cpu",
    jobs: int = 1,
) -> dict[str, float]:
    """``fuse`` as the command line calls it."""
    config = FuseConfig(
        weights=Path(weights),
        precision=precision,
        device=device,
        memory_bytes=parse_memory(memory) if memory else None,
        jobs=jobs,
        overwrite=True,
    )
    start = time.perf_counter()
    summary = fuse(config, [Path(folder, "a"), Path(folder, "b")], Path(out))
    assert summary.complete and summary.done, summary
    return {"fuse_wall": time.perf_counter() - start}


def square(weights: str, side: int, memory: str | None) -> dict[str, float]:
    """The engine alone on one square, warm."""
    budget = parse_memory(memory) if memory else free_memory_bytes(torch.device("cpu")) // 2
    engine = FusionEngine(_network(weights), memory_bytes=budget)
    a, b = _planes(side, side)
    engine.fuse_planes(a[:256, :256], b[:256, :256])
    repeats = max(1, 1024 // side)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        engine.fuse_planes(a, b)
    return {
        "network_wall": (time.perf_counter() - wall) / repeats,
        "network_cpu": (time.process_time() - cpu) / repeats,
    }


def errors(weights: str, precision: str, device: str, pairs: int, folder: str) -> dict[str, float]:
    """A lower precision against float32 on the same device."""
    network = _network(weights)
    exact, fast = (FusionEngine(network, device=device, precision=name) for name in ("fp32", precision))
    differences = []
    for path in sorted(Path(folder, "a").iterdir())[:pairs]:
        a, b = (read_grey(Path(folder, side, path.name)) / np.float32(255) for side in "ab")
        differences.append(np.abs(exact.fuse_planes(a, b) - fast.fuse_planes(a, b)).ravel())
    error = np.concatenate(differences)
    over = float((error > 1 / 255).mean())
    return {"mean": float(error.mean()), "p999": float(np.quantile(error, 0.999)), "over": over}


def kernels(weights: str, size: list[int]) -> dict[str, float]:
    """Network time on a GPU, planes in host memory, and the time its matrix rate allows."""
    network = _network(weights)
    budget = free_memory_bytes(torch.device("cuda")) // 2
    engine = FusionEngine(network, device="cuda", precision="fp16", memory_bytes=budget)
    a, b = _planes(*size)
    times = [_timed(lambda: engine.fuse_planes(a, b)) for _ in range(10)]
    matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.float16)
    rate = 2 * 8192**3 / min(_timed(lambda: matrix @ matrix) for _ in range(10))
    small_a, small_b = a[:131, :150], b[:131, :150]
    with torch.inference_mode():
        pair = (torch.from_numpy(x).double()[None, None] for x in (small_a, small_b))
        exact = network.double()(*pair)[0, 0].numpy()
    fp32 = FusionEngine(network.float(), device="cuda", memory_bytes=budget)
    return {
        "network": min(times),
        "matrix": 2 * MACS_PER_PIXEL * size[0] * size[1] / rate,
        "error": float(np.abs(fp32.fuse_planes(small_a, small_b) - exact).max()),
    }


def _timed(run: Any) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def _network(weights: str) -> GIFNet:
    return load_network(Path(weights))


def _planes(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Planes with structure at every scale, the same each time."""
    rng = np.random.default_rng(0)
    planes = []
    for _ in range(2):
        coarse = torch.from_numpy(rng.random((1, 1, height // 16 + 1, width // 16 + 1), np.float32))
        smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")[0, 0].numpy()
        planes.append((0.9 * smooth + 0.1 * rng.random((height, width), np.float32)).astype(np.float32))
    return planes[0], planes[1]
