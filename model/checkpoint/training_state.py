"""Training states: all that an exact resume needs, in one file that notices when it is damaged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.checkpoint.digest import content_digest
from model.checkpoint.file_checks import (
    FORMAT_VERSION,
    check_format,
    is_safetensors,
    network_config,
)
from model.network import GIFNet, NetworkConfig
from pipeline.files import InputError, atomic_path
from pipeline.networks.saved_tensors import check_finite, is_plain, is_state, read_saved, saved_bytes

TRAINING_FORMAT = "gifnet-training"
_KINDS: dict[str, type] = {
    **dict.fromkeys(("network", "optimizer", "scaler", "config", "extra"), dict),
    "step": int,
    "data_digest": str,
}


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
    #: Whatever else the trainer keeps: tensors and plain values. Where ``average`` is among them, the state
    #: dict of the averaged network, the file is that if used as weights.
    extra: dict[str, Any]


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
    check_finite(network.state_dict(), path)
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
        temporary.write_bytes(saved_bytes({**header, **body}))
        load_training_state(temporary)
    return path


def load_training_state(path: Path | str) -> TrainingState:
    """Read a training state and check its digest.

    Raises:
        InputError: there is no such file, or it is damaged or not a training state.
    """
    path = Path(path)
    if is_safetensors(path):
        raise InputError(f"{path}: weights only, without a training state; start a new run from them")
    return check_training_state(read_saved(path, torch.device("cpu"), what="GIFNet file"), path)


def check_training_state(content: Any, path: Path) -> TrainingState:
    """The training state that a file holds, if its digest is right."""
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds no GIFNet weights; name a weights file")
    check_format(content, TRAINING_FORMAT, path)
    body = {key: value for key, value in content.items() if key not in ("format", "format_version", "digest")}
    try:
        digest = content_digest(body)
    except TypeError as error:
        raise InputError(f"{path}: damaged ({error}); use an earlier checkpoint") from None
    if digest != content.get("digest"):
        raise InputError(f"{path}: damaged, its content does not have its digest; use an earlier checkpoint")
    if body.keys() != {field.name for field in fields(TrainingState)}:
        raise InputError(f"{path}: not a training state of this version; use an earlier checkpoint")
    for field in fields(TrainingState)[1:]:
        if not isinstance(body[field.name], _KINDS[field.name]) or body[field.name] is True:
            raise InputError(f"{path}: damaged, {field.name} is no {_KINDS[field.name].__name__}")
    if body["step"] < 0:
        raise InputError(f"{path}: damaged, step is {body['step']}")
    for name, weights in (("network", body["network"]), ("average", body["extra"].get("average", {}))):
        if not is_state(weights):
            raise InputError(f"{path}: damaged, {name} does not hold tensors by name")
    for name in ("network_config", "scaler", "config"):
        if not _is_flat(body[name]):
            raise InputError(f"{path}: damaged, {name} does not hold plain values by name")
    return TrainingState(**{**body, "network_config": network_config(body["network_config"], path)})


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(key, str) and is_plain(inner) for key, inner in value.items()
    )
