"""Speed of synthesis on a device, with the share of each stage. A section of gpu.py."""

from __future__ import annotations

from pathlib import Path

import torch
from gpu_bench import Bench, stop_workers
from gpu_report import Report
from synth import TILE, Run, product

from pipeline.depth.hourglass import Hourglass

TARGET_FRAMES_PER_SECOND = 60
#: Frames for each process: two shards of two batches of the depth network.
FRAMES_PER_JOB = 32
#: Frames for each process before, when processes start, weights are read and kernels are chosen.
WARM_UP_PER_JOB = 8
#: A run of fewer seconds is made twice.
SHORT_S = 6.0


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
