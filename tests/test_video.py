"""Fusing videos: frames, rate and size of the result, and what is refused or told."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fusing import tiny_weights

from model.fuse import fuse
from model.fusing.fuse_config import FuseConfig
from model.fusing.video import CODECS, count_frames, fuse_video
from pipeline.files import InputError
from pipeline.images import read_image, write_image

pytestmark = pytest.mark.usefixtures("one_thread")


def frames_of(path: Path) -> list[np.ndarray]:
    """(H, W, 3) uint8 RGB."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while (grabbed := capture.read())[0]:
        frames.append(cv2.cvtColor(grabbed[1], cv2.COLOR_BGR2RGB))
    return frames


def video(
    path: Path, frames: int = 5, size_hw: tuple[int, int] = (32, 48), rate: float = 12.0, seed: int = 0
) -> Path:
    """Smooth random frames; OpenCV's own writer keeps odd sizes, but knows whole frame rates alone."""
    rng = np.random.default_rng(seed)
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), rate, size_hw[::-1]
    )
    for _ in range(frames):
        writer.write(cv2.GaussianBlur(rng.integers(0, 256, (*size_hw, 3), np.uint8), (0, 0), 4))
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


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_video(tmp_path: Path, suffix: str) -> None:
    a, b = video(tmp_path / "a.avi"), video(tmp_path / "b.avi")
    config = FuseConfig(weights=tiny_weights(tmp_path))
    out = tmp_path / f"fused{suffix}"
    assert fuse(config, [a, b], out).complete
    assert cv2.VideoCapture(str(out)).get(cv2.CAP_PROP_FPS) == pytest.approx(12)
    assert [frame.shape for frame in frames_of(out)] == [(32, 48, 3)] * 5
    failed = fuse(config, [a, video(tmp_path / "short.avi", frames=3)], tmp_path / "no.avi")
    assert "short.avi: ends after 3 frames" in failed.failed["a"]
    assert not (tmp_path / "no.avi").exists()


