"""Files of videos: which OpenCV is given to open, and whether they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from pipeline.files import InputError

#: Codec by file ending: what every build of OpenCV can write.
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
#: Attempts to read on after the last frame: OpenCV stops at a damaged one as it does at the end.
_ATTEMPTS = 32
#: Share of its frames that a Matroska file may seem to lack: OpenCV works out their number from a duration,
#: which is that of the sound where that is longer.
_ESTIMATE_SHARE = 0.05
#: Identifier of the element of a Matroska file that holds all frames.
_SEGMENT = b"\x18\x53\x80\x67"
#: Types of the boxes that an MP4 or QuickTime file may begin with.
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")

# FFmpeg, of which OpenCV asks this once, is to leave standard error to one line of ours.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def count_frames(path: Path) -> int:
    """Decode a video to its end and return how many frames it has.

    A video is not whole if frames can be read after one that cannot, or if there are fewer than its header
    has. In .avi that number is exact. In .mkv it is an estimate, so one frame or a twentieth may be missing
    unless the file is shorter than it says. In .mp4 and .mov it includes what was trimmed without encoding
    anew, so there it counts only if the file ends within a box.

    Raises:
        InputError: there is no frame, or the video is not whole.
    """
    with open_video(path) as capture:
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
        raise InputError(
            f"{path}: damaged, cut or of a varying frame rate: only {count} of {promised} frames can be "
            "read; repair it, or encode it anew at a constant rate"
        )
    if not count:
        raise InputError(f"{path}: no frame")
    return count


@contextmanager
def open_video(path: Path) -> Iterator[cv2.VideoCapture]:
    """An open video of 8 bits per channel."""
    if not _is_container(path):
        raise InputError(f"{path}: not a video that OpenCV can read")
    capture = cv2.VideoCapture(no_url(path))
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


def no_url(path: Path) -> str:
    """FFmpeg takes what stands before a colon in a relative path for a protocol."""
    return os.path.abspath(path)


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
