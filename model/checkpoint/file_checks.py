"""Checks of weights files and training states, which are not trusted.

Nothing but tensors and plain values is ever unpickled, and what a file claims is allocated within limits
alone: for a network those of :class:`NetworkConfig`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from model.network import GIFNet, NetworkConfig
from pipeline.files import InputError

FORMAT_VERSION = "1"


class NotOurs(InputError):
    """A file that may be sound: it cannot be read just now, or a later version of this program wrote it."""


def is_safetensors(path: Path) -> bool:
    """Whether a file is safetensors, which begin with the length of a JSON object and its first brace.

    Raises:
        InputError: it cannot be read, or is empty.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise NotOurs(f"{path}: cannot be read ({error.strerror}); name a weights file") from None
    if not start:
        raise InputError(f"{path}: empty file; name a weights file")
    return start[8:] == b"{"


def check_format(header: Mapping[str, Any], name: str, path: Path) -> None:
    """Stop where a header is of another kind or version.

    Args:
        header: what a file says of itself.
        name: the format that is expected.
        path: of the file, for the message.

    Raises:
        InputError: it is not ``name`` in the version of this program.
    """
    if header.get("format") != name:
        raise InputError(f"{path}: holds no GIFNet weights; name a weights file")
    version = header.get("format_version")
    if version != FORMAT_VERSION:
        raise NotOurs(f"{path}: {name} of version {version}, not {FORMAT_VERSION}; update this program")


def network_config(values: Mapping[str, Any], path: Path) -> NetworkConfig:
    """The network configuration that a file holds.

    Args:
        values: by name; what is absent has its default.
        path: of the file, for the message.

    Raises:
        InputError: a name is unknown, or a value is of another type or out of range.
    """
    try:
        config = NetworkConfig(**values)
    except TypeError as error:
        raise NotOurs(f"{path}: network configuration not understood ({error}); update") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for field in fields(config):
        value = getattr(config, field.name)
        if type(value) is not type(field.default):  # such as 2.0, with which layers fail, or a bool
            raise InputError(
                f"{path}: network configuration not understood ({field.name} is {value!r}); update"
            )
    return config


def build(config: NetworkConfig, tensors: Mapping[str, Tensor], path: Path) -> GIFNet:
    """The network of a configuration with these weights, on the CPU, in evaluation mode.

    Args:
        tensors: weights by name; they are copied.
        path: of their file, for the message.

    Raises:
        InputError: one is missing, too many, of another shape or type, or not finite.
    """
    with _NoStart():
        network = GIFNet(config)
    expected = network.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        due, found = expected.get(name), tensors.get(name)
        if due is None or found is None or due.shape != found.shape or due.dtype != found.dtype:
            raise InputError(
                f"{path}: {name} does not fit the network of this version; use the version that wrote the "
                "file, or train anew"
            )
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise InputError(f"{path}: {name} has values that are not finite; use an earlier checkpoint")
    network.load_state_dict(dict(tensors))
    return network.eval()


class _NoStart(TorchFunctionMode):
    """Layers without the values that a training would start from: their memory is reserved, not yet used.

    Not on PyTorch's device of shapes alone: some of its functions load the compiler, 1.6 s of imports.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return named["tensor"] if "tensor" in named else args[0]
        return func(*args, **named)
