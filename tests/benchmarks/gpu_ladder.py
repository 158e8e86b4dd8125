"""What each optimisation of a training step gives on a device, one after the other. A section of gpu.py."""

from __future__ import annotations

import copy

import torch
from gpu_bench import Bench
from gpu_report import Report
from gpu_train import fixed_batch, make_step, step_floor
from plain_step import PlainStep

from model.training.train_config import TrainConfig
from pipeline.networks.device import repeatable

#: Name -> option of PlainStep; each rung has those of the rungs before it too.
RUNGS = {
    "channels last": "channels_last",
    "the product's padding": "own_padding",
    "fp16": "fp16",
    "fused Adam": "fused_adam",
    "padded heads in fused attention": "fused_attention",
}


def ladder(bench: Bench, report: Report) -> None:
    """From the published step run plainly to the product's."""
    batch, amp = fixed_batch(bench), bench.amps[-1]
    times: list[float] = []

    def tell(name: str, seconds: float) -> None:
        times.append(seconds)
        before = times[-2] if times[1:] else seconds
        report.say(
            f"{name}: {seconds * 1e3:.2f} ms a step, {times[0] / seconds:.2f} times as fast as plain, "
            f"{before / seconds:.2f} times as the row before"
        )
        report.keep(name, seconds * 1e3, "ms a step")

    options: dict[str, bool] = {}
    for name in ("plain: eager, float32, channels first, Adam tensor by tensor, DenseNet measure", *RUNGS):
        if name in RUNGS:
            options[RUNGS[name]] = bench.cuda or name != "fp16"
        plain = PlainStep(copy.deepcopy(bench.published).to(bench.device).train(), **options)
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
            tell(f"+ {name}" if options else name, bench.seconds(lambda plain=plain: plain(batch)))
    for name, graphs, deterministic in (
        ("+ padded channels, no dead branch, one wait a step, light measure", False, True),
        ("+ CUDA graphs: the product", True, True),
        ("the product with kernels that need not repeat", True, False),
    ):
        step = make_step(bench.published, TrainConfig(amp=amp, cuda_graphs=graphs), bench.device)
        with repeatable(bench.device, deterministic=deterministic):
            tell(name, bench.seconds(lambda step=step: step(batch, 1e-3)))
    report.say(f"floor by operations, amp {amp}: {step_floor(bench, amp) * 1e3:.2f} ms")
