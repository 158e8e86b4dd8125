"""Videos that are refused: cut or damaged ones, deep ones, odd names, and results on a full disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from video_files import Wrapped, video

from model.fusing.video import fuse_video
from model.fusing.video_files import CODECS, count_frames
from pipeline.files import InputError

#: What is told of a video that lacks frames.
NOT_WHOLE = "damaged, cut or of a varying frame rate:"


@pytest.mark.parametrize("suffix", CODECS)
def test_videos_that_are_not_whole_leave_no_result(tmp_path: Path, suffix: str) -> None:
    whole, cut, damaged, out = (tmp_path / f"{name}{suffix}" for name in ("whole", "cut", "damaged", "out"))
    fuse_video([video(tmp_path / "a.avi", frames=20)], whole, lambda frames: frames[0])
    assert count_frames(whole) == 20
    data, middle = whole.read_bytes(), whole.stat().st_size // 2
    cut.write_bytes(data[:middle])
    damaged.write_bytes(data[:middle] + bytes(900) + data[middle + 900 :])
    for path in (cut, damaged):
        with pytest.raises(InputError, match=r"only \d+ of 20 frames|not a video") as error:
            fuse_video([path], out, lambda frames: frames[0])
        assert str(path) in str(error.value) and not out.exists()


def test_a_matroska_file_that_lacks_a_few_frames_is_not_whole_and_one_of_a_stream_may_be(
    tmp_path: Path,
) -> None:
    whole, cut = tmp_path / "whole.mkv", tmp_path / "cut.mkv"
    fuse_video([video(tmp_path / "a.avi", frames=60)], whole, lambda frames: frames[0])
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) * 95 // 100])
    with pytest.raises(InputError, match=r"cut\.mkv: " + NOT_WHOLE + r" only 5\d of 60 frames"):
        count_frames(cut)
    size = data.index(bytes.fromhex("18538067")) + 4  # of the segment, in 8 bytes; all ones if not known
    cut.write_bytes((data[:size] + b"\1" + b"\xff" * 7 + data[size + 8 :])[: len(data) * 95 // 100])
    assert 57 <= count_frames(cut) < 60
    for head in (b"", b"\0" * 20, data[:3], data[:size]):
        cut.write_bytes(head)
        with pytest.raises(InputError, match=r"cut\.mkv: (not a video|no frame)"):
            count_frames(cut)


def test_errors_of_videos_are_ours_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(InputError, match="not a video that OpenCV can read"):
        count_frames(tmp_path / "text.mp4")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["list.mp4", "list.avi", "list.mkv"])
def test_a_list_of_other_files_is_no_video(tmp_path: Path, name: str) -> None:
    """FFmpeg goes by what a file holds."""
    (tmp_path / "secret").mkdir()
    video(tmp_path / "secret/private.avi")
    (tmp_path / name).write_text("ffconcat version 1.0\nfile secret/private.avi\n")
    with pytest.raises(InputError, match=rf"{name}: not a video that OpenCV can read"):
        count_frames(tmp_path / name)


def mp4_with_its_header_first(source: Path) -> bytes:
    """As for the web: what is cut of it are frames, where otherwise the header goes."""
    data, boxes = source.read_bytes(), {}
    while data:
        size = int.from_bytes(data[:4], "big")
        boxes[data[4:8]], data = data[:size], data[size:]
    header = boxes.pop(b"moov")
    table = header.index(b"stco") + 12  # positions of the frames in the file, which move
    count = int.from_bytes(header[table - 4 : table], "big")
    places = np.frombuffer(header, ">u4", count, table) + np.uint32(len(header))
    header = header[:table] + places.astype(">u4").tobytes() + header[table + 4 * count :]
    return boxes.pop(b"ftyp") + header + b"".join(boxes.values())


def test_a_trimmed_mp4_is_whole_and_a_cut_one_is_not(tmp_path: Path) -> None:
    fuse_video([video(tmp_path / "a.avi", frames=20, rate=10)], tmp_path / "a.mp4", lambda frames: frames[0])
    data = mp4_with_its_header_first(tmp_path / "a.mp4")
    path = tmp_path / "b.mp4"
    edits = data.index(b"elst") + 12  # duration of the part that is shown, and where it starts
    clock = int.from_bytes(data[(at := data.index(b"mdhd") + 16) : at + 4], "big")
    path.write_bytes(
        data[:edits] + (1700).to_bytes(4, "big") + (clock * 3 // 10).to_bytes(4, "big") + data[edits + 8 :]
    )
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT) == 20 and count_frames(path) == 17
    path.write_bytes(data)
    assert count_frames(path) == 20
    path.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(InputError, match=r"b\.mp4: " + NOT_WHOLE + r" only \d+ of 20 frames"):
        count_frames(path)


def test_frames_behind_one_that_cannot_be_read_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an .mp4, whose header may count frames that were trimmed."""

    class Damaged(Wrapped):  # in its third frame
        of = cv2.VideoCapture

        def grab(self) -> bool:
            self.frames += 1
            return bool(self.inner.grab()) and self.frames != 3

    path = tmp_path / "a.mp4"
    fuse_video([video(tmp_path / "a.avi")], path, lambda frames: frames[0])
    assert count_frames(path) == 5
    monkeypatch.setattr(cv2, "VideoCapture", Damaged)
    with pytest.raises(InputError, match=r"a\.mp4: " + NOT_WHOLE + r" only 2 of 5 frames can be read"):
        count_frames(path)


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    path, depth = tmp_path / "deep.avi", [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U]
    grey = [*depth, cv2.VIDEOWRITER_PROP_IS_COLOR, 0]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"FFV1"), 10, (48, 32), grey)
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write 16-bit video")
    writer.write(np.full((32, 48), 1000, np.uint16))
    writer.release()
    with pytest.raises(InputError, match=r"deep\.avi: 16 bits per channel.*as images"):
        fuse_video([path], tmp_path / "out.avi", lambda frames: frames[0])


def test_names_that_would_crash_opencv_are_refused(tmp_path: Path) -> None:
    plain, odd = video(tmp_path / "a.avi"), tmp_path / os.fsdecode(b"caf\xe9.avi")
    shutil.copy(plain, odd)
    for source, out in ((odd, tmp_path / "out.avi"), (plain, odd.with_name("out-" + odd.name))):
        with pytest.raises(InputError, match=r"no name that is not UTF-8; rename it"):
            fuse_video([source], out, lambda frames: frames[0])
        assert not out.exists()
    good = tmp_path / "é ü 夜.avi"
    assert fuse_video([plain], good, lambda frames: frames[0]) == (32, 48)


def test_a_video_that_could_not_be_written_whole_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDisk(Wrapped):  # of which OpenCV says nothing
        fourcc, of = cv2.VideoWriter.fourcc, cv2.VideoWriter

        def write(self, image: np.ndarray) -> None:
            if self.frames < 3:
                self.inner.write(image)
            self.frames += 1

    source, out = video(tmp_path / "a.avi"), tmp_path / "out.avi"
    monkeypatch.setattr(cv2, "VideoWriter", FullDisk)
    with pytest.raises(InputError, match=r"out\.avi: could not be written whole; is the disk full\?"):
        fuse_video([source], out, lambda frames: frames[0])
    assert [path.name for path in tmp_path.iterdir()] == ["a.avi"]
