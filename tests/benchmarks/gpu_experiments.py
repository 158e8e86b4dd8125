"""Whether CUDA graphs or a compiler would speed a training step up; none is in use. Sections of gpu.py."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from gpu_bench import DTYPES, Bench
from gpu_report import Report
from gpu_train import fixed_batch, make_step
from torch import Tensor

from model.feed import Batch
from model.information import information_weights, pyramid_energy
from model.network import GIFNet
from model.objectives import OBJECTIVES, Objective
from model.train_config import TrainConfig
from model.transformer import Task
from pipeline.device import repeatable

#: Losses as they are recorded, in the order in which a graph gives them.
_RECORDED = ("mm_task", "mm_public", "dp_task", "dp_public")
#: Of a loss after some steps, relative: rounding differs, and training enlarges it.
_DIFFERENCE = 1e-2
#: Before a capture: kernels are chosen, memory and Adam's moments are made.
_WARM_UPS = 3


def whole_graph(bench: Bench, report: Report) -> None:
    """One graph of both updates, optimizer and scaler included, but no copy to take a failed step back."""
    _graph(bench, report, "one CUDA graph of the whole step", whole=True)


def gradient_graphs(bench: Bench, report: Report) -> None:
    """A graph of each update's forward and backward pass; optimizer and scaler as ever."""
    _graph(bench, report, "a CUDA graph of each update's gradients", whole=False)


def compiled(bench: Bench, report: Report, *, mode: str) -> None:
    """The product's step with the network compiled."""
    step = make_step(bench.published, TrainConfig(amp=bench.amps[-1]), bench.device)
    # On a CPU, for trying the script, without the minutes that generating code takes.
    step.objective = _Compiled(step.objective, mode if bench.cuda else None)  # type: ignore[assignment]
    batch = fixed_batch(bench)

    def run() -> list[float]:
        record = step(batch, 1e-3)
        return [record[name] for name in _RECORDED]

    _compare(bench, report, f"torch.compile, mode {mode}", run, steps_before=0)


class GraphedStep:
    """Both updates on inputs that stay where they are, with nothing for the host to decide.

    Args:
        network: trained in place.
        batch: the inputs; others are copied there.
        amp: reduced type, or None.
        whole: one graph of everything, or one of each update's gradients.
        capture: False runs the same code without graphs.
    """

    def __init__(
        self, network: GIFNet, batch: Batch, *, amp: torch.dtype | None, whole: bool, capture: bool
    ) -> None:
        self.network, self.batch, self.amp = network, batch, amp
        self.device, self.parameters = batch.infrared.device, list(network.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=1e-3, fused=True, capturable=capture and whole)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp is torch.float16)
        self.steps_before = _WARM_UPS if capture and whole else 0
        make = self._captured if capture else _plain
        self._updates: list[Callable[[], Tensor]] = []
        if whole:
            self._updates.append(make(self.both))
        else:
            for main in ("mm", "dp"):
                gradients = make(partial(self._gradients, main))
                places = [p.grad for p in self.parameters] if capture else None
                self._updates.append(partial(self._with_update, gradients, places))

    def __call__(self, batch: Batch) -> list[float]:
        """The task's and the public loss of MM and of DP."""
        for own, given in zip(vars(self.batch).values(), vars(batch).values(), strict=True):
            own.copy_(given)
        return torch.cat([update() for update in self._updates]).tolist()

    def both(self) -> Tensor:
        """Losses of both updates, made one after the other."""
        losses = []
        for main in ("mm", "dp"):
            losses.append(self._gradients(main))
            self._move()
        return torch.cat(losses)

    def _with_update(self, gradients: Callable[[], Tensor], places: list[Tensor | None] | None) -> Tensor:
        losses = gradients().clone()
        if places is not None:
            for parameter, place in zip(self.parameters, places, strict=True):
                parameter.grad = place  # where this graph writes; the other task's graph has others
        self._move()
        return losses

    def _gradients(self, main: Task) -> Tensor:
        objective = OBJECTIVES["published"]
        weights = information_weights(pyramid_energy, self.batch.infrared, self.batch.visible)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=self.amp, enabled=self.amp is not None):
            outputs = objective.outputs(self.network, self.batch, main)
        losses = objective.losses(outputs, self.batch, main, weights, TrainConfig())
        self.scaler.scale(losses.total).backward()
        return torch.stack([losses.task.detach(), losses.public.detach()])

    def _move(self) -> None:
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _captured(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                work()
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            result = work()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay


class _Compiled:
    """An objective whose network is compiled; its losses are not."""

    def __init__(self, objective: Objective, mode: str | None) -> None:
        backend = "eager" if mode is None else "inductor"
        self._outputs = torch.compile(objective.outputs, mode=mode, backend=backend, dynamic=False)
        self.select, self.losses = objective.select, objective.losses

    def outputs(self, network: GIFNet, batch: Batch, main: Task) -> Tensor:
        torch.compiler.cudagraph_mark_step_begin()
        return self._outputs(network, batch, main)


def _plain(work: Callable[[], Tensor]) -> Callable[[], Tensor]:
    return work


def _graph(bench: Bench, report: Report, name: str, *, whole: bool) -> None:
    amp = bench.amps[-1]
    network = copy.deepcopy(bench.published).to(bench.device).to(memory_format=torch.channels_last).train()
    batch = fixed_batch(bench)
    with repeatable(bench.device):
        step = GraphedStep(
            network,
            copy.deepcopy(batch),
            amp=None if amp == "off" else DTYPES[amp],
            whole=whole,
            capture=bench.cuda,
        )
        _compare(bench, report, name, lambda: step(batch), steps_before=step.steps_before)


def _compare(
    bench: Bench, report: Report, name: str, run: Callable[[], list[float]], *, steps_before: int
) -> None:
    """Losses and time beside those of the product's step; ``run`` has trained so many steps already."""
    eager = make_step(bench.published, TrainConfig(amp=bench.amps[-1]), bench.device)
    batch = fixed_batch(bench)
    with repeatable(bench.device):
        records = [eager(batch, 1e-3) for _ in range(steps_before + 3)]
        found = [run() for _ in range(3)][-1]
        difference = max(abs(x / records[-1][key] - 1) for x, key in zip(found, _RECORDED, strict=True))
        report.limit(f"{name}: largest relative difference of the losses", difference, at_most=_DIFFERENCE)
        before, seconds = bench.seconds(lambda: eager(batch, 1e-3)), bench.seconds(run)
    report.say(
        f"{name}: {seconds * 1e3:.2f} ms a step, {before / seconds:.2f} times as fast as the product's "
        f"{before * 1e3:.2f} ms"
    )
    report.keep(name, seconds * 1e3, "ms a step")
    report.keep(f"{name}: times as fast as the product", before / seconds)
