"""Photographed people in rendered scenes: cut out of infrared/visible pairs, put on the rendered ground.

Rendered scenes have exact depth but only rendered people. In aligned night pairs people are told from their
surroundings by their warmth; pasted at the depth of the ground under their feet, they keep a known depth.
Pasting: Dwibedi, Misra and Hebert, "Cut, paste and learn", ICCV 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.images import luminance

#: Warm: above this grey level in the infrared, and by ``WARMER`` above the median of what is around.
WARM, WARMER = 110, 50
#: Of what stands: pixels from top to bottom, and the least height over width.
HEIGHT_PX, LOWEST = (80, 500), 0.6
#: Of one person: height over width, and share of the box around.
SLENDERNESS, FILL = (1.5, 4.5), (0.35, 0.85)
#: Pixels around a thing that tell how warm the surroundings are.
MARGIN = 12
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


def find_standing(infrared: np.ndarray) -> list[tuple[tuple[slice, slice], np.ndarray]]:
    """Warm things that stand in an infrared frame, (H, W) uint8: where, and their masks there, bool.

    People, groups of them, riders; what the lower border cuts off does not count.
    """
    smooth = cv2.GaussianBlur(infrared, (0, 0), 1.5)
    warm = cv2.morphologyEx((smooth > WARM).astype(np.uint8), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    whole = cv2.morphologyEx(warm, cv2.MORPH_CLOSE, np.ones((15, 9), np.uint8))
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(whole)
    found = []
    for label, (left, top, width, height, _) in zip(range(1, count), boxes[1:], strict=True):
        if (
            top + height == len(infrared)
            or not HEIGHT_PX[0] <= height <= HEIGHT_PX[1]
            or height < LOWEST * width
        ):
            continue
        window = (
            slice(max(0, top - MARGIN), top + height + MARGIN),
            slice(max(0, left - MARGIN), left + width + MARGIN),
        )
        thing = (labels[window] == label).astype(np.uint8)
        around = cv2.dilate(thing, np.ones((25, 25))) - cv2.dilate(thing, np.ones((7, 7)))
        temperature = smooth[window]
        if np.median(temperature[thing > 0]) - np.median(temperature[around > 0]) >= WARMER:
            box = (slice(top, top + height), slice(left, left + width))
            found.append((box, labels[box] == label))
    return found


def cut_out(visible: np.ndarray, infrared: np.ndarray) -> list[CutOut]:
    """Of an aligned pair, (H, W, 3) and (H, W) uint8, the people who stand free, by row."""
    found = []
    for (rows, columns), mask in find_standing(infrared):
        height, width = mask.shape
        if (
            rows.start > 0
            and columns.start > 0
            and columns.stop < infrared.shape[1]
            and SLENDERNESS[0] <= height / width <= SLENDERNESS[1]
            and FILL[0] <= mask.mean() <= FILL[1]
        ):
            opacity = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0)
            found.append(_stored(visible[rows, columns], opacity))
    return found


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
