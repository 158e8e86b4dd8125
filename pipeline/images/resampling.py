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


def filled(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Fill the unknown pixels of a picture from the known ones around them (pull-push over a pyramid).

    Args:
        image: (H, W, 3) float32.
        known: (H, W) bool, at least one of them true.
    """
    if known.all():
        return image
    weight = known.astype(np.float32)[..., None]
    fill = _pull_push(np.concatenate([image * weight, weight], axis=-1))
    return np.where(known[..., None], image, fill)


def _pull_push(premultiplied: np.ndarray) -> np.ndarray:
    """Colour everywhere from (H, W, 4) premultiplied colour and weight, at least one weight positive."""
    weight = premultiplied[..., 3:]
    colour = premultiplied[..., :3] / np.maximum(weight, np.float32(1e-12))
    height, width = weight.shape[:2]
    if max(height, width) == 1 or weight.min() >= 1:
        return colour
    half = cv2.resize(premultiplied, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    # Weights above 1/4 of a block count as whole: what is known well is not thinned out on the way up.
    half = half * (np.minimum(1, 4 * half[..., 3:]) / np.maximum(half[..., 3:], np.float32(1e-12)))
    coarse = cv2.resize(_pull_push(half), (width, height), interpolation=cv2.INTER_LINEAR)
    mix = np.minimum(weight, 1)
    return colour * mix + coarse * (1 - mix)
