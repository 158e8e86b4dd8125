"""Inverse-depth maps that exist already, read from a folder."""

from __future__ import annotations

import os
import unicodedata
import zlib
from collections.abc import Sequence
from itertools import product
from pathlib import Path, PurePath
from tokenize import TokenError

import h5py
import numpy as np

from pipeline.depth.maps import SATURATED_PERCENT, unit_range
from pipeline.files import InputError, check_folder, first_line
from pipeline.images import MAX_PIXELS, read_image, size_text
from pipeline.images.resampling import nearest_known
from pipeline.runtime.hdf5 import reads_more_than_it_holds

#: Endings that are looked for, also in capitals.
SUFFIXES = (".png", ".npy", ".h5")
#: What NumPy's reading the header of an NPY file as an expression of Python may raise.
_EXPRESSION_ERRORS = (SyntaxError, TokenError, RecursionError, MemoryError)


class FileDepth:
    """Maps ``FOLDER/ID.png``, ``.npy`` or ``.h5``, of exactly their frame's size; an id may hold subfolders.

    PNG (8 or 16 bit) and NPY (integer or floating point) hold *inverse* depth, larger = nearer, in any unit,
    scaled here by their extremes to [0, 1]. HDF5 holds *depth* in a dataset ``depth`` as MegaDepth publishes
    it: it is inverted, and 0 (no depth known) takes the value of the nearest pixel that has one.
    """

    digest = ""

    def __init__(self, folder: Path) -> None:
        self.folder = check_folder(folder, "depth folder")

    def path_of(self, id_: str) -> Path | None:
        """The map of a frame; None where there is none, or no single one, as :meth:`estimate` will say."""
        try:
            return self._find(id_)
        except InputError:
            return None

    def estimate(
        self, frames: Sequence[np.ndarray], ids: Sequence[str], infrared: Sequence[np.ndarray] | None = None
    ) -> list[np.ndarray]:
        """Read the map of each frame; see :class:`pipeline.depth.DepthEstimator`."""
        return [self._read(frame, id_) for frame, id_ in zip(frames, ids, strict=True)]

    def _read(self, frame: np.ndarray, id_: str) -> np.ndarray:
        path = self._find(id_)
        values = {".png": read_image, ".npy": _read_npy, ".h5": _read_depth}[path.suffix.lower()](path)
        if values.ndim != 2:
            raise InputError(
                f"{path}: {values.ndim} dimensions or colour; a depth map has one value per pixel"
            )
        if values.shape != frame.shape[:2]:
            found, wanted = size_text(values), size_text(frame)
            raise InputError(f"{path}: the map is {found}, its frame {wanted}; give maps of the frame's size")
        if path.suffix.lower() == ".h5":
            return _invert(values, path)
        if not np.isfinite(values).all():
            raise InputError(f"{path}: holds NaN or infinite values; fill them first")
        return unit_range(values)

    def _find(self, id_: str) -> Path:
        # By the id alone: links in the folder are the user's own, and may lead to another disk.
        if PurePath(id_).anchor or ".." in PurePath(id_).parts:
            raise InputError(f"{self.folder}: the id {id_} leaves the depth folder")
        found: list[Path] = []
        spellings = dict.fromkeys(
            (id_, unicodedata.normalize("NFD", id_))
        )  # ids are NFC, names may be either
        for spelling, suffix in product(spellings, (*SUFFIXES, *map(str.upper, SUFFIXES))):
            path = self.folder / f"{spelling}{suffix}"
            # False of a spelling that is too long. Where a file system ignores case, both are one file.
            if os.path.isfile(path) and not any(path.samefile(other) for other in found):
                found.append(path)
        if not found:
            raise InputError(f"{self.folder / id_}{{{','.join(SUFFIXES)}}}: no depth map for {id_}")
        if len(found) > 1:
            raise InputError(f"{found[0]}: there is also {found[1].name}; keep one depth map for each id")
        return found[0]


def _read_npy(path: Path) -> np.ndarray:
    try:
        with open(path, "rb") as file:
            head = file.read(12)
        length = int.from_bytes(head[8 : 10 if head[6:7] == b"\1" else 12], "little")
        if length > path.stat().st_size:  # NumPy would allocate it
            raise ValueError("its header is cut")
        # Mapped, so that a header which declares a huge array allocates nothing; and no archive of arrays.
        values = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError, TypeError, EOFError, OverflowError, *_EXPRESSION_ERRORS) as error:
        raise InputError(f"{path}: not a readable NPY array ({first_line(error)})") from None
    if values.dtype.kind not in "uif" or values.size > MAX_PIXELS:
        raise InputError(f"{path}: {values.dtype} {values.shape} is not a map of real numbers")
    return np.asarray(values)


def _read_depth(path: Path) -> np.ndarray:
    try:
        with h5py.File(path, "r", locking=False) as file:
            # Neither links to other files nor external storage: the map must lie in this file.
            link = file.get("depth", getlink=True)
            dataset = file["depth"] if isinstance(link, h5py.HardLink) else None
            if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
                raise InputError(f"{path}: has no dataset 'depth' of its own")
            if dataset.ndim != 2 or dataset.size > MAX_PIXELS or dataset.dtype.kind not in "uif":
                raise InputError(
                    f"{path}: dataset 'depth' {dataset.dtype} {dataset.shape} is not a depth map"
                )
            if reads_more_than_it_holds(dataset):
                raise InputError(f"{path}: its chunks are far larger than the map; write it again")
            return dataset[:]
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, zlib.error) as error:
        raise InputError(f"{path}: not readable as HDF5 ({first_line(error)})") from None


def _invert(depth: np.ndarray, path: Path) -> np.ndarray:
    with np.errstate(over="ignore"):  # beyond float32 is infinite
        depth = depth.astype(np.float32)
    if not np.isfinite(depth).all() or depth.min() < 0:
        raise InputError(f"{path}: holds NaN, infinite or negative depths (ordinal maps are no depth maps)")
    known = depth > 0
    if not known.any():
        raise InputError(f"{path}: holds no depth at all (only zeros)")
    inverse = 1 / np.maximum(depth, np.finfo(np.float32).tiny)  # nearer than that it would be infinite
    return unit_range(nearest_known(inverse, known)[0], saturated_percent=SATURATED_PERCENT)
