"""The command ``train``: every setting of a run is an option."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from model.training.train_config import (
    AMP_NAMES,
    DP_TASKS,
    FIDELITY_KEYS,
    HEADS,
    MEASURES,
    OBJECTIVES,
    PUBLISHED_KEYS,
    SCHEDULES,
    SHAPE,
    TrainConfig,
)
from pipeline.commands.options import FOLDER, refuse_idle, setting


def loss_weights(command: Any) -> Any:
    """An option for each loss weight of a training run."""
    names = [field.name for field in fields(TrainConfig) if field.name.endswith("_weight")]
    for name in reversed(names):
        words = name.removesuffix("_weight").split("_")
        loss = " ".join(word.upper() if word in ("mm", "dp", "ssim", "mse") else word for word in words)
        where = "Fidelity" if name in FIDELITY_KEYS else "Published" if name in PUBLISHED_KEYS else "Both"
        command = setting(TrainConfig, name, help=f"{where}: weight of the {loss} loss.")(command)
    return command


def _shape(name: str, **attributes: Any) -> Any:
    """An option for the shape of a fresh network; weights to start from have theirs."""
    return setting(TrainConfig, name, show_default=str(SHAPE[name]), **attributes)


@click.command()
@click.argument("shards", type=FOLDER, nargs=-1, required=True)
@click.option("-o", "--out", type=FOLDER, required=True, help="Folder of the run.")
@setting(TrainConfig, "objective", type=click.Choice(OBJECTIVES), help="What is taught; see the README.")
@setting(TrainConfig, "steps", help="Batches; the paper's two epochs are 5000.")
@setting(TrainConfig, "batch_size", help="Samples per batch, over all processes together.")
@setting(TrainConfig, "crop", help="Side of the square crops, in pixels.")
@setting(TrainConfig, "flip", "--flip/--no-flip", "flip", help="Mirror crops at random.")
@setting(TrainConfig, "lr", help="Learning rate of Adam.")
@setting(TrainConfig, "schedule", type=click.Choice(SCHEDULES), help="Of the learning rate.")
@setting(TrainConfig, "warmup_steps", help="Steps of linear warm-up; with cosine, fewer than --steps.")
@setting(TrainConfig, "amp", type=click.Choice(AMP_NAMES), help="Mixed precision; auto is fp16 on CUDA.")
@setting(TrainConfig, "dp_task", type=click.Choice(DP_TASKS), help="Digital-photography task.")
@setting(
    TrainConfig, "dp_folder", help="Unpaired focus pairs with ground truth (MFI-WHU layout): the ablation."
)
@setting(TrainConfig, "information", type=click.Choice(MEASURES), help="Measure behind w_ir and w_vis.")
@setting(
    TrainConfig, "information_weights", help="ImageNet weights of densenet121, if not downloaded by timm."
)
@loss_weights
@setting(TrainConfig, "clip_norm", help="Longest gradient; 0 for any.")
@setting(TrainConfig, "ema_decay", help="Of the moving average of the weights, such as 0.999; 0 keeps none.")
@setting(TrainConfig, "validation_share", help="Share of the scenes held out for validation; 0 for none.")
@setting(TrainConfig, "validate_every", help="Steps between validations.")
@setting(TrainConfig, "picture_every", help="Steps between pictures of validation samples.")
@setting(TrainConfig, "checkpoint_every", help="Steps between checkpoints.")
@setting(TrainConfig, "keep_checkpoints", help="Latest checkpoints that are kept.")
@setting(TrainConfig, "overfit", is_flag=True, show_default=False, help="Train on one batch only, to debug.")
@setting(TrainConfig, "camera_lead", help="Fidelity: gradients ahead of a pyramid's, two cameras.")
@setting(TrainConfig, "exposure_lead", help="Fidelity: gradients and structure ahead, two exposures.")
@setting(TrainConfig, "focus_lead", help="Fidelity: gradients ahead, focus pairs.")
@setting(TrainConfig, "init", help="Weights to start from, such as published ones.")
@_shape("feature_growth", type=int, help="Width of a fresh network's encoder and transformer.")
@_shape("decoder_channels", type=int, help="Width of a fresh network's decoders.")
@_shape("head", type=click.Choice(HEADS), help="Of a fresh network: how inputs become the image.")
@setting(TrainConfig, "device", help="auto, cpu, cuda or cuda:N.")
@setting(
    TrainConfig,
    "deterministic",
    "--deterministic/--no-deterministic",
    "deterministic",
    help="On CUDA, kernels that repeat exactly.",
)
@setting(
    TrainConfig,
    "cuda_graphs",
    "--cuda-graphs/--no-cuda-graphs",
    "cuda_graphs",
    help="On one CUDA GPU, launch a step as a whole: faster, the same values.",
)
@setting(TrainConfig, "seed", help="Of the network, the order and the crops.")
@click.option("--resume", is_flag=True, help="Go on with the run in OUT.")
def train(shards: tuple[Path, ...], out: Path, resume: bool, **settings: Any) -> None:
    """Train GIFNet on joint datasets, mixed: alternating MM and DP steps; Ctrl-C saves and stops.

    \b
    Example:
        gifnet train dataset -o run --steps 5000
        gifnet train street brain exposures -o run --objective fidelity --dp-task both
        torchrun --nproc-per-node 4 cli.py train dataset -o run --batch-size 32
    """
    from model.trainer import train as run_training
    from model.training.distributed import process_rank

    if not settings["validation_share"]:
        refuse_idle(["validate_every", "picture_every"], "with --validation-share 0")
    weights = run_training(TrainConfig(**settings), shards, out, resume=resume)
    if process_rank() == 0:
        click.echo(weights)
