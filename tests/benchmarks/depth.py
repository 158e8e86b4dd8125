"""How well depth sources order depth: python tests/benchmarks/depth.py [SOURCE ...]

Prints, for every source (default: ``default``), without and with the infrared frames, and for three priors,

- same-row order on the two MegaDepth demo photos: of random point pairs in one row which differ by more than
  a tenth of the range in the published inverse depth, the share ordered the same way (0.5 = chance);
- ordinal error on held-out sample scenes, with natural and with randomised textures: of random point pairs
  that differ by more than a tenth of the true range, the share ordered wrongly (0.5 = chance); the same of
  both kinds with so little light that much of the visible frame is lost;
- judged pairs of RoadScene and MFIFB (``judged_pairs.py``): of point pairs in one row whose order is plain to
  the eye, the share ordered so (0.5 = chance);
- people of LLVIP and RoadScene: of points on warm upright figures, which the infrared frame shows, and points
  beside them in the same row, the share of the former placed nearer (0.5 = chance).

``--previews FOLDER`` writes frame | inverse depth sheets of LLVIP and RoadScene pairs and the demo photos.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from judged_pairs import judged_order, judged_photos

from pipeline.depth import DepthEstimator, load_depth_estimator
from pipeline.depth.augmentation import at_night
from pipeline.depth.losses import ordinal_error
from pipeline.depth.training import FIRST_HELD_OUT
from pipeline.device import resolve_device
from pipeline.images import read_grey, read_image, read_rgb, to_uint8, write_image
from pipeline.randomness import random_stream
from pipeline.scenes import Scene, render_scene
from pipeline.ycbcr import luminance

SHARED = Path(__file__).resolve().parents[3] / "shared"
#: Frame and infrared, or None -> inverse depth.
Estimate = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
#: Points that are drawn on a figure.
_POINTS = 300


def main() -> None:
    """Score every source and prior, print one table."""
    options = _options()
    device = resolve_device(options.device)
    methods: dict[str, Estimate] = {
        "prior: lower is nearer": lambda frame, _: _lower(frame),
        "prior: darker is nearer": lambda frame, _: _darker(frame),
        "prior: sharper is nearer": lambda frame, _: _sharper(frame),
    }
    for source in options.source or ["default"]:
        estimator = load_depth_estimator(source, device=device, refine=options.refine)
        methods[source] = _method(estimator, sees_infrared=False)
        methods[f"{source}, infrared too"] = _method(estimator, sees_infrared=True)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {device}")
    demos = _demos(options.shared / "reference" / "megadepth")
    scenes = {
        name: [
            render_scene(seed=0, index=FIRST_HELD_OUT + i, size_hw=(240, 320), randomise_texture=randomised)
            for i in range(options.scenes)
        ]
        for name, randomised in (("natural", False), ("randomised", True))
    }
    scenes["night"] = [
        replace(scene, visible=_night(scene, index))
        for index, scene in enumerate([*scenes["natural"], *scenes["randomised"]])
    ]
    judged = judged_photos(options.shared / "data")
    people = {name: list(_pairs(options.shared / "data" / name)) for name in ("llvip", "roadscene")}
    columns = [
        *(f"row order {name}" for name in demos),
        "mean",
        *(f"error {name}" for name in scenes),
        *(f"judged {name}" for name in judged),
        *(f"people {name}" for name, pairs in people.items() if pairs),
        "s/frame",
    ]
    print(f"{'':34}" + "".join(f"{column:>19}" for column in columns))
    for name, estimate in methods.items():
        started = time.perf_counter()
        orders = [_row_order(estimate(frame, None), truth) for frame, truth in demos.values()]
        seconds = (time.perf_counter() - started) / max(1, len(demos))
        errors = [
            np.mean(
                [
                    _error(estimate(scene.visible, scene.infrared), scene.inverse_depth, i)
                    for i, scene in enumerate(kind)
                ]
            )
            for kind in scenes.values()
        ]
        by_eye = [judged_order(estimate, photos) for photos in judged.values()]
        nearer = [_people_nearer(estimate, pairs) for pairs in people.values() if pairs]
        mean = float(np.mean(orders)) if orders else float("nan")
        row = [*orders, mean, *errors, *by_eye, *nearer, seconds]
        print(f"{name[-34:]:34}" + "".join(f"{value:19.3f}" for value in row), flush=True)
        if options.previews and not name.startswith("prior"):
            _previews(estimate, demos, people, options.previews / name.replace("/", "_"))


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


def _method(estimator: DepthEstimator, *, sees_infrared: bool) -> Estimate:
    def estimate(frame: np.ndarray, infrared: np.ndarray | None) -> np.ndarray:
        seen = [infrared] if sees_infrared and infrared is not None else None
        return estimator.estimate([frame], ["frame"], seen)[0]

    return estimate


def _night(scene: Scene, index: int) -> np.ndarray:
    random = random_stream(0, "benchmark", str(index), "night")
    return to_uint8(at_night(scene.visible.astype(np.float32) / 255, random))


def _pairs(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every fourth visible and infrared frame below a folder."""
    for path in sorted((folder / "visible").rglob("*.jpg"))[::4]:
        yield read_rgb(path), read_grey(folder / "infrared" / path.relative_to(folder / "visible"))


