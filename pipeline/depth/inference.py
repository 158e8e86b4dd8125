"""Inverse depth from a network: the same bits for a frame in whatever batch it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from pipeline.depth import FRAMES_AT_ONCE, gpu_maps, hourglass
from pipeline.depth import network as depth_network
from pipeline.depth.details import merge, part_windows
from pipeline.depth.maps import full_size
from pipeline.files import WEIGHTS_DIR, InputError, sha256_file
from pipeline.networks.device import one_thread, repeatable_kernels
from pipeline.networks.graphs import Repeating

DEFAULT_WEIGHTS = WEIGHTS_DIR / "depth.safetensors"
#: A frame (H, W, 3) uint8 and, where the network sees it, the infrared one (H, W) uint8.
_Picture = tuple[np.ndarray, ...]
_Key = TypeVar("_Key")


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkDepth:
    """A depth network as a :class:`pipeline.depth.DepthEstimator`.

    A frame is shrunk to about the area that the network was made for, its aspect kept (sides rounded to
    multiples of ``stride``); the output is scaled to [0, 1] between its 0.5th and 99.5th percentile and
    enlarged bilinearly. Frames much larger than that are seen in parts too (:mod:`pipeline.depth.details`).
    On the CPU views pass one by one, on one thread. On a GPU those of ``FRAMES_AT_ONCE`` frames pass together
    if they have the same sizes, and all else is done there too: a frame goes up and its map comes down.
    """

    name: str
    digest: str  # SHA-256 of the weights file
    network: Callable[..., Tensor]  # (B, 3, h, w) in [0, 1] -> log inverse depth times ``sign``, (B, 1, h, w)
    sign: float  # -1 where the network gives log depth
    size_hw: tuple[int, int]  # what it was made for
    stride: int  # its input's sides are multiples of this
    device: torch.device
    refine: bool  # pull depth edges onto the frame's
    sees_infrared: bool  # the network takes infrared (B, 1, h, w) besides

    def path_of(self, id_: str) -> None:
        """Nothing is read from files; see :class:`pipeline.depth.DepthEstimator`."""

    @torch.inference_mode()
    def estimate(
        self, frames: Sequence[np.ndarray], ids: Sequence[str], infrared: Sequence[np.ndarray] | None = None
    ) -> list[np.ndarray]:
        """Inverse depth of each frame; see :class:`pipeline.depth.DepthEstimator`."""
        seen = (frames, infrared) if infrared is not None and self.sees_infrared else (frames,)
        pictures: list[_Picture] = list(zip(*seen, strict=True))
        maps = map(self._on_cpu, pictures) if self.device.type == "cpu" else self._on_gpu(pictures)
        finished = []
        for inverse_depth, id_ in zip(maps, ids, strict=True):
            if inverse_depth is None:
                raise InputError(
                    f"--depth {self.name}: the network gave no finite depth for {id_}; check its weights"
                )
            finished.append(inverse_depth)
        return finished

    def _on_cpu(self, picture: _Picture) -> np.ndarray | None:
        """Inverse depth (H, W); None where the network's is not finite."""
        frame = np.dstack(picture) if len(picture) > 1 else picture[0]
        views = [frame, *(frame[part] for part in self._windows(frame))]
        whole, *seen = [self._log_inverse(view) for view in views]
        if not all(np.isfinite(one).all() for one in (whole, *seen)):
            return None
        log_inverse = merge(whole, seen) if seen else whole
        # The scale is free, so the nearest pixel may as well be exp(0): nothing overflows.
        near = np.exp(log_inverse - log_inverse.max())
        return full_size(near, frame, refine=self.refine)

    def _log_inverse(self, view: np.ndarray) -> np.ndarray:
        """Log inverse depth (h, w) of a picture, at the size that the network sees it."""
        small = torch.from_numpy(_shrink(view, self._input_size(view)))
        return self._forward(small[None]).numpy()[0]

    def _on_gpu(self, pictures: Sequence[_Picture]) -> list[np.ndarray | None]:
        """:meth:`_on_cpu` of many."""
        maps: dict[int, np.ndarray | None] = {}
        for sizes, numbers in _by_key([self._view_sizes(picture[0]) for picture in pictures]).items():
            for start in range(0, len(numbers), FRAMES_AT_ONCE):
                chunk = numbers[start : start + FRAMES_AT_ONCE]
                some = [pictures[number] for number in chunk]
                with repeatable_kernels():
                    maps.update(zip(chunk, self._together(some, *sizes), strict=True))
        return [maps[number] for number in range(len(pictures))]

    def _together(
        self, pictures: Sequence[_Picture], size: tuple[int, int], part_size: tuple[int, int] | None
    ) -> list[np.ndarray | None]:
        """:meth:`_on_cpu` of up to ``FRAMES_AT_ONCE`` pictures whose views are of the same sizes."""
        views = {size: [gpu_maps.shrunk]}  # how to make those of each size
        if part_size:
            views.setdefault(part_size, []).append(gpu_maps.shrunk_parts)
        planes = [_upload(picture, self.device) for picture in pictures]
        outputs = []  # log inverse depth of the views of each size, (FRAMES_AT_ONCE, views, h, w)
        for side, shrinks in views.items():
            batch = torch.stack([torch.cat([shrink(one, side) for shrink in shrinks]) for one in planes])
            batch = gpu_maps.filled(batch, FRAMES_AT_ONCE)
            output = self._forward(batch.flatten(0, 1).permute(0, 2, 3, 1))
            outputs.append(output.unflatten(0, batch.shape[:2]))
        log_inverse = outputs[0][:, 0]
        if part_size:
            parts = outputs[1] if len(outputs) > 1 else outputs[0][:, 1:]
            log_inverse = gpu_maps.merge(log_inverse, parts)
        near = (log_inverse - log_inverse.amax(dim=(1, 2), keepdim=True)).exp()
        maps: dict[int, Tensor] = {}
        for numbers in _by_key([one.shape for one in planes]).values():
            some = gpu_maps.filled(torch.stack([near[number] for number in numbers]), FRAMES_AT_ONCE)
            finished = gpu_maps.full_size(some, [planes[number] for number in numbers], refine=self.refine)
            maps.update(zip(numbers, finished, strict=True))
        finite = torch.stack([output.isfinite().flatten(1).all(dim=1) for output in outputs]).all(dim=0)
        usable = finite.tolist()
        return [maps[number].cpu().numpy() if usable[number] else None for number in range(len(planes))]

    def _forward(self, views: Tensor) -> Tensor:
        """Views (B, h, w, 3 or 4) of values from 0 to 255 -> log inverse depth (B, h, w) float32."""
        visible, infrared = (
            part.contiguous().permute(0, 3, 1, 2).float() / 255 for part in (views[..., :3], views[..., 3:])
        )
        with repeatable_kernels(), one_thread():
            output = self.network(visible, infrared) if infrared.shape[1] else self.network(visible)
        return self.sign * output[:, 0].float()

    def _input_size(self, view: np.ndarray) -> tuple[int, int]:
        return fit_size((view.shape[0], view.shape[1]), self.size_hw, self.stride)

    def _view_sizes(self, frame: np.ndarray) -> tuple[tuple[int, int], tuple[int, int] | None]:
        """What the network sees of a frame, and of its parts if it has some."""
        windows = self._windows(frame)
        return self._input_size(frame), self._input_size(frame[windows[0]]) if windows else None

    def _windows(self, frame: np.ndarray) -> list[tuple[slice, slice]]:
        return part_windows((frame.shape[0], frame.shape[1]), self._input_size(frame))


