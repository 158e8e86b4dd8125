"""Speed of synthesis on a device, with the share of each stage. A section of gpu.py."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from gpu_bench import Bench, stop_workers
from gpu_report import Report
from synth import TILE, Run, product

from pipeline.depth import FRAMES_AT_ONCE, load_depth_estimator
from pipeline.depth.hourglass import Hourglass
from pipeline.images import read_grey, read_rgb

TARGET_FRAMES_PER_SECOND = 60
#: Frames for each process: two shards of two batches of the depth network.
FRAMES_PER_JOB = 32
#: Frames for each process before, when processes start, weights are read and kernels are chosen.
WARM_UP_PER_JOB = 8
#: A run of fewer seconds is made twice.
SHORT_S = 6.0
#: Of maps of a GPU and of the CPU, at most: grey values of shrunk frames may be rounded otherwise.
DIFFERENCE = 0.02


def synthesis(bench: Bench, report: Report, *, depth: str, jobs: int) -> None:
    """Frames per second through ``synth``, its processes warm; of two runs the faster, if they are short."""
    source = f"megadepth:{_random_hourglass(bench)}" if depth == "hourglass" else depth
    frames = jobs if bench.quick else FRAMES_PER_JOB * jobs
    try:
        if not bench.quick:
            _run(bench, source, jobs, WARM_UP_PER_JOB * jobs)
        runs = [_run(bench, source, jobs, frames)]
        if not bench.quick and runs[0].seconds < SHORT_S:
            runs.append(_run(bench, source, jobs, frames))
    finally:
        stop_workers()
    best = min(runs, key=lambda run: run.seconds)
    report.figure(
        f"--depth {depth}, --jobs {jobs}: {frames} frames",
        frames / best.seconds,
        "frames/s",
        at_least=TARGET_FRAMES_PER_SECOND,
    )
    total = sum(best.stages.values())
    stages = sorted(best.stages.items(), key=lambda item: -item[1])
    shares = ", ".join(f"{stage} {spent / total:.0%}" for stage, spent in stages)
    report.say(
        f"--depth {depth}, --jobs {jobs}: of {total:.1f} s in all processes {shares}; reading runs "
        f"beside the other stages; {best.failed} samples failed"
    )
    for stage, spent in stages:
        report.keep(f"--depth {depth}, --jobs {jobs}: {stage}", spent / total)


def depth(bench: Bench, report: Report) -> None:
    """A batch of frames: the same bits in other company, distance from the maps of the CPU, and time."""
    pairs = [(read_rgb(visible), read_grey(infrared)) for infrared, visible in bench.frames]
    frames, infrared = (list(part) for part in zip(*pairs[:FRAMES_AT_ONCE], strict=True))
    ids = [str(number) for number in range(len(frames))]
    sources = {"default": "default"}
    if not bench.quick:
        sources["hourglass"] = f"megadepth:{_random_hourglass(bench)}"
    for name, source in sources.items():
        estimator = load_depth_estimator(source, device=bench.device)
        together = estimator.estimate(frames, ids, infrared)
        backwards = estimator.estimate(frames[::-1], ids, infrared[::-1])[::-1]
        alone = [estimator.estimate([a], ["1"], [b])[0] for a, b in zip(frames, infrared, strict=True)]
        same = all(
            np.array_equal(one, other)
            for others in (backwards, alone)
            for one, other in zip(together, others, strict=True)
        )
        report.same(f"{name}: maps of frames in another order, and alone", same)
        (on_cpu,) = load_depth_estimator(source).estimate(frames[:1], ids[:1], infrared[:1])
        difference = float(np.abs(together[0] - on_cpu).max())
        report.check(f"{name}: largest difference from the CPU", difference, at_most=DIFFERENCE)
        seconds = bench.seconds(partial(estimator.estimate, frames, ids, infrared))
        report.figure(f"{name}: {len(frames)} frames", seconds * 1e3, "ms")


def _run(bench: Bench, depth: str, jobs: int, frames: int) -> Run:
    return product(
        bench.source(frames) / "manifest.toml",
        bench.new_folder() / "dataset",
        frames=frames,
        jobs=jobs,
        refine=True,
        depth=depth,
        tile=min(TILE, bench.size_hw[0] // 2),
        device=str(bench.device),
    )


def _random_hourglass(bench: Bench) -> Path:
    """Weights in the authors' layout: the work is that of the released ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = Hourglass().state_dict()
    path = bench.new_folder() / "hourglass.pth"
    torch.save({f"module.{key}": value for key, value in state.items()}, path)
    return path
