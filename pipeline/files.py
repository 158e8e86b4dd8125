"""Files that last: atomic writing, digests, JSON, and the one error that bad input raises."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import stat
import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

#: Default weights and their model cards; shared by both stages.
WEIGHTS_DIR = Path(__file__).resolve().parents[1] / "model" / "weights"
#: Endings of files of which :func:`source_digest` reads some blocks: their bytes change as a whole.
_COMPRESSED = (".avi", ".jpeg", ".jpg", ".mkv", ".mov", ".mp4", ".png")
_BLOCKS, _BLOCK_BYTES = 16, 4096
#: Control characters, line and paragraph separators.
_CONTROLS = ("Cc", "Zl", "Zp")
#: What a temporary name has of the final one at most: up to 160 of the 255 bytes that a name may have.
_STEM_CHARACTERS = 40
#: Pattern of the names that files have while they are written.
TEMPORARY = ".*.tmp-*"


class InputError(Exception):
    """Bad input. The message is one line for the user: what is wrong, where, and what to do."""


def first_line(error: BaseException) -> str:
    """What a library's error says in one line, for a message of ours; its type where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def one_line(text: str) -> str:
    """A message as it is printed: controls, which names of files may hold, as escapes."""
    return "".join(ascii(c)[1:-1] if unicodedata.category(c) in _CONTROLS else c for c in text)


def enumerate_some(items: Sequence[str], *, most: int, separator: str = ", ") -> str:
    """The first ``most`` of a list in one text, and how many more there are."""
    rest = len(items) - most
    return separator.join([*items[:most], *([f"and {rest} more"] if rest > 0 else [])])


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it is synced and renamed to ``path``.

    The final name therefore only ever means a complete file. When the body raises, the temporary
    file is removed and whatever stood at ``path`` before is untouched.

    Raises:
        InputError: the folder cannot be made.
        OSError: errors of writing, such as a full disk; they name ``path``.
    """
    path = Path(path)
    temporary = _temporary(path)
    with errors_name(path, temporary):
        try:
            yield temporary
            put_in_place(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def temporary_pattern(path: Path | str) -> str:
    """Pattern of the names that a file has while it is written, and keeps where its process is killed."""
    return f"{glob.escape(_temporary_start(path))}*"


def put_in_place(finished: Path, path: Path) -> None:
    """Sync a file, give it its lasting name in the same folder, and make that durable."""
    with open(finished, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(finished, path)
    _sync_folder(path.parent)


@contextmanager
def errors_name(path: Path, written: Path | None = None) -> Iterator[None]:
    """Let errors of the system about ``written`` (default: ``path``), or about no file at all, name ``path``.

    What a full disk raises while a file is being written names none.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(written or path), written or path):
            raise  # of another file
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def check_output(path: Path | str, *inputs: Path | None) -> Path:
    """Return ``path`` if a file can be made there; called before long work whose result it is to hold.

    Args:
        path: what is to be written.
        inputs: files that the work reads and must not replace.

    Raises:
        InputError: it is a folder or one of the inputs, or its folder cannot be made or written to.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(path.stat().st_mode):  # which fails where the name is too long
                raise InputError(f"{path}: is a folder; give the name of a file")
            if any(source and source.exists() and path.samefile(source) for source in inputs):
                raise InputError(f"{path}: would replace what it is made of; give another name")
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); give another name") from None
    return path


def write_bytes(path: Path | str, data: bytes) -> Path:
    """Write ``data`` to ``path`` atomically and return the path."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def json_bytes(value: Any) -> bytes:
    """The sorted, indented JSON of files."""
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def write_json(path: Path | str, value: Any) -> Path:
    """Write ``value`` as sorted, indented JSON, atomically, and return the path."""
    return write_bytes(path, json_bytes(value))


def read_json(path: Path | str) -> Any:
    """Read a JSON file; a missing or damaged one raises :class:`InputError`."""
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from None


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text; ``ValueError`` where it is none, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal values: sorted keys, no spaces. Used for digests."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def sha256_text(text: str) -> str:
    """Hexadecimal SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path | str) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_digest(path: Path | str) -> str | None:
    """Digest of a source of pictures; None if it is no regular file or unreadable.

    Of JPEG, PNG and videos it is that of the size and of sixteen blocks of 4 KiB spread evenly over the file:
    another picture is compressed to other bytes from there on. Of all other files every byte counts.
    """
    path = os.path.abspath(path)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            return None
        return _source_digest(path, status.st_size, status.st_mtime_ns)
    except (OSError, ValueError):  # a name with a NUL is a ValueError
        return None


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, if it is not there.

    Raises:
        InputError: a file is in its place, or the folder above may not be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be made a folder ({error.strerror})") from None


def check_folder(path: Path | str, what: str) -> Path:
    """Return ``path`` if it is an existing folder; otherwise raise an error that names ``what``."""
    path = Path(path)
    if not path.is_dir():
        state = "is a file, not a folder" if path.exists() else "does not exist"
        raise InputError(f"{what} {path} {state}; give a folder")
    return path


def check_outside(out: Path, folders: Iterable[Path]) -> None:
    """Refuse to write at or below a folder of images: the next run would take results for inputs.

    Raises:
        InputError: ``out``, which need not exist, is or lies in one of the folders, by whatever path.
    """
    place = Path(os.path.realpath(out))  # resolve() raises at a link to itself
    for folder in folders:
        if folder.is_dir() and place.is_relative_to(folder.resolve()):
            raise InputError(f"{out} would be among the inputs in {folder}; choose another output folder")


@lru_cache(maxsize=1 << 17)
def _source_digest(path: str, size: int, mtime_ns: int) -> str:
    """The time is there for the cache: a file that was replaced is read again."""
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb", buffering=0) as file:
        if size <= _BLOCKS * _BLOCK_BYTES or not path.lower().endswith(_COMPRESSED):
            while block := file.read(1 << 20):
                digest.update(block)
        else:
            for number in range(_BLOCKS):
                file.seek(number * (size - _BLOCK_BYTES) // (_BLOCKS - 1))
                digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()


def _temporary(path: Path) -> Path:
    """A name beside ``path``, whose folder is made; the suffix stays last, since encoders go by it."""
    make_folder(path.parent)
    return path.with_name(f"{_temporary_start(path)}{uuid.uuid4().hex}{path.suffix}")


def _temporary_start(path: Path | str) -> str:
    return f".{Path(path).stem[:_STEM_CHARACTERS]}.tmp-"


def _sync_folder(folder: Path) -> None:
    """Make a rename durable. Windows cannot open folders; there the rename alone has to do."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
