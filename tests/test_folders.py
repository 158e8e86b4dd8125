"""Pairing of folders by relative stem."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from model.inputs.folders import ListedFiles, check_apart, pair_folders, path_from
from pipeline.files import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_pairs_by_relative_stem_whatever_the_suffix(tmp_path: Path) -> None:
    a = touch(tmp_path / "a", "2.png", "1.PNG", "night/1.png", "v1.5/x.y.tif", "notes.txt", ".1.tmp-0.png")
    b = touch(tmp_path / "b", "1.jpg", "2.bmp", "night/1.jpeg", "v1.5/x.y.png", ".thumbs/1.png")
    pairs = pair_folders({"a": a, "b": b}).require_complete()
    assert pairs.stems == ["1", "2", "night/1", "v1.5/x.y"]
    assert pairs.paths["night/1"] == {"a": a / "night/1.png", "b": b / "night/1.jpeg"}
    assert pairs.unmatched == {}


def test_accents_pair_however_a_system_writes_them(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    roots = {"a": touch(tmp_path / "a", f"{decomposed}.png"), "b": touch(tmp_path / "b", f"{composed}.png")}
    pairs = pair_folders(roots).require_complete()
    assert pairs.stems == [composed] and pairs.paths[composed]["a"].is_file()


def test_unmatched_files_are_listed_per_folder(tmp_path: Path) -> None:
    roots = {
        "a": touch(tmp_path / "a", "1.png", "2.png"),
        "b": touch(tmp_path / "b", "1.png", "3.png"),
        "method x": touch(tmp_path / "x", "1.png", "2.png", "3.png"),
    }
    pairs = pair_folders(roots)
    assert pairs.stems == ["1"]
    assert pairs.unmatched == {"2": ["b"], "3": ["a"]}
    with pytest.raises(InputError, match=r"b lacks 2; a lacks 3"):
        pairs.require_complete()


def test_listed_files_pair_with_folders(tmp_path: Path) -> None:
    root = touch(tmp_path / "set", "1-A.png", "2-A.png")
    listed = ListedFiles("near", {"1": root / "1-A.png", "2": root / "2-A.png"})
    pairs = pair_folders({"a": listed, "method x": touch(tmp_path / "x", "1.jpg")})
    assert pairs.paths == {"1": {"a": root / "1-A.png", "method x": tmp_path / "x/1.jpg"}}
    assert pairs.unmatched == {"2": ["method x"]}
    told = r"no file name is common to a near \(1, \.\.\), b .*y \(3, \.\.\); .* in a recipe \(--manifest"
    with pytest.raises(InputError, match=told):
        pair_folders({"a": listed, "b": touch(tmp_path / "y", "3.jpg")})


def test_what_a_list_left_out_is_extra_nowhere(tmp_path: Path) -> None:
    root = touch(tmp_path / "set", "1-A.png", "2-A.png")
    listed = ListedFiles("near", {"1": root / "1-A.png"}, left_out=frozenset({"2"}))
    method = touch(tmp_path / "x", "1.jpg", "2.jpg")
    assert pair_folders({"a": listed, "method x": method}).require_complete().stems == ["1"]
    touch(method, "3.jpg")
    with pytest.raises(InputError, match=r"a lacks 3;"):
        pair_folders({"a": listed, "method x": method}).require_complete()


def test_a_long_list_is_counted(tmp_path: Path) -> None:
    a = touch(tmp_path / "a", *(f"{i:03}.png" for i in range(40)))
    b = touch(tmp_path / "b", "000.png")
    with pytest.raises(InputError, match=r"001, .*012, and 27 more") as error:
        pair_folders({"a": a, "b": b}).require_complete()
    assert "\n" not in str(error.value)


def test_bad_folders(tmp_path: Path) -> None:
    a = touch(tmp_path / "a", "1.png")
    with pytest.raises(InputError, match="does not exist"):
        pair_folders({"a": a, "b": tmp_path / "none"})
    with pytest.raises(InputError, match="is a file"):
        pair_folders({"a": a, "b": a / "1.png"})
    with pytest.raises(InputError, match="no image"):
        pair_folders({"a": a, "b": touch(tmp_path / "b", "1.txt")})
    with pytest.raises(InputError, match="no file name is common"):
        pair_folders({"a": a, "c": touch(tmp_path / "c", "2.png")})
    with pytest.raises(InputError, match="have one name"):
        pair_folders({"a": a, "d": touch(tmp_path / "d", "1.png", "1.jpg")})


def test_links_to_folders_are_followed_and_never_in_a_circle(tmp_path: Path) -> None:
    a, b = touch(tmp_path / "a", "1.png"), touch(tmp_path / "b", "1.png", "night/2.png")
    (a / "night").symlink_to(touch(tmp_path / "disk", "2.png"))
    for link, target in ((a / "back", a), (b / "other", a), (b / "night/up", b), (a / "dead", a / "dead")):
        link.symlink_to(target)
    (tmp_path / "disk/b").symlink_to(b)
    pairs = pair_folders({"a": a, "b": b})
    assert pairs.stems == ["1", "night/2"]
    assert pairs.paths["night/2"]["a"] == a / "night/2.png"


def test_a_folder_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, scandir = touch(tmp_path / "a", "1.png", "night/2.png"), os.scandir

    def refuse(folder: Path) -> object:
        if folder == a / "night":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"night: cannot be listed \(Permission denied\)"):
        pair_folders({"a": a, "b": a})


def test_nothing_goes_where_listed_files_are_looked_for(tmp_path: Path) -> None:
    root = touch(tmp_path / "set", "ir/1.png")
    listed = ListedFiles("infrared", {"1": root / "ir/1.png"}, folders=frozenset({root / "ir"}))
    (tmp_path / "link").symlink_to(root / "ir")
    for out in (root / "ir", root / "ir/deep/x.json", tmp_path / "link/x"):
        with pytest.raises(InputError, match=r"would be among the inputs in .*ir; choose another"):
            check_apart(out, [listed])
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for out in (root, root / "ir-fused", tmp_path / "loop"):
        check_apart(out, [listed])


def test_a_path_from_a_folder_leads_there_behind_links(tmp_path: Path) -> None:
    touch(tmp_path / "disk/deep/out", "r.json")
    touch(tmp_path / "data", "1.png")
    (tmp_path / "out").symlink_to(tmp_path / "disk/deep/out")
    (tmp_path / "data/link.png").symlink_to(tmp_path / "data/1.png")
    for name in ("data", "data/1.png", "data/link.png", "out", "out/r.json", "data/..", "out/.."):
        path = tmp_path / name
        assert (tmp_path / "out" / path_from(tmp_path / "out", path)).samefile(path), name
    assert path_from(tmp_path, tmp_path / "data/link.png") == "data/link.png"


def test_files_of_other_types_are_counted(tmp_path: Path) -> None:
    for name in ("a/1.png", "b/1.png", "a/2.webp", "a/n/3.JFIF", "a/n/4.jfif", "a/LICENSE", "a/.hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    pairs = pair_folders({"a": tmp_path / "a", "b": tmp_path / "b"})
    assert pairs.passed_over == {"a": {".webp": 1, ".jfif": 2, "": 1}, "b": {}}
