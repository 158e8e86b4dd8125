"""Synthesis against a plain script: frames per second, and what the depth network alone takes of both.

    python tests/benchmarks/synth.py [--frames 64] [--size 1024x1280] [--jobs 2] [--repeats 3]
    python tests/benchmarks/synth.py manifests/llvip.toml --root LLVIP --split train --frames 64

The plain script handles one frame after the other with the same weights: read, depth at batch 1, Gaussian
blur, probe, one set of PNG files. It stands below, shares no code with the pipeline's stages but the networks
and the merging of a large frame's parts, and lets torch and OpenCV use ``--threads`` threads. ``plain
frames`` makes whole frames, as the published trainer takes; ``plain tiles`` cuts the same number of tiles as
the product before the probe and writes only those. No side refines depth edges unless ``--refine`` is given,
which then costs the product alone.

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
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.depth import STRIDE
from pipeline.depth.details import merge, part_windows
from pipeline.depth.inference import DEFAULT_WEIGHTS
from pipeline.depth.network import DepthNetwork, load_depth_network
from pipeline.engines import RunOptions
from pipeline.manifest import list_samples
from pipeline.plan import SynthesisConfig
from pipeline.probe import load_probe
from pipeline.recipe import load_manifest
from pipeline.scenes import SampleConfig, write_samples
from pipeline.synthesis import synthesise

TILE, TILES = SynthesisConfig().tile, SynthesisConfig().tiles_per_frame
#: Side of the square matrices whose product gives the machine's matrix rate.
MATRIX_SIDE = 2048


@dataclass(frozen=True, kw_only=True)
class Run:
    """One pass over all frames."""

    seconds: float  # wall time
    stages: Mapping[str, float]  # seconds by stage, summed over processes
    depth_stage: str  # the stage that is, or holds, the depth network
    failed: int = 0  # samples

    @property
    def depth_share(self) -> float:
        return self.stages[self.depth_stage] / sum(self.stages.values())


class PlainScript:
    """One frame after the other, with nothing but the weights from the package."""

    def __init__(self, *, tiles: bool) -> None:
        self.tiles = tiles
        self.depth, description = load_depth_network(DEFAULT_WEIGHTS)
        self.area = description["size_hw"][0] * description["size_hw"][1]
        self.probe = load_probe().to(memory_format=torch.contiguous_format)

    def __call__(self, frames: list[tuple[Path, Path]], out: Path) -> Run:
        out.mkdir(parents=True)
        stages: dict[str, float] = defaultdict(float)
        rng = np.random.default_rng(0)
        begin = start = time.perf_counter()

        def lap(stage: str) -> None:
            nonlocal start
            now = time.perf_counter()
            stages[stage] += now - start
            start = now

        for number, (visible_path, infrared_path) in enumerate(frames):
            visible = cv2.cvtColor(cv2.imread(str(visible_path)), cv2.COLOR_BGR2RGB)
            infrared = cv2.imread(str(infrared_path), cv2.IMREAD_GRAYSCALE)
            lap("read")
            pair = np.dstack([visible, infrared])
            views = [pair, *(pair[part] for part in self.parts(visible))]
            maps = []
            for view in views:
                small = cv2.resize(view, self.input_size(visible), interpolation=cv2.INTER_AREA)
                tensor = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
                lap("depth scaling")
                with torch.no_grad():
                    maps.append(self.depth(tensor[:, :3], tensor[:, 3:])[0, 0].numpy())
                lap("depth network")
            log_inverse = merge(maps[0], maps[1:]) if maps[1:] else maps[0]
            inverse = np.exp(log_inverse - log_inverse.max())
            low, high = np.percentile(inverse, [0.5, 99.5])
            inverse = np.clip((inverse - low) / (high - low), 0, 1)
            inverse = cv2.resize(inverse.astype(np.float32), visible.shape[1::-1])
            lap("depth scaling")
            for part in range(TILES if self.tiles else 1):
                near = (inverse > rng.uniform(0.1, 0.9))[..., None]
                blurred = cv2.GaussianBlur(visible, (0, 0), rng.uniform(1.5, 5))
                pictures = {
                    "visible": visible,
                    "infrared": infrared,
                    "near": np.where(near, visible, blurred),
                    "far": np.where(near, blurred, visible),
                    "depth": (inverse * 65535).astype(np.uint16),
                }
                if self.tiles:
                    row, col = (int(rng.integers(side - TILE + 1)) for side in infrared.shape)
                    pictures = {
                        name: picture[row : row + TILE, col : col + TILE]
                        for name, picture in pictures.items()
                    }
                lap("focus")
                pictures["over"], pictures["under"] = self.expose(pictures["visible"])
                lap("exposure")
                for name, picture in pictures.items():
                    if picture.ndim == 3:
                        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
                    cv2.imwrite(str(out / f"{number}-{part}-{name}.png"), picture)
                lap("write")
        return Run(seconds=time.perf_counter() - begin, stages=stages, depth_stage="depth network")

    def parts(self, frame: np.ndarray) -> list[tuple[slice, slice]]:
        """Of a large frame, which depth sees one by one too."""
        return part_windows(frame.shape[:2], self.input_size(frame)[::-1])

    def input_size(self, frame: np.ndarray) -> tuple[int, int]:
        """Width and height of the depth network's input: its own area, the frame's aspect."""
        scale = (self.area / (frame.shape[0] * frame.shape[1])) ** 0.5
        width, height = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in frame.shape[1::-1])
        return width, height

    def expose(self, visible: np.ndarray) -> list[np.ndarray]:
        ycc = cv2.cvtColor(visible.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb)
        with torch.no_grad():
            planes = self.probe(torch.from_numpy(ycc[..., 0].copy())[None, None])
        results = []
        for plane in planes:
            ycc[..., 0] = plane[0, 0].numpy()
            results.append((cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB).clip(0, 1) * 255).round().astype(np.uint8))
        return results


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
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, height, width))
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