def load_network_depth(source: str, *, device: torch.device | None, refine: bool) -> NetworkDepth:
    """Load ``default``, ``megadepth:PATH`` or ``timm:ENCODER:PATH``.

    Raises:
        InputError: the file is missing or does not fit the name.
    """
    device = device or torch.device("cpu")
    kind, _, argument = source.partition(":")
    if kind == "megadepth":
        path, sign = Path(argument), -1.0
        network: nn.Module = hourglass.load_hourglass(path)
        sees_infrared = False
        size, stride = hourglass.INPUT_SIZE_HW, hourglass.STRIDE
    else:
        encoder, _, file = argument.partition(":")
        if kind == "timm" and not (encoder and file):
            raise InputError(f"--depth {source}: give an encoder and its weights, timm:ENCODER:PATH")
        path = Path(file) if kind == "timm" else DEFAULT_WEIGHTS
        network, description = depth_network.load_depth_network(path, encoder or None)
        size, stride, sign = (description["size_hw"][0], description["size_hw"][1]), depth_network.STRIDE, 1.0
        sees_infrared = network.correction is not None
    if device.type != "cpu":
        # As the views are: else every batch would turn the weights round.
        network = network.to(memory_format=torch.channels_last)
    network = network.to(device)
    half = device.type != "cpu" and kind == "megadepth"
    return NetworkDepth(
        name=source,
        digest=sha256_file(path),
        network=OneByOne(network, device) if half else network,
        sign=sign,
        size_hw=size,
        stride=stride,
        device=device,
        refine=refine,
        sees_infrared=sees_infrared,
    )


