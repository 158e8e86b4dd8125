"""One training run on several GPUs or machines, started by torchrun.

    torchrun --nproc-per-node 4 cli.py train SHARDS -o RUN                                 one machine
    torchrun --nnodes 2 --nproc-per-node 8 --rdzv-endpoint HOST:29500 cli.py train ...     on each of two

Every process computes its part of the global batch. The losses of GIFNet are not means over samples
(MS-SSIM averages over the batch before it takes powers), so averaging losses or gradients of parts would
train on something else. Instead the *outputs* are gathered, two planes per sample; each process computes
the loss of the whole batch, of which only its own outputs carry gradient; and the sum of the gradients over
the processes is exactly the gradient that one process would have had.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.files import InputError, first_line
from pipeline.networks.device import resolve_device

#: How long processes wait for one that validates, which the first one does by itself.
_PATIENCE = timedelta(hours=6)
#: What gloo and NCCL say of a process that has ended.
_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "ncclRemoteError")


def process_rank() -> int:
    """Number of this process among those that torchrun started; 0 where there is one alone."""
    return _number("RANK", 0) if _team_size() > 1 else 0


def _team_size() -> int:
    return _number("WORLD_SIZE", 1)


def _number(name: str, default: int) -> int:
    """A variable that torchrun sets."""
    text = os.environ.get(name) or str(default)
    if not text.isdecimal():
        raise InputError(f"{name}={text}: torchrun sets it to a number; unset it")
    return int(text)


class Team:
    """The processes of a run; a team of one when torchrun is not involved. A context manager."""

    def __init__(self, device_name: str) -> None:
        """Join the processes that torchrun started, and take a device each.

        Args:
            device_name: as in :func:`pipeline.networks.device.resolve_device`; in a team, ``auto`` and
                ``cuda`` give each process of a machine its own GPU.

        Raises:
            InputError: there is no such device, or the environment has not all that torchrun sets.
        """
        self.rank = process_rank()
        self.size = _team_size()
        self.device = resolve_device(device_name)
        if self.size == 1:
            return
        for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
            if name not in os.environ:
                raise InputError(
                    f"train: WORLD_SIZE is {self.size}, but {name} is not set; start it with torchrun, or"
                    " unset WORLD_SIZE"
                )
        if self.device.type == "cuda" and self.device.index is None:
            self.device = resolve_device(f"cuda:{os.environ['LOCAL_RANK']}")
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        try:
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo", timeout=_PATIENCE)
        except (RuntimeError, ValueError) as error:
            where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            raise InputError(
                f"train: the {self.size} processes do not find each other at {where} ({first_line(error)}); "
                "start them with torchrun"
            ) from error

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def check_batch(self, batch_size: int, mm_samples: Callable[[int], int]) -> None:
        """Check that the samples of a global batch, and those that MM takes of it, can be split evenly.

        Raises:
            InputError: they cannot; the message names the next larger batch size with which they can.
        """

        def even(size: int) -> bool:
            return size % self.size == 0 and mm_samples(size) % self.size == 0

        if not even(batch_size):
            better = next(filter(even, itertools.count(batch_size)))
            raise InputError(
                f"train: batch_size {batch_size}, of which MM takes {mm_samples(batch_size)}, cannot be"
                f" split over {self.size} processes evenly; use --batch-size {better}"
            )

    def part(self, batch_size: int) -> slice:
        """This process's samples of a batch that can be split evenly."""
        share = batch_size // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def gather(self, part: Tensor) -> Tensor:
        """Join the parts of all processes along the first axis; only the own part carries gradient."""
        if self.size == 1:
            return part
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self.size)]
        dist.all_gather(parts, part.detach().contiguous())
        parts[self.rank] = part
        return torch.cat(parts)

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up the gradients that exist, in one all-reduce. Which ones exist is the same everywhere."""
        if self.size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        joined = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(joined)
        for gradient, total in zip(gradients, joined.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(total.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag
        value = torch.tensor(float(flag), device=self.device)
        dist.all_reduce(value, dist.ReduceOp.MAX)
        return bool(value.item())

    def agree(self, facts: Mapping[str, object]) -> None:
        """Check that all processes hold the same facts, and so wait for each other.

        Raises:
            InputError: they do not; the message has the names of those that differ.
        """
        if self.size == 1:
            return
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, dict(facts))
        if differing := [name for name in facts if any(other[name] != facts[name] for other in found)]:
            raise InputError(
                f"train: processes differ in {', '.join(differing)}; let them share the folders and start "
                "all with the same settings"
            )

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            dist.barrier()

    def __enter__(self) -> Team:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the team.

        Raises:
            InputError: instead of what the backend says of a process that is no longer there.
        """
        if self.size == 1:
            return
        dist.destroy_process_group()
        if isinstance(error, RuntimeError) and any(words in str(error) for words in _GONE):
            told = "train: another process of this run has ended; what it said tells why"
            raise InputError(told) from error
