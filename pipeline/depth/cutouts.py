"""Photographed people in rendered scenes: cut out of infrared/visible pairs, put on the rendered ground.

Rendered scenes have exact depth but only rendered people. In aligned night pairs people are told from their
surroundings by their warmth; pasted at the depth of the ground under their feet, they keep a known depth.
Pasting: Dwibedi, Misra and Hebert, "Cut, paste and learn", ICCV 2017.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.files import InputError
from pipeline.images import luminance, read_grey, read_rgb
from pipeline.manifest import list_samples, load_manifest

#: Warm: above this grey level in the infrared, and by ``WARMER`` above the median of what is around.
WARM, WARMER = 110, 50
#: Of a person: pixels from head to foot, height over width, share of the box around it.
HEIGHT_PX, SLENDERNESS, FILL = (80, 500), (1.5, 4.5), (0.35, 0.85)
#: Cut-outs are kept at most this high: larger than they appear in training.
STORED_PX = 240
#: Heights of people over that of the camera.
PERSON_TO_CAMERA = (0.2, 1.1)
#: Pixels above and below a point of ground, and beside it, that must be ground too.
REACH = 4
#: Tries to find ground in one scene.
TRIES = 12


@dataclass(frozen=True, eq=False)
class CutOut:
    """One person, upright, feet at the last row."""

    visible: np.ndarray  # (h, w, 3) uint8
    opacity: np.ndarray  # (h, w) float32 in [0, 1]


def read_cutouts(manifest: Path | str, root: Path | str | None, split: str | None) -> list[CutOut]:
    """Cut the warm people out of all pairs of a manifest, in the order of their ids.

    Raises:
        InputError: unusable manifest or data, a pair of two sizes, or not one person in all of it.
    """
    listing = list_samples(load_manifest(manifest), root=root, split=split).require_complete()
    found: list[CutOut] = []
    for sample in listing.samples:
        visible, infrared = read_rgb(sample.paths["visible"]), read_grey(sample.paths["infrared"])
        if visible.shape[:2] != infrared.shape:
            raise InputError(f"{sample.paths['infrared']}: not of the size of its visible frame")
        found += cut_out(visible, infrared)
    if not found:
        raise InputError(f"{manifest}: no person in the infrared frames; give pairs such as LLVIP's")
    return found


def cut_out(visible: np.ndarray, infrared: np.ndarray) -> list[CutOut]:
    """The people who stand free in an aligned pair, (H, W, 3) and (H, W) uint8, by row."""
    smooth = cv2.GaussianBlur(infrared, (0, 0), 1.5)
    warm = cv2.morphologyEx((smooth > WARM).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    whole = cv2.morphologyEx(warm, cv2.MORPH_CLOSE, np.ones((15, 9), np.uint8))
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(whole)
    rows, columns = infrared.shape
    found = []
    for label, (left, top, width, height, area) in zip(range(1, count), boxes[1:], strict=True):
        inside = left > 0 and top > 0 and left + width < columns and top + height < rows
        if not (
            inside
            and HEIGHT_PX[0] <= height <= HEIGHT_PX[1]
            and SLENDERNESS[0] <= height / width <= SLENDERNESS[1]
            and FILL[0] <= area / (width * height) <= FILL[1]
        ):
            continue
        margin = 12
        window = (
            slice(max(0, top - margin), top + height + margin),
            slice(max(0, left - margin), left + width + margin),
        )
        person = (labels[window] == label).astype(np.uint8)
        around = cv2.dilate(person, np.ones((25, 25))) - cv2.dilate(person, np.ones((7, 7)))
        temperature = smooth[window]
        if np.median(temperature[person > 0]) - np.median(temperature[around > 0]) < WARMER:
            continue
        box = (slice(top, top + height), slice(left, left + width))
        opacity = cv2.GaussianBlur((labels[box] == label).astype(np.float32), (0, 0), 1.0)
        found.append(_stored(visible[box], opacity))
    return found


def digest_of(cutouts: Sequence[CutOut]) -> str:
    """SHA-256 of all of them, in order."""
    digest = hashlib.sha256()
    for cutout in cutouts:
        digest.update(
            repr(cutout.opacity.shape).encode() + cutout.visible.tobytes() + cutout.opacity.tobytes()
        )
    return digest.hexdigest()


def paste(
    visible: np.ndarray,
    inverse_depth: np.ndarray,
    cutouts: Sequence[CutOut],
    count: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Put up to ``count`` people on the ground of a scene; what is nearer hides them.

    How large they appear follows from the ground: on a plane, inverse depth over its slope down the rows is
    the distance to the horizon, and a person measures person / camera height of that.

    Args:
        visible: (H, W, 3) uint8.
        inverse_depth: (H, W) float, any scale.
        random: the stream of this picture.

    Returns:
        Both with the people in them, as uint8 and float32.
    """
    visible, depth = visible.copy(), inverse_depth.astype(np.float32)
    rows, columns = depth.shape
    ratio = np.exp(random.uniform(*np.log(PERSON_TO_CAMERA)))
    for _ in range(count):
        for _ in range(TRIES):
            foot = int(random.integers(rows // 4, rows - REACH))
            column = int(random.integers(REACH, columns - REACH))
            horizon = _to_horizon(depth, foot, column)
            if horizon is not None and 8 <= (height := round(ratio * horizon)) <= 1.5 * rows:
                cutout = cutouts[int(random.integers(len(cutouts)))]
                _place(visible, depth, cutout, (foot, column, height), random)
                break
    return visible, depth


def _stored(visible: np.ndarray, opacity: np.ndarray) -> CutOut:
    height, width = opacity.shape
    if height > STORED_PX:
        size = (max(1, round(width * STORED_PX / height)), STORED_PX)
        visible, opacity = (
            cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (visible, opacity)
        )
    return CutOut(np.ascontiguousarray(visible), opacity)


def _to_horizon(depth: np.ndarray, row: int, column: int) -> float | None:
    """Rows up to the horizon from a point of ground; None where there is no ground."""
    here = depth[row, column]
    slope = (depth[row + REACH, column] - depth[row - REACH, column]) / (2 * REACH)
    across = abs(depth[row, column + REACH] - depth[row, column - REACH]) / (2 * REACH)
    bend = abs(depth[row + REACH, column] + depth[row - REACH, column] - 2 * here)
    if here <= 0 or slope <= 0 or across > slope / 2 or bend > slope:
        return None
    return float(here / slope)


def _place(
    visible: np.ndarray,
    depth: np.ndarray,
    cutout: CutOut,
    where: tuple[int, int, int],
    random: np.random.Generator,
) -> None:
    """Paint a cut-out into both, with its feet at (row, column) and so many pixels high."""
    foot, column, height = where
    columns = depth.shape[1]
    width = max(1, round(cutout.opacity.shape[1] * height / cutout.opacity.shape[0]))
    person, opacity = (
        cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        for image in (cutout.visible.astype(np.float32), cutout.opacity)
    )
    if random.random() < 0.5:
        person, opacity = person[:, ::-1], opacity[:, ::-1]
    top, left = foot - height + 1, column - width // 2
    inside = (
        slice(max(0, -top), height),
        slice(max(0, -left), min(width, columns - left)),
    )
    person, opacity = person[inside], opacity[inside]
    there = (slice(max(0, top), foot + 1), slice(max(0, left), max(0, left) + opacity.shape[1]))
    here = depth[foot, column]
    opacity = np.where(depth[there] <= 1.02 * here, opacity, 0)
    # As bright as where they now stand, more or less: LLVIP's people are dark.
    brightness = [luminance(image / np.float32(255)).mean() + 0.02 for image in (visible[there], person)]
    gain = np.clip(brightness[0] / brightness[1] * np.exp(random.normal(-0.2, 0.6)), 0.5, 6.0)
    painted = visible[there] + opacity[..., None] * (person * gain - visible[there])
    visible[there] = np.clip(np.rint(painted), 0, 255)
    depth[there] = np.where(opacity > 0.5, here, depth[there])
