"""Files of tensors: ``torch.save``'s, read without running what they hold; safetensors, written alike."""

from __future__ import annotations

import json
import lzma
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pipeline.files import InputError, canonical_json

#: What libraries raise for files of tensors that are damaged or not their own.
UNREADABLE = (
    SafetensorError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
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
                if archive.testzip():
                    raise InputError(f"{path}: damaged, a checksum does not match")
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UNREADABLE as error:
        raise InputError(f"{path}: not a {what}, or damaged ({type(error).__name__})") from None


def differing(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]) -> list[str]:
    """Names of the tensors that one of two state dicts alone has, or that differ in shape, sorted."""
    shapes = [{key: value.shape for key, value in state.items()} for state in (expected, found)]
    return sorted(key for key in expected.keys() | found.keys() if shapes[0].get(key) != shapes[1].get(key))


def check_finite(state: Mapping[str, torch.Tensor], path: Path | str) -> None:
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


def canonical(data: bytes) -> bytes:
    """The same safetensors file with its header sorted: the library writes metadata in random order."""
    header, length = canonical_json(read_header(data)).encode(), int.from_bytes(data[:8], "little")
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def read_header(data: bytes) -> dict[str, Any]:
    """The header of a safetensors file that the library has read or written."""
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
