"""Pictures that the tests of metrics, evaluations and pyramids share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.images import write_image

#: Names of the pictures of :func:`write_set`.
STEMS = ("day/1", "day/2", "night/1")


def picture(seed: int, shape: tuple[int, int] = (50, 57)) -> np.ndarray:
    """A smooth random (H, W) uint8 plane; its levels, 40-215, leave room for a shift."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.rint(np.clip(128 + 110 * smooth / np.abs(smooth).max(), 40, 215)).astype(np.uint8)


def averaged_pair() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two planes and, first, their mean as the fused one."""
    a, b = picture(1, (150, 170)), picture(2, (150, 170))
    return ((a.astype(int) + b) // 2).astype(np.uint8), a, b


def planes_of(height: int, width: int, channels: int = 2) -> Tensor:
    """Two images of random planes, (2, channels, H, W) in [0, 1], the same each time."""
    return torch.rand(2, channels, height, width, generator=torch.Generator().manual_seed(height * width))


def unit(*planes: np.ndarray) -> Tensor:
    """uint8 planes (H, W) as one image, (1, N, H, W) in [0, 1]."""
    return torch.from_numpy(np.stack(planes).astype(np.float32) / 255)[None]


def write_set(root: Path, shape: tuple[int, int] = (50, 57), colour: bool = False) -> dict[str, Path]:
    """Sources a (grey) and b, and two methods: one copies b, the other averages."""
    for index, stem in enumerate(STEMS):
        a, b = picture(index, shape), picture(10 + index, shape)
        if colour:
            b = np.stack([b, picture(20 + index, shape), b[::-1]], axis=-1)
        grey_b = b if b.ndim == 2 else b[..., 1]
        write_image(root / "a" / f"{stem}.png", a)
        write_image(root / "b" / f"{stem}.bmp", b)
        write_image(root / "copy" / f"{stem}.png", b)
        write_image(root / "mean" / f"{stem}.tif", ((a.astype(int) + grey_b) // 2).astype(np.uint8))
    return {"copy of b": root / "copy", "mean | <b>": root / "mean"}
