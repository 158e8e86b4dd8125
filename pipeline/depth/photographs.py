"""Real frames for the training of the depth network: infrared/visible pairs whose people are warm.

Nobody measured their depth. The people are cut out, to be pasted into rendered scenes; and once the network
has learned from those, it labels the frames themselves: its own depth, but each person as near as the ground
under their feet. Labels of people from a segmentation, without depth: Li and Snavely, "MegaDepth", CVPR 2018,
Section 3.3; a network's own labels: Lee, "Pseudo-label", ICML workshops 2013.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.depth.cutouts import CutOut, cut_out, find_standing
from pipeline.files import InputError
from pipeline.images import read_grey, read_rgb
from pipeline.manifest import list_samples, load_manifest

#: Frames are kept about this high.
STORED_PX = 384


@dataclass(frozen=True, eq=False)
class Photographs:
    """Frames and who stands in them."""

    frames: list[np.ndarray]  # (h, w, 3) uint8
    standing: list[np.ndarray]  # (h, w) uint8: 0 nothing, 1, 2, ... which of the people and groups of them
    cutouts: list[CutOut]

    @property
    def digest(self) -> str:
        """SHA-256 of all of it."""
        digest = hashlib.sha256()
        cutouts = [array for cutout in self.cutouts for array in (cutout.visible, cutout.opacity)]
        for array in (*self.frames, *self.standing, *cutouts):
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        return digest.hexdigest()


def read_photographs(manifest: Path | str, root: Path | str | None, split: str | None) -> Photographs:
    """Read all infrared/visible pairs of a manifest, in the order of their ids.

    Raises:
        InputError: unusable manifest or data, a pair of two sizes, or not one person in all of it.
    """
    listing = list_samples(load_manifest(manifest), root=root, split=split).require_complete()
    frames, standing, cutouts = [], [], []
    for sample in listing.samples:
        visible, infrared = read_rgb(sample.paths["visible"]), read_grey(sample.paths["infrared"])
        if visible.shape[:2] != infrared.shape:
            raise InputError(f"{sample.paths['infrared']}: not of the size of its visible frame")
        cutouts += cut_out(visible, infrared)
        which = np.zeros(infrared.shape, np.uint8)
        for number, (box, mask) in enumerate(find_standing(infrared)[:255], 1):
            which[box][mask] = number
        height, width = infrared.shape
        size = (max(1, round(width * STORED_PX / height)), STORED_PX)
        frames.append(cv2.resize(visible, size, interpolation=cv2.INTER_AREA))
        standing.append(cv2.resize(which, size, interpolation=cv2.INTER_NEAREST))
    if not cutouts:
        raise InputError(f"{manifest}: no person in the infrared frames; give pairs such as LLVIP's")
    return Photographs(frames, standing, cutouts)


def labelled(
    photographs: Photographs, log_inverse_depth: Callable[[np.ndarray], np.ndarray]
) -> list[np.ndarray]:
    """Inverse depth in (0, 1] of every frame, float16 like those of rendered scenes.

    Args:
        log_inverse_depth: of a frame (h, w, 3) uint8, at any size, float32.
    """
    labels = []
    for frame, which in zip(photographs.frames, photographs.standing, strict=True):
        height, width = which.shape
        depth = cv2.resize(log_inverse_depth(frame), (width, height), interpolation=cv2.INTER_LINEAR)
        feet = {number: _at_the_feet(depth, which == number) for number in range(1, int(which.max()) + 1)}
        for number, value in feet.items():
            depth[which == number] = value
        labels.append(np.exp(depth - depth.max()).astype(np.float16))
    return labels


def _at_the_feet(depth: np.ndarray, mask: np.ndarray) -> float:
    """Median over the lowest twentieth of a mask."""
    if not mask.any():  # lost when the frame was shrunk
        return 0.0
    rows = np.flatnonzero(mask.any(axis=1))
    lowest = mask.copy()
    lowest[: rows[-1] - (rows[-1] - rows[0]) // 20] = False
    return float(np.median(depth[lowest]))
