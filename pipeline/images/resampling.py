"""Maps and pictures on other grids: unknown values from known neighbours, and smaller sizes."""

from __future__ import annotations

import cv2
import numpy as np


def nearest_known(values: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give every unknown pixel of a map the value of the nearest known one.

    Args:
        values: (H, W) of any type.
        known: (H, W) bool, of which one at least is True.

    Returns:
        A filled copy, and how far each pixel is from the nearest known one, (H, W) float32 in pixels, to
        within 2 % (Borgefors, "Distance transformations in digital images", 5x5).
    """
    if known.all():
        return values.copy(), np.zeros(known.shape, np.float32)
    # Every unknown pixel gets the label of its nearest known one.
    distance_px, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    value_of = np.zeros(labels.max() + 1, values.dtype)
    value_of[labels[known]] = values[known]
    return value_of[labels], distance_px


def shrunk(image: np.ndarray, longest_px: int) -> np.ndarray:
    """A picture (H, W[, C]) whose longer side is at most ``longest_px``; a smaller one is returned as it is.

    Areas are averaged, so that nothing aliases.
    """
    scale = longest_px / max(image.shape[:2])
    if scale >= 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
