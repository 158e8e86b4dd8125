"""Depth maps that the user already has."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import unicodedata
import zlib
from pathlib import Path
from typing import Literal

import h5py
import numpy as np
import pytest
import torch
from depth_frames import depth_of, smooth_frame

from pipeline.depth import load_depth_estimator
from pipeline.depth.maps import FLAT_VALUE, unit_range
from pipeline.files import InputError
from pipeline.images import write_image

CPU = torch.device("cpu")


def _write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["depth"] = values
    elif path.suffix == ".npy":
        np.save(path, values)
    else:
        write_image(path, values)


@pytest.mark.parametrize(
    ("suffix", "make"),
    [
        (".png", lambda unit: np.rint(unit * 255).astype(np.uint8)),
        (".png", lambda unit: np.rint(unit * 65535).astype(np.uint16)),
        (".npy", lambda unit: unit),
        (".npy", lambda unit: unit.astype(np.float64) * 30 - 7),
        (".npy", lambda unit: np.rint(unit * 255).astype(np.uint8)),
    ],
)
def test_inverse_depth_files_keep_their_relief(tmp_path: Path, suffix: str, make: object) -> None:
    unit = unit_range(np.random.default_rng(1).random((20, 30), np.float32))
    _write(tmp_path / f"train/010001{suffix}", make(unit))  # type: ignore[operator]
    result = depth_of(load_depth_estimator(f"files:{tmp_path}"), smooth_frame(20, 30), "train/010001")
    np.testing.assert_allclose(result, unit, atol=0.5 / 255)


def test_megadepth_depth_files_are_inverted_and_filled(tmp_path: Path) -> None:
    depth = np.full((40, 60), 20.0, np.float32)
    depth[:, 30:] = 2.0
    depth[10:14, 40:44] = 0  # no depth known, amid the near half
    depth[0, 59] = 0.01  # a single point does not make all else far
    _write(tmp_path / "a.h5", depth)
    estimator = load_depth_estimator(f"files:{tmp_path}")
    result = depth_of(estimator, smooth_frame(40, 60))
    assert (result[:, :30] == 0).all() and (result[:, 30:] == 1).all()
    assert estimator.digest == ""


@pytest.mark.parametrize("suffix", [".png", ".npy", ".h5"])
def test_a_flat_file_gives_a_constant(tmp_path: Path, suffix: str) -> None:
    _write(tmp_path / f"a{suffix}", np.full((8, 9), 7, np.uint8))
    result = depth_of(load_depth_estimator(f"files:{tmp_path}"), smooth_frame(8, 9))
    assert (result == FLAT_VALUE).all()


def test_ids_with_dots_and_ids_that_leave_the_folder(tmp_path: Path) -> None:
    _write(tmp_path / "maps/frame.0001.png", np.eye(8, 9, dtype=np.uint8))
    _write(tmp_path / "secret.png", np.eye(8, 9, dtype=np.uint8))
    estimator = load_depth_estimator(f"files:{tmp_path / 'maps'}")
    assert depth_of(estimator, smooth_frame(8, 9), "frame.0001").max() == 1
    for id_ in ("../secret", "day/../../secret", str(tmp_path / "secret")):
        with pytest.raises(InputError, match="leaves the depth folder"):
            estimator.estimate([smooth_frame(8, 9)], [id_])


def test_a_linked_subfolder_is_followed(tmp_path: Path) -> None:
    """The folder is the user's own: its maps may lie on another disk."""
    _write(tmp_path / "elsewhere/a.png", np.eye(8, 9, dtype=np.uint8))
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps/day").symlink_to(tmp_path / "elsewhere")
    estimator = load_depth_estimator(f"files:{tmp_path / 'maps'}")
    assert depth_of(estimator, smooth_frame(8, 9), "day/a").max() == 1


def test_spellings_that_are_too_long_for_a_name_are_passed_over(tmp_path: Path) -> None:
    id_ = "é" * 90  # 180 bytes composed, 270 decomposed, and then the ending
    _write(tmp_path / f"{id_}.png", np.eye(8, 9, dtype=np.uint8))
    estimator = load_depth_estimator(f"files:{tmp_path}")
    assert estimator.path_of(id_) == tmp_path / f"{id_}.png"
    with pytest.raises(InputError, match="no depth map"):
        estimator.estimate([smooth_frame(8, 9)], ["x" * 300])


