"""Everything that this project claims or wants to know about CUDA, in one run of a few minutes.

    python tests/benchmarks/gpu.py [--minutes 8] [--out FILE] [--data LLVIP] [--sections check,fuse]

Sections come in order of importance. First the checks: planes and losses against float64 on the CPU, runs
repeated and resumed. Then the device's measured ceilings; fusing, training and synthesis beside the floors
that follow from them and beside their targets; what each optimisation of a training step gives; and what
torch.compile would.

Every section stands alone: one that fails says so in a line, the next goes on, and the status is 1 in the
end, as it is where a check breaks its bound. One for which too little time is left is skipped. Targets that
are missed are no failure. Lines are printed as they come, and FILE.md and FILE.json written anew with each,
so that a kill loses nothing.

Frames are 1280x1024 scenes that are rendered here, or those below ``--data``, in ``infrared`` and
``visible``. ``--device cpu --size 64x96 --repeats 2`` tries the script, ``--quick`` does so on a GPU.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import os
import platform
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as every command has it

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import gpu_checks
import gpu_experiments
import gpu_fuse
import gpu_ladder
import gpu_synth
import gpu_train
from gpu_bench import DTYPES, Bench
from gpu_report import Report

ROOT = Path(__file__).resolve().parents[2]
#: A section may take so many times what is expected of it, if as much is left.
PATIENCE = 3
#: Seconds beyond the budget after which a run that hangs in a driver is ended from outside the interpreter.
GRACE_S = 30


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of the run."""

    name: str
    seconds: float  # about what it takes on an H200; it is not begun with less
    run: Callable[[Bench, Report], None]


class OutOfTime(BaseException):
    """A section ran longer than it may. No Exception: what a library would catch has to get through."""


def sections(*, quick: bool) -> list[Section]:
    """All of them, the most important first."""
    return [
        Section(name="check: attention", seconds=5, run=gpu_checks.attention),
        Section(name="check: fused planes", seconds=10, run=gpu_checks.fused_planes),
        Section(name="check: training losses", seconds=10, run=gpu_checks.training_losses),
        Section(name="check: repeated steps", seconds=15, run=gpu_checks.repeated_steps),
        Section(name="check: resumed run", seconds=45, run=gpu_checks.resumed_run),
        Section(name="ceilings", seconds=5, run=_ceilings),
        Section(name="fuse: network", seconds=15, run=gpu_fuse.network),
        Section(name="fuse: folder", seconds=40, run=gpu_fuse.folder),
        Section(name="fuse: error of lower precisions", seconds=20, run=gpu_checks.fusing_error),
        Section(name="train: steps", seconds=25, run=gpu_train.steps),
        Section(name="train: schedule", seconds=50, run=gpu_train.schedule),
        Section(name="check: depth of frames", seconds=30, run=gpu_synth.depth),
        _synthesis("default", 1 if quick else 12),
        Section(name="train: ladder", seconds=30, run=gpu_ladder.ladder),
        _synthesis("hourglass", 1 if quick else 12),
        _synthesis("default", 2 if quick else 4),
        Section(name="train: compiled", seconds=60, run=gpu_experiments.compiled),
        *(
            []
            if quick
            else [_synthesis("hourglass", 4), _synthesis("default", 1), _synthesis("hourglass", 1)]
        ),
    ]


def _synthesis(depth: str, jobs: int) -> Section:
    return Section(
        name=f"synthesis: {depth} depth, {jobs} jobs",
        seconds=20 + 1.5 * jobs,
        run=partial(gpu_synth.synthesis, depth=depth, jobs=jobs),
    )


def run_sections(chosen: list[Section], bench: Bench, report: Report, *, until: float) -> None:
    """Run what there is time for; ``until`` is of :func:`time.monotonic`."""
    for section in chosen:
        report.begin(section.name)
        left = until - time.monotonic()
        if left < section.seconds:
            report.end(f"SKIPPED: it needs about {section.seconds:.0f} s, {max(0.0, left):.0f} s are left")
            continue
        start = time.monotonic()
        try:
            with _at_most(min(left, PATIENCE * section.seconds)):
                section.run(bench, report)
        except (Exception, OutOfTime) as error:  # noqa: BLE001 - the other sections have to be run all the same
            report.end(f"FAILED after {time.monotonic() - start:.0f} s: {_last_line(error)}", good=False)
        else:
            report.end(f"done in {time.monotonic() - start:.1f} s")
        gc.collect()
        if bench.cuda:
            torch.cuda.empty_cache()


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise OutOfTime(f"ran past its {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def _last_line(error: BaseException) -> str:
    """What was raised, and the last place of this repository that it came through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if frame.filename.startswith(str(ROOT))]
    last = traceback.format_exception_only(error)[-1].strip().splitlines()[0]
    return f"{Path(ours[-1].filename).relative_to(ROOT)}:{ours[-1].lineno}: {last}" if ours else last


def _ceilings(bench: Bench, report: Report) -> None:
    for name in ("fp32", "bf16", "fp16"):
        dtype = DTYPES[name]
        report.figure(f"matrix product, {name}", bench.matrix_rate(dtype) / 1e12, "TFLOP/s")
    report.figure("copy, read and written", bench.copy_rate / 1e9, "GB/s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", default="1024x1280", help="of frames and fused pairs, rows x columns")
    parser.add_argument("--repeats", type=int, default=20, help="of what is timed; the median counts")
    parser.add_argument("--minutes", type=float, default=8, help="no section is begun that would not fit")
    parser.add_argument("--out", type=Path, help="written with .md and with .json")
    parser.add_argument("--data", type=Path, help="folder with infrared/ and visible/ frames of one size")
    parser.add_argument("--sections", default="", help="beginnings of names, comma-separated; all by default")
    parser.add_argument(
        "--quick", action="store_true", help="sizes that only try the script; so is any CPU run"
    )
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device here; --device cpu --size 64x96 --repeats 2 tries the script", file=sys.stderr)
        return 2
    until = time.monotonic() + 60 * arguments.minutes
    device = torch.device(arguments.device)
    height, width = map(int, arguments.size.split("x"))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    quick = arguments.quick or device.type == "cpu"
    wanted = tuple(arguments.sections.split(","))
    chosen = [section for section in sections(quick=quick) if section.name.startswith(wanted)]
    title = (
        f"{name}, {os.cpu_count()} CPUs, Python {platform.python_version()}, torch {torch.__version__}, "
        f"NumPy {np.__version__}, OpenCV {cv2.__version__}; {width}x{height}, median of {arguments.repeats}"
    )
    report = Report(title + (", QUICK: no figure means anything" if quick else ""), arguments.out)
    faulthandler.dump_traceback_later(60 * arguments.minutes + GRACE_S, exit=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            device=device,
            size_hw=(height, width),
            repeats=arguments.repeats,
            quick=quick,
            data=arguments.data,
            folder=Path(folder),
        )
        run_sections(chosen, bench, report, until=until)
    faulthandler.cancel_dump_traceback_later()
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
