"""A pretended CUDA GPU: tensors that say they lie on it while the CPU computes them.

It shows on a machine without a GPU that nothing mixes host and device, takes kernels that do not repeat where
they should, or rounds float32 to TF32; and it counts kernels and the moments at which the host waits. It says
nothing about speed, and gradients are 0 where the graph has some: the autograd engine would ask the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from device_tensors import Account, DeviceTensor, Gpu
from torch.utils._pytree import tree_map_only


class _Graph:
    """A CUDA graph: the operators that were recorded."""

    account: Account

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []

    def replay(self) -> None:
        self.account.launches += 1
        for operator in self.work:
            operator()


@contextmanager
def _recording(graph: _Graph, **_: object) -> Iterator[None]:
    graph.account.record = graph.work
    try:
        yield
    finally:
        graph.account.record = None


class _Stream:
    def __init__(self, *_: object) -> None:
        pass

    def wait_stream(self, _: object) -> None:
        pass


class _Event:
    def __init__(self, **_: object) -> None:
        pass

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        pass


@contextmanager
def pretended_gpu(free_bytes: int = 1 << 36) -> Iterator[Account]:
    """A GPU with so much free memory, within the block."""
    account = Account()
    gpu = Gpu(account)
    plain_tensor, plain_to, plain_save = torch.tensor, torch.Tensor.to, torch.save
    plain_empty = torch.empty

    def tensor(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
        made = plain_tensor(data, **options)
        return made if device is None else made.to(device)

    def empty(*size: Any, pin_memory: bool = False, **options: Any) -> torch.Tensor:
        return plain_empty(*size, **options)

    def to(self: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        with gpu:  # in other threads too
            return plain_to(self, *args, **options)

    def save(content: Any, *args: Any, **options: Any) -> None:
        def host(value: torch.Tensor) -> torch.Tensor:
            value = value.detach()
            return value.host if isinstance(value, DeviceTensor) else value

        plain_save(tree_map_only(torch.Tensor, host, content), *args, **options)

    def backward(loss: torch.Tensor) -> None:
        todo, seen = [loss.grad_fn], set()
        while todo:
            node = todo.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            todo += [before for before, _ in node.next_functions]
            if (leaf := getattr(node, "variable", None)) is not None:
                assert leaf.is_cuda
                leaf.grad = torch.zeros_like(leaf)

    torch._C._ensureCUDADeviceGuardSet()
    swapped = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    rounds = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True  # as some containers start PyTorch
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "_lazy_init": lambda: None,
            "is_available": lambda: True,
            "is_bf16_supported": lambda *_, **__: True,
            "is_current_stream_capturing": lambda: False,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            # Older than Triton's kernels ask for, which nothing pretends to run.
            "get_device_capability": lambda *_: (7, 5),
            "get_device_name": lambda *_: "pretended",
            "mem_get_info": lambda *_: (free_bytes, free_bytes),
            "Event": _Event,
            "Stream": _Stream,
            "current_stream": _Stream,
            "stream": lambda _: nullcontext(),
            "synchronize": lambda *_: None,
            "empty_cache": lambda: None,
            "device": lambda _: nullcontext(),
            "CUDAGraph": type("CUDAGraph", (_Graph,), {"account": account}),
            "graph": _recording,
            "graph_pool_handle": lambda: (0, 0),
        }.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(torch, "tensor", tensor)
        patch.setattr(torch, "empty", empty)
        patch.setattr(torch, "save", save)
        patch.setattr(torch, "inference_mode", torch.no_grad)
        patch.setattr(torch.Tensor, "to", to)
        patch.setattr(torch.Tensor, "backward", backward)
        patch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone())
        patch.setattr(torch.Tensor, "record_stream", lambda *_: None)
        try:
            with gpu:
                yield account
        finally:
            torch.__future__.set_swap_module_params_on_conversion(swapped)
            torch.backends.cuda.matmul.allow_tf32 = rounds
