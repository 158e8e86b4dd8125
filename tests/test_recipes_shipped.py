"""The recipes that ship: each finds the layout of its dataset, and its scenes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from manifest_files import ids, touch
from PIL import Image, ImageStat
from scipy.io import savemat
from tifffile import imread

from pipeline.files import InputError
from pipeline.sources.listing import list_samples, scene_of
from pipeline.sources.manifest import RECIPES, load_manifest


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
    "m3fd": (None, "Vis/00003.png", "Ir/00003.png", "00003"),
    "mfi-whu": (None, "source_1/7.jpg", "source_2/7.jpg", "7"),
    "real-mff": (None, "imageA/001_A.png", "imageB/001_B.png", "001"),
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


def run_the_script(name: str, folder: Path) -> str:
    """Run what the comment of a recipe says to run once, in the folder of the data; what it prints."""
    comment = [
        line[4:] for line in (RECIPES / f"{name}.toml").read_text().splitlines() if line.startswith("#")
    ]
    begin = next(number for number, line in enumerate(comment) if line.startswith("python - <<"))
    end = comment.index(comment[begin].split("'")[1])
    script = "\n".join(comment[begin + 1 : end])
    return subprocess.run(
        [sys.executable, "-c", script], cwd=folder, check=True, capture_output=True, text=True
    ).stdout


def save(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (level, level, level)).save(path)


def test_mefb_is_sorted_by_brightness_whatever_lies_beside_the_pair(tmp_path: Path) -> None:
    scenes = tmp_path / "input"
    for path, level in {
        "Sky/sKY_a.png": 200,
        "Sky/sKY_B.png": 30,
        "Room/Room_A.jpg": 40,
        "Room/Room_B.jpg": 220,
        "Room/room_bright.jpg": 220,
        "Room/room_dark.jpg": 40,
        "Lamp/under.bmp": 10,
        "Lamp/over.bmp": 90,
        "Three/1.png": 10,
        "Three/2.png": 20,
        "Three/3.png": 30,
    }.items():
        save(scenes / path, level)
    (scenes / "Room" / "ev.txt").write_text("-2 2")
    (scenes / "README.txt").write_text("of the authors")
    assert run_the_script("mefb", tmp_path) == f"left out: {Path('input', 'Three')} has 3 photographs\n"
    listing = list_samples(load_manifest("mefb"), root=tmp_path, roles=("over", "under"))
    assert ids(listing) == ["Lamp", "Room", "Sky"]
    for sample in listing.samples:
        over, under = (ImageStat.Stat(Image.open(sample.paths[role])).mean[0] for role in ("over", "under"))
        assert over > under + 50


def test_sice_gives_the_ends_of_every_sequence(tmp_path: Path) -> None:
    part = tmp_path / "Dataset_Part2"
    for number in range(1, 13):  # the tenth comes before the second, character by character
        save(part / "7" / f"{number}.JPG", 20 * number)
    save(part / "8" / "1.JPG", 20)
    (part / "7" / "Thumbs.db").write_bytes(b"none")
    save(part / "Label" / "7.PNG", 100)
    assert run_the_script("sice", tmp_path) == f"left out: {part.name}/8 has 1 numbered photographs\n"
    recipe = load_manifest("sice")
    listing = list_samples(recipe, root=tmp_path, split=part.name, roles=tuple(recipe.roles))
    (sample,) = listing.samples
    for role, level in (("over", 240), ("under", 20), ("ground_truth", 100)):
        assert abs(ImageStat.Stat(Image.open(sample.paths[role])).mean[0] - level) < 3


def test_quickbird_is_exported_with_all_its_bits(tmp_path: Path) -> None:
    bands = np.arange(8 * 8 * 4, dtype=np.uint16).reshape(8, 8, 4) * 7
    pan = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 2
    for folder, key, values in (("MS_256", "imgMS", bands), ("PAN_1024", "imgPAN", pan)):
        (tmp_path / folder).mkdir()
        savemat(tmp_path / folder / "1.mat", {key: values})
    run_the_script("quickbird", tmp_path)
    (sample,) = list_samples(
        load_manifest("quickbird"), root=tmp_path, roles=("multispectral", "pan")
    ).samples
    assert np.array_equal(imread(sample.paths["multispectral"]), bands)
    assert np.array_equal(imread(sample.paths["pan"]), pan)


def test_tno_patterns_do_not_overlap(tmp_path: Path) -> None:
    """A tree with one file for every pattern gives one sample for each, none of them twice."""
    recipe = load_manifest(RECIPES / "tno.toml")
    for role, patterns in recipe.roles.items():
        for index, pattern in enumerate(patterns):
            touch(tmp_path, pattern.text.replace("{id}", f"{role}{index}"))
    for role, patterns in recipe.roles.items():
        listing = list_samples(recipe, root=tmp_path, roles=(role,))
        assert sorted(ids(listing)) == sorted(f"{role}{index}" for index in range(len(patterns)))


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


def test_frames_of_one_sequence_of_tno_are_one_scene() -> None:
    scene = re.compile(load_manifest("tno").scene)
    assert {scene_of(one, scene) for one in ("7400", "7423")} == {"74"}
    assert {scene_of(one, scene) for one in ("heli0", "heli16")} == {"heli"}
    assert {scene_of(one, scene) for one in ("helicopter", "heather")} == {"helicopter", "heather"}


@pytest.mark.parametrize("name", ["harvard-ct-mri", "harvard-pet-mri", "harvard-spect-mri"])
def test_slices_of_one_case_of_the_brain_atlas_are_one_scene(name: str) -> None:
    """Names are the number of the case, of one digit or more, and three digits of the slice."""
    scene = re.compile(load_manifest(name).scene)
    slices = {"2": ("2006", "2010"), "20": ("20005", "20100"), "25": ("25110",)}
    for case, names in slices.items():
        assert {scene_of(one, scene) for one in names} == {case}
