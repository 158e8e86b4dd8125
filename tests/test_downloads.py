"""Downloads from a local server: resumed, verified, and never a wrong file under the right name."""

from __future__ import annotations

import errno
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from command_runs import run

from pipeline import files
from pipeline.commands.downloads import MEGADEPTH_LICENCE, MEGADEPTH_URL, fetch_url
from pipeline.files import InputError
from pipeline.runtime.leases import lease

CONTENT = np.random.default_rng(0).bytes(1_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(HTTPServer):
    """Serves one file; breaks off after ``limit`` bytes for as often as ``breaks`` says."""

    ranges = True
    content = CONTENT
    etag = ""
    limit = len(CONTENT)
    breaks = 0
    sent = 0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path != "/weights":
            self.send_error(404)
            return
        start, content = 0, self.server.content
        wanted = self.headers.get("Range")
        if (
            wanted
            and self.server.ranges
            and self.headers.get("If-Range", self.server.etag) == self.server.etag
        ):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if self.server.etag:
            self.send_header("ETag", self.server.etag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        stop = len(content)
        if self.server.breaks:
            self.server.breaks -= 1
            stop = min(stop, start + self.server.limit)
        self.server.sent += stop - start  # before: the client may have all of it at once
        self.wfile.write(content[start:stop])

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is asked itself, also where the environment names a proxy."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url_of(server: Server, path: str = "weights") -> str:
    return f"http://127.0.0.1:{server.server_port}/{path}"


def test_a_whole_download(server: Server, tmp_path: Path) -> None:
    path = fetch_url(url_of(server), tmp_path / "deep" / "w", sha256=DIGEST.upper())
    assert path.read_bytes() == CONTENT
    fetch_url("http://127.0.0.1:1/nobody-there", path, sha256=DIGEST)  # what is there is not fetched again
    assert [entry.name for entry in path.parent.iterdir()] == ["w"]


def test_it_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.limit, server.breaks = 300_000, 2
    assert fetch_url(url_of(server), tmp_path / "w", sha256=DIGEST).read_bytes() == CONTENT
    assert server.sent == len(CONTENT), "no byte is sent twice"


def test_a_full_disk_is_told_at_once_and_what_came_is_kept(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        """A file on a disk that has room for one block."""

        def __init__(self, file: Any) -> None:
            self.file = file

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, block: bytes) -> None:
            if self.file.tell():
                raise OSError(errno.ENOSPC, "No space left on device")
            self.file.write(block)

    part, opened = tmp_path / "w.part", Path.open
    with monkeypatch.context() as patch:
        patch.setattr(
            Path,
            "open",
            lambda path, *how, **more: (
                Full(opened(path, *how)) if path == part and how != ("rb",) else opened(path, *how, **more)
            ),
        )
        with pytest.raises(OSError, match="No space left on device") as caught:
            fetch_url(url_of(server), tmp_path / "w", sha256=DIGEST)
    assert caught.value.filename == str(part)
    sent, have = server.sent, part.stat().st_size
    assert 0 < have < len(CONTENT) == sent, "one attempt"
    assert fetch_url(url_of(server), tmp_path / "w", sha256=DIGEST).read_bytes() == CONTENT
    assert server.sent == sent + len(CONTENT) - have


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/deep: cannot be made a folder"):
        fetch_url("http://127.0.0.1:1/nobody-there", tmp_path / "file/deep/w", sha256=DIGEST)


def test_the_name_is_made_durable(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "_sync_folder", synced.append)
    fetch_url(url_of(server), tmp_path / "w", sha256=DIGEST)
    assert synced == [tmp_path]


def test_a_later_run_goes_on_too(server: Server, tmp_path: Path) -> None:
    server.limit, server.breaks = 100_000, 5
    with pytest.raises(InputError, match="run it again"):
        fetch_url(url_of(server), tmp_path / "w", sha256=DIGEST)
    assert not (tmp_path / "w").exists()
    assert fetch_url(url_of(server), tmp_path / "w", sha256=DIGEST).read_bytes() == CONTENT
    assert server.sent == len(CONTENT)


def test_a_part_that_is_whole_already_is_enough(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.part").write_bytes(CONTENT)
    assert fetch_url("http://127.0.0.1:1/nobody-there", tmp_path / "w", sha256=DIGEST).read_bytes() == CONTENT
    (tmp_path / "v.part").write_bytes(CONTENT)
    with pytest.raises(InputError, match=f"--sha256 {DIGEST}"):  # the server says that nothing is left
        fetch_url(url_of(server), tmp_path / "v", sha256=None)


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "w.part").write_bytes(b"x" * 1000)
    assert fetch_url(url_of(server), tmp_path / "w", sha256=DIGEST).read_bytes() == CONTENT


def test_a_wrong_file_never_gets_the_name(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="delete it and fetch it again"):
        fetch_url(url_of(server), tmp_path / "w", sha256="0" * 64)
    assert not (tmp_path / "w").exists()


def test_without_a_digest_it_tells_the_one_it_found(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"--sha256 {DIGEST}"):
        fetch_url(url_of(server), tmp_path / "w", sha256=None)
    sent = server.sent
    assert fetch_url(url_of(server), tmp_path / "w", sha256=DIGEST).read_bytes() == CONTENT
    assert server.sent == sent, "what came is kept"


def test_errors_are_one_line(server: Server, tmp_path: Path) -> None:
    for url, reason in ((url_of(server, "other"), "404"), ("http://127.0.0.1:1/w", "broke off")):
        with pytest.raises(InputError, match=reason) as caught:
            fetch_url(url, tmp_path / "w", sha256=DIGEST)
        assert "\n" not in str(caught.value)


def test_the_command_tells_url_licence_and_digest(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(*arguments: str) -> Result:
        return run("weights", "fetch", *arguments, "-o", tmp_path)

    assert MEGADEPTH_URL.endswith("/best_generalization_net_G.pth")
    path = tmp_path / "weights"
    monkeypatch.setattr("pipeline.commands.weights.MEGADEPTH_URL", url_of(server))
    for unknown in ((), ("--sha256", "")):
        first = fetch("megadepth", *unknown)
        assert first.exit_code == 2 and not path.exists()
        assert f"{url_of(server)}: licence: {MEGADEPTH_LICENCE}\n" in first.stderr
        assert f"{path}.part: no SHA-256 is known of {url_of(server)}" in first.stderr
        assert f"--sha256 {DIGEST}\n" in first.stderr and not first.stdout
    last = fetch("megadepth", "--sha256", DIGEST)
    assert last.exit_code == 0 and last.stdout == f"{path}\n" and path.read_bytes() == CONTENT
    assert fetch("other").exit_code == 2


def test_a_file_that_was_replaced_meanwhile_is_fetched_whole(server: Server, tmp_path: Path) -> None:
    server.limit, server.breaks, server.etag = 100_000, 5, '"first"'
    with pytest.raises(InputError, match="run it again"):
        fetch_url(url_of(server), tmp_path / "w", sha256=DIGEST)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.part", "w.part.version"]
    server.content, server.etag = CONTENT[::-1], '"second"'
    digest = hashlib.sha256(server.content).hexdigest()
    assert fetch_url(url_of(server), tmp_path / "w", sha256=digest).read_bytes() == server.content
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


@pytest.mark.parametrize("digest", [DIGEST, None])
def test_a_part_longer_than_the_file_is_begun_anew(
    server: Server, tmp_path: Path, digest: str | None
) -> None:
    (tmp_path / "w.part").write_bytes(CONTENT + b"more")
    if digest is None:
        with pytest.raises(InputError, match=f"add --sha256 {DIGEST}"):
            fetch_url(url_of(server), tmp_path / "w", sha256=None)
    assert fetch_url(url_of(server), tmp_path / "w", sha256=DIGEST).read_bytes() == CONTENT


def test_one_process_fetches_a_file_at_a_time(server: Server, tmp_path: Path) -> None:
    with lease(tmp_path / "w.part.lease"), pytest.raises(InputError, match="another process is fetching it"):
        fetch_url(url_of(server), tmp_path / "w", sha256=DIGEST)
    assert not server.sent
    assert fetch_url(url_of(server), tmp_path / "w", sha256=DIGEST).read_bytes() == CONTENT
