"""SHA-256 of nested tensors and plain values: the identity of weights and of whole checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def weights_digest(network: nn.Module) -> str:
    """SHA-256 over the sorted names, types, shapes and values of a network's weights.

    Equal weights give equal digests, on any device and in any memory format.
    """
    return content_digest(dict(sorted(network.state_dict().items())))


def content_digest(content: Any) -> str:
    """SHA-256 of tensors, mappings, lists, tuples, strings, numbers, booleans and None, nested at will.

    Mappings count in their own order. Type and size go in before the content, so that different contents
    never feed the same bytes.

    Raises:
        TypeError: something else is among the content.
    """
    digest = hashlib.sha256()
    _feed(digest, content)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        digest.update(f"{value.dtype}{list(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        digest.update(f"mapping{len(value)}".encode())
        for key, item in value.items():
            _feed(digest, key)
            _feed(digest, item)
    elif isinstance(value, (list, tuple)):
        digest.update(f"{type(value).__name__}{len(value)}".encode())
        for item in value:
            _feed(digest, item)
    elif value is None or isinstance(value, (bool, int, float, str)):
        text = repr(value).encode()
        digest.update(f"{type(value).__name__}{len(text)}".encode() + text)
    else:
        raise TypeError(f"a checkpoint cannot hold {type(value).__name__}")
