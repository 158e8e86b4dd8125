"""How well depth sources order depth: python tests/benchmarks/depth.py [SOURCE ...]

Prints a row for every source (default: ``default``), and where it sees infrared frames another one with these
(``-`` where what is shown has none), and for three priors:

- same-row order on the two MegaDepth demo photos: of random point pairs in one row which differ by more than
  a tenth of the range in the published inverse depth, the share ordered the same way (0.5 = chance);
- ordinal error on held-out sample scenes, with natural and with randomised textures: of random point pairs
  that differ by more than a tenth of the true range, the share ordered wrongly (0.5 = chance); the same of
  both kinds with so little light that much of the visible frame is lost;
- judged pairs of RoadScene and MFIFB (``judged_pairs.py``): of point pairs in one row whose order is plain to
  the eye, the share ordered so (0.5 = chance);
- people of LLVIP and RoadScene (``people_pairs.py``): of points on warm upright figures, which the infrared
  frame shows, and points beside them in the same row, the share of the former placed nearer (0.5 = chance);
- milliseconds for a held-out scene, the median of ``--repeats`` after one that does not count, all in turns,
  and their ratio to those of ``default`` without the infrared frame.

``--previews FOLDER`` writes frame | inverse depth sheets of LLVIP and RoadScene pairs and the demo photos.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from judged_pairs import judged_order, judged_photos
from people_pairs import people_nearer, people_pairs

from pipeline.depth import DepthEstimator, load_depth_estimator
from pipeline.depth.augmentation import at_night
from pipeline.depth.inference import NetworkDepth
from pipeline.depth.losses import ordinal_error
from pipeline.depth.training import FIRST_HELD_OUT
from pipeline.images import read_image, read_rgb, to_uint8, write_image
from pipeline.images.ycbcr import luminance
from pipeline.networks.device import resolve_device
from pipeline.runtime.randomness import random_stream
from pipeline.scenes import Scene, render_scene

SHARED = Path(os.environ.get("GIFNET_SHARED", Path(__file__).resolve().parents[3] / "shared"))
#: Frame and infrared, or None -> inverse depth.
Estimate = Callable[[np.ndarray, np.ndarray | None], np.ndarray]
#: What times are compared with.
REFERENCE = "default"


@dataclass(frozen=True, kw_only=True)
class Method:
    """What is scored in one row."""

    estimate: Estimate
    sees_infrared: bool = False  # the row above has what it makes of frames that come alone


def main() -> None:
    """Score every source and prior, print one table."""
    options = _options()
    device = resolve_device(options.device)
    methods = {
        "prior: lower is nearer": Method(estimate=lambda frame, _: _lower(frame)),
        "prior: darker is nearer": Method(estimate=lambda frame, _: _darker(frame)),
        "prior: sharper is nearer": Method(estimate=lambda frame, _: _sharper(frame)),
    }
    for source in options.source or [REFERENCE]:
        estimator = load_depth_estimator(source, device=device, refine=options.refine)
        methods[source] = _method(estimator)
        if isinstance(estimator, NetworkDepth) and estimator.sees_infrared:
            methods[f"{source}, infrared too"] = _method(estimator, sees_infrared=True)
    reference = methods.get(REFERENCE) or _method(
        load_depth_estimator(REFERENCE, device=device, refine=options.refine)
    )
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
    people = {name: list(people_pairs(options.shared / "data" / name)) for name in ("llvip", "roadscene")}
    columns = [
        *(f"row order {name}" for name in demos),
        *(["mean"] if demos else []),
        *(f"error {name}" for name in scenes),
        *(f"judged {name}" for name in judged),
        *(f"people {name}" for name, pairs in people.items() if pairs),
        "ms/scene",
        "of default",
    ]
    print(f"{'':34}" + "".join(f"{column:>19}" for column in columns))
    times = _milliseconds(methods | {REFERENCE: reference}, scenes["natural"][0], options.repeats)
    for name, method in methods.items():
        scores = _scores(method, demos, scenes, judged, people)
        scores += [times[name], times[name] / times[REFERENCE]]
        cells = ("-" if score is None else f"{score:.3f}" for score in scores)
        print(f"{name[-34:]:34}" + "".join(f"{cell:>19}" for cell in cells), flush=True)
        if options.previews and not name.startswith("prior"):
            _previews(method.estimate, demos, people, options.previews / name.replace("/", "_"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="*", help="depth sources, as for synth --depth")
    parser.add_argument("--shared", type=Path, default=SHARED, help="third-party data")
    parser.add_argument("--scenes", type=int, default=48, help="held-out scenes of each kind")
    parser.add_argument("--repeats", type=int, default=9, help="times that a scene is timed")
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


def _method(estimator: DepthEstimator, *, sees_infrared: bool = False) -> Method:
    def estimate(frame: np.ndarray, infrared: np.ndarray | None) -> np.ndarray:
        seen = [infrared] if sees_infrared and infrared is not None else None
        return estimator.estimate([frame], ["frame"], seen)[0]

    return Method(estimate=estimate, sees_infrared=sees_infrared)


def _milliseconds(methods: dict[str, Method], scene: Scene, repeats: int) -> dict[str, float]:
    """Of each for one scene: they take turns, of which the first does not count, and medians are taken."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats + 1):
        for name, method in methods.items():
            start = time.perf_counter()
            method.estimate(scene.visible, scene.infrared)
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: median(all_[1:]) for name, all_ in times.items()}


def _scores(
    method: Method,
    demos: dict[str, tuple[np.ndarray, np.ndarray]],
    scenes: dict[str, list[Scene]],
    judged: dict[str, list[Any]],
    people: dict[str, list[tuple[np.ndarray, np.ndarray]]],
) -> list[float | None]:
    """One row but for the times; None stands for what the row above has."""
    orders: list[float | None] = [None] * (len(demos) + bool(demos))
    by_eye: list[float | None] = [None] * len(judged)
    estimate = method.estimate
    if not method.sees_infrared:
        orders = [_row_order(estimate(frame, None), truth) for frame, truth in demos.values()]
        orders += [np.mean(orders)] if demos else []
        by_eye = [judged_order(estimate, photos) for photos in judged.values()]
    errors = [
        np.mean([_error(estimate, scene, i) for i, scene in enumerate(kind)]) for kind in scenes.values()
    ]
    nearer = [people_nearer(estimate, pairs) for pairs in people.values() if pairs]
    return [*orders, *errors, *by_eye, *nearer]


def _night(scene: Scene, index: int) -> np.ndarray:
    random = random_stream(0, "benchmark", str(index), "night")
    return to_uint8(at_night(scene.visible.astype(np.float32) / 255, random))


def _row_order(predicted: np.ndarray, truth: np.ndarray) -> float:
    return 1 - ordinal_error(
        _fit(predicted, truth), truth, random_stream(0, "benchmark", "", "pairs"), row_share=1
    )


def _error(estimate: Estimate, scene: Scene, index: int) -> float:
    random = random_stream(0, "benchmark", str(index), "pairs")
    return ordinal_error(estimate(scene.visible, scene.infrared), scene.inverse_depth, random)


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
