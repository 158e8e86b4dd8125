"""How well depth sources order depth: python tests/benchmarks/depth.py [SOURCE ...]

Prints, for every source (default: ``default``) and for three trivial priors,

- same-row order on the two MegaDepth demo photos: of random point pairs in one row which differ by more than
  a tenth of the range in the published inverse depth, the share ordered the same way (0.5 = chance);
- ordinal error on held-out sample scenes, with natural and with randomised textures: of random point pairs
  that differ by more than a tenth of the true range, the share ordered wrongly (0.5 = chance).

``--previews FOLDER`` writes frame | inverse depth sheets of LLVIP and RoadScene frames and the demo photos.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from pipeline.depth import load_depth_estimator
from pipeline.depth.losses import ordinal_error
from pipeline.depth.training import FIRST_HELD_OUT
from pipeline.device import resolve_device
from pipeline.images import read_image, read_rgb, write_image
from pipeline.randomness import random_stream
from pipeline.scenes import render_scene
from pipeline.ycbcr import luminance

SHARED = Path(__file__).resolve().parents[3] / "shared"
Estimate = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Score every source and prior, print one table."""
    options = _options()
    device = resolve_device(options.device)
    methods: dict[str, Estimate] = {
        "prior: lower is nearer": _lower,
        "prior: darker is nearer": _darker,
        "prior: sharper is nearer": _sharper,
    }
    for source in options.source or ["default"]:
        estimator = load_depth_estimator(source, device=device, refine=options.refine)
        methods[source] = lambda frame, estimator=estimator: estimator.estimate([frame], ["frame"])[0]
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {device}")
    demos = _demos(options.shared / "reference" / "megadepth")
    scenes = {
        name: [
            render_scene(seed=0, index=FIRST_HELD_OUT + i, size_hw=(240, 320), randomise_texture=randomised)
            for i in range(options.scenes)
        ]
        for name, randomised in (("natural", False), ("randomised", True))
    }
    columns = [
        *(f"row order {name}" for name in demos),
        "mean",
        *(f"error {name}" for name in scenes),
        "s/frame",
    ]
    print(f"{'':34}" + "".join(f"{column:>18}" for column in columns))
    for name, estimate in methods.items():
        started = time.perf_counter()
        orders = [_row_order(estimate(frame), truth) for frame, truth in demos.values()]
        seconds = (time.perf_counter() - started) / max(1, len(demos))
        errors = [
            np.mean([_error(estimate(scene.visible), scene.inverse_depth, i) for i, scene in enumerate(kind)])
            for kind in scenes.values()
        ]
        row = [*orders, float(np.mean(orders)) if orders else float("nan"), *errors, seconds]
        print(f"{name[-34:]:34}" + "".join(f"{value:18.3f}" for value in row), flush=True)
        if options.previews and not name.startswith("prior"):
            _previews(estimate, demos, options.shared / "data", options.previews)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="*", help="depth sources, as for synth --depth")
    parser.add_argument("--shared", type=Path, default=SHARED, help="third-party data")
    parser.add_argument("--scenes", type=int, default=48, help="held-out scenes of each kind")
    parser.add_argument("--previews", type=Path, help="write previews into this folder")
    parser.add_argument("--refine", action=argparse.BooleanOptionalAction, default=True, help="guided filter")
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


def _demos(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Photo and published inverse depth (H, W) of the size of the map; nothing where the folder is absent."""
    found = {}
    for path in sorted(folder.glob("demo*.png")):
        truth = read_image(path).astype(np.float32)
        found[path.stem] = (read_rgb(path.with_suffix(".jpg")), truth)
    return found


def _row_order(predicted: np.ndarray, truth: np.ndarray) -> float:
    return 1 - ordinal_error(
        _fit(predicted, truth), truth, random_stream(0, "benchmark", "", "pairs"), row_share=1
    )


def _error(predicted: np.ndarray, truth: np.ndarray, index: int) -> float:
    return ordinal_error(predicted, truth, random_stream(0, "benchmark", str(index), "pairs"))


def _fit(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return cv2.resize(predicted, truth.shape[::-1], interpolation=cv2.INTER_AREA)


def _lower(frame: np.ndarray) -> np.ndarray:
    rows = np.arange(frame.shape[0], dtype=np.float32)[:, None]
    return np.repeat(rows, frame.shape[1], axis=1)


def _darker(frame: np.ndarray) -> np.ndarray:
    return -luminance(frame.astype(np.float32))


def _sharper(frame: np.ndarray) -> np.ndarray:
    grey = luminance(frame.astype(np.float32))
    energy = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 1.5))
    return cv2.GaussianBlur(energy, (0, 0), frame.shape[1] / 64)


def _previews(
    estimate: Estimate, demos: dict[str, tuple[np.ndarray, np.ndarray]], data: Path, folder: Path
) -> None:
    sheets = {
        "megadepth": [frame for frame, _ in demos.values()],
        "llvip": [read_rgb(path) for path in sorted((data / "llvip/visible/train").glob("*.jpg"))[::4]],
        "roadscene": [read_rgb(path) for path in sorted((data / "roadscene/visible").glob("*.jpg"))[::9]],
    }
    for name, frames in sheets.items():
        pairs = [_pair(frame, estimate(frame)) for frame in frames]
        pairs += [np.zeros_like(pairs[0])] * (-len(pairs) % 3) if pairs else []
        rows = [np.hstack(pairs[start : start + 3]) for start in range(0, len(pairs), 3)]
        if rows:
            print(write_image(folder / f"{name}.png", np.vstack(rows)))


def _pair(frame: np.ndarray, inverse_depth: np.ndarray) -> np.ndarray:
    colours = cv2.applyColorMap(np.rint(inverse_depth * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[
        ..., ::-1
    ]
    return np.hstack([cv2.resize(x, (320, 240), interpolation=cv2.INTER_AREA) for x in (frame, colours)])


if __name__ == "__main__":
    main()
