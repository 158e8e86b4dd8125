"""Speed, memory and precision of fusing beside a plain run of the published architecture.

    python tests/benchmarks/fuse.py [--part speed,memory,scaling,precision] [--threads 2] [--pairs 4]

speed      seconds per pair and peak memory of whole processes: the plain baseline (eager, whole image, NCHW,
           both branches), then ``fuse`` on a folder in float32 and bf16; ratios to the baseline
memory     one 6000x4000 pair under a memory budget, with published and with shipped weights: time and peak
           memory of the process
scaling    time per pixel at 4096x4096 against 512x512
precision  float32 against the published results, and bf16 against float32: mean, 99.9th percentile, share of
           pixels over 1/255

Pairs are LLVIP frames where ../shared is present, else sample scenes. Every timing is of a fresh process, and
baseline and product take turns, so that their ratio holds on a busy machine as well as it can. The baseline
needs 16 GB at 1280x1024; ``--size`` takes a smaller one. gpu.py measures GPUs.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]
SHARED = Path(os.environ.get("GIFNET_SHARED", ROOT.parent / "shared"))
PUBLISHED = SHARED / "reference/gifnet/Final.model"


def main() -> None:
    """Run the chosen parts and print a table each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", default="speed,memory,scaling,precision", help="Comma-separated.")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pairs", type=int, default=4, help="Pairs of the folder.")
    parser.add_argument("--size", default="1024x1280", help="Rows x columns of speed's pairs.")
    parser.add_argument("--large", default="4000x6000", help="Rows x columns of memory's pair.")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--memory", default=None, help="Budget of parts speed and scaling, such as 12GB.")
    parser.add_argument("--large-memory", default="1.5GB", help="Budget of part memory.")
    parser.add_argument("--child", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(CHILDREN[options.child](**json.loads(sys.stdin.read()))))
        return
    import torch

    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, torch {torch.__version__}")
    print(f"{options.threads} threads, load {os.getloadavg()[0]:.1f}\n")
    for name in options.part.split(","):
        PARTS[name](options)


def speed(options: argparse.Namespace) -> None:
    """Whole processes: baseline on one pair, product on a folder, in turns."""
    size = _size(options.size)
    with tempfile.TemporaryDirectory() as folder:
        _write_pairs(Path(folder), options.pairs, size)
        runs: dict[str, list[dict[str, float]]] = {"published, plain": [], "fp32": [], "bf16": []}
        for _ in range(options.repeats):
            for name, seen in runs.items():
                if name == "published, plain":
                    seen.append(_child(options, "baseline", folder=folder, pairs=1))
                else:
                    seen.append(
                        _child(
                            options,
                            "folder",
                            folder=folder,
                            out=f"{folder}/{name}",
                            precision=name,
                            memory=options.memory,
                        )
                    )
    print(f"### {options.size} pairs, whole process\n")
    print("| run | s per pair | CPU s per pair | times faster | peak memory, GB |\n|---|---|---|---|---|")
    plain = median(run["wall"] for run in runs["published, plain"])
    for name, seen in runs.items():
        pairs = 1 if name == "published, plain" else options.pairs
        wall, cpu = (median(run[key] for run in seen) / pairs for key in ("wall", "cpu"))
        memory = max(run["peak"] for run in seen)
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {plain / wall:.1f} | {memory / 1e9:.2f} |", flush=True)
    print()


