"""Video files for tests, and wrappers of what OpenCV reads and writes them with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def frames_of(path: Path) -> list[np.ndarray]:
    """(H, W, 3) uint8 RGB."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (grabbed := capture.read())[0]:
        frames.append(cv2.cvtColor(grabbed[1], cv2.COLOR_BGR2RGB))
    return frames


def video(
    path: Path,
    frames: int = 5,
    size_hw: tuple[int, int] = (32, 48),
    rate: float = 12.0,
    seed: int = 0,
    *,
    grey: bool = False,
) -> Path:
    """Smooth random frames."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(frames):
        frame = cv2.GaussianBlur(rng.integers(0, 256, (*size_hw, 3), np.uint8), (0, 0), 4)
        drawn.append(np.repeat(frame[..., :1], 3, axis=2) if grey else frame)
    return write_video(path, drawn, rate)


def write_video(path: Path, frames: Sequence[np.ndarray], rate: float = 12.0) -> Path:
    """Frames (H, W, 3) uint8, BGR; OpenCV's own writer keeps odd sizes, but knows whole frame rates alone."""
    height, width = frames[0].shape[:2]
    codec = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, codec, rate, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


class Wrapped:
    """An object of OpenCV, whose classes cannot be derived from without crashes."""

    of: Any
    frames = 0

    def __init__(self, *arguments: Any) -> None:
        self.inner = self.of(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
