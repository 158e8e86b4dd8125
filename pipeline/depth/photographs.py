"""Photographs whose fine detail is laid over rendered views, so that these look less rendered."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.files import InputError, sha256_file, sha256_text
from pipeline.images import SUFFIXES, read_rgb
from pipeline.images.resampling import shrunk
from pipeline.runtime.progress import Progress
from pipeline.sources.file_tree import FileTree


def list_photographs(folder: Path) -> list[Path]:
    """All pictures below a folder, in the order of their names.

    Raises:
        InputError: there is none, or the folder cannot be read.
    """
    tree = FileTree(folder)
    found = sorted(name for name in tree.files("") if name.lower().endswith(SUFFIXES))
    for name in found:
        tree.check_file(name)
    if not found:
        raise InputError(f"{folder}: no photographs; give a folder with some, below it or in it")
    return [folder / name for name in found]


def photographs_digest(folder: Path) -> str:
    """SHA-256 of the contents of all of them, wherever they lie and whatever they are called."""
    return sha256_text("".join(sha256_file(path) for path in list_photographs(folder)))


def read_photographs(folder: Path, longest_px: int) -> list[np.ndarray]:
    """Read all, shrunk to a longest side, (H, W, 3) uint8 each.

    Raises:
        InputError: one cannot be read, or there is none.
    """
    pictures, paths = [], list_photographs(folder)
    with Progress("read photographs", total=len(paths), unit="photograph") as progress:
        for path in paths:
            pictures.append(shrunk(read_rgb(path), longest_px))
            progress.advance()
    return pictures
