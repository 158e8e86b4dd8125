"""The alternating training step: one MM update, then one DP update, by one optimizer.

Both updates run the whole network with one of the tasks as the main one. A tensor that a task does not
reach has no gradient in its update (None, not zero), so Adam leaves it alone: its moments and its step
count move only with the task that trains it. 31 of the published layout's 114 tensors sit out each update.
A loss of weight 0 is computed and logged, but reaches nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from model.blocks.transformer import Task
from model.network import GIFNet
from model.training.distributed import Team
from model.training.feed import Batch
from model.training.information import InformationMeasure, information_weights
from model.training.objectives import OBJECTIVES, loss_weights
from model.training.padded import Form, PaddedNetwork
from model.training.recorded import Recorded
from model.training.train_config import TrainConfig

_Passes = Callable[..., Sequence[Tensor | None]]
_TASKS: tuple[Task, ...] = ("mm", "dp")
#: Losses of a validation.
_VALIDATED = [f"{main}_{name}" for main in _TASKS for name in ("task", "public", "total")]
_AMP_DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "off": None}


class NonFiniteError(Exception):
    """A loss or gradient that is not finite; the update that it belongs to was not made."""


def amp_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """The reduced type of ``fp16``, ``bf16``, ``off`` or ``auto`` (fp16 on CUDA, none on the CPU)."""
    if name == "auto":
        name = "fp16" if device.type == "cuda" else "off"
    return _AMP_DTYPES[name]


class AlternatingStep:
    """Network, optimizer and gradient scaler of a run, and the step that moves them.

    Args:
        network: on the team's device; trained in place.
        measure: information measure behind w_ir and w_vis.
    """

    def __init__(
        self, network: GIFNet, config: TrainConfig, *, measure: InformationMeasure, team: Team
    ) -> None:
        self.network, self._config, self._measure, self._team = network, config, measure, team
        # Published: Adam with its default momenta. The fused form is one kernel on CUDA and on the CPU.
        self.optimizer = torch.optim.Adam(network.parameters(), lr=config.lr, fused=True)
        self.objective = OBJECTIVES[config.objective]
        self._amp = amp_dtype(config.amp, team.device)
        # Disabled, it hands everything through: one code path for all precisions.
        self.scaler = torch.amp.GradScaler(team.device.type, enabled=self._amp is torch.float16)
        self._before = _Snapshot(self.optimizer)
        self._parameters = list(network.parameters())
        self._found = torch.empty(0)  # of the step that was begun
        self._scaler_before: dict[str, Any] = {}
        graphs = config.cuda_graphs and team.device.type == "cuda" and team.size == 1
        self._pool = torch.cuda.graph_pool_handle() if graphs else None
        self._learner = self._form(network)
        # What is computed without a decision by the host.
        self._inform = self._launched(self._information)
        self._passes = {main: self._launched(partial(self._differentiate, main)) for main in _TASKS}
        self._evaluations: dict[tuple[GIFNet, int], _Passes] = {}  # by network and length of the batch

    def __call__(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        """:meth:`begin` and :meth:`finish` in one."""
        self.begin(batch, learning_rate)
        return self.finish()

    def begin(self, batch: Batch, learning_rate: float) -> None:
        """Train on one global batch, an MM update and then a DP update, without waiting for the losses.

        In fp16 the scale of the gradients is read, which waits for what was launched before.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self._scaler_before = self.scaler.state_dict()
        self._before.take()
        (information,) = self._inform(*vars(batch).values())
        assert information is not None
        found = [*self._update(batch, "mm", information), *self._update(batch, "dp", information)]
        gates = self.network.transformer
        found += [information[:, 0].mean(), gates.lambda_mm.detach(), gates.lambda_dp.detach()]
        self._found = torch.cat([values.reshape(-1) for values in found])

    def finish(self) -> dict[str, float]:
        """Wait for the step that was begun.

        Returns:
            ``mm_task``, ``mm_public``, ``dp_task``, ``dp_public``, the norm of each task's gradient, the
            batch's mean ``w_ir``, and ``lambda_mm`` and ``lambda_dp`` after the step.

        Raises:
            NonFiniteError: network, optimizer and scaler are as they were before the step.
        """
        # The one moment at which the host waits for the device.
        *found, w_ir, lambda_mm, lambda_dp = self._found.tolist()
        record: dict[str, float] = {}
        for main, (task, public, norm, scale) in (("mm", found[:4]), ("dp", found[4:])):
            # In fp16 a gradient may overflow: the scaler then skips the update and lowers its scale, within
            # reason.
            overflow_is_normal = self.scaler.is_enabled() and scale >= 1
            if not math.isfinite(task + public + (0.0 if overflow_is_normal else norm)):
                self._before.restore()
                self.scaler.load_state_dict(self._scaler_before)
                raise NonFiniteError(
                    f"{main} step: task loss {task}, public loss {public}, gradient norm {norm}"
                )
            record |= {f"{main}_task": task, f"{main}_public": public, f"{main}_gradient_norm": norm}
        return record | {"w_ir": w_ir, "lambda_mm": lambda_mm, "lambda_dp": lambda_dp}

    @torch.no_grad()
    def validate(self, network: GIFNet, batches: Iterable[Batch]) -> dict[str, float]:
        """Mean losses of a network over batches of any size, in this process alone, and their total."""
        sums = torch.zeros(len(_VALIDATED), dtype=torch.float64, device=self._team.device)
        count = 0
        for batch in batches:
            key = network, len(batch)
            if key not in self._evaluations:
                self._evaluations[key] = self._launched(partial(self._evaluate, self._form(network)))
            (losses,) = self._evaluations[key](*vars(batch).values())
            assert losses is not None
            sums += losses.double() * len(batch)
            count += len(batch)
        means = dict(zip(_VALIDATED, (sums / count).tolist(), strict=True))
        total = means.pop("mm_total") + means.pop("dp_total")
        return {**means, "total": total}

    def _evaluate(self, network: Form, *planes: Tensor) -> list[Tensor | None]:
        """Planes of a batch, as in :class:`Batch` -> its mean losses, in the order of ``_VALIDATED``."""
        batch = _batch(planes)
        weights = information_weights(self._measure, batch.infrared, batch.visible)
        found = []
        for main in _TASKS:
            seen = self.objective.select(batch, main, whole=True)
            with self._autocast():
                outputs = self.objective.outputs(network, seen, main)
            losses = self.objective.losses(outputs, seen, main, weights, self._config)
            found += [losses.task, losses.public, losses.total]
        return [torch.stack(found)]

    def _form(self, network: GIFNet) -> Form:
        """The form in which a network's passes are fastest here."""
        if self._amp is None or self._team.device.type != "cuda":
            return network
        return PaddedNetwork(network, self._amp)

    def _launched(self, passes: _Passes) -> _Passes:
        """The same passes, where possible as a CUDA graph.

        They are used one after the other, and what one gives is used up before it is launched again, so they
        share their memory.
        """
        return passes if self._pool is None else Recorded(passes, self._team.device, pool=self._pool)

    def _information(self, *planes: Tensor) -> list[Tensor]:
        """Planes of the global batch, as in :class:`Batch` -> w_ir and w_vis, (B, 2)."""
        batch = _batch(planes)
        own = batch[self._team.part(len(batch))]
        weights = information_weights(self._measure, own.infrared, own.visible)
        return [self._team.gather(torch.stack(weights, dim=1))]

    def _differentiate(self, main: Task, information: Tensor, *planes: Tensor) -> list[Tensor | None]:
        """Task loss and public loss of one update, (2,), and every parameter's gradient, scaled."""
        seen = self.objective.select(_batch(planes), main)
        own = seen[self._team.part(len(seen))]
        self.optimizer.zero_grad(set_to_none=True)
        taught = loss_weights(main, self._config)
        with self._autocast():
            outputs = self.objective.outputs(self._learner, own, main, weights=taught)
        weights = (information[:, 0], information[:, 1])
        losses = self.objective.losses(self._team.gather(outputs), seen, main, weights, self._config)
        if losses.total.requires_grad:
            self.scaler.scale(losses.total).backward()
        found = torch.stack([losses.task.detach(), losses.public.detach()])
        return [found, *(parameter.grad for parameter in self._parameters)]

    def _update(self, batch: Batch, main: Task, information: Tensor) -> list[Tensor]:
        """Update the weights for one task; its losses, the norm of its gradient, and the scale of fp16."""
        losses, *found = self._passes[main](information, *vars(batch).values())
        assert losses is not None
        for parameter, gradient in zip(self._parameters, found, strict=True):
            parameter.grad = gradient
        gradients = [gradient for gradient in found if gradient is not None]
        norm, scale = losses.new_zeros(()), self.scaler.scale(losses.new_ones(()))
        if gradients:  # else the task's losses weigh nothing
            self._team.sum_gradients(self._parameters)
            self.scaler.unscale_(self.optimizer)
            norm = torch.nn.utils.get_total_norm(gradients)
            if most := self._config.clip_norm:
                torch._foreach_mul_(gradients, (most / norm.double().clamp_min(most)).to(norm.dtype))
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return [losses, norm, scale]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._team.device.type, dtype=self._amp, enabled=self._amp is not None)


