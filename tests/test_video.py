"""Fusing videos: frames, rate and size of the result, and what is told."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from fusing import on_cpu, picture, tiny_weights
from video_files import Wrapped, frames_of, video

from model.engine.strips import FusionEngine
from model.fuse import fuse
from model.fusing.video import fuse_video
from model.fusing.video_files import CODECS
from pipeline.files import temporary_pattern
from pipeline.images import read_image, write_image
from pipeline.runtime import leases

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_video(tmp_path: Path, suffix: str) -> None:
    a, b = video(tmp_path / "a.avi"), video(tmp_path / "b.avi")
    config = on_cpu(tiny_weights(tmp_path))
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
    config = on_cpu(tiny_weights(tmp_path))
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


def test_frames_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inputs = [video(tmp_path / f"{name}.avi") for name in "ab"]
    fuse(on_cpu(tiny_weights(tmp_path)), inputs, tmp_path / "fused.avi")
    told = capsys.readouterr().err
    assert "fused.avi: 5/5 frame in" in told and "fuse: 1/1 video in" in told


def test_frames_are_fused_like_pictures(tmp_path: Path) -> None:
    a, b = video(tmp_path / "a.avi"), video(tmp_path / "b.avi", seed=1)
    for path in (a, b):
        write_image(path.with_suffix(".png"), frames_of(path)[2])
    config = on_cpu(tiny_weights(tmp_path), task="ivif")
    assert fuse(config, [a, b], tmp_path / "fused.avi").complete
    pictures = [a.with_suffix(".png"), b.with_suffix(".png")]
    assert fuse(config, pictures, tmp_path / "fused.png").complete
    expected = read_image(tmp_path / "fused.png").astype(int)
    error = np.abs(frames_of(tmp_path / "fused.avi")[2] - expected)
    # Of the codec; other channels and the inputs are farther away.
    for other in (expected[..., ::-1], *(read_image(path).astype(int) for path in pictures)):
        assert error.mean() < np.abs(other - expected).mean() / 2


@pytest.mark.parametrize(
    "settings", [{"main_task": "ivif"}, {"colour": "upstream"}, {"task": "medical"}], ids=str
)
def test_settings_of_frames_are_those_of_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    frames = [picture(tmp_path / f"{name}.png", seed, channels=3) for seed, name in enumerate("ab")]
    config, fused = on_cpu(tiny_weights(tmp_path), **settings), []

    def without_codec(inputs: Any, output: Path, fuse_frame: Any, **_: Any) -> tuple[int, int]:
        fused.append(fuse_frame(frames))
        return fused[0].shape[:2]

    monkeypatch.setattr("model.fusing.fuse_recipes.fuse_video", without_codec)
    fuse(config, [video(tmp_path / "a.avi"), video(tmp_path / "b.avi")], tmp_path / "out.avi")
    fuse(config, [tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "out.png")
    np.testing.assert_array_equal(fused[0], read_image(tmp_path / "out.png"))


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
    odd = [video(tmp_path / f"{name}.avi", size_hw=(32, 47)) for name in "ab"]
    config = on_cpu(tiny_weights(tmp_path))
    fuse(config, odd, tmp_path / "out.mp4")
    assert json.loads((tmp_path / "fused.jsonl").read_text())["size_hw"] == [32, 46]
    told = [line for line in capsys.readouterr().err.splitlines() if "cut" in line]
    assert told == [f"{tmp_path / 'out.mp4'}: 47x32 frames are cut to 46x32, for videos have even sides"]
    fuse(config, [video(tmp_path / "even.avi")], tmp_path / "out.avi")
    assert "cut" not in capsys.readouterr().err


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


def test_a_video_that_another_run_made_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = video(tmp_path / "a.avi"), video(tmp_path / "b.avi", seed=1)
    config, out = on_cpu(tiny_weights(tmp_path)), tmp_path / "out"
    fuse_pair = FusionEngine.fuse_pair

    def meanwhile(engine: FusionEngine, pair: np.ndarray, **options: Any) -> np.ndarray:
        with monkeypatch.context() as patch:
            patch.setattr(FusionEngine, "fuse_pair", fuse_pair)
            if not (out / "a.avi").exists():
                assert fuse(replace(config, colour="upstream"), [a, b], out).complete
        return fuse_pair(engine, pair, **options)

    with monkeypatch.context() as patch:
        patch.setattr(FusionEngine, "fuse_pair", meanwhile)
        summary = fuse(config, [a, b], out)
    assert "another run makes it with different colour" in summary.failed["a"]
    assert fuse(replace(config, colour="upstream"), [a, b], tmp_path / "alone").complete
    for found, expected in zip(frames_of(out / "a.avi"), frames_of(tmp_path / "alone/a.avi"), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert sorted(path.name for path in out.iterdir()) == ["a.avi", "fused.jsonl"]


def test_what_is_being_written_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders hold back what they were given, and a frame may take minutes."""
    monkeypatch.setattr(leases, "LEASE_S", 0.06)
    source, out = video(tmp_path / "a.avi"), tmp_path / "out.avi"

    touched = 0

    def slowly(frames: list[np.ndarray]) -> np.ndarray:
        nonlocal touched
        for unfinished in tmp_path.glob(temporary_pattern(out)):  # from the second frame on
            os.utime(unfinished, (1, 1))
            deadline = time.monotonic() + 30
            while unfinished.stat().st_mtime == 1 and time.monotonic() < deadline:
                time.sleep(0.01)
            touched += unfinished.stat().st_mtime > 1
        return frames[0]

    fuse_video([source], out, slowly)
    assert len(frames_of(out)) == 5 and touched == 4
