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

import torch
from torch import Tensor

from model.blocks.transformer import Task
from model.graphs import Recorded
from model.network import GIFNet
from model.training.distributed import Team
from model.training.feed import Batch
from model.training.information import InformationMeasure, information_weights
from model.training.objectives import OBJECTIVES, loss_weights
from model.training.train_config import TrainConfig

_Passes = Callable[..., Sequence[Tensor | None]]
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
        # What is computed without a decision by the host.
        self._inform: _Passes = self._information
        self._passes: dict[Task, _Passes] = {
            "mm": partial(self._differentiate, "mm"),
            "dp": partial(self._differentiate, "dp"),
        }
        if config.cuda_graphs and team.device.type == "cuda" and team.size == 1:
            self._record()

    def __call__(self, batch: Batch, learning_rate: float) -> dict[str, float]:
        """Train on one global batch: an MM update, then a DP update.

        Returns:
            ``mm_task``, ``mm_public``, ``dp_task``, ``dp_public``, the norm of each task's gradient, and the
            batch's mean ``w_ir``.

        Raises:
            NonFiniteError: network, optimizer and scaler are as they were before the call.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self._before.take()
        scaler = self.scaler.state_dict()
        (information,) = self._inform(*vars(batch).values())
        assert information is not None
        record: dict[str, float] = {}
        try:
            record |= self._update(batch, "mm", information)
            record |= self._update(batch, "dp", information)
        except NonFiniteError:
            self._before.restore()
            self.scaler.load_state_dict(scaler)
            raise
        return record | {"w_ir": float(information[:, 0].mean())}

    @torch.no_grad()
    def validate(self, network: GIFNet, batches: Iterable[Batch]) -> dict[str, float]:
        """Mean losses of a network over batches of any size, in this process alone, and their total."""
        sums: dict[str, float] = {}
        count = 0
        for batch in batches:
            weights = information_weights(self._measure, batch.infrared, batch.visible)
            for main in ("mm", "dp"):
                seen = self.objective.select(batch, main, whole=True)
                with self._autocast():
                    outputs = self.objective.outputs(network, seen, main)
                losses = self.objective.losses(outputs, seen, main, weights, self._config)
                for name in ("task", "public", "total"):
                    value = float(getattr(losses, name)) * len(batch)
                    sums[f"{main}_{name}"] = sums.get(f"{main}_{name}", 0.0) + value
            count += len(batch)
        means = {name: value / count for name, value in sums.items()}
        total = means.pop("mm_total") + means.pop("dp_total")
        return {**means, "total": total}

    def _record(self) -> None:
        """Launch the passes as CUDA graphs. They are used one after the other, so they share their memory."""
        pool = torch.cuda.graph_pool_handle()
        device = self._team.device
        self._inform = Recorded(self._inform, device, pool=pool)
        self._passes = {main: Recorded(passes, device, pool=pool) for main, passes in self._passes.items()}

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
            outputs = self.objective.outputs(self.network, own, main, weights=taught)
        weights = (information[:, 0], information[:, 1])
        losses = self.objective.losses(self._team.gather(outputs), seen, main, weights, self._config)
        if losses.total.requires_grad:
            self.scaler.scale(losses.total).backward()
        found = torch.stack([losses.task.detach(), losses.public.detach()])
        return [found, *(parameter.grad for parameter in self._parameters)]

    def _update(self, batch: Batch, main: Task, information: Tensor) -> dict[str, float]:
        losses, *found = self._passes[main](information, *vars(batch).values())
        assert losses is not None
        for parameter, gradient in zip(self._parameters, found, strict=True):
            parameter.grad = gradient
        gradients = [gradient for gradient in found if gradient is not None]
        norm = losses.new_zeros(())
        if gradients:
            self._team.sum_gradients(self._parameters)
            self.scaler.unscale_(self.optimizer)
            norm = torch.nn.utils.get_total_norm(gradients)
        # The one moment at which the host waits for the device, before anything is changed.
        task, public, norm = torch.stack([*losses, norm]).tolist()
        # In fp16 a gradient may overflow: the scaler then skips the update and lowers its scale, within
        # reason.
        overflow_is_normal = self.scaler.is_enabled() and self.scaler.get_scale() >= 1
        if not math.isfinite(task + public + (0.0 if overflow_is_normal else norm)):
            raise NonFiniteError(f"{main} step: task loss {task}, public loss {public}, gradient norm {norm}")
        if not gradients:  # the task's losses weigh nothing
            return {f"{main}_task": task, f"{main}_public": public, f"{main}_gradient_norm": norm}
        if self._config.clip_norm:
            scale = self._config.clip_norm / max(norm, self._config.clip_norm)
            torch._foreach_mul_(gradients, scale)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return {f"{main}_task": task, f"{main}_public": public, f"{main}_gradient_norm": norm}

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
