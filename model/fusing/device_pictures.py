"""Pictures on a GPU: the host decodes and encodes, luminance and colour are computed beside the network.

Bytes travel as they are in files, a quarter of the planes' floats, through pinned memory, so that the host
waits for none of them. All work of the device is in one stream: copies take a few hundredths of what the
network does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from model.engine.strips import FusionEngine
from model.fusing.colour import colour_givers, result_profile
from model.fusing.device_colour import DeviceSource, colourise
from model.fusing.fuse_jobs import Job
from model.inputs.sources import Source
from pipeline.images import write_image

if TYPE_CHECKING:
    from model.fusing.fuse_recipes import Pictures

#: Pixels of a picture up to which this pays. The network takes much longer than the host for larger ones, of
#: which dozens, read ahead and waiting to be written, would take the memory of the device.
MOST_PIXELS = 1 << 22


@dataclass(frozen=True)
class Result:
    """A fused picture on its way to the host."""

    image: Tensor  # in memory of the host, (H, W[, 3]) uint8
    arrived: torch.cuda.Event
    profile: bytes | None  # ICC


#: What travels as files have it, or what the host prepares and finishes.
Loaded: TypeAlias = list[DeviceSource] | tuple[np.ndarray, list[Source]]
Fused: TypeAlias = Result | tuple[np.ndarray, list[Source]]


class DevicePictures:
    """Two images in, one of 8 bits in true colour out; others than pairs and large ones go the host's way.

    Args:
        engine: the network's, on a GPU.
        host: reads files, and fuses what does not go this way.
    """

    def __init__(self, engine: FusionEngine, host: Pictures) -> None:
        self._engine, self._host, self._givers = engine, host, host.givers
        self._before: torch.cuda.Event | None = None

    def read(self, job: Job) -> Loaded:
        sources = self._host.sources(job)
        height, width = sources[0].image.shape[:2]
        if len(sources) != 2 or height * width > MOST_PIXELS:
            return self._host.prepared(sources)
        return [DeviceSource(_pinned(s.image), s.low, s.high, s.profile, s.coloured) for s in sources]

    def fuse(self, loaded: Loaded) -> Fused:
        if isinstance(loaded, tuple):
            return self._host.fuse(loaded)
        with torch.inference_mode(), torch.cuda.device(self._engine.device):
            result = self._launch(loaded)
        # The host is a pair ahead of the device, which so is never idle, and no more.
        if self._before is not None:
            self._before.synchronize()
        self._before = result.arrived
        return result

    def write(self, job: Job, result: Fused) -> tuple[int, int]:
        if isinstance(result, tuple):
            return self._host.write(job, result)
        result.arrived.synchronize()
        image = result.image.numpy()
        write_image(job.output, image, profile=result.profile)
        return image.shape[0], image.shape[1]

    def _launch(self, pinned: list[DeviceSource]) -> Result:
        device = self._engine.device
        sources = [replace(source, image=source.image.to(device, non_blocking=True)) for source in pinned]
        planes = torch.stack([sources[0].plane(), sources[-1].plane()])[None]
        fused = self._engine.fuse_device(planes, main=self._host.main)[0, 0]
        image = colourise(fused, colour_givers(sources, self._givers))
        arriving = torch.empty(image.shape, dtype=image.dtype, pin_memory=True)
        arriving.copy_(image, non_blocking=True)
        arrived = torch.cuda.Event(blocking=True)  # threads that wait for it sleep
        arrived.record()
        return Result(arriving, arrived, result_profile(sources, self._givers))


def _pinned(image: np.ndarray) -> Tensor:
    """A copy in memory that the device reads by itself; PyTorch keeps what is given back for the next one."""
    staged = torch.empty(image.shape, dtype=torch.from_numpy(image).dtype, pin_memory=True)
    np.copyto(staged.numpy(), image)  # PyTorch would start a team of threads for each thread that reads
    return staged
