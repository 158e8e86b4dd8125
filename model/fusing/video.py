"""Videos in, video out, one frame at a time with OpenCV."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np

from model.fusing.video_files import CODECS, count_frames, no_url, open_video
from pipeline.files import InputError, atomic_path
from pipeline.runtime.leases import kept_from_clearing
from pipeline.runtime.progress import Progress

#: Frame rates that differ by less than this factor are the same.
_SAME_RATE = 1.01
#: Of a second in MPEG-4.
_MOST_TICKS = 65535


def fuse_video(
    inputs: Sequence[Path],
    output: Path,
    fuse_frame: Callable[[list[np.ndarray]], np.ndarray],
    *,
    check_unclaimed: Callable[[], None] = lambda: None,
    tell: Callable[[str], None] = print,
) -> tuple[int, int]:
    """Fuse videos frame by frame; the result has the frame rate of the first and no sound.

    Sides of frames are even in every codec here: of odd ones the last row or column is cut off. All frames
    are decoded once beforehand, which takes little beside fusing them, so that videos which do not fit or
    are not whole are told before the work; see :func:`count_frames`.

    Args:
        inputs: video files of 8 bits per channel with equally many frames.
        output: ends in .mp4, .mov, .mkv or .avi.
        fuse_frame: takes one (H, W, 3) uint8 RGB frame of each input, returns (H, W) or (H, W, 3) uint8.
        check_unclaimed: raises if the result must not take its place; called when it is whole.
        tell: takes a line for the user.

    Returns:
        height and width of the frames as written.

    Raises:
        InputError: a video cannot be read or written whole, is damaged, or ends before another.
    """
    for path in (*inputs, output):
        _check_name(path)
    codec = CODECS.get(output.suffix.lower())
    if codec is None:
        raise InputError(f"{output}: videos are written as {', '.join(CODECS)}")
    counts = [count_frames(path) for path in inputs]
    count = min(counts)
    if count < max(counts):
        short = inputs[counts.index(count)]
        raise InputError(f"{short}: ends after {count} frames, before the other; cut them alike")
    with ExitStack() as opened:
        captures = [opened.enter_context(open_video(path)) for path in inputs]
        rates = [capture.get(cv2.CAP_PROP_FPS) or 25.0 for capture in captures]
        if max(rates) > _SAME_RATE * min(rates):
            named = ", ".join(f"{path} has {rate:g}" for path, rate in zip(inputs, rates, strict=True))
            tell(f"{named} frames a second; they are fused by their number")
        temporary = opened.enter_context(atomic_path(output))
        # Encoders write long after a frame was given to them, or frames take long.
        opened.enter_context(kept_from_clearing(temporary))
        with Progress(output.name, total=count, unit="frame") as progress:
            rate = _writable(rates[0], codec)
            size_hw = _copy_frames(captures, progress, temporary, codec, rate, fuse_frame)
        _check_written(temporary, count, output)
        check_unclaimed()
        return size_hw


def _copy_frames(
    captures: Sequence[cv2.VideoCapture],
    progress: Progress,
    temporary: Path,
    codec: str,
    rate: float,
    fuse_frame: Callable[[list[np.ndarray]], np.ndarray],
) -> tuple[int, int]:
    writer: cv2.VideoWriter | None = None
    size_hw = 0, 0
    try:
        for _ in range(progress.total):
            frames = [capture.read()[1] for capture in captures]
            if any(frame is None for frame in frames):
                raise InputError("a video changed while it was read; try again")
            fused = fuse_frame([cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) for frame in frames])
            if writer is None:
                size_hw = fused.shape[0] // 2 * 2, fused.shape[1] // 2 * 2
                writer = cv2.VideoWriter(
                    no_url(temporary), cv2.VideoWriter.fourcc(*codec), rate, (size_hw[1], size_hw[0])
                )
                if not writer.isOpened():
                    raise InputError(f"{temporary.suffix}: OpenCV cannot write {codec} video here; use .avi")
            grey = fused.ndim == 2
            even = fused[: size_hw[0], : size_hw[1]]
            writer.write(cv2.cvtColor(even, cv2.COLOR_GRAY2BGR if grey else cv2.COLOR_RGB2BGR))
            progress.advance()
    finally:
        if writer is not None:
            writer.release()
    return size_hw


def _writable(rate: float, codec: str) -> float:
    """A frame rate that the codec can hold: MPEG-4 counts ticks of a second, 65535 at most.

    OpenCV takes as many for a frame as make a whole number of a thousandth of the rate.
    """
    if codec != "mp4v":
        return rate
    return round(rate, max(0, min(3, int(math.log10(_MOST_TICKS / rate)))))


def _check_written(path: Path, count: int, output: Path) -> None:
    """OpenCV says nothing of a full disk."""
    try:
        whole = count_frames(path) == count
    except InputError:
        whole = False
    if not whole:
        raise InputError(f"{output}: could not be written whole; is the disk full?")


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # of which OpenCV's binding makes a crash
        raise InputError(f"{path}: OpenCV takes no name that is not UTF-8; rename it") from None
