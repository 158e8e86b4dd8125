"""Exposure probe against photographs: PSNR and mean luminance on held-out scenes, beside a global gamma.

    python tests/benchmarks/probe.py manifests/mefb.toml --root ../shared/data/mefb
    python tests/benchmarks/probe.py manifests/mefb.toml --root ../shared/data/mefb --folds 5 --steps 500

The first line scores the shipped weights on the scenes that they were not trained on. The second one trains
anew for every fold and scores each scene by a probe that has not seen it; it says how much the few
held-out scenes of the first are worth.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from pipeline.probe import ROLES, load_probe
from pipeline.probe_training import (
    ProbeTrainingConfig,
    fit_probe,
    probe_figures,
    read_scenes,
    split_scenes,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest", help="recipe with the roles over and under")
    parser.add_argument("--root", help="folder of the data")
    parser.add_argument("--weights", help="another probe than the shipped one")
    parser.add_argument("--folds", type=int, default=0, help="cross-validate: train this many probes anew")
    parser.add_argument("--steps", type=int, default=ProbeTrainingConfig.steps, help="of each of them")
    arguments = parser.parse_args()
    scenes = read_scenes(arguments.manifest, arguments.root)
    print(f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {len(scenes)} scenes")
    print("scene                 role   probe dB  gamma dB    gain  mean    true mean")
    if arguments.folds:
        parts = [
            (
                scenes[fold :: arguments.folds],
                [s for n, s in enumerate(scenes) if n % arguments.folds != fold],
            )
            for fold in range(arguments.folds)
        ]
        config = ProbeTrainingConfig(steps=arguments.steps)
        rows = []
        for held_out, training in parts:
            probe = fit_probe(config, training, torch.device("cpu"))
            rows += [_row(probe_figures(probe, training, [scene])) for scene in held_out]
    else:
        training, held_out = split_scenes(scenes, ProbeTrainingConfig.held_out_every)
        probe = load_probe(arguments.weights)
        rows = []
        for scene in held_out:
            rows.append(_row(probe_figures(probe, training, [scene])))
            _show(scene.id, rows[-1])
    _show("mean", np.mean(rows, axis=0))


def _row(figures: dict[str, float]) -> list[list[float]]:
    return [
        [figures[f"{role}_{name}"] for name in ("psnr", "gamma_psnr", "mean", "true_mean")] for role in ROLES
    ]


def _show(name: str, row: Sequence[Sequence[float]] | np.ndarray) -> None:
    for role, (psnr, gamma, mean, true) in zip(ROLES, row, strict=True):
        print(f"{name:20}  {role:5}  {psnr:8.2f}  {gamma:8.2f}  {psnr - gamma:+6.2f}  {mean:.3f}  {true:.3f}")


if __name__ == "__main__":
    main()
