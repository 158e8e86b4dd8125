"""The last step for a trained pyramid head: a few of its weights, set by the metrics that it is judged by.

What training rewards are differentiable stand-ins on crops; on whole pictures the balance comes out a per
cent or two off. Here eleven combinations of the head's cue weights move a little, so that on training pairs
of each kind every metric is at least that of a Laplacian pyramid which takes the stronger detail. The means
of the metrics are all but linear in such small steps, so their slopes and one linear programme find them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import joblib
import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from model.baselines import BASELINES
from model.head import CUE_SCALE, PyramidHead
from model.metrics import METRICS, compute_metrics
from model.network import GIFNet
from model.pyramid import LEVELS
from model.strips import FusionEngine
from pipeline.device import one_thread
from pipeline.files import InputError
from pipeline.images import to_uint8
from pipeline.progress import Progress

#: Kind of pair -> metric -> how far the result should be ahead of the pyramid, as a share of that. SCD of
#: infrared pairs as far as the published weights are; that of focus and exposure pairs is left alone, for it
#: takes contrast that is in neither source. SSIM of exposure pairs is lower in larger pictures than in these.
GOALS: dict[str, dict[str, float]] = {
    kind: dict.fromkeys(("Qabf", "VIF", "SSIM", "MI", "EI", "AG", "SF"), 0.0005) | special
    for kind, special in (
        ("infrared", {"SCD": 0.16, "Qabf": 0.002, "SSIM": 0.002}),
        ("focus", {}),
        ("exposure", {"SSIM": 0.005}),
        ("medical", {"SCD": 0.0005}),
    )
}
#: A metric behind its goal weighs this much more than one ahead of it, ...
BEHIND = 10.0
#: ... and being ahead by more than this is worth nothing.
ENOUGH = 0.002
#: Sign of each cue's weight in a move that leaves pairs alone which are alike (likeness 1).
_UNLIKE = {0: 1.0, 1: -1.0}


@dataclass(frozen=True, kw_only=True)
class Move:
    """A combination of cue weights, what is tried of it and how far it may go."""

    weights: str
    row: int | None  # level of the pyramid, finest first; None: of the base
    cues: Mapping[int, float]
    step: float
    least: float
    most: float


#: Contrast of unlike bases and of bases far apart; gain and choice of unlike details; all finest details.
MOVES = (
    Move(weights="base_gain_by_cues", row=None, cues={3: 1.0}, step=0.05, least=0.0, most=0.15),
    Move(weights="base_gain_by_cues", row=None, cues={2: 1.0}, step=-0.05, least=-0.05, most=0.0),
    *(
        Move(weights="gain_by_cues", row=level, cues=_UNLIKE, step=0.01, least=-0.02, most=0.02)
        for level in range(LEVELS)
    ),
    *(
        Move(weights="sharpness_by_cues", row=level, cues=_UNLIKE, step=0.05, least=-0.1, most=0.1)
        for level in range(LEVELS)
    ),
    Move(weights="gain_by_cues", row=0, cues={0: 1.0}, step=0.008, least=0.0, most=0.012),
)


@dataclass(frozen=True, eq=False)
class _Pair:
    """A pair (2, H, W) uint8, what the head needs to fuse it, and the pyramid's metrics."""

    planes: np.ndarray
    maps: list[Tensor]
    rival: dict[str, float]


