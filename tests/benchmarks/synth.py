"""Synthesis against a plain script: frames per second, and what the depth network alone takes of both.

    python tests/benchmarks/synth.py [--frames 64] [--size 1024x1280] [--jobs 2] [--repeats 3]
    python tests/benchmarks/synth.py manifests/llvip.toml --root LLVIP --split train --frames 64

The plain script (``plain_synthesis.py``) handles one frame after the other with the same weights: read, depth
at batch 1, Gaussian blur, probe, one set of PNG files. It lets torch and OpenCV use ``--threads`` threads.
``plain frames`` makes whole frames, as the published trainer takes; ``plain tiles`` cuts the same number of
tiles as the product before the probe and writes only those. No side refines depth edges unless ``--refine``
is given, which then costs the product alone.

Both are warmed up and take turns; medians are shown. Of two shares of the depth network, one counts its
forward pass alone (plain scripts), the other the stage ``depth`` with shrinking and enlarging (product).
Run it with ``taskset -c 0,1`` on a machine with more cores than jobs.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from plain_synthesis import TILE, TILES, PlainScript, Run

from pipeline.depth.network import DepthNetwork
from pipeline.scenes import SampleConfig, write_samples
from pipeline.sources.listing import list_samples
from pipeline.sources.manifest import load_manifest
from pipeline.synthesis.engines import RunOptions
from pipeline.synthesis.plan import SynthesisConfig
from pipeline.synthesis.synthesise import synthesise

#: Side of the square matrices whose product gives the machine's matrix rate.
MATRIX_SIDE = 2048


def product(
    manifest: Path,
    out: Path,
    *,
    frames: int,
    jobs: int,
    refine: bool,
    depth: str = "default",
    tile: int = TILE,
    device: str = "cpu",
) -> Run:
    """The same frames through ``synth``, with at least two shards for each process."""
    per_shard = min(SynthesisConfig().samples_per_shard, TILES * max(1, frames // (2 * jobs)))
    config = SynthesisConfig(depth=depth, refine_depth=refine, tile=tile, samples_per_shard=per_shard)
    start = time.perf_counter()
    summary = synthesise(config, manifest, out, options=RunOptions(device=device, jobs=jobs))
    seconds = time.perf_counter() - start
    if summary.problems:
        print(f"{len(summary.problems)} samples failed, the first: {summary.problems[0]}")
    return Run(seconds=seconds, stages=summary.seconds, depth_stage="depth", failed=len(summary.problems))


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        manifest = _source(options, Path(folder))
        samples = list_samples(load_manifest(manifest)).samples
        pairs = [(sample.paths["visible"], sample.paths["infrared"]) for sample in samples]
        plain = {f"plain {name}": PlainScript(tiles=name == "tiles") for name in ("frames", "tiles")}
        methods: dict[str, Callable[[Path], Run]] = {
            name: lambda out, script=script: script(pairs, out) for name, script in plain.items()
        }
        methods["product"] = lambda out: product(
            manifest, out, frames=len(pairs), jobs=options.jobs, refine=options.refine
        )
        runs: dict[str, list[Run]] = {name: [] for name in methods}
        for turn in range(options.repeats + 1):
            for name, method in methods.items():
                result = method(Path(folder) / f"{name} {turn}")
                if turn:  # the first turn warms up: processes start, weights are read, files are cached
                    runs[name].append(result)
        frame = cv2.imread(str(pairs[0][0]))
        _report(runs, plain["plain frames"], frame, len(pairs), options)


def _report(
    runs: Mapping[str, list[Run]],
    script: PlainScript,
    frame: np.ndarray,
    frames: int,
    options: argparse.Namespace,
) -> None:
    cores, load = os.cpu_count(), os.getloadavg()[0]
    print(f"{platform.processor() or platform.machine()}, {cores} cores, load {load:.1f}, ", end="")
    print(f"torch {torch.__version__}, OpenCV {cv2.__version__}, ", end="")
    print(f"{options.jobs} jobs against {options.threads} threads")
    print(f"{frames} frames of {frame.shape[1]}x{frame.shape[0]}, median of {options.repeats}\n")
    width, height = script.input_size(frame)
    views = 1 + len(script.parts(frame))
    gflop = views * _gflop(script.depth, height, width)
    one, every = _matrix_rate(1), _matrix_rate(options.threads)
    print(f"{'':14}  frames/s  product is  depth share  depth GFLOP/s  of matrix rate")
    fastest = median(run.seconds for run in runs["product"])
    for name, results in runs.items():
        seconds = median(run.seconds for run in results)
        rate = gflop * frames / median(run.stages[run.depth_stage] for run in results)
        floor = one if name == "product" else every  # of the product: of each process, which has one thread
        share = median(run.depth_share for run in results)
        print(
            f"{name:14}{frames / seconds:10.2f}{seconds / fastest:11.2f}x{share:13.1%}{rate:15.1f}"
            f"{rate / floor:16.1%}"
        )
    print(f"\ndepth network: {gflop:.2f} GFLOP for a frame, seen {views} times, input {width}x{height}")
    print(f"matrix rate: {one:.0f} GFLOP/s with one thread, {every:.0f} with {options.threads}\n")
    for name, results in runs.items():
        stages = sorted(results[-1].stages.items(), key=lambda item: -item[1])
        print(f"{name:14}" + ", ".join(f"{stage} {spent:.2f} s" for stage, spent in stages))


def _gflop(network: DepthNetwork, height: int, width: int) -> float:
    """Of one view, with its infrared one."""
    visible, infrared = (torch.zeros(1, planes, height, width) for planes in (3, 1))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(visible, infrared)
    return counter.get_total_flops() / 1e9


def _matrix_rate(threads: int) -> float:
    """GFLOP/s of a float32 matrix product, the best of five."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    a, b = (torch.rand(MATRIX_SIDE, MATRIX_SIDE) for _ in "ab")
    times = []
    for _ in range(6):
        start = time.perf_counter()
        torch.mm(a, b)
        times.append(time.perf_counter() - start)
    torch.set_num_threads(before)
    return 2 * MATRIX_SIDE**3 / min(times[1:]) / 1e9


