"""The pairs that the fusing benchmark fuses: LLVIP frames where they are present, else sample scenes."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from pipeline.images import read_grey, to_uint8, write_image
from pipeline.scenes import render_scene

SHARED = Path(os.environ.get("GIFNET_SHARED", Path(__file__).resolve().parents[3] / "shared"))
#: Of LLVIP, the first so many are used.
_FRAMES = 32


def write_pairs(folder: Path, pairs: int, size_hw: tuple[int, int], *, tile: bool = False) -> None:
    """Aligned pairs as folder/a (infrared) and folder/b (visible, grey), of one size.

    Args:
        tile: repeat pictures up to that size instead of scaling them.
    """
    for index in range(pairs):
        for side, image in zip("ab", _frame(index), strict=True):
            if tile:
                tiles = [-(-wanted // have) for wanted, have in zip(size_hw, image.shape, strict=True)]
                image = np.tile(image, tiles)[: size_hw[0], : size_hw[1]]
            elif image.shape != size_hw:
                image = cv2.resize(image, size_hw[::-1], interpolation=cv2.INTER_AREA)
            write_image(folder / side / f"{index}.png", image)


def _frame(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Infrared and grey visible frame."""
    llvip = SHARED / "data/llvip"
    if llvip.is_dir():
        path = sorted((llvip / "infrared/train").iterdir())[index % _FRAMES]
        return read_grey(path), read_grey(llvip / "visible/train" / path.name)
    scene = render_scene(seed=0, index=index, size_hw=(480, 640))
    return scene.infrared, to_uint8(scene.visible.mean(axis=2) / 255)
