"""Random streams that are keyed by what they are for."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.runtime.randomness import random_stream

REPOSITORY = Path(__file__).resolve().parents[1]
keys = st.tuples(st.integers(0, 2**64), st.text(max_size=9), st.text(max_size=9), st.text(max_size=9))


def draw(key: tuple[int, str, str, str]) -> bytes:
    return random_stream(*key).bytes(32)


@given(one=keys, other=keys)
def test_streams_are_equal_exactly_if_their_keys_are(
    one: tuple[int, str, str, str], other: tuple[int, str, str, str]
) -> None:
    assert draw(one) == draw(one)
    assert (draw(one) == draw(other)) == (one == other)


def test_the_parts_of_a_key_do_not_run_together() -> None:
    close = [
        (0, "a", "bc", "d"),
        (0, "ab", "c", "d"),
        (0, "a", "b", "cd"),
        (0, "", "abc", "d"),
        (0, 'a","b', "c", "d"),
    ]
    close += [(1, "a", "bc", "d"), (-1, "a", "bc", "d"), (0, "A", "bc", "d")]
    assert len({draw(key) for key in close}) == len(close)


def test_streams_are_the_same_in_another_process() -> None:
    program = (
        "from pipeline.runtime.randomness import random_stream as r\n"
        "print(r(7, 'synth', 'n\\xe4chtlich/010001#0', 'focus').bytes(16).hex(), r(0, '', '', '').random())"
    )
    first, second = random_stream(7, "synth", "nächtlich/010001#0", "focus"), random_stream(0, "", "", "")
    here = f"{first.bytes(16).hex()} {second.random()}"
    for environment in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "LC_ALL": "C", "PYTHONUTF8": "0"}):
        there = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, **environment},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        )
        assert there.stdout.strip() == here


def test_a_stream_is_what_its_description_says() -> None:
    """Philox keyed by BLAKE2b-128 of the key as compact JSON, written out here a second time."""
    digest = hashlib.blake2b(b'[3,"synth","010001","focus"]', digest_size=16).digest()
    philox = np.random.Philox(key=np.frombuffer(digest, "<u8"))
    expected = np.random.Generator(philox).standard_normal(9)
    np.testing.assert_array_equal(random_stream(3, "synth", "010001", "focus").standard_normal(9), expected)


def test_streams_look_uniform_and_independent() -> None:
    first = np.array([random_stream(0, "stage", str(sample), "use").random() for sample in range(2000)])
    second = np.array([random_stream(1, "stage", str(sample), "use").random() for sample in range(2000)])
    # Bounds at about four standard errors.
    assert abs(first.mean() - 0.5) < 4 * 12**-0.5 * 2000**-0.5
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 * 2000**-0.5
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 4 * 2000**-0.5
    assert np.histogram(first, 10, (0, 1))[0].min() > 140


def test_the_global_generator_is_left_alone() -> None:
    np.random.seed(0)  # noqa: NPY002 - the legacy state is what must not move
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    random_stream(0, "a", "b", "c").random(100)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002