def memory(options: argparse.Namespace) -> None:
    """One large pair under a budget."""
    print(f"### One {options.large} pair, budget {options.large_memory}\n")
    print("| weights | seconds | CPU seconds | peak memory in GB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        _write_pairs(Path(folder), 1, _size(options.large), tile=True)
        for name, weights in _both_weights().items():
            run = _child(
                options,
                "folder",
                weights=str(weights),
                folder=folder,
                out=f"{folder}/out",
                precision="fp32",
                memory=options.large_memory,
            )
            print(f"| {name} | {run['wall']:.0f} | {run['cpu']:.0f} | {run['peak'] / 1e9:.2f} |", flush=True)
    print()


def scaling(options: argparse.Namespace) -> None:
    """Network time per pixel of a small and a large square."""
    print("### Cost per pixel\n\n| size | us per pixel | CPU us per pixel | to 512x512 |\n|---|---|---|---|")
    runs: dict[int, list[dict[str, float]]] = {512: [], 4096: []}
    for _ in range(options.repeats):
        for side, seen in runs.items():
            seen.append(_child(options, "square", side=side, memory=options.memory))
    first = None
    for side, seen in runs.items():
        wall, cpu = (
            median(run[key] for run in seen) / side**2 * 1e6 for key in ("network_wall", "network_cpu")
        )
        first = first or wall
        print(f"| {side}x{side} | {wall:.2f} | {cpu:.2f} | {wall / first:.2f} |", flush=True)
    print()


def precision(options: argparse.Namespace) -> None:
    """float32 against the published results, and bf16 against float32."""
    cases = SHARED / "reference/gifnet/inference.npz"
    if cases.is_file():
        run = _child(options, "published_cases", cases=str(cases))
        print(
            f"### float32 against the published results, {run['pixels']:.0f} pixels\n\nlargest difference "
            f"{run['largest']:.1e}; {run['off']:.0f} pixels are rounded to the next of 256 grey levels "
            f"(of float64 arithmetic {run['off_float64']:.0f})\n"
        )
    print("### bf16 against float32, grey values in [0, 1]\n")
    print("| weights | mean | 99.9th percentile | over 1/255 |\n|---|---|---|---|")
    for name, weights in _both_weights().items():
        run = _child(options, "errors", precision="bf16", pairs=options.pairs, weights=str(weights))
        print(f"| {name} | {run['mean']:.5f} | {run['p999']:.5f} | {run['over']:.2%} |", flush=True)
    print()


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "speed": speed,
    "memory": memory,
    "scaling": scaling,
    "precision": precision,
}


def _child(options: argparse.Namespace, name: str, **arguments: Any) -> dict[str, float]:
    """Run one measurement in a process of its own; wall and CPU seconds and peak memory come with it."""
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    arguments.setdefault("weights", str(_weights()))
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, __file__, "--child", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(arguments))
    process.stdin.close()
    result = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{name} ended with status {process.returncode}")
    run: dict[str, float] = json.loads(result.splitlines()[-1])
    run["wall"] = time.perf_counter() - start
    run["cpu"] = usage.ru_utime + usage.ru_stime
    run["peak"] = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return run


@cache
def _weights() -> Path:
    """The published ones, or without them random ones of the same shape: the work is the same."""
    if PUBLISHED.exists():
        return PUBLISHED
    from model.checkpoint import save_weights
    from model.network import GIFNet, NetworkConfig

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return save_weights(folder / "random.safetensors", GIFNet(NetworkConfig()), {})


def _both_weights() -> dict[str, Path]:
    from model.checkpoint import DEFAULT_WEIGHTS

    return {"published": _weights(), "shipped": DEFAULT_WEIGHTS}


def _write_pairs(folder: Path, pairs: int, size_hw: tuple[int, int], *, tile: bool = False) -> None:
    """Aligned pairs as folder/a (infrared) and folder/b (visible, grey), of one size."""
    import cv2
    import numpy as np

    from pipeline.images import read_grey, to_uint8, write_image
    from pipeline.scenes import render_scene

    llvip = SHARED / "data/llvip"
    for index in range(pairs):
        if llvip.is_dir():
            path = sorted((llvip / "infrared/train").iterdir())[index % 32]
            images = [read_grey(path), read_grey(llvip / "visible/train" / path.name)]
        else:
            scene = render_scene(seed=0, index=index, size_hw=(480, 640))
            images = [scene.infrared, to_uint8(scene.visible.mean(axis=2) / 255)]
        for side, image in zip("ab", images, strict=True):
            if tile:
                tiles = [-(-wanted // have) for wanted, have in zip(size_hw, image.shape, strict=True)]
                image = np.tile(image, tiles)[: size_hw[0], : size_hw[1]]
            elif image.shape != size_hw:
                image = cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA)
            write_image(folder / side / f"{index}.png", image)


def _errors(**arguments: Any) -> dict[str, float]:
    import fuse_children

    with tempfile.TemporaryDirectory() as folder:
        _write_pairs(Path(folder), arguments["pairs"], (512, 640))
        return fuse_children.errors(**arguments, folder=folder)


def _call(name: str) -> Callable[..., dict[str, float]]:
    def run(**arguments: Any) -> dict[str, float]:
        import fuse_children

        return getattr(fuse_children, name)(**arguments)

    return run


def _size(text: str) -> tuple[int, int]:
    rows, columns = text.split("x")
    return int(rows), int(columns)


CHILDREN = {
    **{name: _call(name) for name in ("baseline", "folder", "square", "published_cases")},
    "errors": _errors,
}

if __name__ == "__main__":
    main()
