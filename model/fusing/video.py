"""Videos in, video out, one frame at a time with OpenCV."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np

from pipeline.files import InputError, atomic_path
from pipeline.runtime.progress import Progress

#: Codec by file ending: what every build of OpenCV can write.
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
#: Attempts to read on after the last frame: OpenCV stops at a damaged one as it does at the end.
_ATTEMPTS = 32
#: Share of its frames that a Matroska file may seem to lack: OpenCV works out their number from a duration,
#: which is that of the sound where that is longer.
_ESTIMATE_SHARE = 0.05
#: Frame rates that differ by less than this factor are the same.
_SAME_RATE = 1.01
#: Of a second in MPEG-4.
_MOST_TICKS = 65535
#: Identifier of the element of a Matroska file that holds all frames.
_SEGMENT = b"\x18\x53\x80\x67"
#: Types of the boxes that an MP4 or QuickTime file may begin with.
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")

# FFmpeg, of which OpenCV asks this once, is to leave standard error to one line of ours.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def fuse_video(
    inputs: Sequence[Path],
    output: Path,
    fuse_frame: Callable[[list[np.ndarray]], np.ndarray],
    *,
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
        captures = [opened.enter_context(_capture(path)) for path in inputs]
        rates = [capture.get(cv2.CAP_PROP_FPS) or 25.0 for capture in captures]
        if max(rates) > _SAME_RATE * min(rates):
            named = ", ".join(f"{path} has {rate:g}" for path, rate in zip(inputs, rates, strict=True))
            tell(f"{named} frames a second; they are fused by their number")
        temporary = opened.enter_context(atomic_path(output))
        with Progress(output.name, total=count, unit="frame") as progress:
            rate = _writable(rates[0], codec)
            size_hw = _copy_frames(captures, progress, temporary, codec, rate, fuse_frame)
        _check_written(temporary, count, output)
        return size_hw


def count_frames(path: Path) -> int:
    """Decode a video to its end and return how many frames it has.

    A video is not whole if frames can be read after one that cannot, or if there are fewer than its header
    has. In .avi that number is exact. In .mkv it is an estimate, so one frame or a twentieth may be missing
    unless the file is shorter than it says. In .mp4 and .mov it includes what was trimmed without encoding
    anew, so there it counts only if the file ends within a box.

    Raises:
        InputError: there is no frame, or the video is not whole.
    """
    with _capture(path) as capture:
        promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        count = 0
        while capture.grab():
            count += 1
        beyond = sum(capture.grab() for _ in range(_ATTEMPTS))
    suffix, missing = path.suffix.lower(), promised - count
    if suffix == ".mkv":
        short = missing > max(1, _ESTIMATE_SHARE * promised) or (missing > 0 and _ends_within_segment(path))
    else:
        short = missing > 0 and (suffix == ".avi" or _ends_within_a_box(path))
    if beyond or short:
        raise InputError(f"{path}: damaged or cut: only {count} of {promised} frames can be read; repair it")
    if not count:
        raise InputError(f"{path}: no frame")
    return count


@contextmanager
def _capture(path: Path) -> Iterator[cv2.VideoCapture]:
    """An open video of 8 bits per channel."""
    if not _is_container(path):
        raise InputError(f"{path}: not a video that OpenCV can read")
    capture = cv2.VideoCapture(_no_url(path))
    try:
        if not capture.isOpened():
            raise InputError(f"{path}: not a video that OpenCV can read")
        bits = _bits(int(capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)))
        if bits > 8:
            raise InputError(
                f"{path}: {bits} bits per channel, of which OpenCV reads 8; fuse its frames as images"
            )
        yield capture
    finally:
        capture.release()


def _is_container(path: Path) -> bool:
    """Whether a file begins as those of :data:`CODECS` do: FFmpeg also opens lists, and what they name."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.read(8)
    return head[:4] in (b"RIFF", b"\x1a\x45\xdf\xa3") or head[4:] in _FIRST_BOXES


def _bits(pixel_format: int) -> int:
    """Bits per channel by FFmpeg's code of a pixel format, such as Y, 1, 0, 16 for grey; 8 if it has none."""
    code = (pixel_format & 0xFFFFFFFF).to_bytes(4, "little")
    for kind, digit, _, bits in (code, code[::-1]):  # of little- and big-endian samples
        if kind in b"YG" and digit in b"1234" and bits <= 16:
            return bits
    return 8


def _ends_within_a_box(path: Path) -> bool:
    """Whether an MP4 or QuickTime file is shorter than the boxes that it consists of."""
    size, place = path.stat().st_size, 0
    with open(path, "rb") as file:
        while place < size:
            file.seek(place)
            head = file.read(16).ljust(16, b"\0")
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:], "big")
            if length == 0:  # up to the end
                return False
            place += max(length, 8)
    return place > size


def _ends_within_segment(path: Path) -> bool:
    """Whether a Matroska file is shorter than its segment; not where that says no size, as of a stream."""
    size, place = path.stat().st_size, 0
    with open(path, "rb") as file:
        while place < size:
            file.seek(place)
            head = file.read(12).ljust(12, b"\0")  # an identifier of up to 4 bytes, a size of up to 8
            name_end = 9 - head[0].bit_length()  # leading zeros of the first byte tell how many follow
            if name_end > 4 or not head[name_end]:
                return False  # no element
            size_end = name_end + 9 - head[name_end].bit_length()
            largest = (1 << 7 * (size_end - name_end)) - 1  # stands for an unknown size
            length = int.from_bytes(head[name_end:size_end], "big") & largest
            place += size_end + length
            if head[:name_end] == _SEGMENT:
                return length < largest and place > size
    return False


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
                    _no_url(temporary), cv2.VideoWriter.fourcc(*codec), rate, (size_hw[1], size_hw[0])
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


def _no_url(path: Path) -> str:
    """FFmpeg takes what stands before a colon in a relative path for a protocol."""
    return os.path.abspath(path)


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # of which OpenCV's binding makes a crash
        raise InputError(f"{path}: OpenCV takes no name that is not UTF-8; rename it") from None
