"""From a manifest and a root folder to ordered, checked samples."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifest_files import PAIR, ids, touch, write

from pipeline.files import InputError
from pipeline.sources.listing import _compile, list_samples, scene_of
from pipeline.sources.manifest import RECIPES, load_manifest, scene_expression

REPOSITORY = Path(__file__).resolve().parents[1]


def test_a_scene_is_told_by_the_beginning_of_an_id() -> None:
    number = scene_expression(r"\d+")
    assert [scene_of(id_, number) for id_ in ("12-a", "12/b3", "a12", "")] == ["12", "12", "a12", ""]


def test_pairs_are_ordered_by_id(tmp_path: Path) -> None:
    manifest = write(tmp_path, PAIR)
    names = ["10", "9", "a/1", "a/b/2", "B", "b", "Z ä", "1.5", "-"]
    random.Random(0).shuffle(names)
    for name in names:
        touch(tmp_path, f"visible/{name}.png", f"infrared/{name}.PNG")
    touch(
        tmp_path,
        "visible/.hidden.png",
        "visible/.git/1.png",
        "visible/1.jpg",
        "visible/.png",
        "visible/1.png.bak",
    )
    listing = list_samples(manifest)
    assert ids(listing) == sorted(names)
    assert listing.unmatched == []
    assert listing.require_complete() is listing
    first = listing.samples[0]
    assert first.paths == {"visible": tmp_path / "visible/-.png", "infrared": tmp_path / "infrared/-.PNG"}
    assert list(first.paths) == ["visible", "infrared"]


def test_order_is_the_same_in_another_process_and_locale(tmp_path: Path) -> None:
    manifest = write(tmp_path, PAIR)
    for name in ("b", "A", "ä", "a/z", "Z"):
        touch(tmp_path, f"visible/{name}.png", f"infrared/{name}.png")
    program = (
        "import sys; from pipeline.sources.listing import list_samples; "
        "from pipeline.sources.manifest import load_manifest; "
        "print(ascii([s.id for s in list_samples(load_manifest(sys.argv[1])).samples]))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program, manifest.path],
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "PYTHONUTF8": "1"},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed, locale in (("1", "C"), ("2", "en_US.UTF-8"))
    }
    assert outputs == {ascii(["A", "Z", "a/z", "b", "ä"])}


def test_root_argument_and_root_key(tmp_path: Path) -> None:
    touch(tmp_path / "data", "visible/1.png", "infrared/1.png")
    beside = write(tmp_path / "recipes", 'root = "../data"\n' + PAIR)
    assert ids(list_samples(beside)) == ["1"]
    plain = write(tmp_path / "recipes", PAIR)
    assert ids(list_samples(plain, root=str(tmp_path / "data"))) == ["1"]
    absent = write(tmp_path / "recipes", PAIR.replace("\n", '\nroot = "../absent"\n', 1))
    with pytest.raises(InputError, match=r"mine\.toml:2: root folder .*absent does not exist"):
        list_samples(absent)
    with pytest.raises(InputError, match=r"mine\.toml: root folder .*mine\.toml is a file"):
        list_samples(plain, root=plain.path)


def test_splits(tmp_path: Path) -> None:
    text = PAIR.replace("/{id}", "/{split}/{id}").replace("\n", '\nsplits = ["train", "test"]\n', 1)
    manifest = write(tmp_path, text)
    for role in ("visible", "infrared"):
        touch(tmp_path, f"{role}/train/1.png", f"{role}/test/2.png")
    assert ids(list_samples(manifest, split="train")) == ["1"]
    assert ids(list_samples(manifest, split="test")) == ["2"]
    for split, message in (
        ("val", "no split 'val'; there are train, test"),
        (None, "choose a split: train, test"),
    ):
        with pytest.raises(InputError, match=rf"mine\.toml:2: .*{message}"):
            list_samples(manifest, split=split)
    only = write(tmp_path, text.replace(', "test"', ""))
    assert ids(list_samples(only)) == ["1"]
    with pytest.raises(InputError, match="no splits"):
        list_samples(write(tmp_path, PAIR), split="train")


def test_a_missing_partner_is_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    manifest = write(tmp_path, PAIR.replace('"infrared/{id}.png"', '["ir/{id}.png", "infrared/{id}.png"]'))
    touch(tmp_path, *(f"visible/{i}.png" for i in range(6)), "infrared/3.png", "infrared/9.png")
    listing = list_samples(manifest)
    assert ids(listing) == ["3"]
    assert [(entry.id, entry.missing_role) for entry in listing.unmatched] == [
        *((str(i), "infrared") for i in (0, 1, 2, 4, 5)),
        ("9", "visible"),
    ]
    first, last = listing.unmatched[0], listing.unmatched[-1]
    # The folder that exists is named, not the alternative that found nothing.
    assert (first.expected, first.line, first.present) == ("infrared/0.png", 5, ("visible",))
    assert str(last) == "'9' has infrared, but no visible at visible/9.png"
    with pytest.raises(InputError, match=r"mine\.toml:5: .*'0' has visible, .*'2' .*; and 3 more$") as error:
        listing.require_complete()
    assert "'4'" not in str(error.value) and str(tmp_path) in str(error.value)


def test_a_sample_of_three_roles(tmp_path: Path) -> None:
    text = 'name = "m"\n[roles]\nover="o/{id}.png"\nunder="u/{id}.png"\nground_truth="g/{id}.png"\n'
    manifest = write(tmp_path, text)
    touch(tmp_path, "o/1.png", "u/1.png", "g/1.png", "o/2.png", "u/2.png", "g/3.png")
    listing = list_samples(manifest, roles=("over", "under", "ground_truth"))
    assert ids(listing) == ["1"]
    assert [(entry.id, entry.missing_role, entry.present) for entry in listing.unmatched] == [
        ("2", "ground_truth", ("over", "under")),
        ("3", "over", ("ground_truth",)),
        ("3", "under", ("ground_truth",)),
    ]
    assert ids(list_samples(manifest, roles=("over", "under"))) == ["1", "2"]
    with pytest.raises(InputError, match=r"mine\.toml:2: .*no role 'visible'.* over, under, ground_truth"):
        list_samples(manifest)


def test_one_file_for_two_roles_is_an_error(tmp_path: Path) -> None:
    """Fused with itself, a picture would teach nothing, and nobody would see it."""
    touch(tmp_path, "visible/1.png", "infrared/1.png")
    same = write(tmp_path, PAIR.replace("infrared/{id}", "visible/{id}"))
    says = r"infrared and visible are the same file visible/1\.png; give each role files of its own$"
    with pytest.raises(InputError, match=r"mine\.toml:5: " + says):
        list_samples(same)
    assert ids(list_samples(same, roles=("visible",))) == ["1"], (
        "of roles that nobody asked for it is no fault"
    )
    either = write(tmp_path, PAIR.replace('"infrared/{id}.png"', '["none/{id}.png", "visible/{id}.PNG"]'))
    with pytest.raises(InputError, match="infrared and visible are the same file"):
        list_samples(either)


def test_an_accent_may_be_a_character_of_its_own(tmp_path: Path) -> None:
    """As macOS writes names; other systems take the two spellings for two names."""
    manifest = write(tmp_path, PAIR)
    apart, composed = "cafe\u0301/1", "caf\u00e9/1"
    touch(tmp_path, f"visible/{apart}.png", f"infrared/{composed}.png")
    listing = list_samples(manifest).require_complete()
    assert ids(listing) == [composed]
    assert all(path.is_file() for path in listing.samples[0].paths.values())
    touch(tmp_path, f"visible/{composed}.png")
    if len(list((tmp_path / "visible").iterdir())) == 2:  # a file system may take them for one, too
        with pytest.raises(InputError, match=r"two visible files for id 'caf.*/1'"):
            list_samples(manifest)


@pytest.mark.parametrize("infrared", ["{id}_ir.png", "ir/{id}.png", "ir_{id}.png"])
def test_files_of_complete_samples_do_not_lack_a_partner(tmp_path: Path, infrared: str) -> None:
    """Where all lie in one folder, the pattern of one role finds the files of the other."""
    pair = 'name = "m"\n[roles]\nvisible = "{id}.png"\ninfrared = "' + infrared + '"\n'
    manifest = write(tmp_path, pair)
    for name in "12":
        touch(tmp_path, f"{name}.png", infrared.replace("{id}", name))
    listing = list_samples(manifest)
    assert ids(listing) == ["1", "2"] and listing.require_complete() is listing
    touch(tmp_path, "3.png")
    assert [(entry.id, entry.missing_role) for entry in list_samples(manifest).unmatched] == [
        ("3", "infrared")
    ]


def test_nothing_complete_is_an_error(tmp_path: Path) -> None:
    manifest = write(tmp_path, PAIR)
    touch(tmp_path, "visible/1.png", "infrared/2.png")
    with pytest.raises(InputError, match=r"not one complete sample in .*'1' has visible, .*'2' has infrared"):
        list_samples(manifest)
    (tmp_path / "infrared/2.png").unlink()
    with pytest.raises(
        InputError, match=r"mine\.toml:5: no infrared file in .*matches infrared/\{id\}\.png$"
    ):
        list_samples(manifest)
    (tmp_path / "infrared").rmdir()
    with pytest.raises(InputError, match=r"mine\.toml:5: no infrared file"):
        list_samples(manifest)


@pytest.mark.parametrize("name", ["llvip", "manifests/llvip.toml"])
def test_a_recipe_of_the_package_asks_for_the_folder_of_its_data(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(RECIPES.parent)
    with pytest.raises(InputError, match=r"llvip\.toml:.* no visible file .*; give .* as --root$"):
        list_samples(load_manifest(name), split="train")


def test_alternatives_and_duplicates(tmp_path: Path) -> None:
    manifest = write(tmp_path, PAIR.replace('"visible/{id}.png"', '["visible/{id}.jpg", "visible/{id}.png"]'))
    touch(tmp_path, "visible/1.jpg", "visible/2.png", "infrared/1.png", "infrared/2.png")
    listing = list_samples(manifest)
    assert [sample.paths["visible"].name for sample in listing.samples] == ["1.jpg", "2.png"]
    touch(tmp_path, "visible/2.jpg")
    with pytest.raises(
        InputError, match=r"mine\.toml:4: two visible files for id '2' .*2\.jpg and visible/2\.png"
    ):
        list_samples(manifest)


def test_suffixes_that_differ_in_case_are_duplicates(tmp_path: Path) -> None:
    manifest = write(tmp_path, PAIR)
    touch(tmp_path, "visible/1.png", "visible/1.PNG", "infrared/1.png")
    if len(list((tmp_path / "visible").iterdir())) == 1:
        pytest.skip("this file system ignores case")
    with pytest.raises(InputError, match=r"two visible files for id '1'"):
        list_samples(manifest)


def test_one_file_found_by_two_patterns_is_no_duplicate(tmp_path: Path) -> None:
    """As on file systems that ignore case, where PET/ and pet/ are one folder; a link does the same here."""
    text = PAIR.replace('"visible/{id}.png"', '["visible/{id}.png", "VISIBLE/{id}.png", "visible/{id}.PNG"]')
    manifest = write(tmp_path, text)
    touch(tmp_path, "visible/1.png", "infrared/1.png")
    if not (tmp_path / "VISIBLE").exists():
        (tmp_path / "VISIBLE").symlink_to("visible")
    assert list_samples(manifest).samples[0].paths["visible"] == tmp_path / "visible/1.png"


def test_an_id_may_hold_folders_and_stand_twice(tmp_path: Path) -> None:
    text = 'name="m"\n[roles]\nnear="in/{id}/{id}_A.png"\nfar="in/{id}/{id}_B.png"\nvisible="{id}_rgb.png"\n'
    manifest = write(tmp_path, text)
    touch(tmp_path, "in/x/x_A.png", "in/x/x_B.png", "in/x/y_A.png", "in/y/z/y/z_A.png", "in/y/z/y/z_B.png")
    touch(tmp_path, "field/0_rgb.png", "field/_rgb.png", "7_rgb.png")
    assert ids(list_samples(manifest, roles=("near", "far"))) == ["x", "y/z"]
    assert ids(list_samples(manifest, roles=("visible",))) == ["7", "field/0"]


@given(st.lists(st.text(st.characters(exclude_characters="/{}\0", codec="utf-8"), min_size=1), min_size=1))
def test_a_name_is_matched_literally(parts: list[str]) -> None:
    """Characters that mean something in regular expressions mean nothing in a pattern or an id."""
    sample_id = "/".join(parts)
    match = _compile("a+(b)/{id}/[{id}].c$.png").fullmatch(f"a+(b)/{sample_id}/[{sample_id}].c$.PnG")
    assert match is not None and match["id"] == sample_id
    assert _compile("a.b/{id}.png").fullmatch(f"axb/{sample_id}.png") is None
