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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import torch

from pipeline.exposure.photographs import probe_figures, read_scenes, split_scenes
from pipeline.exposure.probe import ROLES, load_probe
from pipeline.exposure.training import fit_probe
from pipeline.exposure.training_config import ProbeTrainingConfig


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
        config = ProbeTrainingConfig(steps=arguments.steps)
        rows = []
        for fold in range(arguments.folds):
            training = [scene for n, scene in enumerate(scenes) if n % arguments.folds != fold]
            probe = fit_probe(config, training, torch.device("cpu"))
            figures = probe_figures(probe, training, scenes[fold :: arguments.folds])
            rows.append(_show(f"fold {fold}", figures))
    else:
        training, held_out = split_scenes(scenes, ProbeTrainingConfig.held_out_every)
        probe = load_probe(arguments.weights)
        rows = [_show(scene.id, probe_figures(probe, training, [scene])) for scene in held_out]
    _show("mean", {key: float(np.mean([row[key] for row in rows])) for key in rows[0]})


def _show(name: str, figures: dict[str, float]) -> dict[str, float]:
    for role in ROLES:
        probe, gamma = figures[f"{role}_psnr"], figures[f"{role}_gamma_psnr"]
        mean, true = figures[f"{role}_mean"], figures[f"{role}_true_mean"]
        print(
            f"{name:20}  {role:5}  {probe:8.2f}  {gamma:8.2f}  {probe - gamma:+6.2f}  {mean:.3f}  {true:.3f}"
        )
    sys.stdout.flush()
    return figures


if __name__ == "__main__":
    main()
