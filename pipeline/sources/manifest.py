"""The grammar of dataset manifests: TOML text to a checked :class:`Manifest`.

``manifests/README.md`` describes it. Manifests are untrusted: no pattern can climb out of its root.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import InputError, first_line
from pipeline.sources.file_tree import is_printable

#: Keys of a manifest, and what they mean.
KEYS = {
    "name": "short name: letters, digits, dot, dash, underscore",
    "title": "full name",
    "homepage": "where the data come from",
    "licence": "terms of use, in words",
    "citation": "publication to cite",
    "root": "folder of the data, relative to the manifest; default: the manifest's own folder",
    "splits": "the values that {split} may take",
    "scene": "regular expression; ids with the same text at their beginning are of one scene",
    "roles": "table of path patterns by role",
}
#: Roles that a manifest may give path patterns for, and what they mean.
ROLES = {
    "visible": "visible-light frame",
    "infrared": "thermal infrared frame",
    "nir": "near-infrared frame",
    "near": "photograph focused on what is near",
    "far": "photograph focused on what is far",
    "over": "over-exposed photograph",
    "under": "under-exposed photograph",
    "mri": "magnetic resonance slice",
    "pet": "positron emission slice, usually in false colour",
    "spect": "single-photon emission slice, usually in false colour",
    "ct": "computed tomography slice",
    "pan": "panchromatic image",
    "multispectral": "multispectral image",
    "ground_truth": "the ideal result, where the authors give one",
    "inverse_depth": "inverse depth, 1 = nearest",
}

#: Recipes that come with the package.
RECIPES = Path(__file__).resolve().parents[2] / "manifests"
_MAX_BYTES = 1 << 15
#: Characters of a scene's expression, and those of an id that it sees: as many as a name of a file has.
_MAX_EXPRESSION, SCENE_CHARACTERS = 500, 256
_MAX_WAYS = 1 << 23  # in which it may match an id: what is tried in a second


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """One path pattern of a role, and the line of the manifest that gives it."""

    text: str
    line: int | None

    def folder(self, split: str) -> str:
        """What lies above the first ``{id}``, relative to the root; empty where nothing does."""
        return self.text.replace("{split}", split).partition("{id}")[0].rpartition("/")[0]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A recipe as read by :func:`load_manifest`; what the strings mean is in :data:`KEYS`."""

    path: Path
    name: str
    title: str
    homepage: str
    licence: str
    citation: str
    root: Path
    splits: tuple[str, ...]
    scene: str
    roles: Mapping[str, tuple[Pattern, ...]]  # at least one pattern each
    lines: Mapping[str, int]  # of the keys, where known

    def error(self, line: int | None, message: str) -> InputError:
        """An error that names this file and, where it is known, the line."""
        return _error(self.path, line, message)


def scene_expression(text: str) -> re.Pattern[str]:
    """The compiled ``scene`` of a manifest, or of an index, which may be somebody else's.

    Raises:
        ValueError: it is no regular expression, or one that could take years of one id.
    """
    if len(text) > _MAX_EXPRESSION:
        raise ValueError(f"scene has over {_MAX_EXPRESSION} characters; give a shorter expression")
    plain = re.sub(r"\\.", "_", text, flags=re.DOTALL)  # without escapes
    if re.search(r"\)[*+{]|\(\?\w*x", plain):
        raise ValueError(
            "scene repeats a group, or may by flag x, which can take forever; repeat single characters alone"
        )
    repeats, optional = len(re.findall(r"[*+]|\{\d*,", plain)), len(re.findall(r"(?<!\()\?", plain))
    groups = 1 + plain.count("(")  # which give most ways where all have equally many alternatives
    ways = math.comb(SCENE_CHARACTERS + repeats, repeats) * 2**optional
    if ways * (1 + plain.count("|") / groups) ** groups > _MAX_WAYS:
        raise ValueError("scene has too many of * + ? {,} |, which can take forever; repeat at three places")
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"scene is no regular expression ({first_line(error)})") from None