class OneByOne:
    """A network on a GPU in half precision; a picture has the same bits wherever it stands in a batch.

    cuDNN's kernels for tensor cores may add up in another order at another place of a batch. So pictures pass
    one by one; the many small kernels of one are recorded as a CUDA graph. Layers compute in float16, but
    where they turn autocast off themselves.

    Args:
        network: (B, C, H, W) -> (B, ...), without gradient.
        device: where it is; a GPU.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network, self._device = network, device
        self._repeating = Repeating(device, "depth")

    def __call__(self, pictures: Tensor) -> Tensor:
        # The result of a record is the next one's too.
        return torch.cat(
            [self._repeating(one, one.shape, self._forward).clone() for one in pictures.split(1)]
        )

    def _forward(self, picture: Tensor) -> Tensor:
        # Weights that autocast kept from one call to the next would not live as long as a record.
        with torch.autocast(self._device.type, torch.float16, cache_enabled=False):
            output = self._network(picture)
        assert isinstance(output, Tensor)
        return output


def fit_size(frame_hw: tuple[int, int], size_hw: tuple[int, int], stride: int) -> tuple[int, int]:
    """Size of about the area of ``size_hw`` and the aspect of ``frame_hw``, in multiples of ``stride``."""
    scale = np.sqrt(size_hw[0] * size_hw[1] / (frame_hw[0] * frame_hw[1]))
    height, width = (max(stride, round(side * scale / stride) * stride) for side in frame_hw)
    return height, width


def _shrink(frame: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    shrinks = size_hw[0] <= frame.shape[0] and size_hw[1] <= frame.shape[1]
    # Averaging keeps textures from aliasing into structures that are not there.
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(frame, size_hw[::-1], interpolation=interpolation)


def _upload(picture: _Picture, device: torch.device) -> Tensor:
    """The planes of a picture on a device, (3 or 4, H, W) uint8: RGB, and infrared if there is any."""
    planes = [torch.from_numpy(np.ascontiguousarray(one)).to(device) for one in picture]
    return torch.cat([planes[0].permute(2, 0, 1), *(one[None] for one in planes[1:])])


def _by_key(keys: Sequence[_Key]) -> dict[_Key, list[int]]:
    """Where each key stands."""
    numbers: dict[_Key, list[int]] = {}
    for number, key in enumerate(keys):
        numbers.setdefault(key, []).append(number)
    return numbers
