"""Files of tensors: ``torch.save``'s, read without running what they hold; safetensors, written alike."""

from __future__ import annotations

import io
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline.files import InputError, atomic_path, canonical_json, parse_json
from pipeline.runtime.workers import lacks_memory

#: What libraries raise for files of tensors that are damaged or not their own.
_DAMAGE = (
    SafetensorError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
    struct.error,
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    AssertionError,
)
#: What an honest file of tensors and settings stays far below.
_MOST_LEVELS, _MOST_VALUES = 20, 1 << 20
_AGAIN = "make or fetch the weights again"
#: Types that weights may have in a file.
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def read_saved(path: Path, device: torch.device, *, what: str = "PyTorch weights file") -> Any:
    """Tensors, on ``device``, and plain values, as they were given to ``torch.save``.

    Args:
        what: the kind of file that was expected, for the error.

    Raises:
        InputError: the file is missing or damaged, or holds anything else.
    """
    try:
        if zipfile.is_zipfile(path):  # torch.load itself compares no checksum
            with zipfile.ZipFile(path) as archive:
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise InputError(f"{path}: compressed, as no {what} is; unpack it, or save it anew")
                if archive.testzip():
                    raise InputError(f"{path}: damaged, a checksum does not match")
        with warnings.catch_warnings(action="ignore"):  # what is odd is refused below
            content = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name a {what}") from None
    except _DAMAGE as error:
        _raise_unless_damaged(error, path)
        raise InputError(f"{path}: not a {what}, or damaged; name another file") from None
    _check_plain(content, device, path)
    return content


def _raise_unless_damaged(error: Exception, path: Path | str) -> None:
    """Pass on what is no fault of the file: memory that is not there, a file that may not be read."""
    if lacks_memory(error) and not _asks_too_much(error, Path(path)):
        raise error
    if isinstance(error, OSError) and error.filename is not None:  # opening it; those of damage name no file
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the file and your permissions")


def _asks_too_much(error: Exception, path: Path) -> bool:
    """Whether the memory that is not there is more than a whole file: no tensor in it can be so large."""
    asked = re.search(r"allocate\D*(\d+) bytes", str(error))
    return asked is not None and int(asked[1]) > path.stat().st_size


def _check_plain(content: Any, device: torch.device, path: Path) -> None:
    """Refuse what could not be copied, compared or walked by those who read it."""
    left, seen = [(content, 0)], 0
    while left:
        value, depth = left.pop()
        inner: Collection[Any] = ()
        if isinstance(value, Tensor):
            _check_tensor(value, device, path)
        elif isinstance(value, dict):
            inner = value.values()
            if not all(isinstance(key, str | int) for key in value):
                raise InputError(f"{path}: holds keys that are neither names nor numbers; save it anew")
        elif isinstance(value, list | tuple):
            inner = value
        elif not is_plain(value):
            raise InputError(
                f"{path}: holds a {type(value).__name__}, no tensor or plain value; save it anew"
            )
        seen += len(inner)
        if depth > _MOST_LEVELS or seen > _MOST_VALUES:  # as is what holds itself
            raise InputError(f"{path}: lists or dicts are nested too deeply or hold too much; save it anew")
        left += ((one, depth + 1) for one in inner)


def _check_tensor(value: Tensor, device: torch.device, path: Path) -> None:
    odd = value.is_quantized or value.is_conj() or value.is_neg()
    if value.layout != torch.strided or value.device.type != device.type or odd:
        raise InputError(f"{path}: a tensor is sparse, quantised or without values; save it as a plain one")
    # One that repeats what is stored: a copy of it would take any memory.
    if value.numel() * value.itemsize > value.untyped_storage().nbytes():
        raise InputError(f"{path}: a tensor is larger than what is stored of it; save it anew")


def is_plain(value: Any) -> bool:
    """Whether it is a text, a number, a boolean or None."""
    return value is None or isinstance(value, str | int | float)


