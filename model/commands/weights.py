"""Commands about the weights of GIFNet, and the list of all: import, export, train the shipped ones again."""

from __future__ import annotations

from pathlib import Path

import click

from model.calibration.recipe import (
    FUSION_SETS,
    FUSION_TRAINING,
    HELD_OUT_SHARE,
    KINDS,
    FusionSet,
    sets_in,
)
from model.fusing.fuse_config import MAIN_TASKS, FuseConfig
from model.training.train_config import TrainConfig
from pipeline.commands.options import FILE, FOLDER, SIZE, check_ending, finish, run_commands, setting
from pipeline.files import WEIGHTS_DIR, check_output, one_line, sha256_file
from pipeline.runtime.workers import check_jobs


@click.command("list")
def list_weights() -> None:
    """Show the weights shipped with this package: name, size, SHA-256, and what made them.

    \b
    Example:
        gifnet weights list
    """
    for path in sorted(WEIGHTS_DIR.glob("*.safetensors")):
        card = path.with_suffix(".md")
        summary = (
            card.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") if card.exists() else "no card"
        )
        click.echo(f"{path.stem:8s} {path.stat().st_size / 1e6:6.2f} MB  {sha256_file(path)}  {summary}")
        click.echo(f"{'':8s} card: {card}")


@click.command("import")
@click.argument("file", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, help="Weights file to write, .safetensors.")
@click.option("--half", is_flag=True, help="In float16: half as large, for fusing.")
def import_weights(file: Path, out: Path, half: bool) -> None:
    """Convert published GIFNet weights (Final.model), a training checkpoint or weights into a weights file.

    \b
    Example:
        gifnet weights import Final.model -o published.safetensors
    """
    from model.checkpoint import load_with_facts, save_weights

    check_ending(out, ".safetensors", "the weights' path")
    check_output(out, file)
    network, metadata = load_with_facts(file)
    metadata |= {"source": file.name, "source_sha256": sha256_file(file)}
    click.echo(save_weights(out, network, metadata, half=half))


@click.command()
@click.option("-w", "--weights", "source", type=FILE, help="Weights to export  [default: the shipped ones].")
@click.option("-o", "--out", type=FILE, required=True, help="Model to write, .onnx.")
@click.option("--onnx", is_flag=True, default=True, expose_value=False, help="As ONNX, the one format.")
@setting(FuseConfig, "main_task", type=click.Choice(list(MAIN_TASKS)), help="Which branch is decoded.")
@click.option(
    "--size",
    "size_hw",
    type=SIZE,
    help="Fixed rows x columns, which is faster  [default: any, in steps of 8; with the pyramid head 16; "
    "takes minutes].",
)
def export(source: Path | None, out: Path, main_task: str, size_hw: tuple[int, int] | None) -> None:
    """Write GIFNet as one ONNX file, for other runtimes (extra onnx).

    \b
    Example:
        gifnet weights export --onnx -o gifnet.onnx
        gifnet weights export --weights run/weights.safetensors --size 1024x1280 -o gifnet.onnx
    """
    from model.checkpoint import load_network
    from model.export_onnx import export_onnx

    check_output(out, source)
    model = export_onnx(load_network(source), out, main=MAIN_TASKS[main_task], size_hw=size_hw)
    click.echo(model)


