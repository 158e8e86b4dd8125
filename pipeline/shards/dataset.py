"""The interface between the stages: a joint dataset is a folder of shards and one index.

``shard-00000-of-00064.h5 ...`` are immutable (:mod:`pipeline.shards.file`); ``index.json`` is written last
and holds the size and SHA-256 of every file and a digest of every array. Only a finished dataset can be read.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.files import InputError, canonical_json, check_folder, read_json, sha256_file, sha256_text
from pipeline.shards.file import Shard, array_digest, open_shard
from pipeline.shards.schema import FORMAT, FORMAT_VERSION, INDEX_NAME

#: Shards that are read at a time.
MAX_READERS = 8
#: The counts of an index: the first is the sum of the others.
_ACCOUNT = ("seen", "written", "skipped", "failed")


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
    check_folder(folder, "dataset")
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
            check_entry(entry)
    except (KeyError, TypeError, ValueError) as error:
        raise damaged_index(folder, error) from None
    return index


def check_entry(entry: Mapping[str, Any]) -> None:
    """Check the types of a shard's entry in the index.

    Raises:
        KeyError, TypeError, ValueError: it lacks something, or has what no entry has.
    """
    if not re.fullmatch(r"shard-\d{5,9}-of-\d{5,9}\.h5", entry["name"], re.ASCII):
        raise ValueError(f"{entry['name']!r} is no name of a shard")
    if not all(type(entry[key]) is int and entry[key] >= 0 for key in ("samples", "bytes")):
        raise TypeError("samples and bytes are numbers")
    if not isinstance(entry["arrays"], dict):
        raise TypeError("arrays is a table")
    if not all(isinstance(text, str) for text in (entry["sha256"], *entry["arrays"].values())):
        raise TypeError("sha256 and those of the arrays are texts")


def damaged_index(folder: Path | str, error: Exception) -> InputError:
    """The one line for an index that lacks something, and for what reading it raised."""
    return InputError(f"{Path(folder) / INDEX_NAME}: damaged index ({error!r}); run synth again")


def dataset_digest(shards: Sequence[Mapping[str, Any]]) -> str:
    """One digest of all arrays of a dataset, independent of how its files happen to be encoded."""
    return sha256_text(canonical_json([entry["arrays"] for entry in shards]))


@contextmanager
def open_listed(folder: Path | str, entry: Mapping[str, Any]) -> Iterator[Shard]:
    """Open a shard of a dataset by its entry in the index.

    Raises:
        InputError: it is missing or damaged, or holds another number of samples than the index says.
    """
    with open_shard(Path(folder) / entry["name"]) as shard:
        if shard.num_samples != (told := entry["samples"]):
            raise InputError(
                f"{shard.path}: {shard.num_samples} samples, the index says {told}; run synth again"
            )
        yield shard


def load_arrays(folder: Path | str, fields: Sequence[str]) -> dict[str, np.ndarray]:
    """Read the given fields of all samples of a finished dataset, verified against the index.

    Returns:
        The arrays by field, first axis = all samples in order.

    Raises:
        InputError: an unfinished, damaged or empty dataset, or one without such a field.
    """
    parts = list(each_shard(folder, read_index(folder), fields))
    return {name: np.concatenate([part[name] for part in parts]) for name in fields}


def each_shard(
    folder: Path | str,
    index: Mapping[str, Any],
    fields: Sequence[str],
    *,
    keep: Callable[[np.ndarray], np.ndarray] = lambda array: array,
) -> Iterator[dict[str, np.ndarray]]:
    """The given fields of one shard after the other, verified against the index; as many as there are
    readers, ``MAX_READERS`` at most, are read ahead.

    Args:
        index: of the folder, :func:`read_index`.
        keep: what is kept of each array once it is verified; called by several threads.

    Raises:
        InputError: a damaged or empty dataset, or one without such a field.
    """
    entries = index["shards"]
    if not sum(entry["samples"] for entry in entries):
        raise InputError(f"{folder}: the dataset holds no samples")

    def read(entry: Mapping[str, Any]) -> dict[str, np.ndarray]:
        kept = {}
        with open_listed(folder, entry) as shard:
            for name in fields:
                array = shard.read(name)
                if array_digest(array) != entry["arrays"].get(name):
                    raise InputError(f"{shard.path}: {name} is not what the index says; run inspect --verify")
                kept[name] = keep(array)
        return kept

    # HDF5 reads one thing at a time, but what takes longest, digests and what is kept, needs no lock.
    readers = min(MAX_READERS, os.cpu_count() or 1)
    with ThreadPoolExecutor(readers) as pool:
        ahead: deque[Future[dict[str, np.ndarray]]] = deque()
        try:
            for entry in entries:
                ahead.append(pool.submit(read, entry))
                if len(ahead) > readers:  # no more: memory holds what is read
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def verify(folder: Path | str) -> list[str]:
    """Compare every byte of a dataset with its index, and it with itself; a line for each problem.

    Raises:
        InputError: there is no index of this format.
    """
    folder = Path(folder)
    index = read_index(folder)
    shards = index["shards"]
    problems = [f"{folder / INDEX_NAME}: {problem}; run synth again" for problem in _contradictions(index)]
    for number, entry in enumerate(shards):
        path = folder / entry["name"]
        told = {"plan_digest": index.get("plan_digest"), "config": index.get("config")}
        try:
            problems += _verify_shard(path, entry, {**told, "shard": number, "num_shards": len(shards)})
        except InputError as error:
            problems.append(str(error))
    strangers = {path.name for path in folder.glob("shard-*.h5")} - {entry["name"] for entry in shards}
    return [*problems, *(f"{folder / name}: not in the index; delete it" for name in sorted(strangers))]


def _contradictions(index: Mapping[str, Any]) -> Iterator[str]:
    """What an index says of itself that cannot be."""
    held = sum(entry["samples"] for entry in index["shards"])
    if index.get("num_samples") != held:
        yield f"says {index.get('num_samples')} samples, but {held} in its list of shards"
    if index.get("digest") != dataset_digest(index["shards"]):
        yield "its digest is not that of its list of shards"
    account = {name: index.get(name) for name in _ACCOUNT}
    counts = [count for count in account.values() if isinstance(count, int)]
    if len(counts) < len(account) or counts[0] != sum(counts[1:]):
        yield f"{', '.join(f'{name} {count}' for name, count in account.items())}: does not add up"
    if account["written"] != index.get("num_samples"):
        yield f"says {account['written']} samples written, but {index.get('num_samples')} held"
    failures = index.get("failures")
    if not isinstance(failures, list) or account["failed"] != len(failures):
        yield f"says {account['failed']} samples failed, but lists another number"
    config = index.get("config")
    if not isinstance(config, dict) or index.get("source") != config.get("source"):
        yield "its source is not that of its config"


def _verify_shard(path: Path, entry: Mapping[str, Any], told: Mapping[str, Any]) -> list[str]:
    """The problems of one shard, against its entry and the attributes that the index tells of it."""
    if not path.is_file():
        return [f"{path}: missing; run synth again"]
    if path.stat().st_size != entry["bytes"]:
        return [
            f"{path}: {path.stat().st_size} bytes, the index says {entry['bytes']}; delete it and run synth"
        ]
    # First of all: nothing of a file that was tampered with is read.
    if sha256_file(path) != entry["sha256"]:
        return [f"{path}: bytes differ from the index; delete it and run synth again"]
    with open_listed(path.parent, entry) as shard:
        if others := [name for name in told if shard.attributes[name] != told[name]]:
            return [f"{path}: its {', '.join(others)} not as the index says; run synth again"]
        digests = {name: array_digest(shard.read(name)) for name in shard.fields}
    names = sorted(digests.keys() | entry["arrays"].keys())
    wrong = [name for name in names if digests.get(name) != entry["arrays"].get(name)]
    if wrong:
        return [f"{path}: {', '.join(wrong)} differ from the index; delete it and run synth again"]
    return []
