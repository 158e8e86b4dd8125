"""Folders of images that belong together, paired by their path without the suffix."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import InputError, check_folder, check_outside, enumerate_some
from pipeline.images import SUFFIXES

#: Names written out per folder in an error; the rest is counted.
_NAMES_SHOWN = 12


@dataclass(frozen=True)
class ListedFiles:
    """Files that are named one by one, as a manifest does, in place of a folder."""

    name: str  # what they are, such as "infrared"
    files: dict[str, Path]  # stem -> file
    left_out: frozenset[str] = frozenset()  # stems without a partner, which are told elsewhere
    folders: frozenset[Path] = frozenset()  # where these files are looked for, so that no others may go there


#: Where the images of a role come from.
Images = Path | ListedFiles


@dataclass(frozen=True, kw_only=True)
class FolderPairs:
    """What :func:`pair_folders` found."""

    stems: list[str]  # present in every folder, sorted; "night/0001" for night/0001.png
    paths: dict[str, dict[str, Path]]  # stem -> role -> file, for the stems above
    unmatched: dict[str, list[str]]  # stem -> roles whose folder lacks it, sorted
    passed_over: dict[str, Counter[str]]  # role -> endings of files that are no images

    def of_one_file(self, first: str, second: str) -> list[str]:
        """Stems of which two roles have the same file, by whatever path."""
        both = {stem: (images[first], images[second]) for stem, images in self.paths.items()}
        return [stem for stem, paths in both.items() if len(set(map(os.path.realpath, paths))) == 1]

    def require_complete(self) -> FolderPairs:
        """Return self when every folder holds the same stems; otherwise list what is missing where.

        Raises:
            InputError: at least one stem is not in every folder.
        """
        if not self.unmatched:
            return self
        lacking: dict[str, list[str]] = {}
        for stem, roles in self.unmatched.items():
            for role in roles:
                lacking.setdefault(role, []).append(stem)
        parts = "; ".join(
            f"{role} lacks {enumerate_some(stems, most=_NAMES_SHOWN)}" for role, stems in lacking.items()
        )
        raise InputError(f"the folders hold different images: {parts}; add or remove files until they match")


def pair_folders(roots: Mapping[str, Images], suffixes: Collection[str] = SUFFIXES) -> FolderPairs:
    """Pair the images, or files of other ``suffixes``, below several folders by relative path
    without suffix; listed files by their stem.

    What a list left out is passed over in all of them.

    Subfolders count, links to folders too: ``a/night/1.png`` belongs to ``b/night/1.jpg`` and never to
    ``b/day/1.jpg``.
    Hidden files and folders are passed over, and so are files of other types, which are counted.

    Args:
        roots: role -> folder or files, such as ``{"a": Path("infrared"), "b": Path("visible")}``.

    Raises:
        InputError: a folder is absent, cannot be listed or holds no image, two files of a folder differ in
            their suffix alone, or the folders have no image in common.
    """
    found: dict[str, dict[str, Path]] = {}
    passed_over: dict[str, Counter[str]] = {}
    for role, root in roots.items():
        if isinstance(root, ListedFiles):
            found[role], passed_over[role] = root.files, Counter()
        else:
            found[role], passed_over[role] = _by_stem(check_folder(root, role), role, suffixes)
    left_out = [root.left_out for root in roots.values() if isinstance(root, ListedFiles)]
    every = sorted(set().union(*found.values()).difference(*left_out))
    unmatched = {
        stem: lacking for stem in every if (lacking := [role for role in found if stem not in found[role]])
    }
    stems = [stem for stem in every if stem not in unmatched]
    if not stems:
        names = {r: root.name if isinstance(root, ListedFiles) else root for r, root in roots.items()}
        folders = ", ".join(f"{role} {name} ({min(found[role])}, ..)" for role, name in names.items())
        raise InputError(
            f"no file name is common to {folders}; pairs need equal names up to the suffix: rename files, or "
            "name both kinds in a recipe (--manifest, see manifests/README.md)"
        )
    paths = {stem: {role: images[stem] for role, images in found.items()} for stem in stems}
    return FolderPairs(stems=stems, paths=paths, unmatched=unmatched, passed_over=passed_over)


def path_from(folder: Path, path: Path) -> str:
    """Path that leads from ``folder`` to ``path``, so that both can move together; absolute on another drive.

    Links above them are resolved, since ``..`` leads out of the folder behind a link; ``path`` itself may be
    a link and keeps its name.
    """
    real = os.path.join(os.path.realpath(path.parent), path.name)
    try:
        return os.path.relpath(real, os.path.realpath(folder))
    except ValueError:
        return real


def check_apart(out: Path, inputs: Iterable[Images]) -> None:
    """Refuse to write at or below a folder of images, as :func:`pipeline.files.check_outside` does.

    Args:
        out: the file or folder to be written, which need not exist.
        inputs: what is read; single files cannot have anything below them, those of a manifest have folders.
    """
    for images in inputs:
        check_outside(out, sorted(images.folders) if isinstance(images, ListedFiles) else [images])


def holds(folder: Path, suffixes: Collection[str]) -> bool:
    """Whether a file with one of these endings, in lower case, lies below a folder."""
    return any(path.suffix.lower() in suffixes for path in _files(folder))


def _by_stem(root: Path, role: str, suffixes: Collection[str]) -> tuple[dict[str, Path], Counter[str]]:
    images: dict[str, Path] = {}
    others: Counter[str] = Counter()
    for path in _files(root):
        if path.suffix.lower() not in suffixes:
            others[path.suffix.lower()] += 1
            continue
        # Some systems write an accent as a character of its own, others do not.
        stem = unicodedata.normalize("NFC", path.relative_to(root).with_suffix("").as_posix())
        if stem in images:
            raise InputError(f"{role} {root}: {images[stem].name} and {path.name} have one name; remove one")
        images[stem] = path
    if not images:
        what = "image" if suffixes is SUFFIXES else "video"
        raise InputError(f"{role} {root}: no {what} ({', '.join(suffixes)}) in this folder")
    return images, others


def _files(folder: Path, trail: tuple[str, ...] = ()) -> Iterator[Path]:
    """All files below a folder that are not hidden, also behind links; ``trail`` leads to the folder."""
    real = os.path.realpath(folder)
    if real in trail:  # a link back to a folder that we are in
        return
    try:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); change that, or move it") from None
    for entry in listed:
        if entry.name.startswith("."):
            continue
        path = Path(folder, entry.name)
        # An entry raises for a link to itself, where a path answers False.
        if path.is_dir() if entry.is_symlink() else entry.is_dir():
            yield from _files(path, (*trail, real))
        else:
            yield path
