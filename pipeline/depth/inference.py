"""Inverse depth from a network: the same bits for a frame in whatever batch it comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from pipeline.depth import FRAMES_AT_ONCE, hourglass
from pipeline.depth import network as depth_network
from pipeline.depth.details import merge, part_windows
from pipeline.device import one_thread, repeatable_kernels
from pipeline.files import WEIGHTS_DIR, InputError, sha256_file
from pipeline.inverse_depth import full_size

DEFAULT_WEIGHTS = WEIGHTS_DIR / "depth.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class NetworkDepth:
    """A depth network as a :class:`pipeline.depth.DepthEstimator`.

    A frame is shrunk to about the area that the network was made for, its aspect kept (sides rounded to
    multiples of ``stride``); the output is scaled to [0, 1] between its 0.5th and 99.5th percentile and
    enlarged bilinearly. Frames much larger than that are seen in parts too (:mod:`pipeline.depth.details`).
    On the CPU frames pass one by one on one thread, on a GPU in batches of exactly
    ``FRAMES_AT_ONCE`` frames of one size.
    """

    name: str
    digest: str  # SHA-256 of the weights file
    network: nn.Module  # (B, 3, h, w) in [0, 1] -> log inverse depth times ``sign``, (B, 1, h, w)
    sign: float  # -1 where the network gives log depth
    size_hw: tuple[int, int]  # what it was made for
    stride: int  # its input's sides are multiples of this
    device: torch.device
    refine: bool  # pull depth edges onto the frame's
    sees_infrared: bool  # the network takes infrared (B, 1, h, w) besides

    def path_of(self, id_: str) -> None:
        """Nothing is read from files; see :class:`pipeline.depth.DepthEstimator`."""

    def estimate(
        self, frames: Sequence[np.ndarray], ids: Sequence[str], infrared: Sequence[np.ndarray] | None = None
    ) -> list[np.ndarray]:
        """Inverse depth of each frame; see :class:`pipeline.depth.DepthEstimator`."""
        for frame in frames:
            if frame.ndim != 3 or frame.shape[2] != 3 or frame.dtype != np.uint8:
                raise TypeError(f"frames are (H, W, 3) uint8, not {frame.dtype} {frame.shape}")
        if infrared is not None and self.sees_infrared:  # as a fourth channel
            frames = [np.dstack(pair) for pair in zip(frames, infrared, strict=True)]
        windows = [
            part_windows(hw, fit_size(hw, self.size_hw, self.stride))
            for hw in ((frame.shape[0], frame.shape[1]) for frame in frames)
        ]
        views: list[np.ndarray] = []
        for frame, parts in zip(frames, windows, strict=True):
            views += [frame, *(frame[part] for part in parts)]
        maps = iter(self._log_inverse(views))
        finished = []
        for frame, parts, id_ in zip(frames, windows, ids, strict=True):
            whole, *seen = [next(maps) for _ in range(1 + len(parts))]
            if not all(np.isfinite(one).all() for one in (whole, *seen)):
                raise InputError(
                    f"--depth {self.name}: the network gave no finite depth for {id_}; check its weights"
                )
            log_inverse = merge(whole, seen) if seen else whole
            # The scale is free, so the nearest pixel may as well be exp(0): nothing overflows.
            near = np.exp(log_inverse - log_inverse.max())
            finished.append(full_size(near, frame, refine=self.refine))
        return finished

    def _log_inverse(self, views: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Log inverse depth (h, w) of each picture, at the size that the network sees it."""
        sizes = [fit_size((view.shape[0], view.shape[1]), self.size_hw, self.stride) for view in views]
        small = [_shrink(view, size) for view, size in zip(views, sizes, strict=True)]
        maps: dict[int, np.ndarray] = {}
        batch = 1 if self.device.type == "cpu" else FRAMES_AT_ONCE
        for size in dict.fromkeys(sizes):
            of_size = [index for index, other in enumerate(sizes) if other == size]
            for start in range(0, len(of_size), batch):
                chunk = of_size[start : start + batch]
                filled = chunk + [chunk[-1]] * (batch - len(chunk))
                outputs = self._forward(np.stack([small[index] for index in filled]))
                maps.update(zip(chunk, outputs, strict=False))
        return [maps[index] for index in range(len(views))]

    @torch.inference_mode()
    def _forward(self, frames: np.ndarray) -> np.ndarray:
        """(B, h, w, 3 or 4) uint8 -> log inverse depth (B, h, w) float32."""
        visible, infrared = (
            torch.from_numpy(np.ascontiguousarray(part)).to(self.device).permute(0, 3, 1, 2).float() / 255
            for part in (frames[..., :3], frames[..., 3:])
        )
        with repeatable_kernels(), one_thread():
            output = self.network(visible, infrared) if infrared.shape[1] else self.network(visible)
        return self.sign * output[:, 0].float().cpu().numpy()


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
        network, description = depth_network.load_depth_network(path)
        if kind == "timm" and description["encoder"] != encoder:
            raise InputError(f"{path}: weights of encoder {description['encoder']}, not {encoder}")
        size, stride, sign = (description["size_hw"][0], description["size_hw"][1]), depth_network.STRIDE, 1.0
        sees_infrared = network.correction is not None
    return NetworkDepth(
        name=source,
        digest=sha256_file(path),
        network=network.to(device),
        sign=sign,
        size_hw=size,
        stride=stride,
        device=device,
        refine=refine,
        sees_infrared=sees_infrared,
    )


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
