"""The interface between the stages: a joint dataset is a folder of shards and one index.

``shard-00000-of-00064.h5 ...`` are immutable (:mod:`pipeline.shard_file`); ``index.json`` is written last and
holds the size and SHA-256 of every file and a digest of every array. Only a finished dataset can be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files import InputError, canonical_json, read_json, sha256_file, sha256_text
from pipeline.shard_file import array_digest, open_shard
from pipeline.shard_schema import FORMAT, FORMAT_VERSION

INDEX_NAME = "index.json"


def shard_name(shard: int, num_shards: int) -> str:
    """File name of one shard, zero-padded so that up to 99,999 names sort like numbers."""
    return f"shard-{shard:05d}-of-{num_shards:05d}.h5"


def read_index(folder: Path | str) -> dict[str, Any]:
    """Read ``index.json`` of a finished dataset and check that it is one of this format.

    Raises:
        InputError: there is none (the synthesis has not finished), or it is of another format.
    """
    folder = Path(folder)
    path = folder / INDEX_NAME
    if not path.is_file():
        hint = (
            "run synth again to finish it" if any(folder.glob("shard-*")) else "is this a dataset of synth?"
        )
        raise InputError(f"{folder}: no {INDEX_NAME}; {hint}")
    index = read_json(path)
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise InputError(f"{path}: not the index of a {FORMAT} dataset")
    version = index.get("format_version")
    if version != FORMAT_VERSION:
        raise InputError(f"{path}: format {version}, but this gifnet reads {FORMAT_VERSION}; update it")
    try:
        for entry in index["shards"]:
            if Path(entry["name"]).name != entry["name"]:
                raise InputError(f"{path}: shard name {entry['name']!r} leaves the folder")
            if not all(isinstance(entry[key], int) and entry[key] >= 0 for key in ("samples", "bytes")):
                raise TypeError("samples and bytes are numbers")
            str(entry["sha256"]), dict(entry["arrays"])
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_index(folder, error) from None
    return index


def damaged_index(folder: Path | str, error: Exception) -> InputError:
    """The one line for an index that lacks something, and for what reading it raised."""
    return InputError(f"{Path(folder) / INDEX_NAME}: damaged index ({error!r}); run synth again")


def dataset_digest(shards: Sequence[Mapping[str, Any]]) -> str:
    """One digest of all arrays of a dataset, independent of how its files happen to be encoded."""
    return sha256_text(canonical_json([entry["arrays"] for entry in shards]))


def load_arrays(folder: Path | str, fields: Sequence[str]) -> tuple[dict[str, np.ndarray], str]:
    """Read the given fields of all samples of a finished dataset, verified against the index.

    Returns:
        The arrays, first axis = all samples in order, and the digest of the whole dataset.

    Raises:
        InputError: an unfinished, damaged or empty dataset, or one without such a field.
    """
    folder = Path(folder)
    index = read_index(folder)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in fields}
    for entry in index["shards"]:
        with open_shard(folder / entry["name"]) as shard:
            for name in fields:
                array = shard.read(name)
                if array_digest(array) != entry["arrays"].get(name):
                    raise InputError(f"{shard.path}: {name} is not what the index says; run inspect --verify")
                parts[name].append(array)
    if not sum(entry["samples"] for entry in index["shards"]):
        raise InputError(f"{folder}: the dataset holds no samples")
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}, dataset_digest(index["shards"])


def verify(folder: Path | str) -> list[str]:
    """Compare every byte of a dataset with its index, and it with itself; a line for each problem."""
    folder = Path(folder)
    index = read_index(folder)
    problems = []
    held = sum(entry["samples"] for entry in index["shards"])
    if index.get("num_samples") != held:
        told = f"says {index.get('num_samples')} samples, but {held} in its list of shards"
        problems.append(f"{folder / INDEX_NAME}: {told}; run synth again")
    if index.get("digest") != dataset_digest(index["shards"]):
        problems.append(
            f"{folder / INDEX_NAME}: its digest is not that of its list of shards; run synth again"
        )
    for entry in index["shards"]:
        path = folder / entry["name"]
        try:
            problems += _verify_shard(path, entry)
        except InputError as error:
            problems.append(str(error))
    return problems


def _verify_shard(path: Path, entry: Mapping[str, Any]) -> list[str]:
    if not path.is_file():
        return [f"{path}: missing; run synth again"]
    if path.stat().st_size != entry["bytes"]:
        return [
            f"{path}: {path.stat().st_size} bytes, the index says {entry['bytes']}; delete it and run synth"
        ]
    # First of all: nothing of a file that was tampered with is read.
    if sha256_file(path) != entry["sha256"]:
        return [f"{path}: bytes differ from the index; delete it and run synth again"]
    with open_shard(path) as shard:
        if shard.num_samples != entry["samples"]:
            return [
                f"{path}: {shard.num_samples} samples, the index says {entry['samples']}; run synth again"
            ]
        digests = {name: array_digest(shard.read(name)) for name in shard.fields}
    names = sorted(digests.keys() | entry["arrays"].keys())
    wrong = [name for name in names if digests.get(name) != entry["arrays"].get(name)]
    if wrong:
        return [f"{path}: {', '.join(wrong)} differ from the index; delete it and run synth again"]
    return []
