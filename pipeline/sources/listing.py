"""Dataset recipes: a manifest and a root folder become ordered, checked samples.

``manifests/README.md`` describes manifests; :mod:`pipeline.sources.manifest` reads them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from pipeline.files import InputError, check_folder, enumerate_some
from pipeline.sources.file_tree import FileTree
from pipeline.sources.manifest import RECIPES, SCENE_CHARACTERS, Manifest, Pattern

_SAMPLES_SHOWN = 3  # written out in an error; the rest is counted


def scene_of(id_: str, expression: re.Pattern[str]) -> str:
    """What ``scene`` finds where a sample's id begins, ``SCENE_CHARACTERS`` at most, or all of the id."""
    match = expression.match(id_, 0, SCENE_CHARACTERS)
    return (match and match[0]) or id_


@dataclass(frozen=True, kw_only=True)
class SourceSample:
    """The files of one sample by role. The id is what ``{id}`` stands for, such as ``day/010001``."""

    id: str
    paths: dict[str, Path]


@dataclass(frozen=True, kw_only=True)
class Unmatched:
    """A role that has no file for an id, while other roles have one."""

    id: str
    missing_role: str
    expected: str  # where the file should be, relative to the root
    line: int | None  # of the pattern in the manifest
    present: tuple[str, ...]  # the roles that have a file

    def __str__(self) -> str:
        return f"{self.id!r} has {' and '.join(self.present)}, but no {self.missing_role} at {self.expected}"


@dataclass(frozen=True, kw_only=True)
class SampleListing:
    """What :func:`list_samples` found; both lists are ordered by id."""

    manifest: Manifest
    root: Path
    split: str | None  # what {split} stood for; None where the manifest has no splits
    samples: list[SourceSample]
    unmatched: list[Unmatched]  # one entry for every missing role of an id

    def require_complete(self) -> SampleListing:
        """Return self if nothing is unmatched.

        Raises:
            InputError: an id lacks a role; names the first few, counts the rest.
        """
        if not self.unmatched:
            return self
        raise self._unmatched_error("files without a partner")

    def _unmatched_error(self, what: str) -> InputError:
        entries = [str(entry) for entry in self.unmatched]
        shown = enumerate_some(entries, most=_SAMPLES_SHOWN, separator="; ")
        return self.manifest.error(self.unmatched[0].line, f"{what} in {self.root}: {shown}")


def list_samples(
    manifest: Manifest,
    *,
    root: Path | str | None = None,
    split: str | None = None,
    roles: Sequence[str] = ("visible", "infrared"),
) -> SampleListing:
    """Find the files of every sample, ordered by id (by code point, in any locale).

    Hidden files and folders are passed over; the case of the suffix does not count. An id that lacks a role
    is returned as unmatched: the caller decides whether to go on without it. Where the patterns of two roles
    find the same files under different ids, those of complete samples are not unmatched under another.

    Args:
        root: folder of the data; default: the manifest's ``root``.
        split: what ``{split}`` stands for; may be left out where the manifest has at most one.
        roles: what a sample must have.

    Raises:
        InputError: unknown role or split, missing root, two files for one role of an id, one file for two
            roles of an id, a link out of the root, a file name that cannot be printed, or not a single
            complete sample.
    """
    for role in roles:
        if role not in manifest.roles:
            message = f"there is no role {role!r} here; this manifest has {', '.join(manifest.roles)}"
            raise manifest.error(manifest.lines.get("roles"), message)
    split = _choose_split(manifest, split)
    tree = FileTree(_choose_root(manifest, root))
    files: dict[str, dict[str, str]] = {}  # role -> id -> path
    productive: dict[str, list[Pattern]] = {}
    for role in roles:
        files[role], productive[role] = _find_files(manifest, role, split, tree)
        if not files[role]:
            expected = _either(_fill(pattern, split) for pattern in manifest.roles[role])
            without_data = root is None and tree.root.resolve() == RECIPES
            hint = "; give the folder of the data as --root" if without_data else ""
            raise manifest.error(
                manifest.roles[role][0].line,
                f"no {role} file in {tree.root}: nothing matches {expected}{hint}",
            )

    complete = {
        sample_id: {role: files[role][sample_id] for role in roles}
        for sample_id in sorted(set(files[roles[0]]).intersection(*files.values()))
    }
    for own in complete.values():
        _check_apart(own, tree, manifest, productive)
    listing = SampleListing(
        manifest=manifest,
        root=tree.root,
        split=split or None,
        samples=[
            SourceSample(id=sample_id, paths={role: tree.root / path for role, path in own.items()})
            for sample_id, own in complete.items()
        ],
        unmatched=list(
            _unmatched(files, {path for own in complete.values() for path in own.values()}, productive, split)
        ),
    )
    if not listing.samples:
        raise listing._unmatched_error("not one complete sample")
    return listing


