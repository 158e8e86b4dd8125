"""Speed, memory and precision of fusing beside a plain run of the published architecture.

    python tests/benchmarks/fuse.py [--part speed,memory,scaling,precision] [--threads 2] [--pairs 4]

speed      seconds per pair and peak memory of whole processes: the plain baseline (eager, whole image, NCHW,
           both branches), then ``fuse`` on a folder in float32 and bf16; ratios to the baseline. The baseline
           fuses one pair only; what its start takes is divided by as many pairs as the folder has, too
memory     one 6000x4000 pair under a memory budget, with published and with shipped weights: time and peak
           memory of the process
scaling    time per pixel at 4096x4096 against 512x512
precision  float32 against the published results, and bf16 against float32: mean, 99.9th percentile, share of
           pixels over 1/255

Pairs are those of ``fuse_pairs.py``. Every timing is of a fresh process, and baseline and product take turns,
so that their ratio holds on a busy machine as well as it can. The baseline needs 16 GB at 1280x1024;
``--size`` takes a smaller one. gpu.py measures GPUs.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fuse_pairs import SHARED, write_pairs

from pipeline.runtime.threads import idle_threads_sleep

PUBLISHED = SHARED / "reference/gifnet/Final.model"
PLAIN = "published, plain"


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
        if options.child != "baseline":
            idle_threads_sleep()  # as in every command
        import fuse_children

        print(json.dumps(getattr(fuse_children, options.child)(**json.loads(sys.stdin.read()))))
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
        write_pairs(Path(folder), options.pairs, size)
        runs: dict[str, list[dict[str, float]]] = {PLAIN: [], "fp32": []}
        if _computes_bf16():
            runs["bf16"] = []
        for _ in range(options.repeats):
            for name, seen in runs.items():
                if name == PLAIN:
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
    print(f"### Folder of {options.pairs} pairs, {options.size}, whole process\n")
    print("| run | s per pair | CPU s per pair | times faster | process, s | of it start | peak memory, GB |")
    print("|---|---|---|---|---|---|---|")
    plain = None
    for name, seen in runs.items():
        fused = 1 if name == PLAIN else options.pairs
        wall, cpu = (
            median(_start(run, clock) / options.pairs + run[f"work_{clock}"] / fused for run in seen)
            for clock in ("wall", "cpu")
        )
        plain = plain or wall
        process, start = median(run["wall"] for run in seen), median(_start(run, "wall") for run in seen)
        memory = max(run["peak"] for run in seen) / 1e9
        row = f"| {name} | {wall:.2f} | {cpu:.2f} | {plain / wall:.1f} | {process:.2f} | {start:.2f}"
        print(f"{row} | {memory:.2f} |", flush=True)
    print()


def _start(run: dict[str, float], clock: str) -> float:
    """Seconds that a process spent beside its work."""
    return run[clock] - run[f"work_{clock}"]


def memory(options: argparse.Namespace) -> None:
    """One large pair under a budget."""
    print(f"### One {options.large} pair, budget {options.large_memory}\n")
    print("| weights | seconds | CPU seconds | peak memory in GB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        write_pairs(Path(folder), 1, _size(options.large), tile=True)
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
        wall, cpu = (median(run[key] for run in seen) / side**2 * 1e6 for key in ("work_wall", "work_cpu"))
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
    if not _computes_bf16():
        return
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
def _computes_bf16() -> bool:
    """Whether this processor computes bf16; says so where it does not."""
    import torch

    from pipeline.networks.device import computes_bfloat16

    computes = computes_bfloat16(torch.device("cpu"))
    if not computes:
        print("bf16 is left out: this processor computes none.\n", flush=True)
    return computes


@cache
def _weights() -> Path:
    """The published ones, or without them random ones in the authors' layout: the work is the same."""
    if PUBLISHED.exists():
        return PUBLISHED
    import torch
    from network_samples import published_state

    from model.checkpoint.published import PUBLISHED_CONFIG
    from model.network import GIFNet

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    torch.save(published_state(GIFNet(PUBLISHED_CONFIG)), folder / "random.model")
    return folder / "random.model"


def _both_weights() -> dict[str, Path]:
    from model.checkpoint import DEFAULT_WEIGHTS

    return {"published": _weights(), "shipped": DEFAULT_WEIGHTS}


def _size(text: str) -> tuple[int, int]:
    rows, columns = text.split("x")
    return int(rows), int(columns)


if __name__ == "__main__":
    main()
