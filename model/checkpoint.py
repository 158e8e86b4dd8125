"""Weights and training states: files that rebuild their own network and notice when they are damaged.

Weights are safetensors with a JSON header; a training state is a ``torch.save`` dictionary of tensors and
plain values. Both carry a format name, a version, the :class:`NetworkConfig` and a SHA-256 of all that they
hold. Nothing beyond tensors and plain values is ever unpickled.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model.digest import content_digest, weights_digest
from model.network import GIFNet, NetworkConfig
from model.published import import_published, is_published
from pipeline.files import WEIGHTS_DIR, InputError, atomic_path, canonical_json

__all__ = [
    "DEFAULT_WEIGHTS",
    "TrainingState",
    "load_network",
    "load_training_state",
    "read_metadata",
    "save_training_state",
    "save_weights",
    "weights_digest",
]

WEIGHTS_FORMAT = "gifnet-weights"
TRAINING_FORMAT = "gifnet-training"
FORMAT_VERSION = "1"
DEFAULT_WEIGHTS = WEIGHTS_DIR / "gifnet.safetensors"
#: What ``torch.load`` raises for files that are damaged or not its own.
_UNREADABLE = (
    SafetensorError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
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


@dataclass(frozen=True, kw_only=True)
class TrainingState:
    """What an exact resume needs. Randomness depends on the step alone and needs no state."""

    #: Shape of the network.
    network_config: NetworkConfig
    #: State dict of the network, tensors on the CPU.
    network: dict[str, Tensor]
    #: State dict of the optimizer.
    optimizer: dict[str, Any]
    #: State dict of the gradient scaler; empty where there is none.
    scaler: dict[str, Any]
    #: Steps done.
    step: int
    #: Training configuration, plain values.
    config: dict[str, Any]
    #: Identifies the training data.
    data_digest: str
    #: Whatever else the trainer keeps: tensors and plain values.
    extra: dict[str, Any]


def load_network(path: Path | str | None) -> GIFNet:
    """Rebuild a network from one file, on the CPU, in evaluation mode.

    Args:
        path: weights or a training state written here, or the authors' ``Final.model``, told apart by their
            content; None means the default weights.

    Raises:
        InputError: there is no such file, or it is damaged, of another kind, or of another version.
    """
    if path is None and not DEFAULT_WEIGHTS.is_file():
        raise InputError(
            f"{DEFAULT_WEIGHTS}: this version ships no default weights; train some or name a weights file"
        )
    path = DEFAULT_WEIGHTS if path is None else Path(path)
    if _is_safetensors(path):
        return _read_weights(path)[0]
    content = _unpickle(path)
    if is_published(content):
        return import_published(content, path)
    state = _check_training_state(content, path)
    return _build(state.network_config, state.network, path)


def save_weights(path: Path | str, network: GIFNet, metadata: Mapping[str, Any]) -> Path:
    """Write a network's weights, atomically; read back and verified before they count.

    Args:
        path: file to write, ``.safetensors`` by convention.
        network: its configuration and weights are stored; weights that are not finite are refused.
        metadata: facts about the training, JSON-serialisable; :func:`read_metadata` gives them back.
    """
    path = Path(path)
    tensors = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    _check_finite(tensors, path)
    header = {
        "format": WEIGHTS_FORMAT,
        "format_version": FORMAT_VERSION,
        "network": canonical_json(asdict(network.config)),
        "metadata": canonical_json(dict(metadata)),
    }
    header["digest"] = _weights_file_digest(header, tensors)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=header)
        _read_weights(temporary)
    return path


def read_metadata(path: Path | str) -> dict[str, Any]:
    """The training facts that :func:`save_weights` stored."""
    path = Path(path)
    if not _is_safetensors(path):
        raise InputError(f"{path}: not a GIFNet weights file; give a .safetensors file written by training")
    return _read_weights(path)[1]


def save_training_state(
    path: Path | str,
    *,
    network: GIFNet,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    step: int,
    config: Mapping[str, Any],
    data_digest: str,
    extra: Mapping[str, Any],
) -> Path:
    """Write everything that an exact resume needs, atomically; read back and verified before it counts.

    Arguments are the fields of :class:`TrainingState`, as live objects. ``config`` and ``extra`` hold
    tensors, mappings, lists, strings, numbers, booleans and None; anything else is a TypeError.
    """
    path = Path(path)
    _check_finite(network.state_dict(), path)
    body = {
        "network_config": asdict(network.config),
        "network": dict(network.state_dict()),
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "step": step,
        "config": dict(config),
        "data_digest": data_digest,
        "extra": dict(extra),
    }
    header = {"format": TRAINING_FORMAT, "format_version": FORMAT_VERSION, "digest": content_digest(body)}
    with atomic_path(path) as temporary:
        torch.save({**header, **body}, temporary)
        load_training_state(temporary)
    return path


def load_training_state(path: Path | str) -> TrainingState:
    """Read a training state and check its digest.

    Raises:
        InputError: there is no such file, or it is damaged or not a training state.
    """
    path = Path(path)
    if _is_safetensors(path):
        raise InputError(f"{path}: weights only, without a training state; start a new run from them")
    return _check_training_state(_unpickle(path), path)


def _is_safetensors(path: Path) -> bool:
    """Safetensors begin with the length of a JSON object and its first brace."""
    try:
        with open(path, "rb") as file:
            start = file.read(9)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a weights file") from None
    if not start:
        raise InputError(f"{path}: empty file; name a weights file")
    return start[8:] == b"{"


def _read_weights(path: Path) -> tuple[GIFNet, dict[str, Any]]:
    """The network and its metadata."""
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: damaged weights file ({error}); restore it") from None
    _check_format(header, WEIGHTS_FORMAT, path)
    if _weights_file_digest(header, tensors) != header.get("digest"):
        raise InputError(f"{path}: damaged, its content does not have its digest; restore the file")
    try:
        shape, metadata = json.loads(header["network"]), json.loads(header["metadata"])
    except (KeyError, ValueError):
        raise InputError(f"{path}: header without network or metadata; restore the file") from None
    return _build(_network_config(shape, path), tensors, path), metadata


def _weights_file_digest(header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    return content_digest([header.get("network"), header.get("metadata"), dict(sorted(tensors.items()))])


def _unpickle(path: Path) -> Any:
    try:
        if zipfile.is_zipfile(path):  # torch.load itself compares no checksum
            with zipfile.ZipFile(path) as archive:
                if archive.testzip():
                    raise InputError(f"{path}: damaged, a checksum does not match; restore the file")
        return torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise InputError(
            f"{path}: not a GIFNet file, or damaged ({type(error).__name__}); name a weights file"
        ) from None


def _check_training_state(content: Any, path: Path) -> TrainingState:
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no GIFNet weights; name a weights file")
    _check_format(content, TRAINING_FORMAT, path)
    body = {key: value for key, value in content.items() if key not in ("format", "format_version", "digest")}
    try:
        digest = content_digest(body)
    except TypeError as error:
        raise InputError(f"{path}: damaged ({error}); use an earlier checkpoint") from None
    if digest != content.get("digest"):
        raise InputError(f"{path}: damaged, its content does not have its digest; use an earlier checkpoint")
    if body.keys() != {field.name for field in fields(TrainingState)}:
        raise InputError(f"{path}: not a training state of this version; use an earlier checkpoint")
    return TrainingState(**{**body, "network_config": _network_config(body["network_config"], path)})


def _check_format(header: Mapping[str, Any], name: str, path: Path) -> None:
    if header.get("format") != name:
        raise InputError(f"{path}: holds no GIFNet weights; name a weights file")
    version = header.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(f"{path}: {name} of version {version}, not {FORMAT_VERSION}; update this program")


def _network_config(values: Mapping[str, Any], path: Path) -> NetworkConfig:
    try:
        return NetworkConfig(**values)
    except TypeError as error:
        raise InputError(f"{path}: network configuration not understood ({error}); update") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _build(config: NetworkConfig, tensors: Mapping[str, Tensor], path: Path) -> GIFNet:
    with torch.device("meta"):  # shapes alone: nothing that a file claims is allocated before it is checked
        expected = GIFNet(config).state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        due, found = expected.get(name), tensors.get(name)
        if due is None or found is None or due.shape != found.shape or due.dtype != found.dtype:
            raise InputError(f"{path}: {name} does not fit its network configuration; restore the file")
    _check_finite(tensors, path)
    network = GIFNet(config)
    network.load_state_dict(dict(tensors))
    return network.eval()


def _check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    for name, value in tensors.items():
        if not value.isfinite().all():
            raise InputError(f"{path}: {name} has values that are not finite; use an earlier checkpoint")
