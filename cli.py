"""The command line: parse, call, print. ``python cli.py`` and the installed ``gifnet`` are the same."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from model.train_config import AMP_NAMES, DP_TASKS, MEASURES, SCHEDULES, TrainConfig
from pipeline.depth import DEPTH_SOURCES
from pipeline.downloads import DOWNLOADS
from pipeline.engines import ENGINES, RunOptions
from pipeline.exposure import EXPOSURE_MODES, ExposureConfig
from pipeline.files import WEIGHTS_DIR, InputError, sha256_file
from pipeline.focus import FOCUS_MODES, FocusConfig
from pipeline.plan import COMPRESSIONS, SynthesisConfig
from pipeline.scenes import SampleConfig

DONE, WITH_FAILURES, UNUSABLE = 0, 1, 2

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
ANY_PATH = click.Path(path_type=Path)


class Commands(click.Group):
    """A group that turns bad input into one line and exit status 2, and keeps the order of definition."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(UNUSABLE)
        except BrokenPipeError:
            raise  # the reader of our output has gone; click ends quietly
        except OSError as error:
            # A full disk or a folder without write permission is no defect of the program either.
            click.echo(f"error: {error.filename or ctx.command_path}: {error.strerror or error}", err=True)
            ctx.exit(UNUSABLE)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


class Size(click.ParamType):
    """Rows x columns, such as 480x640."""

    name = "HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        if not (match := re.fullmatch(r"(\d+)x(\d+)", str(value))):
            self.fail(f"{value!r} is not a size; give rows x columns, such as 480x640", param, ctx)
        return int(match[1]), int(match[2])


class Part(click.ParamType):
    """One share of the work, such as 3/8."""

    name = "K/N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        if not (match := re.fullmatch(r"(\d+)/(\d+)", str(value))):
            self.fail(f"{value!r} is not a part; give K/N, such as 3/8", param, ctx)
        return int(match[1]), int(match[2])


def setting(config: type, name: str, *flags: str, **attributes: Any) -> Callable[[Any], Any]:
    """An option whose default is that of a config's field: defaults live in the dataclasses alone."""
    fields = {field.name: field for field in dataclasses.fields(config)}
    default = fields[name].default
    shown = attributes.pop("show_default", True)
    return click.option(
        *(flags or (f"--{name.replace('_', '-')}",)), default=default, show_default=shown, **attributes
    )


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="gifnet")
def main() -> None:
    """Synthesise joint datasets, train GIFNet, fuse images of any kind, and evaluate the results.

    \b
    The whole chain on this machine, without a download:
        gifnet demo
    """


@main.command()
@click.argument("out", type=FOLDER)
@setting(SampleConfig, "pairs", help="Number of visible/infrared pairs.")
@setting(
    SampleConfig, "size_hw", "--size", "size_hw", type=Size(), show_default="480x640", help="Rows x columns."
)
@setting(SampleConfig, "seed", help="Another seed gives other scenes.")
def sample(out: Path, **settings: Any) -> None:
    """Render procedural street scenes: aligned visible and infrared frames with exact inverse depth.

    \b
    Example:
        gifnet sample scenes --pairs 24
        gifnet synth scenes/manifest.toml -o dataset
    """
    from pipeline.scenes import write_samples

    click.echo(write_samples(SampleConfig(**settings), out))


@main.command()
@click.argument("manifest", type=FILE)
@click.option("-o", "--out", type=FOLDER, required=True, help="Folder of the dataset; a stopped run goes on.")
@click.option("--root", type=FOLDER, help="Folder of the images  [default: the manifest's].")
@click.option("--split", help="Which of the manifest's splits.")
@setting(SynthesisConfig, "depth", help=f"Depth source: {', '.join(DEPTH_SOURCES)}.")
@setting(
    SynthesisConfig,
    "refine_depth",
    "--refine/--no-refine",
    "refine_depth",
    help="Guided filter on depth edges.",
)
@setting(SynthesisConfig, "probe", help="default, a weights file, or the folder of the authors' two files.")
@setting(FocusConfig, "mode", "--focus", type=click.Choice(FOCUS_MODES), help="How focus pairs are made.")
@setting(
    ExposureConfig, "mode", "--exposure", type=click.Choice(EXPOSURE_MODES), help="How exposures are made."
)
@setting(SynthesisConfig, "tile", help="Side of the square tiles, in pixels.")
@setting(SynthesisConfig, "tiles_per_frame", help="Samples cut from each frame.")
@setting(SynthesisConfig, "samples_per_shard", help="Samples in each file.")
@setting(SynthesisConfig, "compress", type=click.Choice(COMPRESSIONS), help="gzip: half the size, slower.")
@setting(SynthesisConfig, "seed", help="Of thresholds, blurs and tile positions.")
@setting(RunOptions, "device", help="auto, cpu, cuda or cuda:N.")
@setting(RunOptions, "jobs", help="Worker processes; -1 is one for each core.")
@setting(RunOptions, "engine", type=click.Choice(ENGINES), help="Where the workers run.")
@setting(RunOptions, "part", type=Part(), show_default="1/1", help="Make the K-th of N shares of the shards.")
@click.option("--profile", is_flag=True, help="Print how long each stage took.")
def synth(
    manifest: Path,
    out: Path,
    root: Path | None,
    split: str | None,
    focus: str,
    exposure: str,
    device: str,
    jobs: int,
    engine: str,
    part: tuple[int, int],
    profile: bool,
    **settings: Any,
) -> None:
    """Make a joint dataset: near-/far-focused and over-/under-exposed samples from infrared/visible pairs.

    \b
    Example:
        gifnet synth manifests/llvip.toml --root LLVIP --split train -o dataset
    """
    from pipeline.synthesis import synthesise

    config = SynthesisConfig(
        focus=FocusConfig(mode=focus), exposure=ExposureConfig(mode=exposure), **settings
    )
    options = RunOptions(device=device, jobs=jobs, engine=engine, part=part)
    summary = synthesise(config, manifest, out, root=root, split=split, options=options)
    for problem in summary.problems:
        click.echo(f"failed: {problem}", err=True)
    if profile:
        total = sum(summary.seconds.values()) or 1.0
        for stage, spent in sorted(summary.seconds.items(), key=lambda item: -item[1]):
            click.echo(f"{stage:10s} {spent:8.1f} s {spent / total:6.1%}", err=True)
    account = f"written {summary.written} + skipped {summary.skipped} + failed {summary.failed}"
    index = summary.index or "not yet, other parts are still to be made"
    click.echo(f"seen {summary.seen} = {account}; index: {index}")
    sys.exit(WITH_FAILURES if summary.problems else DONE)