@pytest.mark.filterwarnings("error")
def test_depths_of_any_size_are_inverted_without_a_word(tmp_path: Path) -> None:
    depth = np.full((8, 9), 2.0)
    depth[:4], depth[0, 0] = 1e-44, 0  # the inverse of which is beyond float32
    _write(tmp_path / "a.h5", depth.astype(np.float32))
    result = depth_of(load_depth_estimator(f"files:{tmp_path}"), smooth_frame(8, 9))
    assert (result[:4] == 1).all() and (result[4:] == 0).all()
    _write(tmp_path / "a.h5", depth * 1e300)
    with pytest.raises(InputError, match="infinite"):
        load_depth_estimator(f"files:{tmp_path}").estimate([smooth_frame(8, 9)], ["a"])


@pytest.mark.parametrize(
    ("suffix", "values", "message"),
    [
        (".png", np.zeros((8, 10), np.uint8), r"a\.png: the map is 10x8, its frame 9x8"),
        (".png", np.zeros((8, 9, 3), np.uint8), r"a\.png: .*one value per pixel"),
        (".npy", np.full((8, 9), np.nan), r"a\.npy: holds NaN"),
        (".npy", np.full((8, 9), np.inf), r"a\.npy: holds NaN or inf"),
        (".npy", np.zeros((8, 9), complex), r"a\.npy: complex128"),
        (".npy", np.zeros((8, 9, 1)), r"a\.npy: 3 dimensions"),
        (".h5", np.zeros((8, 9)), r"a\.h5: holds no depth at all"),
        (".h5", np.full((8, 9), -1.0), r"a\.h5: .*negative"),
        (".h5", np.full((8, 9), np.nan), r"a\.h5: holds NaN"),
        (".h5", np.zeros((8, 10)), r"a\.h5: the map is 10x8"),
    ],
)
def test_unusable_maps_are_named(tmp_path: Path, suffix: str, values: np.ndarray, message: str) -> None:
    _write(tmp_path / f"a{suffix}", values)
    with pytest.raises(InputError, match=message):
        load_depth_estimator(f"files:{tmp_path}").estimate([smooth_frame(8, 9)], ["a"])


def _archive() -> bytes:
    content = io.BytesIO()
    np.savez(content, depth=np.zeros((8, 9)))
    return content.getvalue()


@pytest.mark.parametrize("suffix", [".png", ".npy", ".h5"])
@pytest.mark.parametrize("content", [b"", b"text, not a map", b"\x93NUMPY\x01\x00", _archive()])
def test_damaged_files_are_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    (tmp_path / f"a{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\{suffix}"):
        load_depth_estimator(f"files:{tmp_path}").estimate([smooth_frame(8, 9)], ["a"])


def test_suffixes_in_capitals_are_found(tmp_path: Path) -> None:
    estimator = load_depth_estimator(f"files:{tmp_path}")
    for suffix in (".png", ".npy", ".h5"):
        _write(tmp_path / f"a{suffix}", np.eye(8, 9).astype(np.uint8) + 1)
        (tmp_path / f"a{suffix}").rename(tmp_path / f"a{suffix.upper()}")
        assert np.ptp(depth_of(estimator, smooth_frame(8, 9))) == 1
        (tmp_path / f"a{suffix.upper()}").unlink()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_an_accent_may_be_a_character_of_its_own(tmp_path: Path, form: Literal["NFC", "NFD"]) -> None:
    _write(tmp_path / unicodedata.normalize(form, "café.npy"), np.full((20, 30), 3.0))
    estimator, id_ = load_depth_estimator(f"files:{tmp_path}"), unicodedata.normalize("NFC", "café")
    assert depth_of(estimator, smooth_frame(20, 30), id_).shape == (20, 30)


def test_missing_and_ambiguous_maps(tmp_path: Path) -> None:
    estimator = load_depth_estimator(f"files:{tmp_path}")
    with pytest.raises(InputError, match="no depth map for b"):
        estimator.estimate([smooth_frame(8, 9)], ["b"])
    for suffix in (".png", ".npy"):
        _write(tmp_path / f"b{suffix}", np.zeros((8, 9), np.uint8))
    with pytest.raises(InputError, match=r"b\.png: there is also b\.npy"):
        estimator.estimate([smooth_frame(8, 9)], ["b"])


def test_damaged_headers_are_named(tmp_path: Path) -> None:
    """Bytes changed at random: a map or one line, never another exception."""
    chance, path = random.Random(0), tmp_path / "a.npy"
    np.save(path, np.zeros((8, 9)))
    whole, estimator = path.read_bytes(), load_depth_estimator(f"files:{tmp_path}")
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        data[chance.randrange(128)] = chance.choice((*b"\"'([{,\n #", 0, 255, chance.randrange(256)))
        path.write_bytes(data)
        try:
            estimator.estimate([smooth_frame(8, 9)], ["a"])
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)
            refused += 1
    assert refused > 100


