"""Settings of fusing. Nothing here needs torch: the command line reads its defaults from this."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model.fusing.colour import COLOUR_MODES, TASKS
from model.inputs.sources import check_range
from pipeline.files import InputError
from pipeline.images import SIXTEEN_BIT_SUFFIXES, SUFFIXES
from pipeline.runtime.workers import check_jobs

if TYPE_CHECKING:
    from model.blocks.transformer import Task

PRECISIONS = ("auto", "fp32", "bf16", "fp16")
#: Main task by the name of what it was trained for -> stream of the network that is decoded.
MAIN_TASKS: dict[str, Task] = {"mfif": "dp", "ivif": "mm"}
RESIZE_CHOICES = ("a", "b")
BIT_DEPTHS = (8, 16)
BAND_SUFFIXES = (".tif", ".tiff")
_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True, kw_only=True)
class FuseConfig:
    """How images are fused."""

    #: Who gives the colour, or pansharpen: a name in ``model.fusing.colour.TASKS``.
    task: str = "auto"
    #: Stream that is decoded; the published results use mfif for every task.
    main_task: str = "mfif"
    #: Weights file; None for the shipped ones.
    weights: Path | None = None
    #: fp32 is exact; bf16 and fp16 are faster and not; auto is fp16 on a GPU and fp32 on the CPU.
    precision: str = "auto"
    #: auto, cpu, cuda or cuda:N.
    device: str = "auto"
    #: Memory in bytes for feature maps; None takes half of what is free. What does not fit is computed again.
    memory_bytes: int | None = None
    #: true, or upstream for the arithmetic of the published scripts, also of pan-sharpening.
    colour: str = "true"
    #: Values of 16-bit inputs that become black and white: full, percentile (of each image) or LOW:HIGH.
    range_16bit: str = "full"
    #: Bits per channel of fused pictures; sharpened bands have those of their bands, videos 8.
    bits: int = 8
    #: Where sizes differ: a and further inputs take the size of b (a), or all that of a (b); None refuses.
    resize: str | None = None
    #: Ending, and so format, of results in folders; None: .png, and .tif of sharpened bands.
    suffix: str | None = None
    #: Whether results that exist are made again.
    overwrite: bool = False
    #: Pairs that are read ahead at a time, and results that are written, one thread each; -1: one for each
    #: core; None: one, or as many as keep a GPU busy.
    jobs: int | None = None

    def __post_init__(self) -> None:
        _check_choice("task", self.task, TASKS)
        _check_choice("main task", self.main_task, MAIN_TASKS)
        _check_choice("precision", self.precision, PRECISIONS)
        _check_choice("colour", self.colour, COLOUR_MODES)
        _check_choice("bits", self.bits, BIT_DEPTHS)
        _check_choice("resize", self.resize, (None, *RESIZE_CHOICES))
        _check_choice("suffix", self.suffix, (None, *SUFFIXES))
        check_range(self.range_16bit)
        if self.task == "pansharpen" and self.suffix not in (None, *BAND_SUFFIXES):
            raise InputError(f"fuse: sharpened bands end in {', '.join(BAND_SUFFIXES)}, not {self.suffix}")
        if self.task == "pansharpen" and self.bits != 8:
            raise InputError(f"fuse: sharpened bands have the bits of theirs; leave out --bits {self.bits}")
        if self.bits == 16 and self.suffix not in (None, *SIXTEEN_BIT_SUFFIXES):
            raise InputError(f"fuse: {self.suffix} holds 8 bits; use {', '.join(SIXTEEN_BIT_SUFFIXES)}")
        if self.memory_bytes is not None and self.memory_bytes < 0:
            raise InputError(f"fuse: memory is {self.memory_bytes} bytes; give 0 or more")
        if self.jobs is not None:
            check_jobs(self.jobs)


def parse_memory(text: str) -> int:
    """Bytes of ``1GB``, ``512 MiB`` or ``1000000``."""
    match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,18})?)\s*([KMG]i?B|)", text.strip(), re.IGNORECASE)
    if not match:
        raise InputError(f"memory {text!r}: give bytes or a number with KB, MB, GB, KiB, MiB or GiB")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def _check_choice(name: str, value: object, choices: Collection[object]) -> None:
    if value not in choices:
        names = ", ".join(str(choice) for choice in choices if choice is not None)
        raise InputError(f"fuse: {name} is {value!r}; use {names}")
