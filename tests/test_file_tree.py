"""The files below a root: links, odd names, and how little is asked of the file system."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from manifest_files import PAIR, ids, touch, write

from pipeline.files import InputError
from pipeline.sources.listing import list_samples

needs_links = pytest.mark.skipif(os.name == "nt", reason="links need privileges on Windows")


@needs_links
def test_links_out_of_the_root_are_errors(tmp_path: Path) -> None:
    root = tmp_path / "root"
    manifest = write(root, PAIR)
    touch(root, "visible/1.png", "infrared/1.png")
    touch(tmp_path, "root-secret/1.png", "root-secret/2.png")
    (root / "unrelated").symlink_to(tmp_path / "root-secret")
    (root / "visible/notes.txt").symlink_to(tmp_path / "root-secret/1.png")
    assert ids(list_samples(manifest)) == ["1"]
    for name, target in (("visible/2.png", "root-secret/2.png"), ("visible/deep", "root-secret")):
        (root / name).symlink_to(tmp_path / target)
        with pytest.raises(InputError, match=r"mine\.toml:4: .*is a link to .*secret.*outside of the root"):
            list_samples(manifest)
        (root / name).unlink()
    (root / "infrared/1.png").unlink()
    (root / "infrared").rmdir()
    (root / "infrared").symlink_to(tmp_path / "root-secret")
    with pytest.raises(InputError, match=r"mine\.toml:5: .*is a link to .*secret"):
        list_samples(manifest)


@needs_links
@pytest.mark.parametrize(
    ("link", "target", "says"),
    [
        ("infrared", "visible", "visible/1.png = infrared/1.png"),
        ("visible", "infrared", "visible/1.png = infrared/1.png"),
        ("infrared/1.png", "../visible/1.png", "visible/1.png = infrared/1.png"),
        ("infrared/day", "../visible/day", "visible/day/2.png = infrared/day/2.png"),
    ],
)
def test_one_file_under_two_names_is_not_two_roles(tmp_path: Path, link: str, target: str, says: str) -> None:
    manifest, place = write(tmp_path, PAIR), tmp_path / link
    touch(tmp_path, *(f"{role}/{name}.png" for role in ("visible", "infrared") for name in ("1", "day/2")))
    assert ids(list_samples(manifest)) == ["1", "day/2"]
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    place.symlink_to(target)
    says = rf"mine\.toml:5: infrared and visible are the same file {says}; give each"
    with pytest.raises(InputError, match=says):
        list_samples(manifest)


@needs_links
def test_links_within_the_root_are_followed_and_loops_end(tmp_path: Path) -> None:
    manifest = write(tmp_path, PAIR)
    touch(tmp_path, "raw/1.png", "raw/day/2.png", "infrared/1.png", "infrared/day/2.png", "infrared/dead.png")
    (tmp_path / "visible").symlink_to("raw")
    (tmp_path / "raw/day/again").symlink_to("..")
    (tmp_path / "raw/self").symlink_to("self")
    (tmp_path / "raw/dead.png").symlink_to("nowhere.png")
    listing = list_samples(manifest)
    assert ids(listing) == ["1", "day/2"]
    assert [entry.id for entry in listing.unmatched] == ["dead"]
    link = tmp_path / "elsewhere"
    link.symlink_to(tmp_path)
    assert ids(list_samples(manifest, root=link)) == ["1", "day/2"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX names")
def test_odd_directory_entries(tmp_path: Path) -> None:
    manifest = write(tmp_path, PAIR)
    touch(tmp_path, "visible/1.png", "infrared/1.png")
    (tmp_path / "visible/2.png").mkdir()
    os.mkfifo(tmp_path / "visible/3.png")
    assert ids(list_samples(manifest)) == ["1"] and list_samples(manifest).unmatched == []
    for name in (b"a\nb.png", b"\xff.png", "a\u2028b.png".encode(), "a\u0085b.png".encode()):
        odd = os.path.join(os.fsencode(tmp_path), b"visible", name)
        Path(os.fsdecode(odd)).write_bytes(b"")
        with pytest.raises(InputError, match=r"mine\.toml:4: .*unprintable") as error:
            list_samples(manifest)
        assert str(error.value).isprintable()
        os.unlink(odd)


def test_spaces_and_joiners_of_any_script_are_parts_of_names(tmp_path: Path) -> None:
    folder = "見える\u3000光"
    manifest = write(tmp_path, PAIR.replace("visible/", f"{folder}/"))
    names = sorted(["夜\u3000一", "caf\u00a0é", "می\u200cخواهم", "क्\u200dष", "\ue000"])
    for name in names:
        touch(tmp_path, f"{folder}/{name}.png", f"infrared/{name}.png")
    assert ids(list_samples(manifest)) == names


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = write(tmp_path, PAIR)
    touch(tmp_path, "visible/1.png", "infrared/1.png")

    def deny(path: object) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(InputError, match=r"mine\.toml:4: .*visible: cannot be listed \(Permission denied\)$"):
        list_samples(manifest)


def test_every_folder_is_scanned_once_and_no_file_is_examined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alternatives = ", ".join(f'"visible/{{id}}.{suffix}"' for suffix in ("bmp", "jpg", "png", "tif"))
    manifest = write(tmp_path, PAIR.replace('"visible/{id}.png"', f"[{alternatives}]"))
    touch(tmp_path, *(f"{role}/{i}.png" for role in ("visible", "infrared") for i in range(300)))
    scanned: list[str] = []
    examined: list[str] = []
    scandir, stat, lstat = os.scandir, os.stat, os.lstat
    monkeypatch.setattr(os, "scandir", lambda path: (scanned.append(str(path)), scandir(path))[1])
    monkeypatch.setattr(os, "stat", lambda path, **kw: (examined.append(str(path)), stat(path, **kw))[1])
    monkeypatch.setattr(os, "lstat", lambda path, **kw: (examined.append(str(path)), lstat(path, **kw))[1])
    assert len(list_samples(manifest).samples) == 300
    assert sorted(scanned) == [str(tmp_path / "infrared"), str(tmp_path / "visible")]
    assert not any(path.endswith(".png") for path in examined)
