"""Atomic files: all of what was written or what was there before, and checks before the work."""

from __future__ import annotations

import errno
import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.files import (
    InputError,
    atomic_path,
    check_folder,
    check_output,
    check_outside,
    enumerate_some,
    write_bytes,
)

REPOSITORY = Path(__file__).resolve().parents[1]


def test_atomic_path_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "x.bin"
    for content in (b"first", b"second"):
        with atomic_path(path) as temporary:
            assert temporary.parent == path.parent and temporary.suffix == ".bin"
            assert temporary.name.startswith(".")  # passed over by every listing here
            temporary.write_bytes(content)
        assert path.read_bytes() == content
    assert [entry.name for entry in path.parent.iterdir()] == ["x.bin"]


@pytest.mark.parametrize("failure", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3)])
def test_a_failure_leaves_what_was_there_and_no_litter(tmp_path: Path, failure: BaseException) -> None:
    path = write_bytes(tmp_path / "x.bin", b"old")
    with pytest.raises(type(failure)), atomic_path(path) as temporary:
        temporary.write_bytes(b"half of the ne")
        raise failure
    assert path.read_bytes() == b"old"
    with pytest.raises(type(failure)), atomic_path(tmp_path / "other.bin") as temporary:
        raise failure
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.bin"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_io_error_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = write_bytes(tmp_path / "x.bin", b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.bin"]


def test_an_error_of_writing_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / f"{'x' * 260}.bin"
    with pytest.raises(OSError) as too_long:
        write_bytes(path, b"new")
    with pytest.raises(OSError) as full, atomic_path(tmp_path / "y.bin"):
        raise OSError(errno.ENOSPC, "No space left on device")
    for error, name in ((too_long.value, path), (full.value, tmp_path / "y.bin")):
        assert error.filename == str(name) and error.filename2 is None and "tmp-" not in str(error)
    with pytest.raises(FileNotFoundError, match=r"source\.bin"), atomic_path(tmp_path / "y.bin"):
        (tmp_path / "source.bin").read_bytes()


def test_some_of_a_list_are_named_and_the_others_counted() -> None:
    assert enumerate_some(["a", "b"], most=2) == "a, b" and enumerate_some([], most=2) == ""
    assert enumerate_some(["a", "b", "c"], most=1) == "a, and 2 more"
    assert enumerate_some(["a", "b", "c"], most=2, separator="; ") == "a; b; and 1 more"


@pytest.mark.parametrize("stem", ["x" * 251, "夜" * 83], ids=["ascii", "utf-8"])
def test_a_name_may_be_as_long_as_a_file_system_allows(tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem}.bin"
    assert check_output(path) == path
    assert write_bytes(path, b"new").read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_is_checked_before_the_work(tmp_path: Path) -> None:
    old = write_bytes(tmp_path / "old.bin", b"old")
    for path in (old, tmp_path / "new" / "folder" / "x.bin"):
        assert check_output(str(path)) == path
    assert old.read_bytes() == b"old" and not any((tmp_path / "new/folder").iterdir())
    (tmp_path / "link.bin").symlink_to(old)
    for path in (old, tmp_path / "link.bin"):
        with pytest.raises(InputError, match="would replace what it is made of"):
            check_output(path, None, old)
    assert check_output(tmp_path / "other.bin", old, tmp_path / "missing.bin")
    for path, reason in (
        (tmp_path, "is a folder"),
        (old / "x.bin", "cannot be made a folder"),
        (tmp_path / f"{'x' * 260}.bin", "cannot be written"),
    ):
        with pytest.raises(InputError, match=reason) as error:
            check_output(path)
        assert "\n" not in str(error.value) and "tmp-" not in str(error.value)


def test_a_folder_that_may_not_be_written_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(InputError, match=r"x\.bin: cannot be written \(Permission denied\)"):
        check_output(tmp_path / "x.bin")


def test_nothing_goes_among_the_inputs_by_whatever_path(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "link").symlink_to("images")
    for folder, out in itertools.product(("images", "link"), repeat=2):
        for place in (tmp_path / out, tmp_path / out / "new" / "folder"):
            with pytest.raises(InputError, match="would be among the inputs"):
                check_outside(place, [tmp_path / "absent", tmp_path / folder])
    check_outside(tmp_path / "images-fused", [tmp_path / "images", tmp_path / "link"])


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x.bin", b"old")
    with pytest.raises(InputError, match=r"x\.bin: cannot be made a folder \(.+\)$"):
        write_bytes(tmp_path / "x.bin" / "y.bin", b"new")
    with pytest.raises(InputError, match=r"folder: cannot be made a folder \(.+\)$"):
        write_bytes(tmp_path / "x.bin" / "folder" / "y.bin", b"new")


def test_data_reach_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("fsync"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("replace"), replace(a, b))[1])
    write_bytes(tmp_path / "x.bin", b"data")
    assert order[:2] == ["fsync", "replace"]
    if os.name != "nt":
        assert order == ["fsync", "replace", "fsync"]  # the last makes the rename durable


WRITER = """
import sys, itertools
from pipeline.files import write_bytes
print("ready", flush=True)
for number in itertools.count():
    write_bytes(sys.argv[1], bytes([number % 256]) * 3_000_000)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_killed_writer_leaves_a_complete_file(tmp_path: Path) -> None:
    """SIGKILL at any moment: the name stands for the whole of one version, never for parts of two."""
    path = write_bytes(tmp_path / "x.bin", b"\xff" * 3_000_000)
    for delay in (0.0, 0.005, 0.011, 0.02):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], cwd=REPOSITORY, stdout=subprocess.PIPE
        )
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        data = path.read_bytes()
        assert len(data) == 3_000_000 and len(set(data)) == 1
        # A killed process cannot tidy up; what it leaves is hidden and never taken for a result.
        assert all(entry.name.startswith(".x.tmp-") for entry in tmp_path.iterdir() if entry != path)


def test_check_folder(tmp_path: Path) -> None:
    assert check_folder(str(tmp_path), "root") == tmp_path
    with pytest.raises(InputError, match=r"^root .*absent does not exist; give a folder$"):
        check_folder(tmp_path / "absent", "root")
    with pytest.raises(InputError, match=r"^root .*x is a file, not a folder; give a folder$"):
        check_folder(write_bytes(tmp_path / "x", b""), "root")
