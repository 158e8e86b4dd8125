"""JSON and digests: what is written is read back, and other content has another digest."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.files import (
    InputError,
    canonical_json,
    read_json,
    sha256_file,
    sha256_text,
    source_digest,
    write_bytes,
    write_json,
)

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
    big = np.random.default_rng(0).bytes(1 << 20)
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
    assert digest("x.JPG", bytes(plain)) == digest("x.jpg", bytes(plain))


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
    os.truncate(tmp_path / "huge.mp4", 10**12 - 1)  # all zeros, as at first, but one less
    assert len({*digests, source_digest(tmp_path / "huge.mp4")}) == 4


def test_what_cannot_be_read_has_no_source_digest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert source_digest(tmp_path / "absent") is None and source_digest(tmp_path) is None
    assert source_digest(tmp_path / "pipe") is None  # and nobody waits for its other end