@click.command()
@click.argument("weights", type=FILE)
@click.argument("data", type=FOLDER)
@click.option("-o", "--out", type=FILE, required=True, help="Weights file to write, .safetensors.")
@click.option("--pairs", type=click.IntRange(1), default=32, show_default=True, help="Of each kind, at most.")
@click.option("--jobs", default=-1, show_default=True, help="Processes; -1 is one for each core.")
def calibrate(weights: Path, data: Path, out: Path, pairs: int, jobs: int) -> None:
    """Balance weights trained with --head pyramid by the metrics of evaluate, on pairs that training may see.

    DATA as for train-fusion: no other folders are looked for. Some weights of the head move a little, so that
    every metric is ahead of a Laplacian pyramid's on pairs of each kind, as far as that is possible. About 20
    minutes on 2 cores.

    \b
    Example:
        gifnet weights calibrate run/weights.safetensors data -o calibrated.safetensors
    """
    from model.calibration.calibrate import calibrate as run_calibration
    from model.calibration.pairs import calibration_pairs
    from model.checkpoint import load_with_facts, save_weights
    from model.inputs.folders import check_apart

    check_jobs(jobs)
    check_ending(out, ".safetensors", "the weights' path")
    check_output(out, weights)
    check_apart(out, [data / one.folder for one in FUSION_SETS])
    network, metadata = load_with_facts(weights)
    config = metadata.get("config")
    share = config.get("validation_share") if isinstance(config, dict) else None
    share = max(HELD_OUT_SHARE, share if isinstance(share, float) else 0.0)
    metadata |= {"calibrated_from_sha256": sha256_file(weights)}
    sets = _sets_in(data, *KINDS)
    known = calibration_pairs(data, pairs, held_out=share)
    for kind in (kind for kind, found in known.items() if not found and kind in {one.kind for one in sets}):
        click.echo(f"no pair to calibrate {kind} fusion with: all are held out of training", err=True)
    click.echo(save_weights(out, run_calibration(network, known, jobs=jobs), metadata))


def _sets_in(data: Path, *kinds: str | None) -> list[FusionSet]:
    """Those of some kinds that lie in a folder; the others are told."""
    sets = sets_in(data, kinds)
    absent = [one.folder for one in FUSION_SETS if one.kind in kinds and one not in sets]
    for folder in dict.fromkeys(absent):
        click.echo(one_line(f"not there, left out: {data / folder}"), err=True)
    return sets


@click.command("train-fusion")
@click.argument("data", type=FOLDER)
@click.option("-o", "--out", type=FOLDER, required=True, help="Folder of datasets and run; goes on.")
@click.option("--steps", type=click.IntRange(1), default=600, show_default=True, help="Batches.")
@click.option(
    "--batch-size", type=click.IntRange(2), default=16, show_default=True, help="Crops of each batch."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.pass_context
def train_fusion(ctx: click.Context, data: Path, out: Path, steps: int, batch_size: int, device: str) -> None:
    """Make GIFNet weights as the shipped ones were, OUT/gifnet.safetensors; prints each command.

    DATA holds any of roadscene, llvip, mefb, mfif and harvard/{pet,ct}-mri; all for the shipped ones. An hour
    and a quarter on 2 cores that know bfloat16.

    \b
    Example:
        gifnet weights train-fusion data -o fusion
    """
    from pipeline.networks.device import computes_bfloat16, resolve_device

    # Without its instructions bfloat16 is emulated, and takes days instead of hours.
    amp = "bf16" if computes_bfloat16(resolve_device(device)) else "off"
    sets = _sets_in(data, None, *KINDS)
    calibrates = any(one.kind for one in sets)
    trained, calibrated = out / "run/weights.safetensors", out / "calibrated.safetensors"
    last = calibrated if calibrates else trained
    chosen = (
        *("--steps", steps, "--warmup-steps", min(TrainConfig.warmup_steps, steps // 2)),
        *("--batch-size", batch_size, "--amp", amp, "--device", device),
    )
    failures = run_commands(
        ctx,
        *(
            [
                *("synth", one.recipe, "--root", data / one.folder, "-o", out / one.name),
                *(*one.options, "--device", device),
            ]
            for one in sets
        ),
        ["train", *(out / one.name for one in sets), "-o", out / "run", *FUSION_TRAINING, *chosen],
        *([["weights", "calibrate", trained, data, "-o", calibrated]] if calibrates else []),
        ["weights", "import", last, "-o", out / "gifnet.safetensors", "--half"],
    )
    finish(failures)