def test_numbers_of_a_type_that_nothing_here_has_are_named(tmp_path: Path) -> None:
    """A byte of a float's description changed: h5py raises a ValueError."""
    _write(tmp_path / "a.h5", np.ones((8, 9), np.float32))
    data = (tmp_path / "a.h5").read_bytes()
    description = struct.pack("<HHBBBBI", 0, 32, 23, 8, 0, 23, 127)
    assert data.count(description) == 1
    changed = data.replace(description, struct.pack("<HHBBBBI", 0, 32, 23, 8, 0, 23, 1 << 30))
    (tmp_path / "a.h5").write_bytes(changed)
    with pytest.raises(InputError, match=r"a\.h5: not readable as HDF5 \(.*\)$"):
        load_depth_estimator(f"files:{tmp_path}").estimate([smooth_frame(8, 9)], ["a"])


@pytest.mark.parametrize("shape", ["(9" + "0" * 30 + ", 9)", "(True, 9)"])
def test_headers_that_declare_no_possible_array_are_named(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + b"\x76\x00" + header.encode() + bytes(576))
    with pytest.raises(InputError, match=r"a\.npy: not a readable NPY array"):
        load_depth_estimator(f"files:{tmp_path}").estimate([smooth_frame(8, 9)], ["a"])


@pytest.mark.parametrize(
    "start", [b"\1\0\x28\x23" + b"1" + b"+1j" * 3000, b"\1\0\x28\x23" + b"-" * 9000, b"\2\0\0\0\0\xf0"]
)
def test_headers_that_exhaust_a_parser_or_the_memory_are_named(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY" + start.ljust(112))
    tracemalloc.start()
    with pytest.raises(InputError, match=r"a\.npy: not a readable NPY array"):
        load_depth_estimator(f"files:{tmp_path}").estimate([smooth_frame(8, 9)], ["a"])
    assert tracemalloc.get_traced_memory()[1] < 1 << 26
    tracemalloc.stop()


@pytest.mark.parametrize(("rows", "stored"), [(1 << 23, b""), (8, random.Random(0).randbytes(1 << 19))])
def test_chunks_far_larger_than_their_map_are_named(tmp_path: Path, rows: int, stored: bytes) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        depth = file.create_dataset(
            "depth", (8, 9), "f4", chunks=(rows, 9), maxshape=(None, 9), compression="gzip"
        )
        if stored:
            depth.id.write_direct_chunk((0, 0), zlib.compress(stored))
    with pytest.raises(InputError, match=r"a\.h5: its chunks are far larger than the map"):
        load_depth_estimator(f"files:{tmp_path}").estimate([smooth_frame(8, 9)], ["a"])


def test_maps_in_chunks_are_read(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("depth", data=np.eye(8, 9) + 1, chunks=(8, 4), compression="gzip", shuffle=True)
    assert np.ptp(depth_of(load_depth_estimator(f"files:{tmp_path}"), smooth_frame(8, 9))) == 1


def test_the_map_of_a_frame_has_a_path(tmp_path: Path) -> None:
    estimator = load_depth_estimator(f"files:{tmp_path}")
    assert estimator.path_of("day/a") is None
    _write(tmp_path / "day/a.png", np.eye(8, 9, dtype=np.uint8))
    assert estimator.path_of("day/a") == tmp_path / "day/a.png"
    _write(tmp_path / "day/a.npy", np.eye(8, 9))
    assert estimator.path_of("day/a") is None, "which of the two is not known"
    assert load_depth_estimator("default").path_of("day/a") is None


def test_no_pickles_and_no_other_files_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "pickled.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    _write(tmp_path / "target.h5", np.ones((8, 9)))
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        file["depth"] = h5py.ExternalLink("target.h5", "depth")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["disparity"] = np.ones((8, 9))
    estimator = load_depth_estimator(f"files:{tmp_path}")
    with pytest.raises(InputError, match=r"pickled\.npy"):
        estimator.estimate([smooth_frame(1, 1)], ["pickled"])
    for name in ("linked", "other"):
        with pytest.raises(InputError, match=f"{name}.h5: has no dataset 'depth'"):
            estimator.estimate([smooth_frame(8, 9)], [name])
