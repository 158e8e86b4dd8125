"""Atomic files, JSON and digests."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.files import (
    InputError,
    atomic_path,
    canonical_json,
    check_folder,
    check_output,
    enumerate_some,
    read_json,
    sha256_file,
    sha256_text,
    source_digest,
    write_bytes,
    write_json,
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


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=30)
@given(value=json_values)
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.json"
    assert read_json(write_json(path, value)) == value
    assert json.loads(canonical_json(value)) == value


def test_json_does_not_depend_on_the_order_of_keys(tmp_path: Path) -> None:
    one, other = {"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}
    assert canonical_json(one) == canonical_json(other) == '{"a":1,"b":{"c":2,"d":3}}'
    first, second = write_json(tmp_path / "1.json", one), write_json(tmp_path / "2.json", other)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"a": }', b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "cut", "syntax", "bytes", "deep"],
)
def test_unreadable_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json: not readable as JSON \(.+\)$") as error:
        read_json(tmp_path / "x.json")
    assert "\n" not in str(error.value)


def test_missing_json_and_unserialisable_values(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"x\.json: no such file"):
        read_json(tmp_path / "x.json")
    with pytest.raises(InputError, match="not readable as JSON"):
        read_json(tmp_path)
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_digests_are_sha256(tmp_path: Path) -> None:
    """FIPS 180-2, appendix B.1: the digest of "abc"."""
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_text("abc") == abc
    assert sha256_file(write_bytes(tmp_path / "x", b"abc")) == abc
    big = os.urandom(1 << 20)
    assert sha256_file(write_bytes(tmp_path / "x", big)) == hashlib.sha256(big).hexdigest()


def test_source_digests_tell_contents_not_times_and_places(tmp_path: Path) -> None:
    rng, clock = np.random.default_rng(0), itertools.count()

    def digest(name: str, content: bytes) -> str | None:
        path = write_bytes(tmp_path / name, content)
        os.utime(path, (next(clock),) * 2)
        return source_digest(path)

    for size in (0, 1, 65536, 65537, 1_000_000):
        content = rng.bytes(size)
        assert digest("x", content) == digest("copy", content) == digest("x", content)
        contents = {content, content + b"x", content[:-1], rng.bytes(size)}
        assert len({digest("x", content) for content in contents}) == len(contents)
    whole, changed = rng.bytes(65536), []
    for place in rng.integers(65536, size=20):
        one = bytearray(whole)
        one[place] ^= 1
        changed.append(digest("x", bytes(one)))
    assert digest("x", whole) not in changed, "up to 64 KiB every byte counts"

    plain = bytearray(rng.bytes(1_000_000))
    before = digest("x.tif", bytes(plain))
    plain[50_000] ^= 1  # between two of the blocks
    assert digest("x.tif", bytes(plain)) != before, "without compression too"


def test_source_digests_read_little_of_what_is_compressed(tmp_path: Path) -> None:
    """A file of a terabyte, of which nothing is stored but its first and last byte."""
    digests = set()
    for place in (None, 0, 10**12 - 1):
        with open(tmp_path / "huge.mp4", "wb") as file:
            file.truncate(10**12)
            if place is not None:
                file.seek(place)
                file.write(b"x")
        digests.add(source_digest(tmp_path / "huge.mp4"))
    assert len(digests) == 3


def test_what_cannot_be_read_has_no_source_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert source_digest(tmp_path / "absent") is None and source_digest(tmp_path) is None
    assert source_digest(tmp_path / "pipe") is None  # and nobody waits for its other end


def test_check_folder(tmp_path: Path) -> None:
    assert check_folder(str(tmp_path), "root") == tmp_path
    with pytest.raises(InputError, match=r"^root .*absent does not exist; give a folder$"):
        check_folder(tmp_path / "absent", "root")
    with pytest.raises(InputError, match=r"^root .*x is a file, not a folder; give a folder$"):
        check_folder(write_bytes(tmp_path / "x", b""), "root")
