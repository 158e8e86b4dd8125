"""Which device the networks run on, and how so that they repeat."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from pipeline.files import InputError
from pipeline.runtime.threads import one_opencv_thread


def resolve_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu``, ``cuda`` or ``cuda:N`` into a device that exists here.

    ``auto`` is the first CUDA GPU if there is one, else the CPU.

    Raises:
        InputError: the name is unknown or the device is absent.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device {name}: unknown device; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise InputError(f"--device {name}: this machine has {count} CUDA device(s); use --device cpu")
    elif device.type != "cpu":
        raise InputError(f"--device {name}: unsupported device; use auto, cpu, cuda or cuda:N")
    return device


def computes_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; one that has none emulates it, seven times slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # Builds without oneDNN, such as those for Macs, do not know the question.
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def computes_float16(device: torch.device) -> bool:
    """Likewise for float16."""
    if device.type == "cuda":
        return True
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())


@contextmanager
def full_float32(*, deterministic: bool, benchmark: bool = False) -> Iterator[None]:
    """On CUDA convolutions and products of float32 in full, not in TF32, which containers may have turned on.

    Args:
        deterministic: only convolutions that repeat exactly.
        benchmark: the fastest ones, found by trying, instead of cuDNN's own choice.
    """
    products = torch.backends.cuda.matmul
    before = products.allow_tf32
    products.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(
            enabled=True, benchmark=benchmark, deterministic=deterministic, allow_tf32=False
        ):
            yield
    finally:
        products.allow_tf32 = before


def repeatable_kernels(deterministic: bool = True) -> AbstractContextManager[None]:
    """On CUDA only convolutions that repeat exactly, or else the fastest; in full float32."""
    return full_float32(deterministic=deterministic, benchmark=not deterministic)


@contextmanager
def repeatable(device: torch.device, *, deterministic: bool = True) -> Iterator[None]:
    """Train on CUDA with kernels that repeat exactly, or else with the fastest.

    A kernel that cannot repeat ends it with PyTorch's RuntimeError instead of passing unseen. Float32 is full
    float32: TF32's ten bits would be noise where a loss subtracts squares.
    """
    if device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    fills = torch.utils.deterministic
    filled: bool = fills.fill_uninitialized_memory  # type: ignore[attr-defined]
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    # Nothing here reads memory that was not written.
    fills.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        with repeatable_kernels(deterministic):
            yield
    finally:
        torch.use_deterministic_algorithms(before)
        fills.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch and OpenCV to one CPU thread: how sums are split over threads shows in torch's last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with one_opencv_thread():
            yield
    finally:
        torch.set_num_threads(threads)
