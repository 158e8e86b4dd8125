"""Commands about the weights of stage one: fetch the authors', train the shipped ones again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.commands.downloads import MEGADEPTH_LICENCE, MEGADEPTH_URL, fetch_url
from pipeline.commands.options import ANY_PATH, FILE, FOLDER, check_ending, refuse_idle, setting
from pipeline.depth.training_config import DepthTrainingConfig
from pipeline.exposure.training_config import ProbeTrainingConfig


@click.command()
@click.argument("name", type=click.Choice(["megadepth"]), expose_value=False)  # there is no other
@click.option("-o", "--out", type=FOLDER, default=Path(), help="Folder for the file  [default: .].")
@click.option("--sha256", help="The digest that you trust, where the authors state none.")
def fetch(out: Path, sha256: str | None) -> None:
    """Download third-party weights; a stopped download goes on, and a wrong file is never accepted.

    The authors of megadepth state no digest: without --sha256 the file is kept as .part, its digest printed,
    and the status is 2; with the digest that you trust it gets its name.

    \b
    Example:
        gifnet weights fetch megadepth
        gifnet weights fetch megadepth --sha256 DIGEST
        gifnet synth manifest.toml -o dataset --depth megadepth:best_generalization_net_G.pth
    """
    click.echo(f"{MEGADEPTH_URL}: licence: {MEGADEPTH_LICENCE}", err=True)
    click.echo(fetch_url(MEGADEPTH_URL, out / MEGADEPTH_URL.rpartition("/")[2], sha256=sha256))


@click.command("train-depth")
@click.option(
    "-o",
    "--out",
    type=FILE,
    required=True,
    help="Weights file to write, .safetensors; a stopped run goes on.",
)
@setting(DepthTrainingConfig, "encoder", help="timm model.")
@setting(DepthTrainingConfig, "steps", help="Optimiser steps of the network for visible frames.")
@setting(DepthTrainingConfig, "scenes", help="Rendered scenes from which it learns; not with --base.")
@setting(
    DepthTrainingConfig,
    "photographs",
    type=FOLDER,
    help="Folder of any photographs, whose fine detail is laid over rendered views.",
)
@setting(DepthTrainingConfig, "base", type=FILE, help="Weights whose network is kept, instead of --steps.")
@setting(DepthTrainingConfig, "infrared_steps", help="Optimiser steps of the correction by infrared frames.")
@setting(DepthTrainingConfig, "infrared_scenes", help="Further rendered scenes from which that learns.")
@setting(DepthTrainingConfig, "batch_size", help="Views per step.")
@setting(DepthTrainingConfig, "held_out", help="Scenes of each kind kept for validation.")
@setting(DepthTrainingConfig, "jobs", help="Processes that render; -1 is one for each core.")
@setting(DepthTrainingConfig, "device", help="auto, cpu, cuda or cuda:N.")
@setting(DepthTrainingConfig, "seed", help="Of scenes, views and first weights.")
def train_depth(out: Path, **settings: Any) -> None:
    """Train the depth network on rendered scenes; with RoadScene's photographs as the shipped one was.

    \b
    Example:
        gifnet weights train-depth --photographs RoadScene/crop_HR_visible -o depth.safetensors
        gifnet synth manifest.toml -o dataset --depth timm:resnet10t:depth.safetensors
    """
    from pipeline.depth.training import train_depth as run_training

    check_ending(out, ".safetensors", "the weights' path")
    if settings["base"]:
        refuse_idle(["steps", "scenes"], "with --base, whose network is kept")
    if settings["infrared_steps"] == 0:
        refuse_idle(["infrared_scenes"], "with --infrared-steps 0")
    click.echo(run_training(DepthTrainingConfig(**settings), out))


@click.command("train-probe")
@click.argument("manifest", type=ANY_PATH)
@click.option("--root", type=FOLDER, help="Folder of the images  [default: the manifest's].")
@click.option("--split", help="Which of the manifest's splits.")
@click.option("-o", "--out", type=FILE, required=True, help="Weights file to write, .safetensors.")
@setting(ProbeTrainingConfig, "steps", help="Optimiser steps.")
@setting(ProbeTrainingConfig, "learning_rate", help="Of Adam at the start.")
@setting(ProbeTrainingConfig, "held_out_every", help="Every n-th scene is held out for the figures.")
@setting(ProbeTrainingConfig, "device", help="auto, cpu, cuda or cuda:N.")
@setting(ProbeTrainingConfig, "seed", help="Of first weights, scenes and patches.")
def train_probe(manifest: Path, root: Path | None, split: str | None, out: Path, **settings: Any) -> None:
    """Train the exposure probe on the over-/under-exposed pairs of a manifest.

    \b
    Example:
        gifnet weights train-probe manifests/mefb.toml --root MEFB -o probe.safetensors
        gifnet weights train-probe manifests/sice.toml --root SICE --split Dataset_Part1 -o probe.safetensors
    """
    from pipeline.exposure.training import train_probe as run_training

    check_ending(out, ".safetensors", "the weights' path")
    click.echo(run_training(ProbeTrainingConfig(**settings), manifest, root, out, split=split))
