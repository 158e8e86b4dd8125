"""What the sections of gpu.py share: device, clocks and traces, ceilings, networks, frames."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

import joblib
import torch
from joblib.externals.loky import get_reusable_executor
from torch.profiler import ProfilerActivity, profile

from model.checkpoint import load_network
from model.inputs.folders import pair_folders
from model.network import GIFNet, NetworkConfig
from pipeline.images import write_image
from pipeline.networks.device import computes_bfloat16
from pipeline.scenes import render_scene

#: Different source frames that are rendered; longer folders name them again and again.
FRAMES = 16
#: Kinds of a trace's events during which the device is at work; on a CPU, for trying the script, operators.
_BUSY_KINDS = {"cuda": ("kernel", "gpu_memcpy", "gpu_memset"), "cpu": ("cpu_op",)}
#: In a quick run, for the published shape.
QUICK_SHAPE = {"feature_growth": 2, "decoder_channels": 4}
DTYPES = {"fp32": torch.float32, "off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What the device did for one call."""

    kernels: float
    busy: float  # seconds during which it did anything


class Bench:
    """Everything that is measured on, made when it is first asked for.

    Args:
        device: of the networks.
        size_hw: of frames and fused pairs.
        repeats: of what is timed.
        quick: sizes and counts that show that the script runs, and nothing else.
        data: folder with ``infrared`` and ``visible`` frames of one size; None renders scenes of ``size_hw``.
        folder: for files, empty.
    """

    def __init__(
        self,
        *,
        device: torch.device,
        size_hw: tuple[int, int],
        repeats: int,
        quick: bool,
        data: Path | None,
        folder: Path,
    ) -> None:
        self.device, self.size_hw, self.repeats, self.quick = device, size_hw, repeats, quick
        self._data, self.folder = data, folder
        self._rates: dict[torch.dtype, float] = {}

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def precisions(self) -> list[str]:
        """Of fusing, as far as the device has them."""
        if self.cuda:
            return ["fp32", "bf16", "fp16"]
        return ["fp32", "bf16"] if computes_bfloat16(self.device) else ["fp32"]

    @property
    def amps(self) -> list[str]:
        """Of training, likewise."""
        return ["off", *self.precisions[1:]]

    @cached_property
    def published(self) -> GIFNet:
        """A fresh network of the published shape: work and memory are those of the published weights."""
        config = NetworkConfig(**QUICK_SHAPE) if self.quick else NetworkConfig()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return GIFNet(config).eval()

    @cached_property
    def shipped(self) -> GIFNet:
        """The shipped weights."""
        return load_network(None)

    @property
    def networks(self) -> dict[str, GIFNet]:
        """Both by name."""
        return {"published shape": self.published, "shipped weights": self.shipped}

    def new_folder(self) -> Path:
        """An empty folder."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    # --- clocks -----------------------------------------------------------------------------------

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, work: Callable[[], object]) -> float:
        """Median wall time of ``work``, with the device's queue drained."""
        for _ in range(1 if self.quick else 2):  # kernels are chosen, caches filled
            work()
        self.wait()
        times = []
        for _ in range(self.repeats):
            start = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - start)
        return median(times)

    def trace(self, work: Callable[[], object], calls: int = 3) -> Trace:
        """Kernels, and the time in which at least one ran. The profiler slows the host, not the kernels."""
        work()
        self.wait()
        activities = [ProfilerActivity.CUDA, ProfilerActivity.CPU] if self.cuda else [ProfilerActivity.CPU]
        with profile(activities=activities) as profiler:
            for _ in range(calls):
                work()
            self.wait()
        path = self.new_folder() / "trace.json"
        profiler.export_chrome_trace(str(path))
        kinds = _BUSY_KINDS[self.device.type]
        events = [e for e in json.loads(path.read_text())["traceEvents"] if e.get("cat") in kinds]
        path.unlink()
        if not events:
            raise RuntimeError("the profiler saw no kernel")
        spans = sorted((float(e["ts"]), float(e["ts"]) + float(e["dur"])) for e in events)
        busy, until = 0.0, 0.0
        for start, stop in spans:  # streams overlap
            busy += max(0.0, stop - max(start, until))
            until = max(until, stop)
        kernels = sum(event["cat"] in ("kernel", "cpu_op") for event in events)
        return Trace(kernels=kernels / calls, busy=busy / calls / 1e6)

    # --- ceilings ---------------------------------------------------------------------------------

    def matrix_rate(self, dtype: torch.dtype) -> float:
        """Operations per second of a large matrix product, two for each multiply-add."""
        if dtype not in self._rates:
            side = 512 if self.quick else 8192
            x, y = torch.randn(2, side, side, device=self.device, dtype=dtype)
            self._rates[dtype] = 2 * side**3 / self.seconds(lambda: x @ y)
        return self._rates[dtype]

    @cached_property
    def copy_rate(self) -> float:
        """Bytes read and written per second by a large copy."""
        x = torch.rand(1 << (20 if self.quick else 28), device=self.device)
        y = torch.empty_like(x)
        return 2 * x.nbytes / self.seconds(lambda: y.copy_(x))

    # --- frames -----------------------------------------------------------------------------------

    @cached_property
    def frames(self) -> list[tuple[Path, Path]]:
        """Infrared and visible (colour) files of one size."""
        count = 2 if self.quick else FRAMES
        if self._data is not None:
            roles = {role: self._data / role for role in ("infrared", "visible")}
            found = pair_folders(roles)
            return [(found.paths[s]["infrared"], found.paths[s]["visible"]) for s in found.stems[:count]]
        folder = self.new_folder()
        jobs = 1 if self.quick else min(count, os.cpu_count() or 1)
        tasks = (joblib.delayed(_render)(folder, index, self.size_hw) for index in range(count))
        frames = joblib.Parallel(n_jobs=jobs)(tasks)
        stop_workers()
        return frames

    def source(self, count: int) -> Path:
        """A folder of so many pairs, ``infrared/00000.png``, ..., ``visible/...``, and their manifest."""
        folder = self.new_folder()
        for number in range(count):
            for role, path in zip(
                ("infrared", "visible"), self.frames[number % len(self.frames)], strict=True
            ):
                place = folder / role / f"{number:05d}{path.suffix}"
                place.parent.mkdir(exist_ok=True)
                try:
                    os.link(path, place)
                except OSError:  # on another file system
                    shutil.copyfile(path, place)
        suffixes = [path.suffix for path in self.frames[0]]
        (folder / "manifest.toml").write_text(
            f'name = "benchmark"\n[roles]\ninfrared = "infrared/{{id}}{suffixes[0]}"\n'
            f'visible = "visible/{{id}}{suffixes[1]}"\n'
        )
        return folder


def stop_workers() -> None:
    """End joblib's processes, which would keep a GPU's memory for a while."""
    get_reusable_executor().shutdown(wait=True)


def _render(folder: Path, index: int, size_hw: tuple[int, int]) -> tuple[Path, Path]:
    scene = render_scene(seed=0, index=index, size_hw=size_hw)
    paths = (folder / "infrared" / f"{index}.png", folder / "visible" / f"{index}.png")
    for path, image in zip(paths, (scene.infrared, scene.visible), strict=True):
        write_image(path, image)
    return paths
