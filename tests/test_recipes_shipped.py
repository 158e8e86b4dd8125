"""The recipes that ship: each finds the layout of its dataset, and its scenes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from manifest_files import ids, touch

from pipeline.files import InputError
from pipeline.manifest import list_samples, scene_of
from pipeline.recipe import RECIPES, load_manifest


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


@pytest.mark.parametrize("name", ["harvard-ct-mri", "harvard-pet-mri", "harvard-spect-mri"])
def test_slices_of_one_case_of_the_brain_atlas_are_one_scene(name: str) -> None:
    """Names are the number of the case, of one digit or more, and three digits of the slice."""
    scene = re.compile(load_manifest(name).scene)
    slices = {"2": ("2006", "2010"), "20": ("20005", "20100"), "25": ("25110",)}
    for case, names in slices.items():
        assert {scene_of(one, scene) for one in names} == {case}
