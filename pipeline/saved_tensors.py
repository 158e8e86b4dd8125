"""Files of tensors: ``torch.save``'s, read without running what they hold; safetensors, written alike."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from pipeline.files import InputError, canonical_json

#: What ``torch.load`` raises for files that are damaged or not its own.
_UNREADABLE = (
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
    except _UNREADABLE as error:
        raise InputError(f"{path}: not a {what}, or damaged ({type(error).__name__})") from None


def canonical(data: bytes) -> bytes:
    """The same safetensors file with its header sorted: the library writes metadata in random order."""
    length = int.from_bytes(data[:8], "little")
    header = canonical_json(json.loads(data[8 : 8 + length])).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[8 + length :]
