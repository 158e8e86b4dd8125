"""Weights: safetensors with a JSON header that rebuild their own network and notice when they are damaged.

They carry a format name, a version, the :class:`NetworkConfig` and a SHA-256 of all that they hold, like the
training states of :mod:`model.checkpoint.training_state`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.checkpoint.digest import content_digest
from model.checkpoint.file_checks import (
    FORMAT_VERSION,
    build,
    check_format,
    is_safetensors,
    network_config,
)
from model.checkpoint.published import import_published, is_published
from model.checkpoint.training_state import check_training_state
from model.network import GIFNet
from pipeline.files import WEIGHTS_DIR, InputError, canonical_json, parse_json
from pipeline.networks.saved_tensors import read_saved, read_tensors, write_tensors

WEIGHTS_FORMAT = "gifnet-weights"
DEFAULT_WEIGHTS = WEIGHTS_DIR / "gifnet.safetensors"


def load_network(path: Path | str | None) -> GIFNet:
    """Rebuild a network from one file, on the CPU, in evaluation mode.

    Args:
        path: weights or a training state written here, or the authors' ``Final.model``, told apart by their
            content; None means the default weights.

    Raises:
        InputError: there is no such file, or it is damaged, of another kind, or of another version.
    """
    return load_with_facts(DEFAULT_WEIGHTS if path is None else path)[0]


def load_with_facts(path: Path | str) -> tuple[GIFNet, dict[str, Any]]:
    """The same, and what the file says of the training: of a published one nothing."""
    path = Path(path)
    if is_safetensors(path):
        return _read_weights(path)
    content = read_saved(path, torch.device("cpu"), what="GIFNet file")
    if is_published(content):
        return import_published(content, path), {}
    state = check_training_state(content, path)
    # What the run would have written: the average of the weights where it keeps one.
    network = build(state.network_config, state.extra.get("average", state.network), path)
    return network, {"step": state.step, "config": state.config, "data_digest": state.data_digest}


def save_weights(
    path: Path | str, network: GIFNet, metadata: Mapping[str, Any], *, half: bool = False
) -> Path:
    """Write a network's weights, atomically; read back and verified before they count.

    Args:
        path: file to write, ``.safetensors`` by convention.
        network: its configuration and weights are stored; weights that are not finite are refused.
        metadata: facts about the training, JSON-serialisable; :func:`read_metadata` gives them back.
        half: in float16, half as large; a network rebuilt from it has float32 weights.
    """
    dtype = torch.float16 if half else torch.float32
    tensors = {
        name: value.detach().to("cpu", dtype).contiguous() for name, value in network.state_dict().items()
    }
    header = {
        "format": WEIGHTS_FORMAT,
        "format_version": FORMAT_VERSION,
        "network": canonical_json(asdict(network.config)),
        "metadata": canonical_json(dict(metadata)),
    }
    header["digest"] = _weights_file_digest(header, tensors)
    return write_tensors(path, tensors, header, read=_read_weights)


def read_metadata(path: Path | str) -> dict[str, Any]:
    """The training facts that :func:`save_weights` stored."""
    path = Path(path)
    if not is_safetensors(path):
        raise InputError(f"{path}: not a GIFNet weights file; give a .safetensors file written by training")
    return _read_weights(path)[1]


def _read_weights(path: Path) -> tuple[GIFNet, dict[str, Any]]:
    """The network and its metadata."""
    tensors, header = read_tensors(path)
    check_format(header, WEIGHTS_FORMAT, path)
    if _weights_file_digest(header, tensors) != header.get("digest"):
        raise InputError(f"{path}: damaged, its content does not have its digest; restore the file")
    try:
        shape, metadata = parse_json(header["network"]), parse_json(header["metadata"])
    except (KeyError, ValueError):
        raise InputError(f"{path}: header without network or metadata; restore the file") from None
    if not isinstance(metadata, dict):
        raise InputError(f"{path}: its metadata is no object of JSON; restore the file")
    if all(value.dtype == torch.float16 for value in tensors.values()):
        tensors = {name: value.float() for name, value in tensors.items()}
    return build(network_config(shape, path), tensors, path), metadata


def _weights_file_digest(header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    return content_digest([header.get("network"), header.get("metadata"), dict(sorted(tensors.items()))])