def _people_nearer(estimate: Estimate, pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean over figures, ties count half; feet are left out, which are as far as the ground."""
    shares, random = [], random_stream(0, "benchmark", "", "people")
    for frame, infrared in pairs:
        inverse_depth = estimate(frame, infrared)
        warm, figures = _figures(infrared)
        for figure, (left, width) in figures:
            rows, columns = (where[random.integers(len(where), size=_POINTS)] for where in np.nonzero(figure))
            step = 3 + (random.uniform(0.2, 1.0, _POINTS) * width).astype(int)
            beside = np.where(random.random(_POINTS) < 0.5, left - step, left + width + step)
            counts = (beside >= 0) & (beside < infrared.shape[1])
            counts[counts] = ~warm[rows[counts], beside[counts]]
            if counts.sum() > _POINTS // 10:
                rows, columns, beside = rows[counts], columns[counts], beside[counts]
                nearer = np.sign(inverse_depth[rows, columns] - inverse_depth[rows, beside])
                shares.append(np.mean(1 + nearer) / 2)
    return float(np.mean(shares))


def _figures(infrared: np.ndarray) -> tuple[np.ndarray, list[tuple[np.ndarray, tuple[int, int]]]]:
    """Where a frame is warm, and of each upright blob its upper two thirds, left column and width."""
    smooth = cv2.GaussianBlur(infrared, (0, 0), 1.5)
    warm = (smooth > max(120.0, 0.75 * np.percentile(smooth, 97))).astype(np.uint8)
    count, labels, boxes, _ = cv2.connectedComponentsWithStats(warm)
    figures = []
    for label in range(1, count):
        left, top, width, height, area = (int(value) for value in boxes[label])
        share = height / infrared.shape[0]
        if 1 / 14 < share < 1 / 2 and 1.2 < height / width < 6 and area > 0.3 * width * height:
            figure = labels == label
            figure[top + 2 * height // 3 :] = False
            figures.append((figure, (left, width)))
    return cv2.dilate(warm, np.ones((5, 5), np.uint8)) > 0, figures


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
    estimate: Estimate,
    demos: dict[str, tuple[np.ndarray, np.ndarray]],
    people: dict[str, list[tuple[np.ndarray, np.ndarray]]],
    folder: Path,
) -> None:
    sheets: dict[str, list[tuple[np.ndarray, np.ndarray | None]]] = {
        "megadepth": [(frame, None) for frame, _ in demos.values()],
        **{name: [*pairs[:24]] for name, pairs in people.items()},
    }
    for name, frames in sheets.items():
        pairs = [_pair(frame, estimate(frame, infrared)) for frame, infrared in frames]
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
