"""Commands about the weights of GIFNet, and the list of all: import, export, train the shipped ones again."""

from __future__ import annotations

from pathlib import Path

import click

from model.fusing.fuse_config import MAIN_TASKS, FuseConfig
from pipeline.command_line import FILE, FOLDER, Size, finish, run_commands, setting
from pipeline.files import WEIGHTS_DIR, InputError, check_output, sha256_file


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
    type=Size(),
    help="Fixed rows x columns  [default: any, in steps of 8; with the pyramid head 16].",
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


#: Optics and exposure as a camera has them.
OPTICS = ("--focus", "thin-lens", "--exposure", "camera-response")
#: What the shipped GIFNet weights learned from: dataset, manifest, folder, and what synth is told about it.
#: Real pairs of each kind of fusion, and focus and exposure pairs made from them in two ways.
FUSION_SETS = (
    ("roadscene", "roadscene", "roadscene", ("--tiles-per-frame", 4)),
    ("lens", "roadscene", "roadscene", ("--tiles-per-frame", 2, *OPTICS)),
    ("llvip", "llvip", "llvip", ("--split", "train", "--tiles-per-frame", 4)),
    ("mefb", "mefb", "mefb", ("--roles", "over", "under", "--tiles-per-frame", 16)),
    ("mfif", "mfifb", "mfif", ("--roles", "near", "far", "--tiles-per-frame", 16)),
    ("pet", "harvard-pet-mri", "harvard/pet-mri", ("--roles", "pet", "mri", "--tiles-per-frame", 12)),
    ("ct", "harvard-ct-mri", "harvard/ct-mri", ("--roles", "ct", "mri", "--tiles-per-frame", 12)),
)
#: Share of the scenes that neither training nor calibration sees.
HELD_OUT_SHARE = 0.1
#: Steps of warm-up; half of a run that is shorter than two of them.
WARMUP_STEPS = 100
#: How: a network of less than half of the published width, taught by fidelity.
FUSION_TRAINING = (
    *("--objective", "fidelity", "--dp-task", "both", "--feature-growth", 14, "--decoder-channels", 32),
    *("--head", "pyramid", "--crop", 160, "--lr", 0.0013, "--schedule", "cosine"),
    *("--structure-weight", 8, "--complement-weight", 5),
    *("--mutual-information-weight", 4.5, "--visual-information-weight", 0.5, "--truth-weight", 3.5),
    *("--rival-weight", 25, "--sharpness-weight", 55, "--overshoot-weight", 100),
    *("--clip-norm", 10, "--ema-decay", 0.995, "--validation-share", HELD_OUT_SHARE, "--resume"),
)


@click.command()
@click.argument("weights", type=FILE)
@click.argument("data", type=FOLDER)
@click.option("-o", "--out", type=FILE, required=True, help="Weights file to write.")
@click.option("--pairs", type=click.IntRange(1), default=32, show_default=True, help="Of each kind, at most.")
@click.option("--jobs", default=-1, show_default=True, help="Processes; -1 is one for each core.")
def calibrate(weights: Path, data: Path, out: Path, pairs: int, jobs: int) -> None:
    """Balance the pyramid head of trained weights by the metrics of evaluate, on pairs that training may see.

    DATA as for train-fusion. Some weights of the head move a little, so that every metric is ahead of a
    Laplacian pyramid's on pairs of each kind, as far as that is possible. Half an hour on 2 cores.

    \b
    Example:
        gifnet weights calibrate run/weights.safetensors data -o calibrated.safetensors
    """
    from model.calibration.calibrate import calibrate as run_calibration
    from model.calibration.calibrate import check_jobs
    from model.calibration.pairs import SETS, calibration_pairs
    from model.checkpoint import load_with_facts, save_weights
    from model.inputs.folders import check_apart

    check_jobs(jobs)
    check_output(out, weights)
    check_apart(out, [data / folder for sets in SETS.values() for _, folder in sets])
    network, metadata = load_with_facts(weights)
    config = metadata.get("config")
    share = config.get("validation_share") if isinstance(config, dict) else None
    share = max(HELD_OUT_SHARE, share if isinstance(share, float) else 0.0)
    metadata |= {"calibrated_from_sha256": sha256_file(weights)}
    known = calibration_pairs(data, pairs, held_out=share)
    click.echo(save_weights(out, run_calibration(network, known, jobs=jobs), metadata))


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
    from model.calibration.pairs import has_pairs
    from pipeline.device import computes_bfloat16, resolve_device

    # Without its instructions bfloat16 is emulated, and takes days instead of hours.
    amp = "bf16" if computes_bfloat16(resolve_device(device)) else "off"
    there = [entry for entry in FUSION_SETS if (data / entry[2]).is_dir()]
    folders = dict.fromkeys(folder for _, _, folder, _ in FUSION_SETS)
    if not there:
        raise InputError(f"{data}: holds none of {', '.join(folders)}")
    for folder in folders:
        if not (data / folder).is_dir():
            click.echo(f"not there, left out: {data / folder}", err=True)
    calibrates = has_pairs(data)
    trained, calibrated = out / "run/weights.safetensors", out / "calibrated.safetensors"
    last = calibrated if calibrates else trained
    warmup = min(WARMUP_STEPS, steps // 2)
    chosen = (
        *("--steps", steps, "--warmup-steps", warmup, "--batch-size", batch_size),
        *("--amp", amp, "--device", device),
    )
    failures = run_commands(
        ctx,
        *(
            ["synth", recipe, "--root", data / folder, "-o", out / name, *options]
            for name, recipe, folder, options in there
        ),
        ["train", *(out / name for name, *_ in there), "-o", out / "run", *FUSION_TRAINING, *chosen],
        *([["weights", "calibrate", trained, data, "-o", calibrated]] if calibrates else []),
        ["weights", "import", last, "-o", out / "gifnet.safetensors", "--half"],
    )
    finish(failures)