def _source(options: argparse.Namespace, folder: Path) -> Path:
    """The manifest of exactly the frames to be timed."""
    if options.manifest is None:
        height, width = map(int, options.size.split("x"))
        return write_samples(SampleConfig(pairs=options.frames, size_hw=(height, width)), folder / "source")
    recipe = load_manifest(options.manifest)
    chosen = list_samples(recipe, root=options.root, split=options.split).samples[: options.frames]
    suffixes = {}
    for number, sample in enumerate(chosen):
        for role in ("visible", "infrared"):
            path = sample.paths[role]
            suffixes[role] = path.suffix
            (folder / "source" / role).mkdir(parents=True, exist_ok=True)
            (folder / "source" / role / f"{number:05d}{path.suffix}").symlink_to(path.resolve())
    roles = "".join(f'{role} = "{role}/{{id}}{suffix}"\n' for role, suffix in suffixes.items())
    (folder / "source" / "manifest.toml").write_text(f'name = "{recipe.name}"\n[roles]\n{roles}')
    return folder / "source" / "manifest.toml"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "manifest", nargs="?", help="recipe of infrared/visible pairs; default: sample scenes"
    )
    parser.add_argument("--root", help="folder of its images")
    parser.add_argument("--split", help="which of its splits")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--size", default="1024x1280", help="of sample scenes, rows x columns")
    parser.add_argument("--jobs", type=int, default=2, help="processes of the product")
    parser.add_argument("--threads", type=int, default=2, help="of the plain script")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--refine", action="store_true", help="let the product refine depth edges")
    return parser.parse_args()


if __name__ == "__main__":
    main()
