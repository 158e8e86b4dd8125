"""The grammar of manifests."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifest_files import PAIR, ids, touch, write

from pipeline.files import InputError
from pipeline.sources.listing import list_samples, scene_of
from pipeline.sources.manifest import KEYS, ROLES, load_manifest, scene_expression

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
        (f'name = "x"\ntitle = {"9" * 5000}\n', None, "not valid TOML: .*5000 digits"),
        (PAIR.replace("\n", '\nscene = "("\n', 1), 2, "scene is no regular expression"),
        (PAIR.replace("\n", '\nscene = "(a+)+$"\n', 1), 2, "scene repeats a group"),
        (PAIR.replace("\n", '\nscene = "(?ix)(a+) +$"\n', 1), 2, "scene repeats a group"),
        (PAIR.replace("\n", '\nscene = "a*a*a*a*a*$"\n', 1), 2, "scene has too many of"),
        (PAIR.replace("\n", f'\nscene = "{"a?" * 26}{"a" * 26}"\n', 1), 2, "scene has too many of"),
        (PAIR.replace("\n", "\nscene = '" + r"\(?" * 26 + "'\n", 1), 2, "scene has too many of"),
        (PAIR.replace("\n", f'\nscene = "{"(a|aa)" * 30}"\n', 1), 2, "scene has too many of"),
        (PAIR.replace("\n", '\nscene = "a{99999999999}"\n', 1), 2, "scene is no regular expression"),
        (
            PAIR.replace("\n", f'\nscene = "{"(" * 5000}{")" * 5000}"\n', 1),
            2,
            "scene has over 500 characters",
        ),
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
        (b"a = " + b"[" * 30_000, "not valid TOML"),
        (b"#" * (1 << 16), "not a manifest"),
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


@pytest.mark.parametrize("scene", [".*.*.*x", "a?" * 22 + "a" * 22, "(?i)(?=.*(?=.*(?=.*x)))"])
def test_no_expression_takes_long_of_one_id(scene: str) -> None:
    expression, begun = scene_expression(scene), time.process_time()
    for id_ in ("a" * 22, "a" * 5000):
        assert scene_of(id_, expression)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("scene", "id_", "found"),
    [
        ("|".join(f"place{number}(?=_)" for number in range(15)), "place4_0001", "place4"),
        ("(day|night)/[a-z]+[0-9]+_[0-9]+", "night/street12_3-0001", "night/street12_3"),
        ("set[0-9]{2}/V[0-9]{3}", "set00/V001/I00001", "set00/V001"),
    ],
)
def test_sensible_expressions_are_accepted(scene: str, id_: str, found: str) -> None:
    assert scene_of(id_, scene_expression(scene)) == found


def test_a_header_of_blanks_in_a_text_takes_no_time(tmp_path: Path) -> None:
    text = PAIR.replace("\n", f'\ntitle = """\n[{" " * 9000}"""\n', 1)
    begun = time.process_time()
    assert write(tmp_path, text).name == "mine"
    assert time.process_time() - begun < 5


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
