"""Speed of training on a device: steps beside their floor, and the paper's schedule. Sections of gpu.py."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import numpy as np
import torch
from gpu_bench import DTYPES, QUICK_SHAPE, Bench
from gpu_report import Report
from joint_data import write_joint

from model.network import GIFNet
from model.trainer import train
from model.training.distributed import Team
from model.training.feed import Batch, TrainingData
from model.training.information import load_measure
from model.training.step import AlternatingStep
from model.training.train_config import TrainConfig
from pipeline.networks.device import repeatable

#: Floating-point operations of both updates for one sample of 128x128.
FLOP_PER_SAMPLE = 160e9
#: The paper's schedule: two epochs of 20,000 tiles in batches of 8; and how long it may take.
STEPS, TILES, TARGET_S = 5000, 20_000, 180.0
TARGET_IDLE = 0.10


def steps(bench: Bench, report: Report) -> None:
    """Time of one step, an MM and a DP update, beside the time that the device's matrix rate allows."""
    size, crop = batch_shape(bench)
    for amp in bench.amps:
        config = TrainConfig(amp=amp, batch_size=size, crop=crop)
        step = make_step(bench.published, config, bench.device)
        batch = fixed_batch(bench)
        with repeatable(bench.device):
            seconds = bench.seconds(lambda step=step, batch=batch: step(batch, 1e-3))
        floor = step_floor(bench, amp)
        report.say(
            f"{size} x {crop}x{crop}, amp {amp}: {seconds * 1e3:.2f} ms a step ({1 / seconds:.2f}/s); "
            f"floor by operations {floor * 1e3:.2f} ms, {seconds / floor:.1f} times that"
        )
        report.keep(f"amp {amp}: step", seconds * 1e3, "ms")
        report.keep(f"amp {amp}: floor", floor * 1e3, "ms")


def schedule(bench: Bench, report: Report) -> None:
    """The real trainer on a dataset on disk: what a step costs there, and the whole schedule from it.

    Two runs that differ in nothing but their steps give the time of a step with all that surrounds it; a
    third one that validates, saves and draws more often, the time of that.
    """
    size, crop = batch_shape(bench)
    few, many, watch_every = (2, 2, 2) if bench.quick else (20, 120, 20)
    frames, tile = (6, crop + 8) if bench.quick else (100, 160)
    joint = write_joint(bench.new_folder() / "joint", frames=frames, tile=tile, samples_per_shard=32)
    settings = {"batch_size": size, "crop": crop, "device": str(bench.device), "amp": bench.amps[-1]}
    settings |= QUICK_SHAPE if bench.quick else {}
    first, last = TrainConfig(steps=few, **settings), TrainConfig(steps=few + many, **settings)
    watched = TrainConfig(
        steps=few + many,
        validate_every=watch_every,
        checkpoint_every=watch_every,
        picture_every=watch_every,
        **settings,
    )
    _train(bench, first, joint)  # kernels are chosen
    short, long, often = (_train(bench, config, joint) for config in (first, last, watched))
    step = (long - short) / many
    watch = max(0.0, (often - long) / (last.steps // watch_every - 1))
    start = time.perf_counter()
    data = TrainingData(last, [joint], device=bench.device)
    loading = (time.perf_counter() - start) / (2 * frames) * TILES
    trained = make_step(bench.published, last, bench.device)
    batch = data.batch(0)
    with repeatable(bench.device):
        validating = bench.seconds(lambda: trained.validate(trained.network, [batch]))
        trace = bench.trace(lambda: trained(data.batch(1), 1e-3))
    rounds = STEPS // last.validate_every
    batches = rounds * round(TILES * last.validation_share / size)
    rest = max(0.0, short - few * step - watch)
    total = STEPS * step + rounds * watch + batches * validating + loading + rest
    report.say(
        f"{size} x {crop}x{crop}, amp {last.amp}, {many} steps of the trainer: {step * 1e3:.2f} ms a step "
        f"with data and log; checkpoint, curves and picture {watch:.2f} s"
    )
    report.say(
        f"{STEPS} steps {STEPS * step:.0f} s + {rounds} checkpoints {rounds * watch:.0f} s + {batches} "
        f"batches of validation {batches * validating:.0f} s + reading {TILES} tiles {loading:.0f} s + "
        f"start and end {rest:.0f} s"
    )
    report.limit("the paper's schedule, extrapolated", total, "s", at_most=TARGET_S)
    report.keep("step in the trainer", step * 1e3, "ms")
    report.figure("kernels a step", trace.kernels)
    report.limit("device idle", max(0.0, 1 - trace.busy / step), at_most=TARGET_IDLE)


def batch_shape(bench: Bench) -> tuple[int, int]:
    """Samples of a batch and the side of their crops."""
    return (1, 64) if bench.quick else (8, 128)


def fixed_batch(bench: Bench) -> Batch:
    """The same one each time, on the device."""
    return on_device(random_batch(np.random.default_rng(3), *batch_shape(bench)), bench.device)


def step_floor(bench: Bench, amp: str) -> float:
    """Seconds of one step at the device's matrix rate."""
    size, crop = batch_shape(bench)
    return FLOP_PER_SAMPLE * size * (crop / 128) ** 2 / bench.matrix_rate(DTYPES[amp])


def make_step(network: GIFNet, config: TrainConfig, device: torch.device) -> AlternatingStep:
    """The product's step on a copy of a network."""
    own = copy.deepcopy(network).to(device).to(memory_format=torch.channels_last).train()
    measure = load_measure("pyramid", weights="", device=device)
    return AlternatingStep(own, config, measure=measure, team=Team(str(device)))


def random_batch(generator: np.random.Generator, size: int, crop: int) -> Batch:
    """Noise, on the host."""
    planes = [torch.from_numpy(generator.random((size, 1, crop, crop), np.float32)) for _ in range(5)]
    return Batch(infrared=planes[0], visible=planes[1], dp_a=planes[2], dp_b=planes[3], dp_truth=planes[4])


def on_device(batch: Batch, device: torch.device) -> Batch:
    """A copy on the device."""
    return Batch(**{name: planes.to(device) for name, planes in vars(batch).items()})


def _train(bench: Bench, config: TrainConfig, joint: Path) -> float:
    start = time.perf_counter()
    train(config, joint, bench.new_folder() / "run")
    return time.perf_counter() - start
