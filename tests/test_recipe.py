"""The grammar of manifests, and the recipes that ship."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifest_files import PAIR, ids, touch, write

from pipeline.files import InputError
from pipeline.manifest import list_samples
from pipeline.recipe import KEYS, ROLES, load_manifest

RECIPES = Path(__file__).resolve().parents[1] / "manifests"


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


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "bom.toml"
    path.write_text('name = "bom"\n[roles]\nvisible = "{id}.png"\n', encoding="utf-8-sig")
    assert load_manifest(path).name == "bom"


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


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_say_what_they_are(path: Path) -> None:
    recipe = load_manifest(path)
    assert recipe.name == path.stem
    assert recipe.title and recipe.licence and recipe.citation
    assert recipe.homepage.startswith("https://")
    assert len(recipe.roles) >= 2
    assert all(pattern.line for patterns in recipe.roles.values() for pattern in patterns)
    assert recipe.root == RECIPES  # the data are the user's own: --root is for every recipe


def test_shipped_recipes_are_found_by_name_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("llvip", "llvip.toml", "manifests/llvip.toml"):
        assert load_manifest(name).name == "llvip"
    for name in ("absent", "data/llvip.toml", "../llvip.toml", str(tmp_path / "llvip.toml")):
        with pytest.raises(InputError, match="cannot be read"):
            load_manifest(name)
    (tmp_path / "llvip.toml").write_text('name = "mine"\n[roles]\nvisible = "{id}.png"\n')
    assert load_manifest("llvip.toml").name == "mine"


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