def calibrate(network: GIFNet, pairs: Mapping[str, Sequence[np.ndarray]], *, jobs: int = 1) -> GIFNet:
    """A copy of the network whose head keeps a little more of what it fell behind in.

    Args:
        network: with a pyramid head; the stream of DP tasks is the one that counts.
        pairs: kind of pair (:data:`GOALS`) -> planes (2, H, W) uint8; the network should know them.
        jobs: processes.

    Raises:
        InputError: another head, or no pair.
    """
    if not isinstance(network.head, PyramidHead):
        raise InputError("only a pyramid head can be calibrated; give weights of --head pyramid")
    if not any(pairs.values()):
        raise InputError("there is no pair to calibrate with")
    engine = FusionEngine(network)
    known: dict[str, list[_Pair]] = {kind: [] for kind, some in pairs.items() if len(some)}
    with Progress("fuse", total=sum(map(len, pairs.values())), unit="pair") as progress:
        for kind, some in known.items():
            for planes in pairs[kind]:
                some.append(_prepare(engine, planes))
                progress.advance()
    with (
        joblib.Parallel(jobs) as pool,
        Progress("calibrate", total=len(MOVES) + 1, unit="look") as progress,
    ):
        found = []
        for moves in (np.zeros(len(MOVES)), *np.diag([move.step for move in MOVES])):
            found.append(_ahead(_moved(network.head, moves), known, pool))
            progress.advance()
    start, *tried = (np.array(list(one.values())) for one in found)
    slopes = np.stack([(one - start) / move.step for one, move in zip(tried, MOVES, strict=True)], axis=1)
    result = deepcopy(network)
    result.head = _moved(network.head, _best(start, slopes))
    return result


def _best(start: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Moves (M,) that maximise the sum of what each metric is ahead of its goal, capped, as lines tell it.

    Args:
        start: how far each of N metrics is ahead of its goal, (N,).
        slopes: (N, M).
    """
    count, moves = slopes.shape
    nothing, each = np.zeros((count, count)), np.eye(count)
    # Unknowns: the moves; of each metric what counts ahead (to ENOUGH) and behind (to 0).
    limits = np.block([[-slopes, each, nothing], [-slopes, nothing, each]])
    solution = linprog(
        np.concatenate([np.zeros(moves), np.full(count, -1.0), np.full(count, -BEHIND)]),
        A_ub=limits,
        b_ub=np.concatenate([start, start]),
        bounds=[
            *((move.least, move.most) for move in MOVES),
            *[(None, ENOUGH)] * count,
            *[(None, 0.0)] * count,
        ],
    )
    return np.asarray(solution.x[:moves])


def _prepare(engine: FusionEngine, planes: np.ndarray) -> _Pair:
    a, b = planes
    rival = compute_metrics(BASELINES["Laplacian pyramid"](a, b, ""), a, b, metrics=_METRICS)
    return _Pair(planes, engine.head_maps(_unit(planes)), rival)


def _ahead(
    head: PyramidHead, known: Mapping[str, Sequence[_Pair]], pool: joblib.Parallel
) -> dict[tuple[str, str], float]:
    """How far the mean of each metric is ahead of its goal, as a share of the pyramid's."""
    ahead = {}
    for kind, pairs in known.items():
        scores = list(pool(joblib.delayed(_score)(head, pair) for pair in pairs))
        for metric, goal in GOALS[kind].items():
            ours = np.mean([score[metric] for score in scores])
            ahead[kind, metric] = float(ours / np.mean([pair.rival[metric] for pair in pairs]) - 1 - goal)
    return ahead


@torch.inference_mode()
def _score(head: PyramidHead, pair: _Pair) -> dict[str, float]:
    with one_thread():
        fused = head.fuse(pair.maps, torch.from_numpy(_unit(pair.planes))[None])
    return compute_metrics(to_uint8(fused[0, 0].numpy()), *pair.planes, metrics=_METRICS)


def _moved(head: PyramidHead, moves: np.ndarray) -> PyramidHead:
    head = deepcopy(head)
    with torch.no_grad():
        for move, far in zip(MOVES, moves, strict=True):
            weights = getattr(head, move.weights)
            for cue, sign in move.cues.items():
                (weights if move.row is None else weights[move.row])[cue] += float(sign * far) / CUE_SCALE
    return head


def _unit(planes: np.ndarray) -> np.ndarray:
    return planes.astype(np.float32) / 255


_METRICS = {name: METRICS[name] for name in dict.fromkeys(name for goals in GOALS.values() for name in goals)}
