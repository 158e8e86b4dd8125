"""Fusing files and folders: what is done, skipped, failed and told, and which settings are refused."""

from __future__ import annotations

import errno
import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from fusing import fused_plane, on_cpu, picture, tiny_weights

import model.fuse
from model.fuse import GPU_JOBS, LARGE_JOBS, fuse
from model.fusing.fuse_config import FuseConfig, parse_memory
from model.fusing.fuse_jobs import Job
from model.fusing.fuse_recipes import Pictures
from pipeline.files import InputError
from pipeline.images import read_image
from pipeline.runtime.progress import Progress

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_weights(tmp_path_factory.mktemp("weights"))


def log_of(out: Path) -> dict[str, dict[str, object]]:
    lines = (out / "fused.jsonl").read_text(encoding="utf-8").splitlines()
    return {record["name"]: record for record in map(json.loads, lines)}


def test_a_folder_of_grey_pairs(tmp_path: Path, weights: Path) -> None:
    a = {name: picture(tmp_path / "a" / f"{name}.png", i) for i, name in enumerate(("1", "night/2"))}
    b = {name: picture(tmp_path / "b" / f"{name}.bmp", i + 9) for i, name in enumerate(("1", "night/2"))}
    picture(tmp_path / "a/only_a.png", 5)
    picture(tmp_path / "b/only_b.png", 5)
    out = tmp_path / "out"
    summary = fuse(on_cpu(weights), [tmp_path / "a", tmp_path / "b"], out)
    assert sorted(summary.done) == ["1", "night/2"] and summary.complete
    assert summary.unmatched == {"only_a": ["b"], "only_b": ["a"]}
    for name in a:
        expected = np.rint(fused_plane(a[name], b[name]) * 255)
        np.testing.assert_array_equal(read_image(out / f"{name}.png"), expected)
    record = log_of(out)["night/2"]
    assert record["output"] == "night/2.png" and record["size_hw"] == [20, 24]
    assert record["inputs"] == ["../a/night/2.png", "../b/night/2.bmp"]
    assert record["seconds"] >= 0 and len(record["settings"]["weights"]) == 64


def test_existing_results_are_skipped_until_overwritten(tmp_path: Path, weights: Path) -> None:
    for name in ("1", "2"):
        picture(tmp_path / f"a/{name}.png", 1)
        picture(tmp_path / f"b/{name}.png", 2)
    inputs, out = [tmp_path / "a", tmp_path / "b"], tmp_path / "out"
    config = on_cpu(weights)
    fuse(config, inputs, out)
    (out / "2.png").unlink()
    (out / "1.png").write_bytes(b"left alone")
    again = fuse(config, inputs, out)
    assert (again.done, again.skipped) == (["2"], ["1"])
    assert (out / "1.png").read_bytes() == b"left alone"
    assert set(log_of(out)) == {"1", "2"}
    other = tiny_weights(tmp_path, seed=1)
    with pytest.raises(InputError, match=r"made with different colour, weights; use --overwrite"):
        fuse(on_cpu(other, colour="upstream"), inputs, out)
    over = fuse(on_cpu(other, overwrite=True), inputs, out)
    assert sorted(over.done) == ["1", "2"]
    assert {record["settings"]["precision"] for record in log_of(out).values()} == {"fp32"}
    fuse(on_cpu(other), inputs, out)
    assert len((out / "fused.jsonl").read_text().splitlines()) == 2


