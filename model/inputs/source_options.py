"""Options that name the sources of a command: two folders, or the pairs of a manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from model.inputs.folders import Images
from model.inputs.manifest_pairs import manifest_pairs
from pipeline.command_line import ANY_PATH, FOLDER
from pipeline.files import InputError


def manifest_options(command: Any) -> Any:
    """``--manifest``, ``--root`` and ``--split``, which name the sources in place of ``-a`` and ``-b``."""
    for option in (
        click.option("--split", help="Which of the manifest's splits."),
        click.option("--root", type=FOLDER, help="Folder of the images  [default: the manifest's]."),
        click.option("--manifest", type=ANY_PATH, help="Dataset recipe, in place of -a and -b."),
    ):
        command = option(command)
    return command


def chosen_sources(
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
