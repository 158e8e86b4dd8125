"""Videos in, video out, one frame at a time with OpenCV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.files import InputError, atomic_path

#: Codec by file ending: what every build of OpenCV can write.
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}


def fuse_video(
    inputs: Sequence[Path], output: Path, fuse_frame: Callable[[list[np.ndarray]], np.ndarray]
) -> tuple[int, int]:
    """Fuse videos frame by frame; the result has the frame rate of the first.

    Sides of frames are even in every codec here: of odd ones the last row or column is cut off.

    Args:
        inputs: video files with equally many frames.
        output: ends in .mp4, .mov, .mkv or .avi.
        fuse_frame: takes one (H, W, 3) uint8 RGB frame of each input, returns (H, W) or (H, W, 3) uint8.

    Returns:
        height and width of the frames as written.

    Raises:
        InputError: a video cannot be read or written, or one ends before another.
    """
    for path in (*inputs, output):
        _check_name(path)
    codec = CODECS.get(output.suffix.lower())
    if codec is None:
        raise InputError(f"{output}: videos are written as {', '.join(CODECS)}")
    captures = [cv2.VideoCapture(str(path)) for path in inputs]
    try:
        for capture, path in zip(captures, inputs, strict=True):
            if not capture.isOpened():
                raise InputError(f"{path}: not a video that OpenCV can read")
        rate = captures[0].get(cv2.CAP_PROP_FPS) or 25.0
        with atomic_path(output) as temporary:
            return _copy_frames(captures, inputs, temporary, codec, rate, fuse_frame)
    finally:
        for capture in captures:
            capture.release()


def _copy_frames(
    captures: Sequence[cv2.VideoCapture],
    inputs: Sequence[Path],
    temporary: Path,
    codec: str,
    rate: float,
    fuse_frame: Callable[[list[np.ndarray]], np.ndarray],
) -> tuple[int, int]:
    writer: cv2.VideoWriter | None = None
    size_hw, count = (0, 0), 0
    try:
        while True:
            grabbed = [capture.read() for capture in captures]
            present = [ok for ok, _ in grabbed]
            if not any(present):
                break
            if not all(present):
                short = inputs[present.index(False)]
                raise InputError(f"{short}: ends after {count} frames, before the other; cut them alike")
            fused = fuse_frame([cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for _, frame in grabbed])
            if writer is None:
                size_hw = fused.shape[0] // 2 * 2, fused.shape[1] // 2 * 2
                writer = cv2.VideoWriter(
                    str(temporary), cv2.VideoWriter.fourcc(*codec), rate, (size_hw[1], size_hw[0])
                )
                if not writer.isOpened():
                    raise InputError(f"{temporary.suffix}: OpenCV cannot write {codec} video here; use .avi")
            grey = fused.ndim == 2
            even = fused[: size_hw[0], : size_hw[1]]
            writer.write(cv2.cvtColor(even, cv2.COLOR_GRAY2BGR if grey else cv2.COLOR_RGB2BGR))
            count += 1
    finally:
        if writer is not None:
            writer.release()
    if not count:
        raise InputError(f"{inputs[0]}: no frame")
    return size_hw


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # of which OpenCV's binding makes a crash
        raise InputError(f"{path}: OpenCV takes no name that is not UTF-8; rename it") from None
