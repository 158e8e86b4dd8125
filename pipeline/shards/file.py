"""One shard, an HDF5 file of format 1: its writer, and a reader that trusts nothing.

A picture of one sample is one chunk, numbers and ids of all samples are one each. Chunks have Fletcher-32
checksums, and the file format (``v110``) checksums its own metadata, so that a flipped bit is an error and
never a wrong pixel.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline.files import (
    InputError,
    atomic_path,
    canonical_json,
    first_line,
    parse_json,
    sha256_file,
    sha256_text,
)
from pipeline.runtime.hdf5 import MAX_DEFLATE_RATIO, reads_more_than_it_holds
from pipeline.shards.schema import ATTRIBUTES, FIELDS, FORMAT, FORMAT_VERSION, expected_shape, fields_of

#: Refuse shards that declare more than this before anything is allocated.
MAX_SHARD_BYTES = 1 << 36


def write_shard(
    path: Path,
    samples: Sequence[Mapping[str, Any]],
    *,
    tile: int,
    attributes: Mapping[str, Any],
    compress: str = "none",
) -> dict[str, Any]:
    """Write one shard atomically, read it back, and return its entry for the index.

    Args:
        path: final file name; it appears only once the file is complete and verified.
        samples: one mapping per sample with a value for every field of :func:`fields_of` the config.
        tile: side T of the square tiles, in pixels.
        attributes: ``plan_digest``, ``config``, ``shard``, ``num_shards``, ``versions``.
        compress: ``none``, or ``gzip`` (level 4).

    Returns:
        ``name``, ``bytes``, ``sha256``, ``samples`` and ``arrays`` (a digest for each field).

    Raises:
        OSError: the file cannot be written, or is read back differently.
    """
    arrays = {name: _stack(name, samples, tile) for name in fields_of(attributes["config"])}
    with atomic_path(path) as temporary:
        # In memory first: HDF5 does not survive a full disk.
        with h5py.File(
            str(temporary), "w", libver=("v110", "v110"), driver="core", backing_store=False
        ) as file:
            _write_attributes(file, {**attributes, "num_samples": len(samples)})
            for name, array in arrays.items():
                _write_dataset(file, name, array, compress)
            file.flush()
            image = file.id.get_file_image()
        temporary.write_bytes(image)
        digests = {name: array_digest(array) for name, array in arrays.items()}
        with open_shard(temporary) as shard:
            for name in arrays:
                if array_digest(shard.read(name)) != digests[name]:
                    raise OSError(f"{path}: {name} read back differently from what was written")
        return {
            "name": path.name,
            "bytes": temporary.stat().st_size,
            "sha256": sha256_file(temporary),
            "samples": len(samples),
            "arrays": digests,
        }


class Shard:
    """An open shard whose structure has been checked against format 1; see :func:`open_shard`."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file, self.path = file, path
        self.attributes = _check_attributes(file, path)
        self.num_samples = int(self.attributes["num_samples"])
        self.fields = fields_of(self.attributes["config"])
        _check_datasets(file, self.fields, self.num_samples, path)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read samples ``start:stop`` of one field; text comes as an object array of str.

        Raises:
            InputError: the shard has no such field, or a checksum or the text is damaged.
        """
        if name not in self.fields:
            raise InputError(f"{self.path}: has no field {name}; it has {', '.join(self.fields)}")
        try:
            values = self._file[name][start:stop]
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path}: {name} is damaged ({first_line(error)}); make it again") from None
        if FIELDS[name].dtype == "str":
            try:
                return np.array([value.decode() for value in values], dtype=object)
            except UnicodeDecodeError:
                raise InputError(f"{self.path}: {name} is not UTF-8; make the shard again") from None
        return values


@contextmanager
def open_shard(path: Path | str) -> Iterator[Shard]:
    """Open one shard for reading, after its links, types, shapes and filters have been checked.

    Raises:
        InputError: not a shard of format 1, a newer format, or a damaged file.
    """
    path = Path(path)
    try:
        file = h5py.File(path, "r", locking=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such shard; run synth again") from None
    except OSError as error:
        raise InputError(f"{path}: not a readable HDF5 file ({first_line(error)}); make it again") from None
    with file:
        try:
            shard = Shard(file, path)
        except (KeyError, OSError, RuntimeError, TypeError, ValueError, zlib.error) as error:
            raise InputError(f"{path}: damaged shard ({first_line(error)}); make it again") from None
        yield shard


def array_digest(array: np.ndarray) -> str:
    """SHA-256 of an array's type, shape and little-endian values."""
    if array.dtype == object:
        return sha256_text(canonical_json(array.tolist()))
    plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    digest = hashlib.sha256(f"{plain.dtype.str}{plain.shape}".encode())
    digest.update(plain.data)
    return digest.hexdigest()


def _stack(name: str, samples: Sequence[Mapping[str, Any]], tile: int) -> np.ndarray:
    field = FIELDS[name]
    if field.dtype == "str":
        return np.array([str(sample[name]) for sample in samples], dtype=object)
    shape = expected_shape(field, len(samples), tile)
    array = np.empty(shape, np.dtype(f"<{field.dtype}"))
    for i, sample in enumerate(samples):
        array[i] = sample[name]
    return array


