"""Shards that were made to mislead: no other file is read, and nothing allocated of what they declare."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from random_shards import TILE

from pipeline.files import InputError, write_json
from pipeline.shards.dataset import INDEX_NAME, read_index, shard_name
from pipeline.shards.file import open_shard
from pipeline.shards.schema import FIELDS


def _external_link(file: h5py.File, secret: Path) -> None:
    del file["visible"]
    file["visible"] = h5py.ExternalLink(str(secret), "/visible")


def _soft_link(file: h5py.File, secret: Path) -> None:
    del file["visible_over"]
    file["visible_over"] = h5py.SoftLink("/visible")


def _external_storage(file: h5py.File, secret: Path) -> None:
    shape = file["infrared"].shape
    del file["infrared"]
    size = int(np.prod(shape))
    file.create_dataset("infrared", shape, "u1", external=[(str(secret), 0, size)])


def _virtual(file: h5py.File, secret: Path) -> None:
    shape = file["infrared"].shape
    del file["infrared"]
    layout = h5py.VirtualLayout(shape, "u1")
    layout[:] = h5py.VirtualSource(str(secret), "infrared", shape)
    file.create_virtual_dataset("infrared", layout)


def _wrong_type(file: h5py.File, secret: Path) -> None:
    values = file["visible"][:].astype("f4")
    del file["visible"]
    file.create_dataset("visible", data=values, chunks=(1, *values.shape[1:]), fletcher32=True)


def _huge_declaration(file: h5py.File, secret: Path) -> None:
    file.attrs["num_samples"] = 1 << 40
    for name in FIELDS:
        spec = file[name]
        shape, dtype, chunks = (1 << 40, *spec.shape[1:]), spec.dtype, spec.chunks
        del file[name]
        file.create_dataset(name, shape, dtype, chunks=chunks, fletcher32=True)


def _declaration_with_part_of_the_content(file: h5py.File, secret: Path) -> None:
    spec = file["visible"]
    shape, dtype, chunks = spec.shape, spec.dtype, spec.chunks
    del file["visible"]
    file.create_dataset("visible", shape, dtype, chunks=chunks, fletcher32=True)[0] = 1


def _large_chunks(file: h5py.File, secret: Path) -> None:
    values = file["infrared"][:]
    del file["infrared"]
    file.create_dataset(
        "infrared", data=values, chunks=(1 << 10, TILE, TILE), maxshape=(None, TILE, TILE), fletcher32=True
    )


def _a_chunk_that_inflates(file: h5py.File, secret: Path) -> None:
    shape = file["infrared"].shape
    del file["infrared"]
    planes = file.create_dataset(
        "infrared", shape, "u1", chunks=(1, TILE, TILE), fletcher32=True, compression="gzip"
    )
    planes.id.write_direct_chunk((0, 0, 0), zlib.compress(np.random.default_rng(0).bytes(1 << 19)), 0b10)


def _no_pixels(file: h5py.File, secret: Path) -> None:
    for name in FIELDS:
        spec = file[name]
        if spec.ndim > 1:
            shape, dtype, chunks = (len(spec), 0, 0, *spec.shape[3:]), spec.dtype, spec.chunks
            del file[name]
            file.create_dataset(
                name, shape, dtype, chunks=chunks, maxshape=(None,) * len(shape), fletcher32=True
            )


def _config_that_is_no_table(file: h5py.File, secret: Path) -> None:
    file.attrs["config"] = np.array(b"[1, 2]", h5py.string_dtype("utf-8", 6))


def _unknown_field(file: h5py.File, secret: Path) -> None:
    file["extra"] = 1


def _no_checksum(file: h5py.File, secret: Path) -> None:
    values = file["visible_under"][:]
    del file["visible_under"]
    file.create_dataset("visible_under", data=values, chunks=(1, *values.shape[1:]))


def _unknown_compression(file: h5py.File, secret: Path) -> None:
    values = file["visible_under"][:]
    del file["visible_under"]
    file.create_dataset("visible_under", data=values, compression="lzf", fletcher32=True)


def _another_format(file: h5py.File, secret: Path) -> None:
    file.attrs["format"] = np.array(b"keras", h5py.string_dtype("utf-8", 5))


def _no_format(file: h5py.File, secret: Path) -> None:
    del file.attrs["format"]


@pytest.mark.parametrize(
    ("attack", "says"),
    [
        (_external_link, "visible is a link, which a shard may not hold"),
        (_soft_link, "visible_over is a link, which a shard may not hold"),
        (_external_storage, "infrared is not stored in the file itself"),
        (_virtual, "infrared is not stored in the file itself"),
        (_wrong_type, "visible is float32, not u1"),
        (_huge_declaration, f"infrared declares {TILE**2 << 40} bytes, of which it holds too few"),
        (_declaration_with_part_of_the_content, r"visible declares \d+ bytes, of which it holds too few"),
        (_large_chunks, "infrared has larger chunks than a shard has; make it again"),
        (_a_chunk_that_inflates, "infrared has larger chunks than a shard has; make it again"),
        (_no_pixels, "its tiles have no pixels; make it again"),
        (_config_that_is_no_table, "attribute config is not a JSON object"),
        (_unknown_field, r"fields \['extra'\] are missing or unknown"),
        (_no_checksum, "visible_under has no checksum or an unknown compression"),
        (_unknown_compression, "visible_under has no checksum or an unknown compression"),
        (_another_format, "an HDF5 file, but not a .* shard"),
        (_no_format, "an HDF5 file, but not a .* shard"),
    ],
)
def test_hostile_shards_are_refused(
    random_dataset: Path, tmp_path: Path, attack: Callable[[h5py.File, Path], None], says: str
) -> None:
    path = tmp_path / "shard.h5"
    shutil.copy(random_dataset / shard_name(0, 2), path)
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    with h5py.File(path, "r+") as file:
        attack(file, secret)
    with pytest.raises(InputError, match=f"^{path}: {says}$"), open_shard(path):
        pass


@pytest.mark.parametrize("name", ["../elsewhere.h5", "\ud800.h5", "a\0b", "x" * 300, ""])
def test_an_index_names_nothing_but_shards(random_dataset: Path, tmp_path: Path, name: str) -> None:
    index = read_index(random_dataset)
    index["shards"][0]["name"] = name
    write_json(tmp_path / INDEX_NAME, index)
    with pytest.raises(InputError, match=r"is no name of a shard.*; run synth again$"):
        read_index(tmp_path)
