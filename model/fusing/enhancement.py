"""One image alone: what it is fused with, so that the result is better than the image."""

from __future__ import annotations

import cv2
import numpy as np

from model.network import GIFNet
from pipeline.images import to_uint8

#: Of the adaptive histogram equalisation: how far above the mean a bin of a tile's histogram may be, and
#: tiles a side.
CLIP_LIMIT, TILES = 2.5, 8


def counterpart(plane: np.ndarray, network: GIFNet) -> np.ndarray:
    """The second plane for an image without a partner, (H, W) float32 in [0, 1] like the first.

    A network that paints the fused plane enhances what it is given twice (GIFNet, CVPR 2025, single-modality
    enhancement). A pyramid head mixes the bands of its inputs and would give that back unchanged. It gets the
    image with the contrast of each part brought out, and shows of either what has the stronger detail:
    enhancement by fusion with versions of the image itself (Ancuti et al., "Enhancing underwater images and
    videos by fusion", CVPR 2012) by contrast-limited adaptive histogram equalisation (Zuiderveld, "Graphics
    Gems IV", 1994).
    """
    if network.config.head != "pyramid":
        return plane
    levels = to_uint8(plane)
    equalised = cv2.createCLAHE(CLIP_LIMIT, (TILES, TILES)).apply(levels)
    # What the 256 levels of histograms round off is kept, or smooth parts of 16 bits would get steps.
    return np.clip((equalised - levels.astype(np.float32)) / np.float32(255) + plane, 0, 1)