def _write_dataset(file: h5py.File, name: str, array: np.ndarray, compress: str) -> None:
    if FIELDS[name].dtype == "str":
        # Variable-length strings cannot carry Fletcher-32; bytes of one fixed length can.
        encoded = [value.encode() for value in array]
        width = max([1, *map(len, encoded)])
        array = np.array(encoded, dtype=h5py.string_dtype("utf-8", width))
    file.create_dataset(
        name,
        data=array,
        chunks=_chunks(array.shape),
        fletcher32=True,
        compression="gzip" if compress == "gzip" and array.ndim > 1 else None,
        maxshape=(None, *array.shape[1:]),  # else an empty shard could not be chunked
    )
    # Chunks get their places in the file when they leave the cache; without this, that is when another thread
    # lets the dataset go, and the same arrays make other files.
    file.flush()


def _chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    """One sample of planes, all samples of numbers and ids."""
    return (1, *shape[1:]) if len(shape) > 1 else (max(1, *shape),)


def _write_attributes(file: h5py.File, attributes: Mapping[str, Any]) -> None:
    values = {"format": FORMAT, "format_version": FORMAT_VERSION, **attributes}
    assert set(values) == set(ATTRIBUTES), values.keys()
    for name in ATTRIBUTES:
        value = values[name]
        if isinstance(value, Mapping):
            value = canonical_json(value)
        if isinstance(value, str):
            # Of fixed length: strings of variable length lie in a heap that has no checksum.
            value = np.array(value.encode(), h5py.string_dtype("utf-8", max(1, len(value.encode()))))
        file.attrs[name] = value


def _read_attribute(file: h5py.File, name: str, path: Path) -> Any:
    kind = h5py.h5a.open(file.id, name.encode()).get_type()
    if not (isinstance(kind, h5py.h5t.TypeIntegerID | h5py.h5t.TypeStringID)) or (
        isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str()
    ):
        raise InputError(f"{path}: attribute {name} is not of a type that a shard has")
    value = file.attrs[name]
    return value.decode() if isinstance(value, bytes) else int(value)


def _check_attributes(file: h5py.File, path: Path) -> dict[str, Any]:
    if "format" not in file.attrs or _read_attribute(file, "format", path) != FORMAT:
        raise InputError(f"{path}: an HDF5 file, but not a {FORMAT} shard")
    version = _read_attribute(file, "format_version", path)
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: shard format {version}, but this version reads {FORMAT_VERSION}; update gifnet"
        )
    values = {name: _read_attribute(file, name, path) for name in ATTRIBUTES}
    for name in ("config", "versions"):
        values[name] = parse_json(values[name])
        if not isinstance(values[name], dict):
            raise InputError(f"{path}: attribute {name} is not a JSON object")
    return values


def _check_datasets(file: h5py.File, fields: Sequence[str], num_samples: int, path: Path) -> None:
    """Check names, links, storage, filters, types and shapes."""
    if set(file) != set(fields):
        raise InputError(f"{path}: fields {sorted(set(file) ^ set(fields))} are missing or unknown")
    for name in fields:
        # External links, external storage and virtual datasets can read other files of the user.
        if not isinstance(file.get(name, getlink=True), h5py.HardLink):
            raise InputError(f"{path}: {name} is a link, which a shard may not hold")
        dataset = file[name]
        if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
            raise InputError(f"{path}: {name} is not stored in the file itself")
        if dataset.compression not in (None, "gzip") or not dataset.fletcher32:
            raise InputError(f"{path}: {name} has no checksum or an unknown compression")
    tile = int(file["infrared"].shape[-1])
    if tile < 1:
        raise InputError(f"{path}: its tiles have no pixels; make it again")
    total = 0
    for name in fields:
        field, dataset = FIELDS[name], file[name]
        is_text = field.dtype == "str" and dataset.dtype.kind == "S"
        if not is_text and dataset.dtype != np.dtype(f"<{field.dtype}" if field.dtype != "str" else "S1"):
            raise InputError(f"{path}: {name} is {dataset.dtype}, not {field.dtype}")
        if dataset.shape != expected_shape(field, num_samples, tile):
            raise InputError(f"{path}: {name} has shape {dataset.shape} for {num_samples} samples of {tile}")
        if dataset.chunks != _chunks(dataset.shape) or reads_more_than_it_holds(dataset):
            raise InputError(f"{path}: {name} has larger chunks than a shard has; make it again")
        declared = dataset.size * dataset.dtype.itemsize
        packed = MAX_DEFLATE_RATIO if dataset.compression else 1
        if declared > packed * dataset.id.get_storage_size():
            raise InputError(f"{path}: {name} declares {declared} bytes, of which it holds too few")
        total += declared
    if total > MAX_SHARD_BYTES:
        raise InputError(f"{path}: declares {total} bytes, over the limit of {MAX_SHARD_BYTES}")
