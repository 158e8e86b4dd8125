"""Tensors that say they lie on a CUDA GPU, and their operators: the CPU computes, an account is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

DEVICE = torch.device("cuda", 0)
#: Operators that only look at a tensor in another way.
_VIEWS = {
    "alias",
    "as_strided",
    "detach",
    "expand",
    "permute",
    "select",
    "slice",
    "split",
    "split_with_sizes",
}
_VIEWS |= {"squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze", "view", "_unsafe_view"}
#: Matrix products, which a GPU may compute in TF32.
_PRODUCTS = {"mm", "addmm", "addmm_", "_addmm_activation", "bmm", "baddbmm"}
#: Operators whose gradient does not repeat on CUDA and that PyTorch refuses where it must
#: (``torch.use_deterministic_algorithms``, of what a network of ours might use).
_NOT_REPEATING = {"reflection_pad1d", "reflection_pad2d", "upsample_linear1d", "upsample_bilinear2d"}
_NOT_REPEATING |= {"upsample_bicubic2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d", "grid_sampler_2d"}


@dataclass
class Account:
    """What the pretended GPU was asked to do."""

    kernels: int = 0
    #: Copies that the host waits for, and values that it reads, by operator.
    waits: Counter[str] = field(default_factory=Counter)
    #: What is being recorded as a CUDA graph, and how often graphs were launched.
    record: list[Callable[[], None]] | None = None
    launches: int = 0


class DeviceTensor(torch.Tensor):
    """Says that it is on the GPU; ``host`` holds its values."""

    host: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: torch.Tensor) -> DeviceTensor:
        layout = {"strides": host.stride(), "storage_offset": host.storage_offset()}
        made = torch.Tensor._make_wrapper_subclass(
            cls, host.size(), dtype=host.dtype, device=DEVICE, **layout
        )
        made.host = host
        return made

    @classmethod
    def __torch_dispatch__(cls, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{operator.name()}: the pretended GPU has been left")

    def tolist(self) -> Any:
        return self.host.tolist()


class Gpu(TorchDispatchMode):
    def __init__(self, account: Account) -> None:
        super().__init__()
        self._account = account

    def __torch_dispatch__(self, operator: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = operator.name().removeprefix("aten::").partition(".")[0]
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        ours = {id(t.host): t for t in tensors if isinstance(t, DeviceTensor)}
        target = kwargs.get("device")
        to_device = bool(ours) if target is None else target.type == "cuda"
        if not ours and not to_device:
            return operator(*args, **kwargs)
        if name == "is_pinned":
            return False
        if torch._C._dispatch_has_kernel_for_dispatch_key(operator.name(), "CompositeImplicitAutograd"):
            with self:
                return operator.decompose(*args, **kwargs)
        if name in ("_to_copy", "copy_"):
            crosses = len(ours) < len(tensors) or not to_device
        else:  # a single number may come along from the host
            crosses, host = False, [t for t in tensors if not isinstance(t, DeviceTensor)]
            assert all(t.dim() == 0 for t in host), f"{operator.name()}: host and device tensors mixed"
        if torch.are_deterministic_algorithms_enabled() and torch.is_grad_enabled():
            assert name not in _NOT_REPEATING, f"{name}: its gradient does not repeat on CUDA"
        if name == "convolution" and tensors[0].dtype == torch.float32:
            assert not torch.backends.cudnn.allow_tf32, "a float32 convolution would be rounded to TF32"
        if name in _PRODUCTS and ours and tensors[0].dtype == torch.float32:
            assert not torch.backends.cuda.matmul.allow_tf32, f"{name}: would be rounded to TF32"
        by_itself = kwargs.get("non_blocking") or (name == "copy_" and args[2:] == (True,))
        if name == "_local_scalar_dense" or (crosses and not by_itself):
            assert self._account.record is None, f"{operator.name()}: waits while a graph is recorded"
            self._account.waits[name] += 1
        elif name not in _VIEWS:
            self._account.kernels += 1

        if target is not None:
            kwargs["device"] = torch.device("cpu")
        host_args, host_kwargs = tree_map_only(DeviceTensor, lambda t: t.host, (args, kwargs))
        result = _compute(operator, name, host_args, host_kwargs)
        if self._account.record is not None:
            self._account.record.append(lambda: _again(operator, name, host_args, host_kwargs, result))
        if name == "copy_":
            return args[0]
        if name == "_to_copy" and result is host_args[0]:
            result = result.clone()

        def on_its_side(value: Any) -> Any:
            if not isinstance(value, torch.Tensor) or not to_device:
                return value
            # What was written in place stays the same tensor.
            return ours[id(value)] if id(value) in ours else DeviceTensor(value)

        return tree_map(on_its_side, result)


def _compute(operator: Any, name: str, args: Any, kwargs: Any) -> Any:
    if name == "batch_norm_update_stats":  # of half precision in float32, on a GPU
        return operator(args[0].float(), *args[1:], **kwargs)
    if name == "cudnn_batch_norm":  # the CPU has none; the reserve for the backward pass is a GPU's alone
        return *torch.ops.aten.native_batch_norm(*args), torch.empty(0, dtype=torch.uint8)
    return operator(*args, **kwargs)


def _again(operator: Any, name: str, args: Any, kwargs: Any, result: Any) -> None:
    """Repeat a recorded operator; what it returns goes to where it went then."""
    for old, new in zip(
        tree_leaves(result), tree_leaves(_compute(operator, name, args, kwargs)), strict=True
    ):
        if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
            old.copy_(new)
