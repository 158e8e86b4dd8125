"""Synthesis as a plain script: one frame after the other, no code of the pipeline's stages.

Only the networks, their weights and the merging of a large frame's parts come from the package.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from pipeline.depth import STRIDE
from pipeline.depth.details import merge, part_windows
from pipeline.depth.inference import DEFAULT_WEIGHTS
from pipeline.depth.network import load_depth_network
from pipeline.exposure.probe import load_probe
from pipeline.synthesis.plan import SynthesisConfig

TILE, TILES = SynthesisConfig().tile, SynthesisConfig().tiles_per_frame


@dataclass(frozen=True, kw_only=True)
class Run:
    """One pass over all frames."""

    seconds: float  # wall time
    stages: Mapping[str, float]  # seconds by stage, summed over processes
    depth_stage: str  # the stage that is, or holds, the depth network
    failed: int = 0  # samples

    @property
    def depth_share(self) -> float:
        return self.stages[self.depth_stage] / sum(self.stages.values())


class PlainScript:
    """One frame after the other, with nothing but the weights from the package."""

    def __init__(self, *, tiles: bool) -> None:
        self.tiles = tiles
        self.depth, description = load_depth_network(DEFAULT_WEIGHTS)
        self.area = description["size_hw"][0] * description["size_hw"][1]
        self.probe = load_probe().to(memory_format=torch.contiguous_format)

    def __call__(self, frames: list[tuple[Path, Path]], out: Path) -> Run:
        out.mkdir(parents=True)
        stages: dict[str, float] = defaultdict(float)
        rng = np.random.default_rng(0)
        begin = start = time.perf_counter()

        def lap(stage: str) -> None:
            nonlocal start
            now = time.perf_counter()
            stages[stage] += now - start
            start = now

        for number, (visible_path, infrared_path) in enumerate(frames):
            visible = cv2.cvtColor(cv2.imread(str(visible_path)), cv2.COLOR_BGR2RGB)
            infrared = cv2.imread(str(infrared_path), cv2.IMREAD_GRAYSCALE)
            lap("read")
            pair = np.dstack([visible, infrared])
            views = [pair, *(pair[part] for part in self.parts(visible))]
            maps = []
            for view in views:
                small = cv2.resize(view, self.input_size(visible), interpolation=cv2.INTER_AREA)
                tensor = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
                lap("depth scaling")
                with torch.no_grad():
                    maps.append(self.depth(tensor[:, :3], tensor[:, 3:])[0, 0].numpy())
                lap("depth network")
            log_inverse = merge(maps[0], maps[1:]) if maps[1:] else maps[0]
            inverse = np.exp(log_inverse - log_inverse.max())
            low, high = np.percentile(inverse, [0.5, 99.5])
            inverse = np.clip((inverse - low) / (high - low), 0, 1)
            inverse = cv2.resize(inverse.astype(np.float32), visible.shape[1::-1])
            lap("depth scaling")
            for part in range(TILES if self.tiles else 1):
                near = (inverse > rng.uniform(0.1, 0.9))[..., None]
                blurred = cv2.GaussianBlur(visible, (0, 0), rng.uniform(1.5, 5))
                pictures = {
                    "visible": visible,
                    "infrared": infrared,
                    "near": np.where(near, visible, blurred),
                    "far": np.where(near, blurred, visible),
                    "depth": (inverse * 65535).astype(np.uint16),
                }
                if self.tiles:
                    row, col = (int(rng.integers(side - TILE + 1)) for side in infrared.shape)
                    pictures = {
                        name: picture[row : row + TILE, col : col + TILE]
                        for name, picture in pictures.items()
                    }
                lap("focus")
                pictures["over"], pictures["under"] = self.expose(pictures["visible"])
                lap("exposure")
                for name, picture in pictures.items():
                    if picture.ndim == 3:
                        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
                    cv2.imwrite(str(out / f"{number}-{part}-{name}.png"), picture)
                lap("write")
        return Run(seconds=time.perf_counter() - begin, stages=stages, depth_stage="depth network")

    def parts(self, frame: np.ndarray) -> list[tuple[slice, slice]]:
        """Of a large frame, which depth sees one by one too."""
        return part_windows(frame.shape[:2], self.input_size(frame)[::-1])

    def input_size(self, frame: np.ndarray) -> tuple[int, int]:
        """Width and height of the depth network's input: its own area, the frame's aspect."""
        scale = (self.area / (frame.shape[0] * frame.shape[1])) ** 0.5
        width, height = (max(STRIDE, round(side * scale / STRIDE) * STRIDE) for side in frame.shape[1::-1])
        return width, height

    def expose(self, visible: np.ndarray) -> list[np.ndarray]:
        ycc = cv2.cvtColor(visible.astype(np.float32) / 255, cv2.COLOR_RGB2YCrCb)
        with torch.no_grad():
            planes = self.probe(torch.from_numpy(ycc[..., 0].copy())[None, None])
        results = []
        for plane in planes:
            ycc[..., 0] = plane[0, 0].numpy()
            results.append((cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB).clip(0, 1) * 255).round().astype(np.uint8))
        return results