def load_manifest(path: Path | str) -> Manifest:
    """Read and check a manifest. The dataset itself is not touched.

    Args:
        path: the file; where there is none, the recipe of this name that comes with the package, such as
            ``llvip`` or ``manifests/llvip.toml``.

    Raises:
        InputError: the file is missing, is not TOML or breaks the grammar; names the file and the line.
    """
    path = _existing(Path(path))
    text = _read_text(path)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError also of a number with too many digits
        raise InputError(f"{path}: not valid TOML: {first_line(error)}") from None
    lines = {key: line for key in table if (line := _line_of_key(text, key))}

    def fail(key: str, message: str) -> InputError:
        return _error(path, lines.get(key), message)

    for key in table:
        if key not in KEYS:
            raise fail(key, f"unknown key {key!r}; a manifest has {', '.join(KEYS)}")
    texts = ("name", "title", "homepage", "licence", "citation", "root", "scene")
    words = {key: table.get(key, "") for key in texts}
    for key, value in words.items():
        if not isinstance(value, str):
            raise fail(key, f"{key} must be a string")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", words["name"]):
        raise fail("name", f"a manifest needs a name: {KEYS['name']}")
    try:
        scene_expression(words["scene"])
    except ValueError as error:
        raise fail("scene", str(error)) from None
    roles = _read_roles(path, text, table.get("roles"), lines.get("roles"))
    uses_split = any("{split}" in pattern.text for patterns in roles.values() for pattern in patterns)
    splits = table.get("splits", [])
    if not _are_strings(splits) or len(set(splits)) < len(splits) or ("splits" in table and not splits):
        raise fail("splits", "splits must be a list of different strings")
    for split in splits:
        if fault := _path_fault(split):
            raise fail("splits", f"split {split!r} {fault}")
    if splits and not uses_split:
        raise fail("splits", "no pattern uses {split}; remove splits, or use it")
    if uses_split and not splits:
        raise fail("roles", 'a pattern uses {split}; name its values, such as splits = ["train", "test"]')
    root = path.parent / words.pop("root")
    return Manifest(path=path, **words, root=root, splits=tuple(splits), roles=roles, lines=lines)


def _read_roles(path: Path, text: str, table: Any, line: int | None) -> dict[str, tuple[Pattern, ...]]:
    if not isinstance(table, dict) or not table:
        raise _error(path, line, 'a manifest needs a table [roles], such as visible = "visible/{id}.png"')
    roles: dict[str, tuple[Pattern, ...]] = {}
    for role, value in table.items():
        role_line = _line_of_key(text, role, table="roles") or line
        if role not in ROLES:
            raise _error(path, role_line, f"unknown role {role!r}; known: {', '.join(ROLES)}")
        texts = [value] if isinstance(value, str) else value
        if not _are_strings(texts) or not texts:
            raise _error(path, role_line, f"{role} must be a path pattern or a list of them")
        patterns = [Pattern(text=item, line=_line_of_text(text, item, role_line)) for item in texts]
        for pattern in patterns:
            if fault := _pattern_fault(pattern.text):
                raise _error(path, pattern.line, f"{role} = {pattern.text!r} {fault}")
        roles[role] = tuple(patterns)
    return roles


def _pattern_fault(text: str) -> str | None:
    if "{id}" not in text:
        return "has no {id}"
    if not re.search(r"\.[A-Za-z0-9]+$", text):
        return "must end in a file suffix, such as .png"
    return _path_fault(text.replace("{id}", "x").replace("{split}", "x"))


def _path_fault(text: str) -> str | None:
    if not text or not is_printable(text):
        return "is empty or has unprintable characters"
    if "{" in text or "}" in text:
        return "has a placeholder other than {id} and {split}"
    if "\\" in text or re.match(r"/|[A-Za-z]:", text):
        return "must be relative to the root, with forward slashes"
    if any(part in ("", ".", "..") for part in text.split("/")):
        return "must not have empty, '.' or '..' parts"
    return None


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _existing(path: Path) -> Path:
    if not path.name:
        return path  # a folder, as reading it will say
    name = f"{path.name.removesuffix('.toml')}.toml"
    meant = path.with_name(name) in (Path(name), Path(RECIPES.name, name))
    return RECIPES / name if meant and not path.is_file() and (RECIPES / name).is_file() else path


def _read_text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: over {_MAX_BYTES} bytes; this is not a manifest")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None


def _line_of_key(text: str, key: str, *, table: str = "") -> int | None:
    """Number of the line that gives a key, which tomllib does not keep; None in an unusual layout."""
    current = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            current = header[1].strip()
            if current == key and not table:
                return number
        elif current == table and re.match(rf"\s*(['\"]?){re.escape(key)}\1\s*[=.]", line):
            return number
    return None


def _line_of_text(text: str, value: str, start: int | None) -> int | None:
    """Number of the first line from ``start`` on that holds the string, else ``start``."""
    for number, line in enumerate(text.splitlines(), 1):
        if number >= (start or 1) and (f'"{value}"' in line or f"'{value}'" in line):
            return number
    return start


def _error(path: Path, line: int | None, message: str) -> InputError:
    return InputError(f"{path}:{line}: {message}" if line else f"{path}: {message}")