def is_state(value: Any) -> bool:
    """Whether it is a state dict: tensors by name."""
    return isinstance(value, dict) and all(
        isinstance(key, str) and isinstance(tensor, Tensor) for key, tensor in value.items()
    )


def read_published_state(path: Path) -> dict[str, Tensor]:
    """Tensors of a pickled state dict on the CPU, by key, without a ``module.`` prefix.

    Raises:
        InputError: the file is missing or damaged, or holds anything but tensors.
    """
    state = read_saved(path, torch.device("cpu"))
    if not is_state(state):
        raise InputError(f"{path}: holds no plain state dict of tensors")
    return {key.removeprefix("module."): value for key, value in state.items()}


def saved_bytes(value: Any) -> bytes:
    """What ``torch.save`` writes; to a file itself it would not tell a full disk from a defect."""
    content = io.BytesIO()
    torch.save(value, content)
    return content.getvalue()


def read_tensors(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors of a safetensors file, on the CPU, and its metadata.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        data = Path(path).read_bytes()  # the library itself opens no name that is not UTF-8
        return load(data), read_header(data).get("__metadata__") or {}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; name a safetensors file") from None
    except _DAMAGE as error:
        _raise_unless_damaged(error, path)
        raise InputError(f"{path}: not a safetensors file, or a damaged one ({error})") from None


def write_tensors(
    path: Path | str,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    *,
    read: Callable[[Path], object] = read_tensors,
) -> Path:
    """Write tensors of the CPU and texts about them as safetensors, atomically; returns the path.

    Equal contents are equal files. What was written is read back before it counts.

    Args:
        read: reads such a file, and raises for one that it refuses.

    Raises:
        InputError: a tensor holds NaN or infinite values.
        OSError: the file cannot be written, or is read back differently.
    """
    path = Path(path)
    check_finite(tensors, path)
    data = _canonical(save(dict(tensors), metadata=dict(metadata)))
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
        read(temporary)
        if temporary.read_bytes() != data:
            raise OSError(f"{path}: read back differently from what was written")
    return path


def fill(network: nn.Module, state: Mapping[str, Tensor], path: Path | str, what: str) -> None:
    """Load weights into a network of the same layers.

    Args:
        state: by name; what normalisations have counted may be missing.
        path: of their file, for the message.
        what: the network should be, for the message.

    Raises:
        InputError: tensors are missing, too many, or of another shape or type, or values are not finite.
    """
    expected, found = (
        {key: value.shape for key, value in one.items() if not key.endswith("num_batches_tracked")}
        for one in (network.state_dict(), state)
    )
    wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    if wrong:
        raise InputError(
            f"{path}: not {what} ({len(wrong)} of {len(expected)} tensors differ, the first is {wrong[0]})"
        )
    for key in expected:
        if state[key].dtype not in _FLOATS:
            raise InputError(f"{path}: {key} is of {state[key].dtype}, no float16, 32 or 64; {_AGAIN}")
        if not state[key].float().isfinite().all():
            raise InputError(f"{path}: {key} holds NaN or infinite values; {_AGAIN}")
    network.load_state_dict({key: state[key] for key in expected}, strict=False)


def check_finite(state: Mapping[str, Tensor], path: Path | str) -> None:
    """Refuse weights that could not be loaded again, before they are written.

    Raises:
        InputError: a tensor holds NaN or infinite values.
    """
    for key, value in state.items():
        if not value.isfinite().all():
            raise InputError(
                f"{path}: not written, {key} holds NaN or infinite values; where a training diverged, try "
                "another seed or a lower learning rate"
            )


def _canonical(data: bytes) -> bytes:
    """The same safetensors file with its header sorted: the library writes metadata in random order."""
    header, length = canonical_json(read_header(data)).encode(), int.from_bytes(data[:8], "little")
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def read_header(data: bytes) -> dict[str, Any]:
    """The header of a safetensors file that the library has read or written."""
    return parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
