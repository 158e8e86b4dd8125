"""The pairs of a manifest, as fusing and evaluating take them: who is A, who is B."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model.inputs.folders import ListedFiles
from pipeline.files import InputError
from pipeline.sources.listing import SampleListing, has_files, list_samples
from pipeline.sources.manifest import load_manifest

#: Roles that are fused with each other, A first; a manifest's pair is the first of which it has both.
SOURCE_ROLES = (
    ("infrared", "visible"),
    ("near", "far"),
    ("over", "under"),
    ("pet", "mri"),
    ("spect", "mri"),
    ("ct", "mri"),
    ("nir", "visible"),
    ("multispectral", "pan"),
)


@dataclass(frozen=True, kw_only=True)
class ManifestPairs:
    """Files by id. Samples that lack a file are left out and told in ``unmatched``, one line each."""

    a: ListedFiles
    b: ListedFiles
    ground_truth: ListedFiles | None
    unmatched: list[str]


def manifest_pairs(
    path: Path,
    *,
    root: Path | None = None,
    split: str | None = None,
    scored: bool = False,
    with_ground_truth: bool = False,
) -> ManifestPairs:
    """List the pairs of a manifest.

    Args:
        path: the manifest.
        root: folder of the data; default: the manifest's.
        split: one of the manifest's splits.
        scored: they are to be scored, which those of pan-sharpening cannot be.
        with_ground_truth: also the true images, if the manifest has that role and there are any.

    Raises:
        InputError: the manifest has no two roles that belong together, or those of pan-sharpening and
            ``scored``, or as :func:`pipeline.sources.listing.list_samples`.
    """
    manifest = load_manifest(path)
    known = [pair for pair in SOURCE_ROLES if set(pair) <= set(manifest.roles)]
    if not known:
        pairs = ", ".join(" and ".join(pair) for pair in SOURCE_ROLES)
        raise InputError(f"{path}: no pair to fuse; the roles may be {pairs}")
    if scored and "pan" in known[0]:
        raise InputError(
            f"{path}: pan-sharpening is not scored: its sources differ in size and bands; "
            "use a program that measures pan-sharpened images"
        )
    truth: tuple[str, ...] = ()
    if with_ground_truth and "ground_truth" in manifest.roles:
        truth = ("ground_truth",) if has_files(manifest, "ground_truth", root=root, split=split) else ()
    listing = list_samples(manifest, root=root, split=split, roles=(*known[0], *truth))
    left_out = frozenset(entry.id for entry in listing.unmatched)
    a, b, *rest = (
        ListedFiles(
            role,
            {sample.id: sample.paths[role] for sample in listing.samples},
            left_out,
            _folders(listing, role),
        )
        for role in (*known[0], *truth)
    )
    return ManifestPairs(
        a=a, b=b, ground_truth=rest[0] if rest else None, unmatched=[str(one) for one in listing.unmatched]
    )


def _folders(listing: SampleListing, role: str) -> frozenset[Path]:
    """Where a role's files are looked for; of a pattern that starts at the root, where they were found,
    unless any file below the root would match."""
    patterns = listing.manifest.roles[role]
    fixed = {pattern.folder(listing.split or "") for pattern in patterns}
    if any(pattern.text.rpartition(".")[0] == "{id}" for pattern in patterns):
        return frozenset({listing.root})
    folders = {listing.root / folder for folder in fixed if folder}
    if "" in fixed:
        folders |= {sample.paths[role].parent for sample in listing.samples}
    return frozenset(folders)
