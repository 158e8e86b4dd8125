"""Whether a compiler would speed a training step up; it is not in use. A section of gpu.py."""

from __future__ import annotations

import torch
from gpu_bench import Bench
from gpu_report import Report
from gpu_train import fixed_batch, make_step
from torch import Tensor

from model.blocks.transformer import Task
from model.network import GIFNet
from model.training.feed import Batch
from model.training.objectives import Objective
from model.training.train_config import TrainConfig
from pipeline.networks.device import repeatable

#: Of a loss after some steps, relative: rounding differs, and training enlarges it.
_DIFFERENCE = 1e-2


def compiled(bench: Bench, report: Report) -> None:
    """The product's step with the network compiled, beside the product's: losses and time."""
    config, batch = TrainConfig(amp=bench.amps[-1]), fixed_batch(bench)
    plain, step = (make_step(bench.published, config, bench.device) for _ in "ab")
    # On a CPU, for trying the script, without the minutes that generating code takes.
    step.objective = _Compiled(step.objective, "inductor" if bench.cuda else "eager")  # type: ignore[assignment]
    with repeatable(bench.device):
        ends = [[run(batch, 1e-3) for _ in range(3)][-1] for run in (plain, step)]
        losses = ("mm_task", "mm_public", "dp_task", "dp_public")
        difference = max(abs(ends[1][name] / ends[0][name] - 1) for name in losses)
        report.limit(
            "torch.compile: largest relative difference of the losses", difference, at_most=_DIFFERENCE
        )
        before, seconds = (bench.seconds(lambda run=run: run(batch, 1e-3)) for run in (plain, step))
    report.say(
        f"torch.compile: {seconds * 1e3:.2f} ms a step, {before / seconds:.2f} times as fast as the "
        f"product's {before * 1e3:.2f} ms"
    )
    report.keep("torch.compile", seconds * 1e3, "ms a step")
    report.keep("torch.compile: times as fast as the product", before / seconds)


class _Compiled:
    """An objective whose network is compiled; its losses are not."""

    def __init__(self, objective: Objective, backend: str) -> None:
        self._outputs = torch.compile(objective.outputs, backend=backend, dynamic=False)
        self.select, self.losses = objective.select, objective.losses

    def outputs(self, network: GIFNet, batch: Batch, main: Task, *, weights: tuple[float, float]) -> Tensor:
        return self._outputs(network, batch, main, weights=weights)
