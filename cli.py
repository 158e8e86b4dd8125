"""The command line. ``python cli.py`` and the installed ``gifnet`` are the same."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from model.commands import evaluate, fuse, report, train
from pipeline.command_line import FILE, FOLDER, Commands
from pipeline.commands import inspect, sample, synth
from pipeline.contact_sheet import contact_sheet
from pipeline.downloads import DOWNLOADS
from pipeline.files import WEIGHTS_DIR, sha256_file
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
    for command in (
        ["sample", scenes, "--pairs", 12],
        ["synth", scenes / "manifest.toml", "-o", dataset, "--tiles-per-frame", 4],
        ["inspect", dataset, "--verify", "--preview", out / "samples.png"],
        ["train", dataset, "-o", run, "--steps", 60, "--batch-size", 4, "--crop", 64, "--resume"],
        ["fuse", *sources, "-o", fused, "--task", "ivif", "--weights", run / "weights.safetensors"],
        ["evaluate", *sources, "-f", f"demo={fused}", "-o", results],
        ["report", results, "-o", out / "report.html"],
    ):
        arguments = [str(argument) for argument in command]
        click.secho(f"\n$ gifnet {shlex.join(arguments)}", bold=True)
        status = main.main(arguments, standalone_mode=False)
        if status:
            ctx.exit(status)
    rows = []
    for path in sorted(fused.glob("*.png")):
        rows.append([read_image(scenes / role / path.name) for role in ("visible", "infrared")])
        rows[-1].append(read_image(path))
    sheet = contact_sheet(rows, titles=["visible", "infrared", "fused"], cell_width=320)
    click.echo(f"\nsources and fused pictures: {write_image(out / 'fused.png', sheet)}")
    click.echo(f"samples of the dataset:     {out / 'samples.png'}")
    click.echo(f"measures and gallery:       {out / 'report.html'}")


def given(settings: dict[str, Any]) -> dict[str, Any]:
    """The options that were given; the others keep the defaults of their config, which needs torch."""
    return {name: value for name, value in settings.items() if value is not None}


if __name__ == "__main__":
    main()
