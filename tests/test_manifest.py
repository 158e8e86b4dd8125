"""Manifests: grammar, listing, and the recipes that ship."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.files import InputError
from pipeline.manifest import Manifest, SampleListing, list_samples, load_manifest
from pipeline.recipe import KEYS, ROLES

RECIPES = Path(__file__).resolve().parents[1] / "manifests"
PAIR = 'name = "mine"\n\n[roles]\nvisible = "visible/{id}.png"\ninfrared = "infrared/{id}.png"\n'
needs_links = pytest.mark.skipif(os.name == "nt", reason="links need privileges on Windows")


def write(folder: Path, text: str) -> Manifest:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    return load_manifest(folder / "mine.toml")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def ids(listing: SampleListing) -> list[str]:
    return [sample.id for sample in listing.samples]


# --- grammar -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('name = "x"\nroles = [1,\n', None, "not valid TOML: .*at end of document"),
        ('name = "x"\nroles = = 1\n', None, "not valid TOML: .*at line 2, column 9"),
        (PAIR.replace("\n", '\nlicense = "MIT"\n', 1), 2, "unknown key 'license'"),
        (PAIR.replace("\n", "\ntitle = 3\n", 1), 2, "title must be a string"),
        (PAIR.replace("\n", "\nroot = []\n", 1), 2, "root must be a string"),
        (PAIR.replace("mine", "../mine"), 1, "needs a name"),
        (PAIR.replace('name = "mine"', ""), None, "needs a name"),
        ('name = "mine"\n', None, r"needs a table \[roles\]"),
        ('name = "mine"\n[roles]\n', 2, r"needs a table \[roles\]"),
        ('name = "mine"\nroles = "visible"\n', 2, r"needs a table \[roles\]"),
        (PAIR.replace("infrared =", "infared ="), 5, "unknown role 'infared'; known: visible, infrared"),
        (PAIR.replace('"visible/{id}.png"', "7"), 4, "path pattern or a list"),
        (PAIR.replace('"visible/{id}.png"', "[]"), 4, "path pattern or a list"),
        (PAIR.replace('"visible/{id}.png"', '["a/{id}.png", 7]'), 4, "path pattern or a list"),
        (PAIR.replace("visible/{id}", "visible/a"), 4, r"has no \{id\}"),
        (PAIR.replace("visible/{id}.png", "visible/{id}"), 4, "must end in a file suffix"),
        (PAIR.replace("visible/{id}", "/visible/{id}"), 4, "relative to the root"),
        (PAIR.replace("visible/{id}", "C:/visible/{id}"), 4, "relative to the root"),
        (PAIR.replace("visible/{id}", r"visible\\{id}"), 4, "forward slashes"),
        (PAIR.replace("visible/{id}", "../visible/{id}"), 4, "'..' parts"),
        (PAIR.replace("visible/{id}", "visible/{id}/../x"), 4, "'..' parts"),
        (PAIR.replace("visible/{id}", "visible//{id}"), 4, "empty"),
        (PAIR.replace("visible/{id}", r"vis\u0000ible/{id}"), 4, "unprintable"),
        (PAIR.replace("visible/{id}", "visible/{scene}/{id}"), 4, "placeholder other than"),
        (PAIR.replace("visible/{id}", "{split}/{id}"), 3, "name its values"),
        (PAIR.replace("\n", '\nsplits = ["train"]\n', 1), 2, "no pattern uses"),
        (PAIR.replace("\n", '\nsplits = "train"\n', 1), 2, "list of different strings"),
        (PAIR.replace("\n", "\nsplits = []\n", 1), 2, "list of different strings"),
        (PAIR.replace("\n", '\nsplits = ["a", "a"]\n', 1), 2, "list of different strings"),
        (
            PAIR.replace("\n", '\nsplits = ["../a"]\n', 1).replace("visible/{id}", "{split}/{id}"),
            2,
            "'..' parts",
        ),
        (
            PAIR.replace("\n", '\nsplits = ["{id}"]\n', 1).replace("visible/{id}", "{split}/{id}"),
            2,
            "placeholder",
        ),
        (
            PAIR.replace('"visible/{id}.png"', '[\n "a/{id}.png",\n "b/x.png",\n]'),
            6,
            r"'b/x.png' has no \{id\}",
        ),
    ],
)
def test_a_broken_manifest_is_one_line_with_file_and_line(
    tmp_path: Path, text: str, line: int | None, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        write(tmp_path, text)
    words = str(error.value)
    assert "\n" not in words
    assert words.startswith(f"{tmp_path / 'mine.toml'}:{line}: " if line else f"{tmp_path / 'mine.toml'}: ")


def test_unreadable_manifests(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.toml: cannot be read \(No such file"):
        load_manifest(tmp_path / "absent.toml")
    with pytest.raises(InputError, match="cannot be read"):
        load_manifest(tmp_path)
    for content, message in (
        (b"name = '\xff'", "not UTF-8"),
        (b"a = " + b"[" * 100_000, "not valid TOML"),
        (b"#" * (1 << 21), "not a manifest"),
    ):
        (tmp_path / "odd.toml").write_bytes(content)
        with pytest.raises(InputError, match=message):
            load_manifest(tmp_path / "odd.toml")


def test_lines_are_found_in_other_layouts(tmp_path: Path) -> None:
    """Comments, quoted and dotted keys, inline tables: the line of the pattern, or of the table."""
    layouts = {
        '# visible = "x"\nname="m"\n[roles] # here\n"visible" = "a/x.png"\n': 4,
        'name="m"\nroles.visible = "a/x.png"\n': 2,
        'name="m"\nroles = {visible = "a/x.png"}\n': 2,
        "name='m'\n[ roles ]\nvisible = ['a/{id}.png',\n\n'a/x.png']\n": 5,
    }
    for text, line in layouts.items():
        with pytest.raises(InputError, match=rf"mine\.toml:{line}: "):
            write(tmp_path, text)


@given(text=st.text() | st.text(st.sampled_from('nameroles[]{}="id./\n ')).map(PAIR.__add__))
def test_any_text_is_a_manifest_or_an_input_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        assert load_manifest(path).roles
    except InputError as error:
        assert str(error).startswith(f"{path}:")


# --- listing -----------------------------------------------------------------------------------------


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
        "import sys; from pipeline.manifest import *; "
        "print(ascii([s.id for s in list_samples(load_manifest(sys.argv[1])).samples]))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program, manifest.path],
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "PYTHONUTF8": "1"},
            cwd=RECIPES.parent,
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
    from pipeline.manifest import _compile

    sample_id = "/".join(parts)
    match = _compile("a+(b)/{id}/[{id}].c$.png").fullmatch(f"a+(b)/{sample_id}/[{sample_id}].c$.PnG")
    assert match is not None and match["id"] == sample_id
    assert _compile("a.b/{id}.png").fullmatch(f"axb/{sample_id}.png") is None


@needs_links
def test_links_out_of_the_root_are_errors(tmp_path: Path) -> None:
    root = tmp_path / "root"
    manifest = write(root, PAIR)
    touch(root, "visible/1.png", "infrared/1.png")
    touch(tmp_path, "secret/1.png", "secret/2.png")
    (root / "unrelated").symlink_to(tmp_path / "secret")
    (root / "visible/notes.txt").symlink_to(tmp_path / "secret/1.png")
    assert ids(list_samples(manifest)) == ["1"]
    for name, target in (("visible/2.png", "secret/2.png"), ("visible/deep", "secret")):
        (root / name).symlink_to(tmp_path / target)
        with pytest.raises(InputError, match=r"mine\.toml:4: .*is a link to .*secret.*outside of the root"):
            list_samples(manifest)
        (root / name).unlink()
    (root / "infrared/1.png").unlink()
    (root / "infrared").rmdir()
    (root / "infrared").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=r"mine\.toml:5: .*is a link to .*secret"):
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
    for name in (b"a\nb.png", b"\xff.png"):
        odd = os.path.join(os.fsencode(tmp_path), b"visible", name)
        Path(os.fsdecode(odd)).write_bytes(b"")
        with pytest.raises(InputError, match=r"mine\.toml:4: .*unprintable") as error:
            list_samples(manifest)
        assert str(error.value).isprintable()
        os.unlink(odd)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_folder_that_cannot_be_listed(tmp_path: Path) -> None:
    manifest = write(tmp_path, PAIR)
    touch(tmp_path, "visible/1.png", "infrared/1.png")
    (tmp_path / "visible").chmod(0)
    try:
        with pytest.raises(InputError, match=r"mine\.toml:4: .*cannot be listed"):
            list_samples(manifest)
    finally:
        (tmp_path / "visible").chmod(0o755)


def test_every_folder_is_scanned_once_and_no_file_is_examined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alternatives = ", ".join(f'"visible/{{id}}.{suffix}"' for suffix in ("bmp", "jpg", "png", "tif"))
    manifest = write(tmp_path, PAIR.replace('"visible/{id}.png"', f"[{alternatives}]"))
    touch(tmp_path, *(f"{role}/{i}.png" for role in ("visible", "infrared") for i in range(300)))
    scanned: list[str] = []
    examined: list[str] = []
    scandir, stat = os.scandir, os.stat
    monkeypatch.setattr(os, "scandir", lambda path: (scanned.append(str(path)), scandir(path))[1])
    monkeypatch.setattr(os, "stat", lambda path, **kw: (examined.append(str(path)), stat(path, **kw))[1])
    assert len(list_samples(manifest).samples) == 300
    assert sorted(scanned) == [str(tmp_path / "infrared"), str(tmp_path / "visible")]
    assert not any(path.endswith(".png") for path in examined)


# --- what ships --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_say_what_they_are(path: Path) -> None:
    recipe = load_manifest(path)
    assert recipe.name == path.stem
    assert recipe.title and recipe.licence and recipe.citation
    assert recipe.homepage.startswith("https://")
    assert len(recipe.roles) >= 2
    assert all(pattern.line for patterns in recipe.roles.values() for pattern in patterns)
    assert recipe.root == RECIPES  # the data are the user's own: --root is for every recipe


def test_the_datasets_of_the_paper_are_all_there() -> None:
    names = {path.stem for path in RECIPES.glob("*.toml")}
    assert names >= {
        *("llvip", "mfi-whu", "roadscene", "msrs", "tno", "lytro", "mefb", "sice"),
        *("harvard-pet-mri", "harvard-spect-mri", "harvard-ct-mri", "rgb-nir-scene", "quickbird"),
    }


#: Paths as the authors' archives and repositories have them, and the id that they should give.
LAYOUTS = {
    "llvip": ("test", "visible/test/190001.jpg", "infrared/test/190001.jpg", "190001"),
    "msrs": ("train", "train/vi/00881N.png", "train/ir/00881N.png", "00881N"),
    "roadscene": (None, "crop_LR_visible/FLIR_05164.jpg", "cropinfrared/FLIR_05164.jpg", "FLIR_05164"),
    "tno": (
        None,
        "Triclobs_images/Marne_01/Marne_01_Vis.bmp",
        "Triclobs_images/Marne_01/Marne_01_IR.bmp",
        "Marne_01",
    ),
    "mfi-whu": (None, "source_1/7.jpg", "source_2/7.jpg", "7"),
    "lytro": (None, "lytro-01-A.jpg", "lytro-01-B.jpg", "01"),
    "mfifb": (None, "input/aymaz_01/aymaz_01_A.bmp", "input/aymaz_01/aymaz_01_B.bmp", "aymaz_01"),
    "mefb": (None, "over/Arno.png", "under/Arno.png", "Arno"),
    "sice": ("Dataset_Part2", "Dataset_Part2/over/10.PNG", "Dataset_Part2/under/10.JPG", "10"),
    "harvard-pet-mri": (None, "PET/25015.png", "MRI/25015.png", "25015"),
    "harvard-spect-mri": (None, "SPECT/10007.png", "MRI/10007.png", "10007"),
    "harvard-ct-mri": (None, "CT/16003.png", "MRI/16003.png", "16003"),
    "rgb-nir-scene": (None, "country/0000_rgb.tiff", "country/0000_nir.tiff", "country/0000"),
    "quickbird": (None, "MS_256/1.tif", "PAN_1024/1.tif", "1"),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_recipes_find_the_layout_of_their_dataset(tmp_path: Path, name: str) -> None:
    split, first, second, sample_id = LAYOUTS[name]
    recipe = load_manifest(RECIPES / f"{name}.toml")
    touch(tmp_path, first, second)
    touch(
        tmp_path,
        "Triple Series/lytro-01-A.jpg",
        "Dataset_Part2/Label/1.JPG",
        "crop_HR_visible/FLIR_05164.jpg",
    )
    listing = list_samples(recipe, root=tmp_path, split=split, roles=tuple(recipe.roles)[:2])
    assert [(sample.id, list(sample.paths.values())) for sample in listing.samples] == [
        (sample_id, [tmp_path / first, tmp_path / second])
    ]
    assert listing.unmatched == []


def test_tno_patterns_do_not_overlap(tmp_path: Path) -> None:
    """A tree with one file for every pattern gives one sample for each, none of them twice."""
    recipe = load_manifest(RECIPES / "tno.toml")
    for role, patterns in recipe.roles.items():
        for index, pattern in enumerate(patterns):
            touch(tmp_path, pattern.text.replace("{id}", f"{role}{index}"))
    for role, patterns in recipe.roles.items():
        listing = list_samples(recipe, root=tmp_path, roles=(role,))
        assert sorted(ids(listing)) == sorted(f"{role}{index}" for index in range(len(patterns)))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "folder", "split", "roles", "count"),
    [
        ("llvip", "llvip", "train", ("visible", "infrared"), 32),
        ("roadscene", "roadscene", None, ("visible", "infrared"), 171),
        ("mefb", "mefb", None, ("over", "under"), 45),
        ("mfifb", "mfif", None, ("near", "far"), 30),
        ("harvard-pet-mri", "harvard/pet-mri", None, ("pet", "mri"), 15),
        ("harvard-spect-mri", "harvard/spect-mri", None, ("spect", "mri"), 15),
        ("harvard-ct-mri", "harvard/ct-mri", None, ("ct", "mri"), 15),
    ],
)
def test_recipes_on_real_data(
    shared: Path, name: str, folder: str, split: str | None, roles: tuple[str, ...], count: int
) -> None:
    recipe = load_manifest(RECIPES / f"{name}.toml")
    listing = list_samples(recipe, root=shared / "data" / folder, split=split, roles=roles).require_complete()
    assert len(listing.samples) == count
    assert all(path.is_file() for sample in listing.samples for path in sample.paths.values())


def test_the_readme_lists_the_grammar() -> None:
    readme = (RECIPES / "README.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL))
    tables = {title: re.findall(r"^\| `(.+?)` \|", body, re.MULTILINE) for title, body in sections.items()}
    assert tables["Keys"] == list(KEYS)
    assert tables["Roles"] == list(ROLES)
    for role, meaning in ROLES.items():
        assert f"| `{role}` | {meaning} |" in sections["Roles"]
    keys = sections["Keys"].replace("`{split}`", "{split}")
    for key, meaning in KEYS.items():
        assert meaning in next(line for line in keys.splitlines() if line.startswith(f"| `{key}` |"))
    assert sorted(tables["Recipes"]) == sorted(path.name for path in RECIPES.glob("*.toml"))
    for name in tables["Recipes"]:
        row = next(line for line in sections["Recipes"].splitlines() if f"`{name}`" in line)
        assert row.split("|")[2].strip() == ", ".join(load_manifest(RECIPES / name).roles)


def test_the_readme_example_works(tmp_path: Path) -> None:
    readme = (RECIPES / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```toml\n(.*?)```", readme, re.DOTALL)
    assert example is not None
    manifest = write(tmp_path, example[1])
    assert len(example[1].strip().splitlines()) == 5
    touch(tmp_path, "visible/0001.png", "infrared/0001.png")
    assert ids(list_samples(manifest)) == ["0001"]
