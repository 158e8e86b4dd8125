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

from model.blocks.cues import CUE_SCALE
from model.blocks.pyramid_head import PyramidHead
from model.calibration.moves import MOVES
from model.engine.strips import FusionEngine
from model.evaluation.baselines import BASELINES
from model.metrics import METRICS, compute_metrics
from model.network import GIFNet
from pipeline.files import InputError
from pipeline.images import to_uint8
from pipeline.networks.device import one_thread
from pipeline.runtime.progress import Progress

#: Kind of pair -> metric -> how far the result should at least be ahead of the pyramid, as a share of that.
#: MI, and SCD of infrared pairs, about as far as the published weights are. SCD of exposure pairs a tenth
#: of that: more costs them SSIM. SCD of focus pairs is left alone, for it takes contrast that is in neither
#: source. Of exposure pairs there are harder ones, and EI and AG of infrared pairs have something in hand
#: for other cameras.
GOALS: dict[str, dict[str, float]] = {
    kind: dict.fromkeys(("Qabf", "VIF", "SSIM", "MI", "EI", "AG", "SF"), 0.0) | special
    for kind, special in (
        ("infrared", {"SCD": 0.156, "MI": 0.085, "EI": 0.03, "AG": 0.025}),
        ("focus", {"SSIM": 0.0002, "MI": 0.015}),
        ("exposure", {"SSIM": 0.012, "SCD": 0.1, "MI": 0.032, "EI": 0.013, "AG": 0.013}),
        ("medical", {"SCD": 0.0, "MI": 0.043}),
    )
}
#: What is sought is the likeliest to be ahead in every metric's mean over that many pairs of a kind.
JUDGED_PAIRS = 8
#: Of these means the standard error is at least this share of the pyramid's.
LEAST_ERROR = 0.0003
#: How often slopes are measured, and followed.
ROUNDS = 3
#: What is tried of the moves that slopes suggest: the metrics are not all as straight as their slopes.
SHARES = (1.0, 0.5, 0.25)
#: The logarithm of a normal distribution is replaced by its tangents at these many standard errors.
TANGENTS = np.arange(-6, 3.6, 0.25)


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
        InputError: another head, no pair.
    """
    if not isinstance(network.head, PyramidHead):
        raise InputError("only a pyramid head can be calibrated; give weights of --head pyramid")
    if not any(map(len, pairs.values())):
        raise InputError("there is no pair to calibrate with")
    with joblib.Parallel(jobs, return_as="generator") as pool:
        known = _prepare_all(network, pairs, pool)
        with Progress("calibrate", total=ROUNDS * (len(MOVES) + len(SHARES)) + 1, unit="look") as progress:
            head = network.head
            start, errors = _look(head, known, pool, progress)
            for _ in range(ROUNDS):
                slopes = [
                    (_look(_moved(head, moves), known, pool, progress)[0] - start) / move.step
                    for move, moves in zip(MOVES, np.diag([move.step for move in MOVES]), strict=True)
                ]
                moves = _best(start, np.stack(slopes, axis=1), errors)
                tried = [_moved(head, share * moves) for share in SHARES]
                looks = [(head, start), *((one, _look(one, known, pool, progress)[0]) for one in tried)]
                before = head
                head, start = max(looks, key=lambda look: _likelihood(look[1], errors))
                if head is before:
                    break  # its slopes are known already
    result = deepcopy(network)
    result.head = deepcopy(head)
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
            if not theirs.mean() > 0:
                raise InputError(f"calibrate: {metric} of all {kind} pairs is 0; use other pictures")
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
            moving = weights if move.rows is None else weights[move.rows]
            for cue, sign in move.cues.items():
                moving[..., cue] += float(sign * far) / CUE_SCALE
    return head


def _unit(planes: np.ndarray) -> np.ndarray:
    return planes.astype(np.float32) / 255


_METRICS = {name: METRICS[name] for name in dict.fromkeys(name for goals in GOALS.values() for name in goals)}