def test_good_ones_are_done_when_bad_ones_fail(tmp_path: Path, weights: Path) -> None:
    for name in ("good", "small", "text", "truncated", "zfine"):
        picture(tmp_path / f"a/{name}.png", 1)
        picture(tmp_path / f"b/{name}.png", 2)
    picture(tmp_path / "b/small.png", 2, size_hw=(11, 24))
    (tmp_path / "b/text.png").write_text("no image")
    data = (tmp_path / "a/truncated.png").read_bytes()
    (tmp_path / "a/truncated.png").write_bytes(data[: len(data) // 2])
    summary = fuse(on_cpu(weights), [tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert summary.done == ["good", "zfine"] and not summary.complete
    assert set(summary.failed) == {"small", "text", "truncated"}
    assert "is 24x20" in summary.failed["small"] and "is 24x11" in summary.failed["small"]
    assert "--resize" in summary.failed["small"]
    assert all("\n" not in reason for reason in summary.failed.values())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "fused.jsonl",
        "good.png",
        "zfine.png",
    ]


def test_every_failure_is_told_once_and_by_name(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for role in "ab":
        picture(tmp_path / role / "night/tiny.png", 1, size_hw=(2, 2))  # the network refuses it
        picture(tmp_path / role / "text.png", 1)
    (tmp_path / "a/text.png").write_text("no image")  # the decoder does, with its path
    summary = fuse(on_cpu(weights), [tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert sorted(told) == sorted(
        [f"failed: night/tiny: {summary.failed['night/tiny']}", f"failed: {summary.failed['text']}"]
    )
    assert summary.failed["text"].startswith(str(tmp_path / "a/text.png"))


def test_what_one_pair_alone_cannot_have_does_not_end_the_run(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("1", "2 host", "3 torch", "4 gpu", "4 opencv", "5", "x" * 251)
    for name in names:
        picture(tmp_path / f"a/{name}.png", 1)
    failures = {
        "2 host": MemoryError(),
        "3 torch": RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: no memory"),
        "4 opencv": cv2.error("(-4:Insufficient memory) Failed to allocate 1 bytes"),
        "4 gpu": torch.OutOfMemoryError("CUDA out of memory"),
    }
    read = Pictures.read

    def greedy(recipe: Pictures, job: Job) -> object:
        if job.name in failures:
            raise failures[job.name]
        return read(recipe, job)

    monkeypatch.setattr(Pictures, "read", greedy)
    config = on_cpu(weights, suffix=".tiff")  # which makes the longest name too long
    summary = fuse(config, [tmp_path / "a"], tmp_path / "out")
    assert summary.done == ["1", "5"] and summary.failed.keys() == {*failures, names[-1]}
    assert all("needs more memory" in summary.failed[name] for name in failures)
    assert "too long" in summary.failed[names[-1]]


def test_a_full_disk_ends_the_run(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png", 1)

    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("model.fusing.fuse_recipes.write_image", full)
    with pytest.raises(OSError, match="No space left"):
        fuse(on_cpu(weights), [tmp_path / "a.png"], tmp_path / "out.png")


def test_a_result_counts_as_soon_as_it_is_written(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "123":
        picture(tmp_path / f"a/{name}.png", 1)
    # The first one waits for nothing, each further one for the count of the one before it.
    counts, compute, advance = threading.Semaphore(1), Pictures.fuse, Progress.advance

    def announced(progress: Progress, *arguments: Any, **named: Any) -> None:
        advance(progress, *arguments, **named)
        counts.release()

    def patient(recipe: Pictures, loaded: Any) -> Any:
        assert counts.acquire(timeout=60)
        return compute(recipe, loaded)

    monkeypatch.setattr(Progress, "advance", announced)
    monkeypatch.setattr(Pictures, "fuse", patient)
    assert fuse(on_cpu(weights), [tmp_path / "a"], tmp_path / "out").done == list("123")


def test_paths_may_be_text(tmp_path: Path, weights: Path) -> None:
    names = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    for seed, name in enumerate(names):
        picture(Path(name), seed)
    assert fuse(on_cpu(weights), names, str(tmp_path / "f.png")).complete  # type: ignore[arg-type]


def test_arguments_that_nothing_can_be_done_with(tmp_path: Path, weights: Path) -> None:
    picture(tmp_path / "a.png", 1)
    (tmp_path / "empty").mkdir()
    config = on_cpu(weights)
    for inputs, message in (
        ([tmp_path / "a.png", tmp_path / "none.png"], "does not exist"),
        ([tmp_path / "a.png", tmp_path / "empty"], "files only or folders only"),
        ([tmp_path / "empty", tmp_path / "empty"], "no image"),
        ([], "no input"),
    ):
        with pytest.raises(InputError, match=message):
            fuse(config, inputs, tmp_path / "out")
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        fuse(on_cpu(weights, precision="fp16"), [tmp_path / "a.png"], tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"task": "x"}, "task is 'x'"),
        ({"main_task": "dp"}, "main task is 'dp'"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"bits": 12}, "bits is 12"),
        ({"resize": "c"}, "resize is 'c'"),
        ({"range_16bit": "9:3"}, "value range '9:3'"),
        ({"range_16bit": "0:70000"}, "value range '0:70000'"),
        ({"bits": 16, "suffix": ".jpg"}, r"\.jpg holds 8 bits"),
        ({"suffix": ".gif"}, r"suffix is '\.gif'"),
        ({"task": "pansharpen", "suffix": ".jpg"}, r"bands end in .*, not \.jpg"),
        ({"task": "pansharpen", "bits": 16}, "leave out --bits 16"),
        ({"memory_bytes": -1}, "memory is -1 bytes"),
        ({"jobs": 0}, "--jobs 0"),
        ({"jobs": -2}, "--jobs -2"),
    ],
    ids=str,
)
def test_settings_are_checked(settings: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says) as error:
        FuseConfig(**settings)
    assert "\n" not in str(error.value)


def test_memory_sizes() -> None:
    assert parse_memory("1GB") == 10**9
    assert parse_memory("1.5 GiB") == 3 << 29
    assert parse_memory("4096") == 4096
    for text in ("", "GB", "1 TB", "-1"):
        with pytest.raises(InputError, match=f"^memory '{text}': give bytes or a number with"):
            parse_memory(text)


def test_a_link_to_itself_fails_alone(weights: Path, tmp_path: Path) -> None:
    for role in "ab":
        picture(tmp_path / f"{role}/1.png", 1)
    picture(tmp_path / "b/2.png", 1)
    (tmp_path / "a/2.png").symlink_to("2.png")
    summary = fuse(on_cpu(weights), [tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert summary.done == ["1"] and list(summary.failed) == ["2"]


def test_a_pipe_among_the_inputs_fails_alone(weights: Path, tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png", "a/2.png"):
        picture(tmp_path / name, 0)
    os.mkfifo(tmp_path / "b/2.png")
    summary = fuse(on_cpu(weights), [tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert summary.done == ["1"] and summary.failed == {"2": f"{tmp_path / 'b/2.png'}: not a file"}


def test_beside_a_gpu_few_large_inputs_lie_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = on_cpu(tiny_weights(tmp_path))
    monkeypatch.setattr(model.fuse.joblib, "cpu_count", lambda: 64)
    picture(path := tmp_path / "a.png", 0)
    jobs, gpu = [Job("a", (path, path), tmp_path / "out.png")], torch.device("cuda")
    side_by_side = model.fuse._side_by_side
    assert side_by_side(config, torch.device("cpu"), jobs) == 1
    assert side_by_side(config, gpu, jobs) == side_by_side(config, gpu, []) == GPU_JOBS
    assert side_by_side(replace(config, task="pansharpen"), gpu, jobs) == LARGE_JOBS
    monkeypatch.setattr(model.fuse, "MOST_PIXELS", 100)
    assert side_by_side(config, gpu, jobs) == LARGE_JOBS
    absent = [Job("a", (tmp_path / "absent.png",), tmp_path / "out.png")]
    assert side_by_side(config, gpu, absent) == GPU_JOBS