def _check_apart(
    own: Mapping[str, str], tree: FileTree, manifest: Manifest, productive: Mapping[str, list[Pattern]]
) -> None:
    """Refuse one file for two roles of a sample, whose files are given by role; a link is no other file."""
    owners: dict[str, str] = {}
    for role, path in own.items():
        if (other := owners.setdefault(tree.real_path(path), role)) != role:
            file = " = ".join({own[other]: None, path: None})
            message = f"{role} and {other} are the same file {file}; give each role files of its own"
            raise manifest.error(productive[role][0].line, message)


def _unmatched(
    files: Mapping[str, Mapping[str, str]],
    paired: AbstractSet[str],
    productive: Mapping[str, list[Pattern]],
    split: str,
) -> Iterator[Unmatched]:
    """Every missing role of an id, unless the files that the id has are ``paired``: of complete samples."""
    for sample_id in sorted(set().union(*files.values())):
        present = tuple(role for role, found in files.items() if sample_id in found)
        if all(files[role][sample_id] in paired for role in present):
            continue
        for role, patterns in productive.items():
            if role not in present:
                yield Unmatched(
                    id=sample_id,
                    missing_role=role,
                    expected=_either(_fill(pattern, split, sample_id) for pattern in patterns),
                    line=patterns[0].line,
                    present=present,
                )


def has_files(manifest: Manifest, role: str, *, root: Path | str | None, split: str | None) -> bool:
    """Whether a role has a file at all; arguments and errors are those of :func:`list_samples`."""
    tree = FileTree(_choose_root(manifest, root))
    return bool(_find_files(manifest, role, _choose_split(manifest, split), tree)[0])


def _find_files(
    manifest: Manifest, role: str, split: str, tree: FileTree
) -> tuple[dict[str, str], list[Pattern]]:
    """The files of a role by id, and the patterns that found any."""
    patterns = manifest.roles[role]
    files: dict[str, str] = {}
    productive: list[Pattern] = []
    for pattern in patterns:
        matches = _match(manifest, pattern, split, tree)
        if matches:
            productive.append(pattern)
        for sample_id, path in matches:
            other = files.setdefault(sample_id, path)
            # A file is found twice where two patterns differ only in case and the file system ignores that.
            if other != path and not (tree.root / other).samefile(tree.root / path):
                message = (
                    f"two {role} files for id {sample_id!r} in {tree.root}: {other} and {path}; remove one"
                )
                raise manifest.error(pattern.line, message)
    return files, productive


def _match(manifest: Manifest, pattern: Pattern, split: str, tree: FileTree) -> list[tuple[str, str]]:
    """Every (id, path) that a pattern matches."""
    text = _fill(pattern, split)
    expression = _compile(text)
    matches: list[tuple[str, str]] = []
    try:
        for path in tree.files(pattern.folder(split)):
            match = expression.fullmatch(path)
            if match is not None:
                tree.check_file(path)
                # Some systems write an accent as a character of its own, others do not.
                matches.append((unicodedata.normalize("NFC", match["id"]), path))
    except InputError as error:
        raise manifest.error(pattern.line, str(error)) from None
    return matches


def _compile(text: str) -> re.Pattern[str]:
    """The id may have slashes within; where {id} stands again, the same text must stand again."""
    stem, dot, suffix = text.rpartition(".")
    first, *rest = [re.escape(part) for part in stem.split("{id}")]
    again = "(?P=id)".join(rest)
    return re.compile(f"{first}(?P<id>[^/](?:.*[^/])?){again}(?i:{re.escape(dot + suffix)})", re.DOTALL)


def _fill(pattern: Pattern, split: str, sample_id: str = "{id}") -> str:
    return pattern.text.replace("{split}", split).replace("{id}", sample_id)


def _either(places: Iterable[str]) -> str:
    first, *others = places
    if len(others) < 2:
        return " or ".join([first, *others])
    return f"{first} or one of {len(others)} other places"


def _choose_split(manifest: Manifest, split: str | None) -> str:
    line, known = manifest.lines.get("splits"), ", ".join(manifest.splits)
    if not manifest.splits:
        if split is not None:
            raise manifest.error(None, f"there is no split {split!r}: this dataset has no splits")
        return ""
    if split is None:
        if len(manifest.splits) > 1:
            raise manifest.error(line, f"choose a split: {known}")
        return manifest.splits[0]
    if split not in manifest.splits:
        raise manifest.error(line, f"there is no split {split!r}; there are {known}")
    return split


def _choose_root(manifest: Manifest, root: Path | str | None) -> Path:
    try:
        return check_folder(manifest.root if root is None else root, "root folder")
    except InputError as error:
        # A line counts only where the manifest itself names the folder.
        raise manifest.error(manifest.lines.get("root") if root is None else None, str(error)) from None