def _batch(planes: Sequence[Tensor]) -> Batch:
    return Batch(**dict(zip(Batch.__dataclass_fields__, planes, strict=True)))


class _Snapshot:
    """A copy of the parameters and of Adam's state, renewed in place by a few fused copies."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self._optimizer = optimizer
        self._copies: dict[tuple[Tensor, str], Tensor] = {}

    def take(self) -> None:
        live = self._live()
        if live.keys() != self._copies.keys():  # Adam makes a tensor's state with its first gradient
            self._copies = {key: tensor.clone() for key, tensor in live.items()}
        else:
            torch._foreach_copy_([self._copies[key] for key in live], list(live.values()))

    def restore(self) -> None:
        known = {parameter for parameter, name in self._copies if name}
        for parameter in self._optimizer.state.keys() - known:
            del self._optimizer.state[parameter]  # its first gradient came with the step that failed
        live = self._live()
        torch._foreach_copy_(list(live.values()), [self._copies[key] for key in live])

    def _live(self) -> dict[tuple[Tensor, str], Tensor]:
        """Every parameter, under no name, and every number that Adam keeps of it."""
        parameters = {(p, ""): p.detach() for group in self._optimizer.param_groups for p in group["params"]}
        moments = {(p, name): t for p, state in self._optimizer.state.items() for name, t in state.items()}
        return parameters | moments
