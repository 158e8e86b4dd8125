"""Third-party weights by name: where they lie, a download that resumes, and a check before any use."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path

from pipeline.files import InputError, errors_name, make_folder, put_in_place, sha256_file, write_bytes
from pipeline.runtime.leases import lease
from pipeline.runtime.progress import Progress

# Weights of others that are fetched by name: URL, SHA-256 and licence. Megadepth has no SHA-256 here: its
# authors state none, and we know none that we could vouch for. Whoever fetches it gives the one they trust.
MEGADEPTH_URL = "https://www.cs.cornell.edu/projects/megadepth/dataset/models/best_generalization_net_G.pth"
MEGADEPTH_LICENCE = "see the MegaDepth project page (Li and Snavely, CVPR 2018)"

_BLOCK_BYTES = 1 << 18
_TIMEOUT_S = 30.0
#: Attempts before a download that breaks off again and again is left for later; what came is kept.
_ATTEMPTS = 5


def fetch_url(url: str, path: Path, *, sha256: str | None) -> Path:
    """Download ``url`` to ``path`` and return it; nothing is fetched if the file is there already.

    What has come lies in ``path`` + ``.part``, and a download that broke off goes on there, unless the server
    has another file now. The file gets its name once its SHA-256 is the expected one; without one the digest
    is told and the part stays.

    Raises:
        InputError: no connection, a file that is not the expected one, or another process fetches it.
        OSError: errors of writing, such as a full disk; they name the unfinished file, which stays.
    """
    if path.exists():
        _check(path, sha256, url)
        return path
    make_folder(path.parent)
    part = path.with_name(path.name + ".part")
    with lease(part.with_name(part.name + ".lease")) as token:
        if token is None:
            raise InputError(f"{path}: another process is fetching it; wait for that one")
        if not (sha256 and part.exists() and sha256_file(part) == sha256.lower()):
            _download(url, part, path)
            _check(part, sha256, url)
        put_in_place(part, path)
        _version_file(part).unlink(missing_ok=True)
    return path


def _download(url: str, part: Path, path: Path) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with errors_name(part):
                _continue(url, part)
            return
        except urllib.error.HTTPError as error:
            raise InputError(f"{url}: the server answers {error.code} {error.reason}") from None
        except _BrokenOff as error:
            if attempt == _ATTEMPTS:
                raise InputError(
                    f"{url}: broke off ({error}); run it again to go on, or download it elsewhere to {path}"
                ) from None


class _BrokenOff(Exception):
    """The connection failed, which may be another matter the next time; a full disk is not."""


@contextmanager
def _connected() -> Iterator[None]:
    """Within the block every error is one of the connection; nothing may be written there."""
    try:
        yield
    except urllib.error.HTTPError:
        raise  # an answer
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOff(error) from error


def _continue(url: str, part: Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    version = _version_file(part)
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and version.exists():  # of another version the server sends all
        headers["If-Range"] = version.read_text()
    try:
        with _connected():
            response = urllib.request.urlopen(
                urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S
            )
    except urllib.error.HTTPError as error:
        if error.code != 416 or not have:
            raise
        if _range_of(error.headers)[1] in (None, have):  # nothing is left to send: the part is whole
            return
        part.unlink()
        raise _BrokenOff("what had come is of another file") from None
    with response:
        start, total = _range_of(response.headers)
        resumed = response.status == 206 and start in (None, have)
        have = have if resumed else 0  # a server without ranges starts again
        if response.status == 206 and not resumed:
            part.unlink()
            raise _BrokenOff("the server sends another part than it was asked for")
        if total is None:
            total = have + int(response.headers.get("Content-Length", 0))
        if not resumed:
            _remember_version(response.headers, version)
        with (
            part.open("ab" if resumed else "wb") as file,
            Progress("fetch", total=total, unit="B", initial=have) as progress,
        ):
            while block := _read(response):
                file.write(block)
                progress.advance(len(block))
        if (missing := total - part.stat().st_size) > 0:
            raise _BrokenOff(f"{missing} bytes are missing")


def _range_of(headers: Message) -> tuple[int | None, int | None]:
    """First byte that is sent and size of the whole, by ``Content-Range``; None of what it does not say."""
    found = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)", headers.get("Content-Range", "").strip())
    start, total = found.groups() if found else (None, None)
    return (None if start is None else int(start)), (None if total is None else int(total))


def _version_file(part: Path) -> Path:
    """Beside an unfinished file: what the server calls this version of it."""
    return part.with_name(part.name + ".version")


def _remember_version(headers: Message, version: Path) -> None:
    tag = headers.get("ETag", "")
    known = tag if tag.startswith('"') else headers.get("Last-Modified", "")  # weak tags begin otherwise
    if known:
        write_bytes(version, known.encode())
    else:
        version.unlink(missing_ok=True)


def _read(response: http.client.HTTPResponse) -> bytes:
    with _connected():
        return response.read(_BLOCK_BYTES)


def _check(path: Path, sha256: str | None, url: str) -> None:
    found = sha256_file(path)
    if not sha256:
        raise InputError(f"{path}: no SHA-256 is known of {url}; if you trust the file, add --sha256 {found}")
    if found != sha256.lower():
        raise InputError(f"{path}: SHA-256 is {found}, not {sha256.lower()}; delete it and fetch it again")
