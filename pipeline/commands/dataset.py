"""Commands of stage one: sample, synth, inspect. They parse, call and print."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from pipeline.commands.options import ANY_PATH, FILE, FOLDER, PART, SIZE, finish, refuse_idle, setting
from pipeline.depth import DEPTH_SOURCES
from pipeline.exposure import EXPOSURE_MODES, ExposureConfig
from pipeline.exposure.camera_response import CameraConfig
from pipeline.files import check_output, one_line
from pipeline.focus import FOCUS_MODES, FocusConfig
from pipeline.focus.thin_lens import ThinLens
from pipeline.scenes import SampleConfig
from pipeline.synthesis.engines import ENGINES, RunOptions
from pipeline.synthesis.plan import COMPRESSIONS, SynthesisConfig


@click.command()
@click.argument("out", type=FOLDER)
@setting(SampleConfig, "pairs", help="Number of visible/infrared pairs.")
@setting(
    SampleConfig, "size_hw", "--size", "size_hw", type=SIZE, show_default="480x640", help="Rows x columns."
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


@click.command()
@click.argument("manifest", type=ANY_PATH)
@click.option("-o", "--out", type=FOLDER, required=True, help="Folder of the dataset; a stopped run goes on.")
@click.option("--root", type=FOLDER, help="Folder of the images  [default: the manifest's].")
@click.option("--split", help="Which of the manifest's splits.")
@setting(
    SynthesisConfig,
    "roles",
    nargs=2,
    type=str,
    metavar="A B",
    help="Roles of the manifest that take the infrared's and the visible's place.",
)
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
@setting(FocusConfig, "blur_sigma_min_px", help="Least sigma of the blur, px; sets a lens's f-number.")
@setting(FocusConfig, "blur_sigma_max_px", help="Largest sigma of the blur.")
@setting(
    ExposureConfig, "mode", "--exposure", type=click.Choice(EXPOSURE_MODES), help="How exposures are made."
)
@setting(ThinLens, "focal_length_mm", help="Thin lens: focal length.")
@setting(ThinLens, "f_number_min", help="Thin lens: widest aperture.")
@setting(ThinLens, "f_number_max", help="Thin lens: narrowest aperture.")
@setting(ThinLens, "nearest_m", help="Thin lens: distance of inverse depth 1.")
@setting(ThinLens, "farthest_m", help="Thin lens: distance of inverse depth 0.")
@setting(CameraConfig, "curves", help="Camera: parametric, or a DoRF or EMoR table.")
@setting(
    CameraConfig, "over_ev", nargs=2, type=float, metavar="LOW HIGH", help="Camera: stops above the source."
)
@setting(
    CameraConfig,
    "under_ev",
    nargs=2,
    type=float,
    metavar="LOW HIGH",
    help="Camera: stops below it, negative.",
)
@setting(CameraConfig, "full_well_e", help="Camera: electrons at full well; 0 = no noise.")
@setting(CameraConfig, "read_noise_e", help="Camera: read noise, electrons.")
@setting(SynthesisConfig, "tile", help="Side of the square tiles, in pixels.")
@setting(SynthesisConfig, "tiles_per_frame", help="Samples cut from each frame.")
@setting(SynthesisConfig, "samples_per_shard", help="Samples in each file at most; a frame is never split.")
@setting(SynthesisConfig, "compress", type=click.Choice(COMPRESSIONS), help="gzip: half the size, slower.")
@setting(SynthesisConfig, "seed", help="Of thresholds, blurs and tile positions.")
@setting(RunOptions, "device", help="auto, cpu, cuda or cuda:N.")
@setting(RunOptions, "jobs", help="Worker processes; -1 is one for each core.")
@setting(RunOptions, "engine", type=click.Choice(ENGINES), help="Where the workers run.")
@setting(RunOptions, "part", type=PART, show_default="1/1", help="Make the K-th of N shares of the shards.")
@click.option("--profile", is_flag=True, help="Print how long each stage took.")
def synth(
    manifest: Path,
    out: Path,
    root: Path | None,
    split: str | None,
    depth: str,
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
        gifnet synth manifests/mefb.toml --root MEFB --roles over under -o exposures
    """
    from pipeline.shards.inspection import first_few
    from pipeline.synthesis.synthesise import synthesise

    if depth.startswith("files:"):
        refuse_idle(["refine_depth"], "with --depth files:, whose maps are taken as they are")
    if exposure != "probe":
        refuse_idle(["probe"], "without --exposure probe")
    blur = {name: settings.pop(name) for name in ("blur_sigma_min_px", "blur_sigma_max_px")}
    lens = _mode_settings(ThinLens, settings, "--focus thin-lens", focus == "thin-lens")
    camera = _mode_settings(
        CameraConfig, settings, "--exposure camera-response", exposure == "camera-response"
    )
    if camera.full_well_e == 0:
        refuse_idle(["read_noise_e"], "with --full-well-e 0, which means no noise")
    config = SynthesisConfig(
        focus=FocusConfig(mode=focus, lens=lens, **blur),
        exposure=ExposureConfig(mode=exposure, camera=camera),
        depth=depth,
        **settings,
    )
    options = RunOptions(device=device, jobs=jobs, engine=engine, part=part)
    summary = synthesise(config, manifest, out, root=root, split=split, options=options)
    for problem in first_few(summary.problems, out):
        click.echo(problem, err=True)
    if profile:
        total = sum(summary.seconds.values()) or 1.0
        for stage, spent in sorted(summary.seconds.items(), key=lambda item: -item[1]):
            click.echo(f"{stage:10s} {spent:8.1f} s {spent / total:6.1%}", err=True)
    account = f"written {summary.written} + skipped {summary.skipped} + failed {summary.failed}"
    index = summary.index or "not yet, some shards are still to be made"
    click.echo(f"seen {summary.seen} = {account}; index: {index}")
    finish(bool(summary.problems))


def _mode_settings(config: type, settings: dict[str, Any], needs: str, wanted: bool) -> Any:
    """Take the settings of one mode's config; without that mode none may be given, as it would do nothing."""
    own = {field.name: settings.pop(field.name) for field in fields(config) if field.name in settings}
    if not wanted:
        refuse_idle(own, f"without {needs}")
    return config(**own)


@click.command()
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
    from pipeline.images import check_suffix
    from pipeline.shards import inspection
    from pipeline.shards.dataset import verify

    if preview:
        check_output(check_suffix(preview))
    click.echo(inspection.describe(shards))
    if check:
        problems = verify(shards)
        for problem in problems:
            click.echo(one_line(f"damaged: {problem}"), err=True)
        click.echo(f"verified: {len(problems)} problems")
        if problems:
            if preview or export:
                click.echo("nothing is drawn or exported of damaged data; run synth again", err=True)
            finish(True)
    click.echo(inspection.describe_draws(shards))
    if preview:
        click.echo(f"preview: {inspection.preview(shards, preview)}")
    if export:
        click.echo(f"exported {inspection.export_folders(shards, export)} samples to {export}")
