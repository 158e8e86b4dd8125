"""Training speed against a plain implementation, and what the loader delivers.

    python tests/benchmarks/train.py [--batch-size 8] [--crop 128] [--repeats 3] [--threads 2]

The baseline computes the same two updates from the same weights: eager, NCHW, every branch of both streams
and both blocks, attention written out, one convolution per projection, Adam tensor by tensor, and the
published information measure (DenseNet-121, here with random weights, and dense Laplacian convolutions whose
kernel is built anew in each call). The product's rows have its default measure, the Laplacian energy of an
image pyramid. With w_ir = w_vis = 0.5 both must have the same losses, or the script stops. All take turns of
two steps, as a training run has its memory from the steps before; the second one counts, and medians are
shown. On a busy machine the ratio of CPU seconds is the one to trust.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from plain_step import PlainStep

from model.memory import kept_in_process
from model.network import GIFNet, NetworkConfig
from model.training.distributed import Team
from model.training.feed import Batch
from model.training.information import load_measure
from model.training.planes import PlaneSet, cut_crops
from model.training.sampling import SampleOrder
from model.training.step import AlternatingStep
from model.training.train_config import TrainConfig
from pipeline.networks.device import computes_bfloat16

#: Information measure of the product's rows.
MEASURE = TrainConfig().information
#: Seconds and CPU seconds.
Timing = tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--amp", nargs="+", default=["off", "bf16"], help="precisions to measure")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {arguments.threads} threads, torch {torch.__version__}", flush=True)
    compare_steps(arguments.batch_size, arguments.crop, arguments.repeats, arguments.amp)
    measure_loader(arguments.batch_size, arguments.crop)


def compare_steps(batch_size: int, crop: int, repeats: int, amps: Sequence[str]) -> None:
    batch = random_batch(batch_size, crop)
    plain_network = fresh_network()
    plain = PlainStep(plain_network)
    runs: dict[str, Callable[[], Timing]] = {
        "plain baseline (eager, NCHW, DenseNet-121)": partial(second_of_two, lambda: plain(batch))
    }
    for amp in amps:
        if amp == "bf16" and not computes_bfloat16(torch.device("cpu")):
            print("bf16 is left out: this processor computes none", flush=True)
            continue
        step = partial(our_step(amp, batch_size, crop), batch, 1e-3)
        runs[f"gifnet train --amp {amp} ({MEASURE} measure)"] = partial(our_turn, step)
    check_equal_losses()
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            seconds, cpu_seconds = run()
            wall[name].append(seconds)
            cpu[name].append(cpu_seconds)
    print(f"batch {batch_size}, crop {crop}, MM + DP update, median of {repeats}")
    print(f"{'':44}{'s/step':>9}{'CPU s/step':>12}{'steps/s':>10}{'ratio':>8}{'CPU ratio':>11}")
    base_wall, base_cpu = (median(times[next(iter(runs))]) for times in (wall, cpu))
    for name in runs:
        seconds, cpu_seconds = median(wall[name]), median(cpu[name])
        ratios = f"{base_wall / seconds:8.2f}{base_cpu / cpu_seconds:11.2f}"
        print(f"{name:44}{seconds:9.2f}{cpu_seconds:12.2f}{1 / seconds:10.3f}{ratios}")


def our_turn(step: Callable[[], object]) -> Timing:
    with kept_in_process(torch.device("cpu")):
        return second_of_two(step)


def second_of_two(step: Callable[[], object]) -> Timing:
    """Seconds and CPU seconds of the second of two calls."""
    step()
    start, cpu_start = time.perf_counter(), time.process_time()
    step()
    return time.perf_counter() - start, time.process_time() - cpu_start


def check_equal_losses() -> None:
    """Two small steps of both from the same weights, with w_ir = w_vis = 0.5."""
    plain = PlainStep(fresh_network())
    config = TrainConfig(batch_size=2, crop=76, amp="off", device="cpu")
    batch = random_batch(config.batch_size, config.crop)
    network = fresh_network().to(memory_format=torch.channels_last)
    ours = AlternatingStep(network, config, measure=lambda x: torch.zeros(len(x)), team=Team("cpu"))
    for _ in range(2):
        expected, record = plain(batch, (0.5, 0.5)), ours(batch, 1e-3)
        found = [record[name] for name in ("mm_task", "mm_public", "dp_task", "dp_public")]
        if not np.allclose(found, expected, rtol=1e-4):
            raise SystemExit(f"losses differ: {found} and {expected}")


def measure_loader(batch_size: int, crop: int, tile: int = 160, count: int = 2000) -> None:
    planes = torch.randint(0, 256, (count, 4, tile, tile), dtype=torch.uint8)
    stored = PlaneSet(planes=planes, roles=("infrared", "visible", "a", "b"), ids=(), scenes=(), digest="")
    order = SampleOrder(count, tile=tile, crop=crop, seed=0, flip=True)
    order.batch(0, batch_size)
    steps = 2 * count // batch_size
    start = time.perf_counter()
    for step in range(steps):
        cut_crops(stored.planes, order.batch(step, batch_size), crop) / 255
    rate = steps * batch_size / (time.perf_counter() - start)
    print(f"loader: {rate:.0f} samples/s (4 planes of {tile} cropped to {crop}, flipped, float, on the CPU)")


def our_step(amp: str, batch_size: int, crop: int) -> AlternatingStep:
    config = TrainConfig(batch_size=batch_size, crop=crop, amp=amp, device="cpu")
    network = fresh_network().to(memory_format=torch.channels_last)
    measure = load_measure(MEASURE, weights="", device=torch.device("cpu"))
    return AlternatingStep(network, config, measure=measure, team=Team("cpu"))


def fresh_network() -> GIFNet:
    torch.manual_seed(0)
    return GIFNet(NetworkConfig())


def random_batch(batch_size: int, crop: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    planes = torch.rand(5, batch_size, 1, crop, crop, generator=generator)
    planes[4] = planes[1]
    names = ("infrared", "visible", "dp_a", "dp_b", "dp_truth")
    return Batch(**dict(zip(names, planes, strict=True)))


if __name__ == "__main__":
    main()
