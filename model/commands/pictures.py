"""Commands for using a network: fuse, evaluate, report. They parse, call and print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from model.evaluation.baselines import BASELINES
from model.evaluation.scoring import COLOUR, EvaluateConfig
from model.fusing.colour import COLOUR_MODES, TASKS
from model.fusing.fuse_config import MAIN_TASKS, PRECISIONS, RESIZE_CHOICES, FuseConfig, parse_memory
from model.inputs.folders import Images
from model.inputs.manifest_pairs import manifest_pairs
from model.metrics import GROUND_TRUTH_METRICS, METRICS
from model.metrics.conventions import CONVENTIONS
from model.report import ReportConfig, check_page
from pipeline.commands.options import ANY_PATH, FILE, FOLDER, finish, refuse_idle, setting
from pipeline.files import InputError, one_line

_TASKS = "; ".join(f"{name}: {preset.summary}" for name, preset in TASKS.items())


def _manifest_options(command: Any) -> Any:
    """``--manifest``, ``--root`` and ``--split``, which name the sources in place of ``-a`` and ``-b``."""
    for option in (
        click.option("--split", help="Which of the manifest's splits."),
        click.option("--root", type=FOLDER, help="Folder of the images  [default: the manifest's]."),
        click.option("--manifest", type=ANY_PATH, help="Dataset recipe, in place of -a and -b."),
    ):
        command = option(command)
    return command


@click.command()
@click.option("-a", "a", type=ANY_PATH, help="Infrared, near, over, PET, bands, ...")
@click.option("-b", "b", type=ANY_PATH, help="Visible, far, under, MRI, pan; without it A is enhanced.")
@_manifest_options
@click.option("-c", "--also", type=ANY_PATH, multiple=True, help="A further input of a stack.")
@click.option("-o", "--out", type=ANY_PATH, required=True, help="Folder of results, or the result.")
@setting(FuseConfig, "task", type=click.Choice(list(TASKS)), help=f"Who gives the colour. {_TASKS}.")
@setting(FuseConfig, "main_task", type=click.Choice(list(MAIN_TASKS)), help="Which branch is decoded.")
@setting(FuseConfig, "weights", type=FILE, show_default="the shipped ones", help="Weights, also Final.model.")
@setting(FuseConfig, "precision", type=click.Choice(PRECISIONS), help="fp32 is exact; auto is fp16 on a GPU.")
@setting(FuseConfig, "device", help="auto, cpu, cuda or cuda:N.")
@click.option("--memory", help="For feature maps, such as 1GB  [default: half of what is free].")
@setting(FuseConfig, "colour", type=click.Choice(COLOUR_MODES), help="upstream: the published arithmetic.")
@setting(
    FuseConfig, "range_16bit", help="Of 16-bit inputs: full (data that fill 16 bits), percentile or LOW:HIGH."
)
@setting(FuseConfig, "bits", type=click.Choice(["8", "16"]), help="Bits per channel of the results.")
@setting(FuseConfig, "resize", type=click.Choice(RESIZE_CHOICES), help="Which input adapts to the other.")
@setting(FuseConfig, "suffix", show_default=".png; .tif of bands", help="Format of results in folders.")
@setting(FuseConfig, "overwrite", is_flag=True, show_default=False, help="Make results again that exist.")
@setting(
    FuseConfig,
    "jobs",
    type=int,
    show_default="1; on a GPU up to 12, of large pictures 2",
    help="Pairs read, and results written, at a time; -1 is one for each core.",
)
def fuse(
    a: Path | None,
    b: Path | None,
    also: tuple[Path, ...],
    manifest: Path | None,
    root: Path | None,
    split: str | None,
    out: Path,
    memory: str | None,
    bits: str,
    **settings: Any,
) -> None:
    """Fuse two files, two folders (paired by name), a stack of more, two videos, or enhance one.

    Videos have 8 bits per channel and give one without sound; folders without
    a picture are folders of videos.

    \b
    Example:
        gifnet fuse -a LLVIP/infrared/test -b LLVIP/visible/test -o fused --task ivif
        gifnet fuse -a pet.png -b mri.png -o fused.png --task medical
        gifnet fuse --manifest manifests/tno.toml --root TNO_Image_Fusion_Dataset -o fused/tno
    """
    from model.fuse import fuse as run_fusion

    first, second, _ = _chosen_sources(manifest, a, b, root=root, split=split)
    if first is None:
        raise InputError("fuse: no input; give -a, or --manifest")
    if also and second is None:
        raise InputError("fuse: -c is a further input beside -a and -b; give -b")
    if second is None:
        refuse_idle(["resize"], "with one input")
    budget = None if memory is None else parse_memory(memory)
    inputs = [images for images in (first, second, *also) if images is not None]
    summary = run_fusion(FuseConfig(memory_bytes=budget, bits=int(bits), **settings), inputs, out)
    _tell_left_out(summary.unmatched, summary.passed_over)
    counts = {"done": summary.done, "skipped": summary.skipped, "failed": summary.failed}
    done = ", ".join(f"{what} {len(names)}" for what, names in counts.items())
    click.echo(one_line(f"{done}: {out}"))
    finish(not summary.complete)


@click.command()
@click.option("-a", "a", type=FOLDER, help="First sources: infrared, near, over, ...")
@click.option("-b", "b", type=FOLDER, help="Second sources: visible, far, under, ...")
@_manifest_options
@click.option(
    "-f",
    "--fused",
    multiple=True,
    required=True,
    metavar="NAME=DIR",
    help=f"A method; may be repeated. Beside them stand the baselines {', '.join(BASELINES)}.",
)
@click.option("--ground-truth", type=FOLDER, help="True images  [default: the manifest's, if any].")
@click.option("-o", "--out", type=FILE, required=True, help="Summary, .json; tables go beside.")
@setting(EvaluateConfig, "convention", type=click.Choice(list(CONVENTIONS)), help="Whose definitions.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    help=f"Only this metric of the convention; may be repeated. Standard: {', '.join(METRICS)}; with true "
    f"images {', '.join(GROUND_TRUTH_METRICS)}, which come by themselves. See model/metrics/CONVENTIONS.md.",
)
@setting(EvaluateConfig, "colour", type=click.Choice(list(COLOUR)), help="What is scored of colour images.")
@setting(EvaluateConfig, "jobs", help="Pairs at a time; -1 is one for each core.")
def evaluate(
    a: Path | None,
    b: Path | None,
    manifest: Path | None,
    root: Path | None,
    split: str | None,
    fused: tuple[str, ...],
    ground_truth: Path | None,
    out: Path,
    **settings: Any,
) -> None:
    """Score the fused images of one or more methods, beside trivial baselines.

    All images, the sources too, have 8 bits per channel: 16-bit ones are refused.
    A run that was stopped goes on where it was.

    \b
    Example:
        gifnet evaluate -a infrared -b visible -f ours=fused -f other=other/fused -o results.json
        gifnet evaluate --manifest manifests/lytro.toml --root lytro -f ours=fused/lytro -o lytro.json
    """
    from model.evaluate import evaluate as run_evaluation
    from model.evaluate import parse_methods

    config, methods = EvaluateConfig(**settings), parse_methods(fused)
    first, second, listed_truth = _chosen_sources(
        manifest, a, b, root=root, split=split, scored=True, with_ground_truth=ground_truth is None
    )
    if first is None or second is None:
        raise InputError("evaluate: no sources; give -a and -b, or --manifest")
    truth = listed_truth if ground_truth is None else ground_truth
    path = run_evaluation(config, first, second, methods, out, ground_truth=truth)
    click.echo(path.with_suffix(".md").read_text(encoding="utf-8"))
    click.echo(path)


@click.command()
@click.argument("source", type=ANY_PATH)
@click.option("-o", "--out", type=FILE, required=True, help="Page to write, .html.")
@setting(ReportConfig, "picture_side_px", help="Longer side of embedded pictures.")
@setting(ReportConfig, "pictures_limit_mb", help="All pictures together.")
@click.option("--features", is_flag=True, help="SOURCE is weights: show their feature maps.")
@click.option("-a", "a", type=FOLDER, help="With --features: first sources.")
@click.option("-b", "b", type=FOLDER, help="With --features: second sources.")
def report(source: Path, out: Path, features: bool, a: Path | None, b: Path | None, **settings: Any) -> None:
    """Make one self-contained page of an evaluation, a training run, or a network's feature maps.

    \b
    Example:
        gifnet report results.json -o report.html
        gifnet report run -o training.html
    """
    config = ReportConfig(**settings)
    if not features:
        if a is not None or b is not None:
            raise InputError("report: -a and -b belong to --features; leave them out")
        from model.report import report as write_report

        click.echo(write_report(source, out, config))
        return
    from model.checkpoint import load_network
    from model.inputs.folders import check_apart, pair_folders
    from model.report.features import feature_report

    if a is None or b is None:
        raise InputError("report --features: give the pairs with -a and -b")
    check_page(out)
    check_apart(out, (a, b))
    pairs = pair_folders({"a": a, "b": b})
    _tell_left_out(pairs.unmatched, {str(a): pairs.passed_over["a"], str(b): pairs.passed_over["b"]})
    click.echo(feature_report(load_network(source), pairs, out, config))


def _tell_left_out(
    unmatched: Mapping[str, Sequence[str]], passed_over: Mapping[str, Mapping[str, int]]
) -> None:
    """What becomes of no result: names, and the folders that lack them; folders, and how many files of
    which endings are no images."""
    for name, lacking in unmatched.items():
        click.echo(one_line(f"unmatched: {name} is not in {', '.join(lacking)}"), err=True)
    for folder, endings in passed_over.items():
        if endings:
            files = ", ".join(f"{count} {end or 'without one'}" for end, count in sorted(endings.items()))
            click.echo(one_line(f"passed over in {folder} for their ending: {files}"), err=True)


def _chosen_sources(
    manifest: Path | None,
    a: Path | None,
    b: Path | None,
    *,
    root: Path | None,
    split: str | None,
    scored: bool = False,
    with_ground_truth: bool = False,
) -> tuple[Images | None, Images | None, Images | None]:
    """A, B and the true images: those of ``--manifest``, if given; what has no partner there is told.

    ``scored`` and ``with_ground_truth`` are those of :func:`model.inputs.manifest_pairs.manifest_pairs`.
    """
    if manifest is None:
        if root is not None or split is not None:
            raise InputError("--root and --split belong to --manifest")
        return a, b, None
    if a is not None or b is not None:
        raise InputError(f"--manifest {manifest}: it names both sources; leave out -a and -b")
    pairs = manifest_pairs(
        manifest, root=root, split=split, scored=scored, with_ground_truth=with_ground_truth
    )
    for line in pairs.unmatched:
        click.echo(f"unmatched: {line}", err=True)
    return pairs.a, pairs.b, pairs.ground_truth
