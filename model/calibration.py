"""The last step for a trained pyramid head: some of its weights, set by the metrics that it is judged by.

What training rewards are differentiable stand-ins on crops; on whole pictures the balance comes out a per
cent or two off. Here combinations of the head's cue weights move a little, so that each metric is ahead of
that of a Laplacian pyramid which takes the stronger detail, on training pairs of each kind, and by as much as
pairs differ among each other where that can be had. The means of the metrics are all but linear in such
small steps, so their slopes and a linear programme find them, a few times over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

import joblib
import numpy as np
import torch
from scipy.optimize import linprog
from scipy.stats import norm
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

#: Kind of pair -> metric -> how far the result should at least be ahead of the pyramid, as a share of that.
#: MI, and SCD of infrared pairs, about as far as the published weights are; SCD of focus and exposure pairs
#: is left alone, for it takes contrast that is in neither source. Of exposure pairs there are harder ones.
GOALS: dict[str, dict[str, float]] = {
    kind: dict.fromkeys(("Qabf", "VIF", "SSIM", "MI", "EI", "AG", "SF"), 0.0) | special
    for kind, special in (
        ("infrared", {"SCD": 0.156, "MI": 0.085}),
        ("focus", {"SSIM": 0.0002}),
        ("exposure", {"SSIM": 0.0065, "MI": 0.032, "EI": 0.013, "AG": 0.013}),
        ("medical", {"SCD": 0.0, "MI": 0.043}),
    )
}
#: What is sought is the likeliest to be ahead in every metric's mean over that many pairs of a kind.
JUDGED_PAIRS = 8
#: Of these means the standard error is at least this share of the pyramid's.
LEAST_ERROR = 0.0003
#: How often slopes are measured, and followed.
ROUNDS = 3
#: The logarithm of a normal distribution is replaced by its tangents at these many standard errors.
TANGENTS = np.arange(-6, 3.6, 0.25)


@dataclass(frozen=True, kw_only=True)
class Move:
    """A combination of cue weights, what is tried of it and how far it may go in a round."""

    weights: str
    row: int | None  # level of the pyramid, finest first; None: of the base
    cues: Mapping[int, float]
    step: float
    most: float


#: Cues of a move that leaves pairs alone which are alike (likeness 1): for all of the others, and for their
#: strong details.
_UNLIKE, _UNLIKE_STRONG = {0: 1.0, 1: -1.0}, {3: 1.0, 4: -1.0}
#: Contrast of bases far apart and of unlike ones; gain of unlike pairs, of their strong details and where
#: bases are far apart; their choice; for all pairs the gain of the finest details and of the strong ones.
MOVES = (
    Move(weights="base_gain_by_cues", row=None, cues={2: 1.0}, step=-0.05, most=0.15),
    Move(weights="base_gain_by_cues", row=None, cues={3: 1.0}, step=0.05, most=0.15),
    *(
        Move(weights="gain_by_cues", row=level, cues=cues, step=0.01, most=0.03)
        for level in range(LEVELS)
        for cues in (_UNLIKE, _UNLIKE_STRONG, {2: 1.0})
    ),
    *(
        Move(weights="sharpness_by_cues", row=level, cues=_UNLIKE, step=0.05, most=0.15)
        for level in range(LEVELS)
    ),
    *(
        Move(weights="window_by_cues", row=level, cues=_UNLIKE, step=0.25, most=0.75)
        for level in range(LEVELS)
    ),
    Move(weights="gain_by_cues", row=0, cues={0: 1.0}, step=0.005, most=0.01),
    Move(weights="gain_by_cues", row=0, cues={3: 1.0}, step=0.005, most=0.01),
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
        jobs: processes; -1 is one for each core.

    Raises:
        InputError: another head, no pair, or jobs that are no number of processes.
    """
    if jobs == 0 or jobs < -1:
        raise InputError(f"jobs {jobs}: give the number of processes, or -1 for all cores")
    if not isinstance(network.head, PyramidHead):
        raise InputError("only a pyramid head can be calibrated; give weights of --head pyramid")
    if not any(map(len, pairs.values())):
        raise InputError("there is no pair to calibrate with")
    with joblib.Parallel(jobs, return_as="generator") as pool:
        known = _prepare_all(network, pairs, pool)
        with Progress("calibrate", total=ROUNDS * (len(MOVES) + 1) + 1, unit="look") as progress:
            best = head = network.head
            start, errors = _look(head, known, pool, progress)
            most_likely = _likelihood(start, errors)
            for _ in range(ROUNDS):
                slopes = [
                    (_look(_moved(head, moves), known, pool, progress)[0] - start) / move.step
                    for move, moves in zip(MOVES, np.diag([move.step for move in MOVES]), strict=True)
                ]
                head = _moved(head, _best(start, np.stack(slopes, axis=1), errors))
                start, _ = _look(head, known, pool, progress)
                if (likelihood := _likelihood(start, errors)) > most_likely:
                    best, most_likely = head, likelihood
    result = deepcopy(network)
    result.head = deepcopy(best)
    return result


