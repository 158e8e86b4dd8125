"""Processor time of every fusion metric on one pair, and of other implementations of the same metrics.

    python tests/benchmarks/metrics.py [--size 1280x1024] [--repeats 5] [--convention matlab-toolbox]

One thread; the median over the repeats after one run that does not count. Input: the infrared and the visible
plane of a sample scene and their average. The last column is the other implementation's time over ours, the
one before it the difference of the two values.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np

from model.evaluation.baselines import average
from model.metrics import compute_metrics
from model.metrics.conventions import CONVENTIONS, metrics_of
from pipeline.images import to_uint8
from pipeline.images.ycbcr import luminance
from pipeline.scenes import render_scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", default="1280x1024", help="width x height")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--convention", choices=tuple(CONVENTIONS), default="standard")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    cv2.setNumThreads(1)
    scene = render_scene(seed=0, index=0, size_hw=(height, width))
    a, b = scene.infrared, to_uint8(luminance(scene.visible.astype(np.float32) / 255))
    fused = average(a, b)
    others = _other_implementations(fused, a, b) if arguments.convention == "standard" else {}
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "opencv-python-headless", "scipy"))
    print(f"{platform.processor() or platform.machine()}, {versions}, {width}x{height}")
    print(
        f"{'metric':<10}{'seconds':>9}{'value':>12}   {'other implementation':<22}{'difference':>11}{'x':>7}"
    )
    total = 0.0
    for name, metric in metrics_of(arguments.convention).items():
        ours, value = _measure(
            lambda metric=metric, name=name: compute_metrics(fused, a, b, metrics={name: metric})[name],
            arguments.repeats,
        )
        total += ours
        line = f"{name:<10}{ours:>9.3f}{value:>12.5g}"
        if name in others:
            label, compute = others[name]
            theirs, other = _measure(compute, max(1, arguments.repeats // 2))
            line += f"   {label:<22}{abs(other - value):>11.1e}{theirs / ours:>7.1f}"
        print(line, flush=True)
    print(f"{'all':<10}{total:>9.3f}")


def _other_implementations(
    fused: np.ndarray, a: np.ndarray, b: np.ndarray
) -> dict[str, tuple[str, Callable[[], float]]]:
    """Metric -> name and computation, for the packages that are installed."""
    found: dict[str, tuple[str, Callable[[], float]]] = {}
    try:
        import sewar

        label = f"sewar {version('sewar')}"
        found["VIF"] = (label, lambda: sewar.vifp(a, fused) + sewar.vifp(b, fused))
    except ImportError:
        print("sewar is not installed: its column is empty", file=sys.stderr)
    try:
        import piq
        import torch

        torch.set_num_threads(1)
        f, x, y = (torch.from_numpy(plane.astype(np.float64))[None, None] for plane in (fused, a, b))
        label = f"piq {version('piq')}"
        found["MS-SSIM"] = (
            label,
            lambda: sum(piq.multi_scale_ssim(f, s, data_range=255).item() for s in (x, y)) / 2,
        )
        found["SSIM"] = (
            label,
            lambda: sum(piq.ssim(f, s, data_range=255, downsample=False).item() for s in (x, y)) / 2,
        )
    except ImportError:
        print("piq is not installed: its column is empty", file=sys.stderr)
    return found


def _measure(compute: Callable[[], float], repeats: int) -> tuple[float, float]:
    """Median processor seconds and the value."""
    value = compute()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        compute()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), float(value)


if __name__ == "__main__":
    main()
