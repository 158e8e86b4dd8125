"""The files below a root folder, found without leaving it."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from pipeline.files import InputError

#: Categories of Unicode that break lines or cannot be printed: control characters, surrogates (bytes that
#: are not UTF-8), line and paragraph separators.
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")


def is_printable(name: str) -> bool:
    """Whether a name can stand in a line of output; spaces and joiners of any script can."""
    return all(unicodedata.category(character) not in _UNPRINTABLE for character in name)


def refuse_numbers_beyond(folder: Path, largest: int) -> None:
    """Refuse a folder with files of larger numbers than the ones to be written: they would count as theirs.

    Raises:
        InputError: it holds a file whose name without the suffix is a number beyond ``largest``.
    """
    for path in sorted(folder.glob("*.*")):
        if path.stem.isdecimal() and int(path.stem) > largest:
            raise InputError(f"{path}: left by another, larger run; delete it, or choose an empty folder")


class FileTree:
    """Files by their path relative to a root, with forward slashes.

    Every folder is scanned once, however often it is asked for, and no file is opened or examined on its
    own. Hidden files and folders are passed over. A link to a folder or file inside of the root is followed,
    one that leads out is an error.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real_root = Path(os.path.realpath(root))
        self._scans: dict[str, tuple[list[str], list[str]]] = {}
        self._real: dict[str, str] = {}  # folder -> where it lies
        self._links: set[str] = set()

    def files(self, folder: str) -> Iterator[str]:
        """Yield the files below ``folder`` (``""`` is the root); none if there is no such folder.

        Raises:
            InputError: a folder cannot be listed, or is a link out of the root.
        """
        yield from self._walk(folder, ())

    def check_file(self, relative: str) -> None:
        """Refuse what no sample should be made of.

        Raises:
            InputError: a file from :meth:`files` is a link out of the root, or its name has control
                characters, line breaks or bytes that are not UTF-8.
        """
        if not is_printable(relative):
            raise InputError(f"{str(self.root / relative)!r}: unprintable characters in the name; rename it")
        if relative in self._links:
            self._real_inside(relative)

    def real_path(self, relative: str) -> str:
        """Where a file from :meth:`files` lies, which links to it or its folder hide."""
        if relative in self._links:
            return self._real_inside(relative)
        folder, _, name = relative.rpartition("/")
        return os.path.join(self._real[folder], name)

    def _walk(self, folder: str, trail: tuple[str, ...]) -> Iterator[str]:
        if not (self.root / folder).is_dir():
            return
        real = self._real[folder] = self._real_inside(folder)
        if real in trail:  # a link back to a folder that we are in
            return
        files, subfolders = self._scan(folder)
        yield from files
        for subfolder in subfolders:
            yield from self._walk(subfolder, (*trail, real))

    def _real_inside(self, relative: str) -> str:
        real = os.path.realpath(self.root / relative)
        if not Path(real).is_relative_to(self._real_root):
            raise InputError(
                f"{self.root / relative}: is a link to {real}, outside of the root {self.root}; "
                "copy the data, or give the folder that holds them as the root"
            )
        return real

    def _scan(self, folder: str) -> tuple[list[str], list[str]]:
        if folder not in self._scans:
            files, subfolders = [], []
            try:
                with os.scandir(self.root / folder) as entries:
                    for entry in entries:
                        if entry.name.startswith("."):
                            continue
                        relative = f"{folder}/{entry.name}" if folder else entry.name
                        kind: os.DirEntry[str] | Path = entry
                        if entry.is_symlink():
                            self._links.add(relative)
                            kind = Path(entry)  # answers False for a link to itself, where an entry raises
                        if kind.is_dir():
                            subfolders.append(relative)
                        elif kind.is_file():  # neither a dead link nor a pipe or device
                            files.append(relative)
            except OSError as error:
                raise InputError(f"{self.root / folder}: cannot be listed ({error.strerror})") from None
            self._scans[folder] = (sorted(files), sorted(subfolders))
        return self._scans[folder]