def _best(start: np.ndarray, slopes: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Moves (M,) after which all metrics are likeliest ahead of their goals, as lines tell it.

    Args:
        start: how far each of N metrics is ahead of its goal, (N,).
        slopes: (N, M).
        errors: standard errors, (N,).
    """
    count, moves = slopes.shape
    at, by = start / errors, slopes / errors[:, None]
    # Unknowns: the moves; of each metric the logarithm of its likelihood, which is under every tangent.
    values = norm.logcdf(TANGENTS)
    rises = np.exp(norm.logpdf(TANGENTS) - values)
    solution = linprog(
        np.concatenate([np.zeros(moves), -np.ones(count)]),
        A_ub=np.concatenate([np.hstack([-rise * by, np.eye(count)]) for rise in rises]),
        b_ub=np.concatenate(
            [value + rise * (at - z) for z, value, rise in zip(TANGENTS, values, rises, strict=True)]
        ),
        bounds=[*((-move.most, move.most) for move in MOVES), *[(None, 0.0)] * count],
    )
    return np.asarray(solution.x[:moves])


def _likelihood(ahead: np.ndarray, errors: np.ndarray) -> float:
    return float(norm.logcdf(ahead / errors).sum())


def _prepare_all(
    network: GIFNet, pairs: Mapping[str, Sequence[np.ndarray]], pool: joblib.Parallel
) -> list[tuple[str, _Pair]]:
    kinds, planes = zip(*((kind, one) for kind, some in pairs.items() for one in some), strict=True)
    known = []
    with Progress("fuse", total=len(planes), unit="pair") as progress:
        for pair in pool(joblib.delayed(_prepare)(network, one) for one in planes):
            known.append(pair)
            progress.advance()
    return list(zip(kinds, known, strict=True))


def _prepare(network: GIFNet, planes: np.ndarray) -> _Pair:
    a, b = planes
    with one_thread():
        maps = FusionEngine(network).head_maps(_unit(planes))
        rival = BASELINES["Laplacian pyramid"](a, b, "")
    return _Pair(planes, maps, compute_metrics(rival, a, b, metrics=_METRICS))


def _look(
    head: PyramidHead, known: Sequence[tuple[str, _Pair]], pool: joblib.Parallel, progress: Progress
) -> tuple[np.ndarray, np.ndarray]:
    """Of the mean of each kind's metrics: how far ahead of its goal, and its standard error, both as a share
    of the pyramid's."""
    scores = list(pool(joblib.delayed(_score)(head, pair) for _, pair in known))
    ahead, errors = [], []
    for kind, goals in GOALS.items():
        rivals = [pair.rival for of, pair in known if of == kind]
        ours = [score for score, (of, _) in zip(scores, known, strict=True) if of == kind]
        for metric, goal in goals.items() if rivals else ():
            theirs = np.array([rival[metric] for rival in rivals])
            differences = np.array([score[metric] for score in ours]) - theirs
            ahead.append(differences.mean() / theirs.mean() - goal)
            errors.append(differences.std() / theirs.mean() / JUDGED_PAIRS**0.5)
    progress.advance()
    return np.array(ahead), np.maximum(errors, LEAST_ERROR)


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
