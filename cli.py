"""The command line. ``python cli.py`` and the installed ``gifnet`` are the same."""

from __future__ import annotations

from pathlib import Path

import click

from model.commands.pictures import evaluate, fuse, report
from model.commands.train import train
from model.commands.weights import calibrate, export, import_weights, list_weights, train_fusion
from pipeline.commands.dataset import inspect, sample, synth
from pipeline.commands.options import FOLDER, Commands, finish, run_commands
from pipeline.commands.weights import fetch, train_depth, train_probe
from pipeline.files import WEIGHTS_DIR
from pipeline.images import read_image, write_image
from pipeline.images.contact_sheet import contact_sheet


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="gifnet")
def main() -> None:
    """Synthesise joint datasets, train GIFNet, fuse images of any kind, and evaluate the results.

    \b
    The whole chain on this machine, without a download:
        gifnet demo
    """


@main.group(cls=Commands)
def weights() -> None:
    """List, import, fetch and train weights.

    \b
    Example:
        gifnet weights list
    """


for command in (sample, synth, inspect, train, fuse, evaluate, report):
    main.add_command(command)
for command in (
    list_weights,
    import_weights,
    fetch,
    export,
    calibrate,
    train_depth,
    train_probe,
    train_fusion,
):
    weights.add_command(command)


#: Few enough steps for a demo, and small ones: they begin with weights that are good already.
DEMO_TRAINING = (
    *("--steps", 60, "--batch-size", 4, "--crop", 64),
    *("--lr", 3e-5, "--warmup-steps", 20, "--resume"),
)


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
    failures = run_commands(
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
    finish(failures)


if __name__ == "__main__":
    main()
