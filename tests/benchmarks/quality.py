"""Scoreboard: published weights, ours and the baselines on validation pairs of each task.

    python tests/benchmarks/quality.py [--weights run/weights.safetensors] [--limit 8] [--json scores.json]

Pairs (../shared/data, grey planes):

ivif       RoadScene frames whose id holds them out of training (model.training.planes.is_held_out, share 0.1)
mfif       MFIFB, held-out scenes
meif       MEFB, held-out scenes
medical    Harvard SPECT with MRI, whole: of that set nothing is trained on
mfif-gt    near-/far-focused tiles made from held-out RoadScene frames, with the frame as the ground truth
meif-gt    over-/under-exposed ones

Every table shows the mean of every metric of `evaluate`, also of the ground truth itself where there is one;
the last lines say, for the metrics by which the weights are judged, who is ahead of the better of the
published weights and the Laplacian pyramid.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
import torch
from joblib import Parallel, delayed

from model.calibration.pairs import SIDE
from model.calibration.recipe import HELD_OUT_SHARE
from model.checkpoint import load_network
from model.engine.strips import FusionEngine
from model.evaluation.baselines import BASELINES
from model.inputs.folders import pair_folders
from model.metrics import METRICS, compute_metrics
from model.training.planes import is_held_out, to_luminance
from pipeline.images import read_grey, to_uint8
from pipeline.images.resampling import shrunk
from pipeline.sources.listing import SourceSample
from pipeline.synthesis.plan import SynthesisConfig
from pipeline.synthesis.samples import Models, make_samples

SHARED = Path(os.environ.get("GIFNET_SHARED", Path(__file__).resolve().parents[3] / "shared"))
DATA = SHARED / "data"
#: No less than the better of the published weights and the Laplacian pyramid ...
FIDELITY = ("Qabf", "VIF", "SSIM", "SCD", "MI")
#: ... and no less than the Laplacian pyramid.
SHARPNESS = ("EI", "AG", "SF")
PUBLISHED, OURS, PYRAMID, TRUTH = "published", "ours", "Laplacian pyramid", "ground truth"

Pair = tuple[str, np.ndarray, np.ndarray, np.ndarray | None]
Scores = dict[str, dict[str, float]]


def main() -> None:
    """Score every task and print who wins what."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--weights", type=Path, help="Ours; the shipped ones unless given.")
    parser.add_argument("--tasks", default=",".join(TASKS), help="Comma-separated.")
    parser.add_argument("--limit", type=int, default=0, help="Pairs of each set; 0 = all.")
    parser.add_argument("--side", type=int, default=SIDE, help="Larger pictures are scaled to this side.")
    parser.add_argument("--metrics", default="", help="Comma-separated; all unless given.")
    parser.add_argument("--jobs", type=int, default=1, help="Pairs scored at a time.")
    parser.add_argument("--json", type=Path, help="Write the means there too.")
    parser.add_argument(
        "--pictures", type=Path, help="Write a, b, published, ours, pyramid of each pair there."
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    engines = {OURS: FusionEngine(load_network(options.weights))}
    published = SHARED / "reference/gifnet/Final.model"
    if published.exists():
        engines = {PUBLISHED: FusionEngine(load_network(published)), **engines}
    names = options.metrics.split(",") if options.metrics else list(METRICS)
    board = {}
    for task in options.tasks.split(","):
        pairs = [_small(pair, options.side) for pair in TASKS[task]()]
        pairs = pairs[: options.limit or None]
        board[task] = _score(task, pairs, engines, names, options)
        _print_table(task, len(pairs), board[task])
    print("### Ahead of the better of published and Laplacian pyramid (EI, AG, SF: of the latter)\n")
    for task, scores in board.items():
        print(f"{task}: {_verdict(scores)}")
    if options.json:
        options.json.write_text(json.dumps(board, indent=1))


def roadscene() -> Iterator[Pair]:
    """Held-out infrared and visible frames."""
    yield from _folder(DATA / "roadscene/infrared", DATA / "roadscene/visible", HELD_OUT_SHARE)


def focus_pairs() -> Iterator[Pair]:
    """Held-out scenes of MFIFB."""
    yield from _folder(DATA / "mfif/near", DATA / "mfif/far", HELD_OUT_SHARE)


def exposure_pairs() -> Iterator[Pair]:
    """Held-out scenes of MEFB."""
    yield from _folder(DATA / "mefb/over", DATA / "mefb/under", HELD_OUT_SHARE)


def medical() -> Iterator[Pair]:
    """Slices of patients whom the default weights have not seen."""
    yield from _folder(DATA / "harvard/spect-mri/spect", DATA / "harvard/spect-mri/mri", 1.0)


def made_focus() -> Iterator[Pair]:
    """Focus pairs made from held-out frames."""
    yield from _made("visible_focus_near", "visible_focus_far")


def made_exposure() -> Iterator[Pair]:
    """Exposure pairs made from held-out frames."""
    yield from _made("visible_over", "visible_under")


TASKS: dict[str, Callable[[], Iterator[Pair]]] = {
    "ivif": roadscene,
    "mfif": focus_pairs,
    "meif": exposure_pairs,
    "medical": medical,
    "mfif-gt": made_focus,
    "meif-gt": made_exposure,
}


def _folder(a: Path, b: Path, share: float) -> Iterator[Pair]:
    pairs = pair_folders({"a": a, "b": b})
    for stem in pairs.stems:
        if is_held_out(stem, share):
            yield stem, read_grey(pairs.paths[stem]["a"]), read_grey(pairs.paths[stem]["b"]), None


def _made(near: str, far: str) -> Iterator[Pair]:
    from pipeline.depth import load_depth_estimator
    from pipeline.exposure.probe import load_probe

    device = torch.device("cpu")
    pairs = pair_folders({role: DATA / "roadscene" / role for role in ("infrared", "visible")})
    frames = [SourceSample(id=stem, paths=pairs.paths[stem]) for stem in pairs.stems]
    held_out = [frame for frame in frames if is_held_out(frame.id, HELD_OUT_SHARE)]
    config = SynthesisConfig(tile=224, tiles_per_frame=1, samples_per_shard=1, seed=1)
    models = Models(
        depth=load_depth_estimator("default", device=device), probe=load_probe(None, device=device)
    )
    for sample in make_samples(held_out, config, models).samples:
        a, b, truth = to_luminance(np.stack([sample[name] for name in (near, far, "visible")]))
        yield sample["id"], a, b, truth


def _small(pair: Pair, side: int) -> Pair:
    name, a, b, truth = pair
    return name, shrunk(a, side), shrunk(b, side), None if truth is None else shrunk(truth, side)


def _score(
    task: str,
    pairs: list[Pair],
    engines: dict[str, FusionEngine],
    names: list[str],
    options: argparse.Namespace,
) -> Scores:
    """Method -> metric -> mean over the pairs."""
    work = []
    for name, a, b, truth in pairs:
        unit = [plane.astype(np.float32) / 255 for plane in (a, b)]
        results = {method: to_uint8(engine.fuse_planes(*unit)) for method, engine in engines.items()}
        shown = [a, b, *results.values(), BASELINES[PYRAMID](a, b, name)]
        if options.pictures:
            options.pictures.mkdir(parents=True, exist_ok=True)
            file = options.pictures / f"{task}-{name.replace('/', '_')}.png"
            cv2.imwrite(str(file), np.hstack(shown))
        results |= {method: make(a, b, name) for method, make in BASELINES.items()}
        if truth is not None:
            results[TRUTH] = truth
        work += [(method, fused, a, b, truth) for method, fused in results.items()]
    rows = Parallel(n_jobs=options.jobs)(delayed(_row)(names, *job[1:]) for job in work)
    methods = list(dict.fromkeys(job[0] for job in work))
    return {
        method: {
            name: fmean(row[name] for row, job in zip(rows, work, strict=True) if job[0] == method)
            for name in rows[0]
        }
        for method in methods
    }


def _row(
    names: list[str], fused: np.ndarray, a: np.ndarray, b: np.ndarray, truth: np.ndarray | None
) -> dict[str, float]:
    cv2.setNumThreads(1)
    chosen = {name: METRICS[name] for name in names if min(fused.shape) >= METRICS[name].min_side_px}
    return compute_metrics(fused, a, b, ground_truth=truth, metrics=chosen)


def _print_table(task: str, count: int, scores: Scores) -> None:
    names = list(next(iter(scores.values())))
    print(f"### {task}, {count} pairs\n\n| method | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for method, row in scores.items():
        print(f"| {method} | {' | '.join(f'{row[name]:.3f}' for name in names)} |")
    print(flush=True)


def _verdict(scores: Scores) -> str:
    rivals = [scores[name] for name in (PUBLISHED, PYRAMID) if name in scores]
    ours, lines = scores[OURS], []
    for name in (*FIDELITY, *SHARPNESS, "PSNR-GT", "SSIM-GT"):
        if name not in ours:
            continue
        bar = scores[PYRAMID][name] if name in SHARPNESS else max(rival[name] for rival in rivals)
        lines.append(f"{name} {'+' if ours[name] >= bar else '-'} ({ours[name]:.3f} : {bar:.3f})")
    won = sum(" + " in line for line in lines)
    return f"{won} of {len(lines)}: " + ", ".join(lines)


if __name__ == "__main__":
    main()