@main.command()
@click.argument("shards", type=FOLDER)
@click.option("--verify", "check", is_flag=True, help="Compare every byte with the index.")
@click.option("--preview", type=FILE, help="Write a contact sheet of samples, PNG or JPEG.")
@click.option("--export", type=FOLDER, help="Write the published trainer's folder layout.")
def inspect(shards: Path, check: bool, preview: Path | None, export: Path | None) -> None:
    """Show what is in a dataset and how it was made, verify it, picture it, or export it.

    \b
    Example:
        gifnet inspect dataset --verify --preview samples.png
    """
    from pipeline import inspection
    from pipeline.shards import verify

    click.echo(inspection.describe(shards))
    if preview:
        click.echo(f"preview: {inspection.preview(shards, preview)}")
    if export:
        click.echo(f"exported {inspection.export_folders(shards, export)} samples to {export}")
    if check:
        problems = verify(shards)
        for problem in problems:
            click.echo(f"damaged: {problem}", err=True)
        click.echo(f"verified: {len(problems)} problems")
        sys.exit(WITH_FAILURES if problems else DONE)


@main.command()
@click.argument("shards", type=FOLDER)
@click.option("-o", "--out", type=FOLDER, required=True, help="Folder of the run.")
@setting(TrainConfig, "steps", help="Batches; the paper's two epochs are 5000.")
@setting(TrainConfig, "batch_size", help="Samples per batch, over all processes together.")
@setting(TrainConfig, "crop", help="Side of the square crops, in pixels.")
@setting(TrainConfig, "lr", help="Learning rate of Adam.")
@setting(TrainConfig, "schedule", type=click.Choice(SCHEDULES), help="Of the learning rate.")
@setting(TrainConfig, "warmup_steps", help="Steps of linear warm-up.")
@setting(TrainConfig, "amp", type=click.Choice(AMP_NAMES), help="Mixed precision; auto is fp16 on CUDA.")
@setting(TrainConfig, "dp_task", type=click.Choice(DP_TASKS), help="Digital-photography task.")
@setting(
    TrainConfig, "dp_folder", help="Unpaired focus pairs with ground truth (MFI-WHU layout): the ablation."
)
@setting(TrainConfig, "information", type=click.Choice(MEASURES), help="Measure behind w_ir and w_vis.")
@setting(
    TrainConfig, "information_weights", help="ImageNet weights of densenet121, if not downloaded by timm."
)
@setting(TrainConfig, "ema_decay", help="Of the moving average of the weights, such as 0.999; 0 keeps none.")
@setting(TrainConfig, "validate_every", help="Steps between validations.")
@setting(TrainConfig, "checkpoint_every", help="Steps between checkpoints.")
@setting(TrainConfig, "overfit", is_flag=True, show_default=False, help="Train on one batch only, to debug.")
@setting(TrainConfig, "init", help="Weights to start from, such as published ones.")
@setting(TrainConfig, "device", help="auto, cpu, cuda or cuda:N.")
@setting(TrainConfig, "seed", help="Of the network, the order and the crops.")
@click.option("--resume", is_flag=True, help="Go on with the run in OUT.")
def train(shards: Path, out: Path, resume: bool, **settings: Any) -> None:
    """Train GIFNet on a joint dataset: alternating MM and DP steps; Ctrl-C saves and stops.

    \b
    Example:
        gifnet train dataset -o run --steps 5000
        torchrun --nproc-per-node 4 cli.py train dataset -o run --batch-size 32
    """
    from model.trainer import train as run_training

    click.echo(run_training(TrainConfig(**settings), shards, out, resume=resume))


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


if __name__ == "__main__":
    main()
