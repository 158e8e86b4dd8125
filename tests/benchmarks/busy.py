"""Fusing beside other programs: idle threads that sleep, as every command has them, and that spin.

    python tests/benchmarks/busy.py [--pairs 4] [--size 256x320] [--weights FILE]

A folder is fused by the command line with the cores to itself, and beside an endless loop on each of them.
Spinning is what OpenMP does by default (``GOMP_SPINCOUNT`` has its number of turns there). Seconds are those
of the whole process, by the clock on the wall and of all its threads, less those of its start. What spinning
costs differs from run to run: it hangs on which thread is taken from a core.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fuse_pairs import write_pairs

from pipeline.runtime.threads import SPIN_COUNT

ROOT = Path(__file__).resolve().parents[2]
WAITING = {"sleep": {"GOMP_SPINCOUNT": str(SPIN_COUNT)}, "spin": {"GOMP_SPINCOUNT": "300000"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--size", default="256x320", help="rows x columns of a pair")
    parser.add_argument("--weights", help="other weights than the shipped ones")
    options = parser.parse_args()
    rows, columns = map(int, options.size.split("x"))
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}\n")
    print("| loops beside it | idle threads | s per pair | CPU s | to sleeping |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        one, more = Path(folder, "one"), Path(folder, "more")
        write_pairs(one, 1, (rows, columns))
        write_pairs(more, 1 + options.pairs, (rows, columns))
        for count in (0, os.cpu_count() or 1):
            sleeping = 0.0
            for name, policy in WAITING.items():
                with _loops(count):
                    start = _seconds(one, policy, options.weights)
                    whole = _seconds(more, policy, options.weights)
                wall, cpu = ((b - a) / options.pairs for a, b in zip(start, whole, strict=True))
                sleeping = sleeping or wall
                print(f"| {count} | {name} | {wall:.2f} | {cpu:.2f} | {wall / sleeping:.1f} |", flush=True)


@contextmanager
def _loops(count: int) -> Iterator[None]:
    """So many processes that take what they get of a core."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _seconds(folder: Path, policy: dict[str, str], weights: str | None) -> tuple[float, float]:
    """Wall and CPU seconds of fusing a folder."""
    command = [sys.executable, str(ROOT / "cli.py"), "fuse", "-a", "a", "-b", "b", "-o", "out", "--overwrite"]
    if weights:
        command += ["--weights", str(Path(weights).resolve())]
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, cwd=folder, env=os.environ | policy, check=True, capture_output=True)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, used


if __name__ == "__main__":
    main()
