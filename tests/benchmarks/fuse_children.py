"""What the fusing benchmark runs in processes of their own. Each returns what it measured."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from fuse_pairs import write_pairs
from published_baseline import published_forward

from model.checkpoint import load_network
from model.engine.strips import FusionEngine
from model.fuse import fuse
from model.fusing.fuse_config import FuseConfig, parse_memory
from model.memory import free_memory_bytes
from model.network import GIFNet
from pipeline.images import read_grey, to_uint8, write_image
from pipeline.networks.saved_tensors import read_saved


def baseline(weights: str, folder: str, pairs: int) -> dict[str, float]:
    """The published architecture, weights in the authors' layout, on the first pairs of a folder."""
    state = read_saved(Path(weights), torch.device("cpu"))

    @torch.inference_mode()
    def work() -> None:
        for path in sorted(Path(folder, "a").iterdir())[:pairs]:
            a, b = (read_grey(Path(folder, side, path.name)) / np.float32(255) for side in "ab")
            fused = published_forward(state, *(torch.from_numpy(plane)[None, None] for plane in (a, b)))
            write_image(Path(folder, "baseline", path.name), to_uint8(fused[0, 0].numpy()))

    return _seconds(work)


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

    def work() -> None:
        summary = fuse(config, [Path(folder, "a"), Path(folder, "b")], Path(out))
        assert summary.complete and summary.done, summary

    return _seconds(work)


def square(weights: str, side: int, memory: str | None) -> dict[str, float]:
    """The engine alone on one square, warm."""
    budget = parse_memory(memory) if memory else free_memory_bytes(torch.device("cpu")) // 2
    engine = FusionEngine(_network(weights), memory_bytes=budget)
    a, b = _planes(side, side)
    engine.fuse_planes(a[:256, :256], b[:256, :256])
    repeats = max(1, 1024 // side)

    def work() -> None:
        for _ in range(repeats):
            engine.fuse_planes(a, b)

    return {clock: seconds / repeats for clock, seconds in _seconds(work).items()}


def published_cases(weights: str, cases: str) -> dict[str, float]:
    """Results of the reference's cases, both main tasks, beside the published ones, as 8-bit pictures too.

    What float64 arithmetic gives of the same weights is compared likewise: where that differs, it is the
    published float32 that was rounded to the other side.
    """
    network = _network(weights)
    engine, exact = FusionEngine(network), copy.deepcopy(network).double()
    found = {"pixels": 0.0, "off": 0.0, "off_float64": 0.0, "largest": 0.0}
    with np.load(cases) as reference:
        for case in sorted({name.split("/")[0] for name in reference}):
            a, b = (reference[f"{case}/{side}"].astype(np.float32) / 255 for side in "ab")
            planes = [torch.from_numpy(plane).double()[None, None] for plane in (a, b)]
            for main, name in (("dp", "main_mfif"), ("mm", "main_ivif")):
                published, fused = reference[f"{case}/{name}"], engine.fuse_planes(a, b, main=main)
                with torch.inference_mode():
                    unrounded = exact(*planes, main=main)[0, 0].float().numpy()
                found["largest"] = max(found["largest"], float(np.abs(fused - published).max()))
                for key, plane in (("off", fused), ("off_float64", unrounded)):
                    found[key] += float((to_uint8(plane) != to_uint8(published)).sum())
                found["pixels"] += published.size
    return found


def errors(weights: str, precision: str, pairs: int) -> dict[str, float]:
    """A lower precision against float32."""
    network = _network(weights)
    exact, fast = (FusionEngine(network, precision=name) for name in ("fp32", precision))
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder), pairs, (512, 640))
        planes = [
            tuple(read_grey(Path(folder, side, path.name)) / np.float32(255) for side in "ab")
            for path in sorted(Path(folder, "a").iterdir())
        ]
    return error_figures(exact, fast, planes)


def error_figures(
    exact: FusionEngine, fast: FusionEngine, pairs: Iterable[tuple[np.ndarray, ...]]
) -> dict[str, float]:
    """Differences of two engines' results: mean, 99.9th percentile, share of pixels over 1/255."""
    error = np.concatenate(
        [np.abs(exact.fuse_planes(a, b) - fast.fuse_planes(a, b)).ravel() for a, b in pairs]
    )
    over = float((error > 1 / 255).mean())
    return {"mean": float(error.mean()), "p999": float(np.quantile(error, 0.999)), "over": over}


def _seconds(work: Callable[[], object]) -> dict[str, float]:
    """Of one call, by the clock on the wall and of the process."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"work_wall": time.perf_counter() - wall, "work_cpu": time.process_time() - cpu}


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