def test_folders_of_videos_are_paired_by_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "night").mkdir(parents=True)
        video(tmp_path / name / "1.avi")
        video(tmp_path / name / "night/2.avi", frames=3)
    (tmp_path / "a/only.avi").write_bytes(b"")
    (tmp_path / "b/notes.txt").write_text("")
    config = FuseConfig(weights=tiny_weights(tmp_path))
    summary = fuse(config, [tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert summary.complete and sorted(summary.done) == ["1", "night/2"]
    assert summary.unmatched == {"only": ["b"]} and summary.passed_over == {str(tmp_path / "b"): {".txt": 1}}
    assert len(frames_of(tmp_path / "out/night/2.avi")) == 3
    again = fuse(config, [tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert sorted(again.skipped) == ["1", "night/2"]
    # Pictures beside them are what is fused then.
    for name in ("a", "b"):
        write_image(tmp_path / name / "1.png", frames_of(tmp_path / name / "1.avi")[0])
    assert fuse(config, [tmp_path / "a", tmp_path / "b"], tmp_path / "pictures").done == ["1"]


def test_frames_are_fused_like_pictures(tmp_path: Path) -> None:
    a, b = video(tmp_path / "a.avi"), video(tmp_path / "b.avi", seed=1)
    for path in (a, b):
        write_image(path.with_suffix(".png"), frames_of(path)[2])
    config = FuseConfig(weights=tiny_weights(tmp_path), task="ivif")
    assert fuse(config, [a, b], tmp_path / "fused.avi").complete
    pictures = [a.with_suffix(".png"), b.with_suffix(".png")]
    assert fuse(config, pictures, tmp_path / "fused.png").complete
    expected = read_image(tmp_path / "fused.png").astype(int)
    error = np.abs(frames_of(tmp_path / "fused.avi")[2] - expected)
    # Of the codec; other channels and the inputs are farther away.
    for other in (expected[..., ::-1], *(read_image(path).astype(int) for path in pictures)):
        assert error.mean() < np.abs(other - expected).mean() / 2


@pytest.mark.parametrize("suffix", CODECS)
def test_the_codecs_keep_frame_rates_that_are_not_whole(tmp_path: Path, suffix: str) -> None:
    source, copy = tmp_path / "source.mp4", tmp_path / f"copy{suffix}"
    writer = cv2.VideoWriter(str(source), cv2.VideoWriter.fourcc(*"mp4v"), 12.5, (48, 32))
    for _ in range(3):
        writer.write(np.zeros((32, 48, 3), np.uint8))
    writer.release()
    fuse_video([source], copy, lambda frames: frames[0])
    assert cv2.VideoCapture(str(copy)).get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)


@pytest.mark.parametrize("suffix", CODECS)
def test_odd_frames_lose_one_row_and_one_column_and_nothing_moves(tmp_path: Path, suffix: str) -> None:
    odd, copy = video(tmp_path / "odd.avi", size_hw=(33, 47)), tmp_path / f"copy{suffix}"
    frames = frames_of(odd)
    assert frames[0].shape == (33, 47, 3)
    assert fuse_video([odd], copy, lambda frames: frames[0]) == (32, 46)
    for before, after in zip(frames, frames_of(copy), strict=True):
        assert after.shape == (32, 46, 3)
        assert np.abs(after.astype(int) - before[:32, :46]).mean() < 5


def test_the_cut_is_told_once_and_the_log_has_the_size_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd, config = video(tmp_path / "odd.avi", size_hw=(32, 47)), FuseConfig(weights=tiny_weights(tmp_path))
    fuse(config, [odd, odd], tmp_path / "out.mp4")
    assert json.loads((tmp_path / "fused.jsonl").read_text())["size_hw"] == [32, 46]
    told = [line for line in capsys.readouterr().err.splitlines() if "cut" in line]
    assert told == [f"{tmp_path / 'out.mp4'}: 47x32 frames are cut to 46x32, for videos have even sides"]
    fuse(config, [video(tmp_path / "even.avi")], tmp_path / "out.avi")
    assert "cut" not in capsys.readouterr().err


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
    with pytest.raises(InputError, match=r"cut\.mkv: damaged or cut: only 5\d of 60 frames"):
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
    with pytest.raises(InputError, match=r"b\.mp4: damaged or cut: only \d+ of 20 frames"):
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


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("rate", [65.679, 119.877, 142.857, 240.0123])
def test_any_frame_rate_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, rate: float
) -> None:
    class Camera(Wrapped):
        of = cv2.VideoCapture

        def get(self, what: int) -> float:
            return rate if what == cv2.CAP_PROP_FPS else self.inner.get(what)

    source, copy = video(tmp_path / "a.avi"), tmp_path / f"copy{suffix}"
    with monkeypatch.context() as patch:
        patch.setattr(cv2, "VideoCapture", Camera)
        fuse_video([source], copy, lambda frames: frames[0])
    assert cv2.VideoCapture(str(copy)).get(cv2.CAP_PROP_FPS) == pytest.approx(rate, rel=1e-4)


def test_videos_of_other_frame_rates_are_fused_by_number_which_is_told(tmp_path: Path) -> None:
    slow, fast = video(tmp_path / "slow.avi"), video(tmp_path / "fast.avi", rate=24.0)
    told: list[str] = []
    fuse_video([slow, fast], tmp_path / "out.avi", lambda frames: frames[0], tell=told.append)
    assert told == [f"{slow} has 12, {fast} has 24 frames a second; they are fused by their number"]
    fuse_video([slow, slow], tmp_path / "same.avi", lambda frames: frames[0], tell=told.append)
    assert len(told) == 1


def test_a_colon_in_a_relative_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video(tmp_path / "plain.avi").rename(tmp_path / "12:30:05.avi")
    monkeypatch.chdir(tmp_path)
    fuse_video([Path("12:30:05.avi")], Path("out:1.avi"), lambda frames: frames[0])
    assert len(frames_of(tmp_path / "out:1.avi")) == 5
