"""Manifests in place of folders: the same pairs for fusing, evaluating and the page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_runs import run
from fusing import tiny_weights
from manifest_files import touch, write
from metric_pictures import picture

from model.inputs.manifest_pairs import SOURCE_ROLES, manifest_pairs
from pipeline.files import InputError
from pipeline.images import write_image
from pipeline.sources.manifest import load_manifest

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPES = sorted((Path(__file__).resolve().parents[1] / "manifests").glob("*.toml"))
#: Both files of a scene in one folder, as TNO, Lytro and MFIFB have them: no two folders to pair.
LYTRO = (
    'name = "mine"\n[roles]\n'
    'near = "lytro-{id}-A.png"\nfar = "lytro-{id}-B.png"\nground_truth = "truth/{id}.png"\n'
)


def write_set(root: Path, count: int = 3, size_hw: tuple[int, int] = (40, 45)) -> dict[str, np.ndarray]:
    """A manifest, its pairs, true images, and a method whose result is the far image."""
    write(root, LYTRO)
    far = {f"{index:02}": picture(10 + index, size_hw) for index in range(count)}
    for index, (name, image) in enumerate(far.items()):
        write_image(root / f"lytro-{name}-A.png", picture(index, size_hw))
        for path in (f"lytro-{name}-B.png", f"truth/{name}.png", f"copy/{name}.png"):
            write_image(root / path, image)
    return far


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_has_a_pair(path: Path) -> None:
    roles = set(load_manifest(path).roles)
    assert any(set(pair) <= roles for pair in SOURCE_ROLES)


def test_the_readme_of_manifests_names_the_pairs() -> None:
    text = " ".join((RECIPES[0].parent / "README.md").read_text(encoding="utf-8").split())
    assert ", ".join(f"{a} and {b}" for a, b in SOURCE_ROLES) in text


def test_a_is_what_fuse_expects_first(tmp_path: Path) -> None:
    patterns = "\n".join(f'{role} = "{role}/{{id}}.png"' for role in ("visible", "nir", "infrared"))
    write(tmp_path, f'name = "mine"\n[roles]\n{patterns}\n')
    touch(tmp_path, "visible/1.png", "infrared/1.png", "nir/1.png", "infrared/2.png")
    pairs = manifest_pairs(tmp_path / "mine.toml")
    assert (pairs.a.name, pairs.b.name, pairs.ground_truth) == ("infrared", "visible", None)
    assert pairs.a.files == {"1": tmp_path / "infrared/1.png"}
    assert len(pairs.unmatched) == 1 and "no visible" in pairs.unmatched[0]
    write(tmp_path, 'name = "mine"\n[roles]\nvisible = "visible/{id}.png"\nfar = "f/{id}.png"\n')
    with pytest.raises(InputError, match="no pair to fuse"):
        manifest_pairs(tmp_path / "mine.toml")


def test_evaluate_takes_a_manifest_and_report_finds_its_images(tmp_path: Path) -> None:
    root, out = tmp_path / "set", tmp_path / "out" / "r.json"
    write_set(root)
    write_image(root / "lytro-03-A.png", picture(3))  # without its partner
    sources = ("--manifest", root / "mine.toml", "--metric", "EN", "--jobs", 1)
    result = run("evaluate", *sources, "-f", f"copy={root / 'copy'}", "-o", out)
    assert result.exit_code == 0, result.output
    assert "unmatched: '03' has near, but no far" in result.stderr
    summary = json.loads(out.read_text())
    assert summary["images"] == ["00", "01", "02"] and summary["unmatched"] == ["03"]
    assert "for want of a file: 1 of the recipe's samples (03)" in result.stdout
    assert summary["means"]["copy"]["PSNR-GT"] == 150.0
    moved = (tmp_path / "elsewhere").resolve()
    moved.mkdir()
    for name in ("set", "out"):
        (tmp_path / name).rename(moved / name)
    result = run("report", moved / "out" / "r.json", "-o", moved / "r.html")
    assert result.exit_code == 0, result.output
    assert "a (near)" in (moved / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("missing", ["truth/01.png", "lytro-01-A.png"])
def test_results_of_pairs_that_cannot_be_scored_are_no_error(tmp_path: Path, missing: str) -> None:
    root, out = tmp_path / "set", tmp_path / "r.json"
    write_set(root)
    (root / missing).unlink()  # there is a result for it, as when the file went or was never there
    arguments = ("--manifest", root / "mine.toml", "-f", f"copy={root / 'copy'}", "--metric", "EN")
    result = run("evaluate", *arguments, "--jobs", 1, "-o", out)
    assert result.exit_code == 0, result.output
    assert "unmatched: '01'" in result.stderr
    assert json.loads(out.read_text())["images"] == ["00", "02"]
    assert run("report", out, "-o", tmp_path / "r.html").exit_code == 0


def test_pan_sharpening_is_fused_but_not_scored(tmp_path: Path) -> None:
    write(tmp_path, 'name = "mine"\n[roles]\nmultispectral = "ms/{id}.tif"\npan = "pan/{id}.tif"\n')
    method = ("-f", f"m={tmp_path}", "-o", tmp_path / "r.json")
    result = run("evaluate", "--manifest", tmp_path / "mine.toml", "--root", tmp_path / "absent", *method)
    assert result.exit_code == 2 and "mine.toml: pan-sharpening is not scored" in result.stderr
    touch(tmp_path, "ms/1.tif", "pan/1.tif")
    assert manifest_pairs(tmp_path / "mine.toml").a.name == "multispectral"


def test_a_method_must_have_exactly_the_pairs_of_the_manifest(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_set(root)
    (root / "copy" / "01.png").unlink()
    sources = ("--manifest", root / "mine.toml")
    result = run("evaluate", *sources, "-f", f"copy={root / 'copy'}", "-o", tmp_path / "r.json")
    assert result.exit_code == 2 and "method copy lacks 01" in result.stderr


def test_fuse_takes_a_manifest(tmp_path: Path) -> None:
    root = tmp_path / "set"
    write_set(root, count=2, size_hw=(20, 24))
    weights = tiny_weights(tmp_path)
    manifest = ("--manifest", root / "mine.toml", "--weights", weights, "--device", "cpu")
    result = run("fuse", *manifest, "-o", tmp_path / "fused")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "fused").glob("*.png")) == ["00.png", "01.png"]
    pair = ("-a", root / "lytro-01-A.png", "-b", root / "lytro-01-B.png", "--weights", weights)
    assert run("fuse", *pair, "-o", tmp_path / "one.png", "--device", "cpu").exit_code == 0
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "fused" / "01.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fuse", "--manifest", "M", "-a", "X"], "leave out -a and -b"),
        (["fuse", "-a", "X", "--root", "X"], "belong to --manifest"),
        (["fuse"], "no input"),
        (["fuse", "-a", "X", "-c", "X"], "-c is a further input beside -a and -b; give -b"),
        (["evaluate", "-a", "X", "-f", "m=X"], "give -a and -b, or --manifest"),
        (["evaluate", "--manifest", "M", "--split", "test", "-f", "m=X"], "there is no split 'test'"),
        (["evaluate", "--manifest", "absent.toml", "-f", "m=X"], "absent.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, arguments: list[str], words: str) -> None:
    write_set(tmp_path, count=1)
    filled = [
        {"M": str(tmp_path / "mine.toml"), "X": str(tmp_path)}.get(argument, argument)
        for argument in arguments
    ]
    result = run(*filled, "-o", tmp_path / "out.json")
    assert result.exit_code == 2 and words in result.stderr, result.output


def test_results_do_not_go_among_the_files_of_a_manifest(tmp_path: Path) -> None:
    write(
        tmp_path,
        'name = "mine"\nsplits = ["test"]\n[roles]\n'
        'infrared = "{split}/ir/{id}.png"\nvisible = "{id}-vi.png"\n',
    )
    touch(tmp_path, "test/ir/day/1.png", "day/1-vi.png")
    pairs = manifest_pairs(tmp_path / "mine.toml")
    assert pairs.a.folders == {tmp_path / "test/ir"} and pairs.b.folders == {tmp_path / "day"}
    for out in ("test/ir", "test/ir/fused", "day/fused"):
        for command in (("fuse",), ("evaluate", "-f", f"m={tmp_path}")):
            place = tmp_path / out / "r.json"
            result = run(*command, "--manifest", tmp_path / "mine.toml", "-o", place)
            assert result.exit_code == 2 and "would be among the inputs" in result.stderr


def test_results_do_not_go_where_a_pattern_would_find_them(tmp_path: Path) -> None:
    write(tmp_path, 'name = "mine"\n[roles]\ninfrared = "{id}_ir.png"\nvisible = "{id}.png"\n')
    touch(tmp_path, "day/1_ir.png", "day/1.png")
    result = run("fuse", "--manifest", tmp_path / "mine.toml", "-o", tmp_path / "fused")
    assert result.exit_code == 2 and "would be among the inputs" in result.stderr


def test_pairs_without_true_images_are_scored_without(tmp_path: Path) -> None:
    write_set(tmp_path)
    assert manifest_pairs(tmp_path / "mine.toml", with_ground_truth=True).ground_truth is not None
    shutil.rmtree(tmp_path / "truth")
    pairs = manifest_pairs(tmp_path / "mine.toml", with_ground_truth=True)
    assert pairs.ground_truth is None and len(pairs.a.files) == 3 and not pairs.unmatched
