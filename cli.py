"""The command line. ``python cli.py`` and the installed ``gifnet`` are the same."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from model.commands import evaluate, fuse, report, train
from model.fuse_config import MAIN_TASKS, FuseConfig
from pipeline.command_line import FILE, FOLDER, Commands, Size, setting
from pipeline.commands import inspect, sample, synth
from pipeline.contact_sheet import contact_sheet
from pipeline.downloads import DOWNLOADS
from pipeline.files import WEIGHTS_DIR, InputError, sha256_file
from pipeline.images import read_image, write_image


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="gifnet")
def main() -> None:
    """Synthesise joint datasets, train GIFNet, fuse images of any kind, and evaluate the results.

    \b
    The whole chain on this machine, without a download:
        gifnet demo
    """


for command in (sample, synth, inspect, train, fuse, evaluate, report):
    main.add_command(command)


@main.group(cls=Commands)
def weights() -> None:
    """List, import, fetch and train weights."""


@weights.command("list")
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


@weights.command("import")
@click.argument("file", type=FILE)
@click.option("-o", "--out", type=FILE, required=True, help="Weights file to write, .safetensors.")
def import_weights(file: Path, out: Path) -> None:
    """Convert published GIFNet weights (Final.model) or a training checkpoint into a weights file.

    \b
    Example:
        gifnet weights import Final.model -o published.safetensors
    """
    from model.checkpoint import load_network, save_weights

    network = load_network(file)
    click.echo(save_weights(out, network, {"source": file.name, "source_sha256": sha256_file(file)}))


@weights.command()
@click.argument("name", type=click.Choice(sorted(DOWNLOADS)))
@click.option("-o", "--out", type=FOLDER, default=Path(), help="Folder for the file  [default: .].")
@click.option("--sha256", help="The digest that you trust, where the authors state none.")
def fetch(name: str, out: Path, sha256: str | None) -> None:
    """Download third-party weights; a stopped download goes on, and a wrong file is never accepted.

    \b
    Example:
        gifnet weights fetch megadepth
        gifnet synth manifest.toml -o dataset --depth megadepth:best_generalization_net_G.pth
    """
    from pipeline.downloads import fetch as fetch_weights

    click.echo(fetch_weights(name, out, sha256=sha256))


@weights.command()
@click.option("-w", "--weights", "source", type=FILE, help="Weights to export  [default: the shipped ones].")
@click.option("-o", "--out", type=FILE, required=True, help="Model to write, .onnx.")
@setting(FuseConfig, "main_task", type=click.Choice(list(MAIN_TASKS)), help="Which branch is decoded.")
@click.option("--size", "size_hw", type=Size(), help="Fixed rows x columns  [default: any, in steps of 8].")
def export(source: Path | None, out: Path, main_task: str, size_hw: tuple[int, int] | None) -> None:
    """Write GIFNet as one ONNX file, for other runtimes (extra onnx).

    \b
    Example:
        gifnet weights export -o gifnet.onnx
        gifnet weights export --weights run/weights.safetensors --size 1024x1280 -o gifnet.onnx
    """
    from model.checkpoint import load_network
    from model.export_onnx import export_onnx

    click.echo(export_onnx(load_network(source), out, main=MAIN_TASKS[main_task], size_hw=size_hw))


@weights.command("train-depth")
@click.option("-o", "--out", type=FILE, required=True, help="Weights file to write; a stopped run goes on.")
@click.option("--encoder", help="timm model.")
@click.option("--steps", type=int, help="Optimiser steps.")
@click.option("--scenes", type=int, help="Rendered scenes.")
@click.option("--batch-size", type=int, help="Views per step.")
@click.option("--held-out", type=int, help="Scenes of each kind kept for validation.")
@click.option("--jobs", type=int, help="Processes that render.")
@click.option("--device", help="auto, cpu, cuda or cuda:N.")
@click.option("--seed", type=int, help="Of scenes, views and first weights.")
def train_depth(out: Path, **settings: Any) -> None:
    """Train the depth network on rendered scenes; without options as the shipped weights were made.

    \b
    Example:
        gifnet weights train-depth -o depth.safetensors --jobs 2
        gifnet synth manifest.toml -o dataset --depth timm:resnet10t:depth.safetensors
    """
    from pipeline.depth.training import DepthTrainingConfig
    from pipeline.depth.training import train_depth as run_training

    click.echo(run_training(DepthTrainingConfig(**given(settings)), out))


@weights.command("train-probe")
@click.argument("manifest", type=FILE)
@click.option("--root", type=FOLDER, help="Folder of the images  [default: the manifest's].")
@click.option("-o", "--out", type=FILE, required=True, help="Weights file to write.")
@click.option("--steps", type=int, help="Optimiser steps.")
@click.option("--learning-rate", type=float, help="Of Adam at the start.")
@click.option("--held-out-every", type=int, help="Every n-th scene is held out for the figures.")
@click.option("--device", help="auto, cpu, cuda or cuda:N.")
@click.option("--seed", type=int, help="Of first weights, scenes and patches.")
def train_probe(manifest: Path, root: Path | None, out: Path, **settings: Any) -> None:
    """Train the exposure probe on the over-/under-exposed pairs of a manifest.

    \b
    Example:
        gifnet weights train-probe manifests/mefb.toml --root MEFB -o probe.safetensors
    """
    from pipeline.probe_training import ProbeTrainingConfig
    from pipeline.probe_training import train_probe as run_training

    click.echo(run_training(ProbeTrainingConfig(**given(settings)), manifest, root, out))


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
    ("pet", "harvard-pet-mri", "harvard/pet-mri", ("--roles", "pet", "mri", "--tiles-per-frame", 8)),
    ("spect", "harvard-spect-mri", "harvard/spect-mri", ("--roles", "spect", "mri", "--tiles-per-frame", 8)),
    ("ct", "harvard-ct-mri", "harvard/ct-mri", ("--roles", "ct", "mri", "--tiles-per-frame", 8)),
)
#: How: a network of less than half of the published width, taught by fidelity.
FUSION_TRAINING = (
    *("--objective", "fidelity", "--dp-task", "both", "--feature-growth", 14, "--decoder-channels", 32),
    *("--head", "pyramid", "--batch-size", 8, "--crop", 80, "--schedule", "cosine", "--warmup-steps", 50),
    *("--structure-weight", 6, "--complement-weight", 4, "--mutual-information-weight", 2),
    *("--rival-weight", 10, "--sharpness-weight", 30),
    *("--clip-norm", 10, "--ema-decay", 0.998, "--amp", "bf16", "--validation-share", 0.1, "--resume"),
)


@weights.command("train-fusion")
@click.argument("data", type=FOLDER)
@click.option("-o", "--out", type=FOLDER, required=True, help="Folder of datasets and run; goes on.")
@click.option("--steps", type=int, default=3000, show_default=True, help="Batches.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.pass_context
def train_fusion(ctx: click.Context, data: Path, out: Path, steps: int, device: str) -> None:
    """Make the shipped GIFNet weights again, OUT/run/weights.safetensors, printing each command.

    DATA holds any of roadscene, llvip, mefb, mfif and harvard/{pet,spect,ct}-mri; all for the shipped ones.

    \b
    Example:
        gifnet weights train-fusion data -o fusion
    """
    there = [entry for entry in FUSION_SETS if (data / entry[2]).is_dir()]
    folders = dict.fromkeys(folder for _, _, folder, _ in FUSION_SETS)
    if not there:
        raise InputError(f"{data}: holds none of {', '.join(folders)}")
    for folder in folders:
        if not (data / folder).is_dir():
            click.echo(f"not there, left out: {data / folder}", err=True)
    manifests = Path(__file__).resolve().parent / "manifests"
    run_commands(
        ctx,
        *(
            ["synth", manifests / f"{recipe}.toml", "--root", data / folder, "-o", out / name, *options]
            for name, recipe, folder, options in there
        ),
        [
            *("train", *(out / name for name, *_ in there), "-o", out / "run"),
            *(*FUSION_TRAINING, "--steps", steps, "--device", device),
        ],
    )


#: Few enough steps for a demo, and small ones: they begin with weights that are good already.
DEMO_TRAINING = ("--steps", 60, "--batch-size", 4, "--crop", 64, "--lr", 1e-4, "--resume")


@main.command()
@click.option(
    "-o",
    "--out",
    type=FOLDER,
    default=Path("demo"),
    help="For everything  [default: demo].",
)
@click.pass_context
def demo(ctx: click.Context, out: Path) -> None:
    """Run the whole chain on rendered scenes, printing each command: a few minutes on two cores.

    \b
    Example:
        gifnet demo -o demo
    """
    scenes, dataset, run, fused = out / "scenes", out / "dataset", out / "run", out / "fused"
    sources = ["-a", scenes / "infrared", "-b", scenes / "visible"]
    results = out / "results.json"
    run_commands(
        ctx,
        ["sample", scenes, "--pairs", 12],
        ["synth", scenes / "manifest.toml", "-o", dataset, "--tiles-per-frame", 4],
        ["inspect", dataset, "--verify", "--preview", out / "samples.png"],
        [*("train", dataset, "-o", run, "--init", WEIGHTS_DIR / "gifnet.safetensors"), *DEMO_TRAINING],
        ["fuse", *sources, "-o", fused, "--task", "ivif", "--weights", run / "weights.safetensors"],
        ["evaluate", *sources, "-f", f"demo={fused}", "-o", results],
        ["report", results, "-o", out / "report.html"],
    )
    rows = []
    for path in sorted(fused.glob("*.png")):
        rows.append([read_image(scenes / role / path.name) for role in ("visible", "infrared")])
        rows[-1].append(read_image(path))
    sheet = contact_sheet(rows, titles=["visible", "infrared", "fused"], cell_width=320)
    click.echo(f"\nsources and fused pictures: {write_image(out / 'fused.png', sheet)}")
    click.echo(f"samples of the dataset:     {out / 'samples.png'}")
    click.echo(f"measures and gallery:       {out / 'report.html'}")


def run_commands(ctx: click.Context, *commands: Sequence[object]) -> None:
    """Print and run one command after the other; the first that fails ends it all with its status."""
    for command in commands:
        arguments = [str(argument) for argument in command]
        click.secho(f"\n$ gifnet {shlex.join(arguments)}", bold=True)
        if status := main.main(arguments, standalone_mode=False):
            ctx.exit(status)


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """The options that were given; the others keep the defaults of their config, which needs torch."""
    return {name: value for name, value in settings.items() if value is not None}


if __name__ == "__main__":
    main()
