"""Training of the probe: it learns a known exposure change, is repeatable, and names unusable data."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exposure_manifest import exposure_manifest
from safetensors import safe_open

from pipeline.exposure import training
from pipeline.exposure.photographs import (
    ExposureScene,
    best_gamma,
    probe_figures,
    psnr,
    read_scenes,
    split_scenes,
)
from pipeline.exposure.probe import ExposureProbe, load_probe, probe_luminance
from pipeline.exposure.training import fit_probe, train_probe
from pipeline.exposure.training_config import ProbeTrainingConfig
from pipeline.files import InputError
from pipeline.images import write_image

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = ProbeTrainingConfig(
    steps=3, scenes_per_step=2, patches_per_scene=2, patch_px=16, held_out_every=2, device="cpu"
)


def _curve_scenes(count: int) -> list[ExposureScene]:
    """Scenes whose exposures are known functions of the input, which no gamma describes."""
    rng = np.random.default_rng(1)
    scenes = []
    for number in range(count):
        fused = rng.integers(0, 256, (12, 12)).astype(np.uint8).repeat(4, 0).repeat(4, 1)
        level = fused / 255
        over, under = np.minimum(1.8 * level + 0.1, 1), 0.5 * level
        planes = [np.rint(plane * 255).astype(np.uint8) for plane in (over, under)]
        scenes.append(ExposureScene(str(number), str(number), fused, planes[0], planes[1]))
    return scenes


def test_it_learns_a_known_exposure_change() -> None:
    scenes = _curve_scenes(6)
    config = ProbeTrainingConfig(
        steps=80, scenes_per_step=3, patches_per_scene=4, patch_px=16, learning_rate=8e-3, average_decay=0.9
    )
    probe = fit_probe(config, scenes[:5], torch.device("cpu"))
    figures = probe_figures(probe, scenes[:5], scenes[5:])
    for role in ("over", "under"):
        assert figures[f"{role}_psnr"] > figures[f"{role}_gamma_psnr"] + 3
        assert figures[f"{role}_mean"] == pytest.approx(figures[f"{role}_true_mean"], abs=0.05)


def test_the_command_in_short_is_repeatable_and_describes_itself(tmp_path: Path) -> None:
    manifest = exposure_manifest(tmp_path)
    first = train_probe(SHORT, manifest, None, tmp_path / "first.safetensors")
    second = train_probe(SHORT, manifest, tmp_path, tmp_path / "second.safetensors")
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < 200_000
    with safe_open(first, framework="np") as file:
        header = file.metadata()
    assert json.loads(header["held_out"]) == ["1", "3"]
    assert json.loads(header["training"])["steps"] == 3
    scenes = split_scenes(read_scenes(manifest), SHORT.held_out_every)
    assert json.loads(header["figures"]) == pytest.approx(probe_figures(load_probe(first), *scenes), rel=1e-3)
    assert load_probe(first).digest == load_probe(second).digest


def test_what_is_given_is_the_average_of_the_weights() -> None:
    scenes = _curve_scenes(2)
    last, average = (
        fit_probe(replace(SHORT, average_decay=decay), scenes, torch.device("cpu")) for decay in (0, 0.9)
    )
    assert last.digest != average.digest


def test_each_step_has_patches_of_its_own_of_which_the_inside_is_learnt() -> None:
    """The mirrored border of a patch is not what the picture has there."""
    first, second = (training._patches(SHORT, _curve_scenes(2), step) for step in (0, 1))
    assert not torch.equal(first, second)
    probe, changed = ExposureProbe(), first.clone()
    changed[:, 1:, : probe.reach_px], changed[:, 1:, :, -probe.reach_px :] = 0, 1
    losses = [training._objective(probe, patches, SHORT.scenes_per_step) for patches in (first, changed)]
    assert losses[0] == losses[1] != training._objective(probe, second, SHORT.scenes_per_step)


def test_every_scene_counts_alike_and_patches_are_turned_and_mirrored() -> None:
    patches = training._patches(replace(SHORT, scenes_per_step=2), _curve_scenes(2), 0)
    patches[len(patches) // 2 :, 1:] = 1  # the second scene's error is the larger one by far
    probe = ExposureProbe()
    halves = [training._objective(probe, half, 1).item() for half in patches.chunk(2)]
    assert training._objective(probe, patches, 2).item() == pytest.approx(sum(halves) / 2, rel=1e-5)

    size = SHORT.patch_px  # a picture that is one patch
    level = np.arange(size * size).reshape(size, size).astype(np.uint8)
    level[0, 0], level[0, -1] = 255, 254
    config = replace(SHORT, scenes_per_step=1, patches_per_scene=100)
    seen = training._patches(config, [ExposureScene("a", "a", level, level, level)], 0)
    whole = torch.from_numpy(level).float() / 255
    turned = [torch.rot90(side, turns) for side in (whole, whole.flip(1)) for turns in range(4)]
    found = [[torch.equal(patch, one) for one in turned].index(True) for patch in seen[:, 0]]
    assert set(found) == set(range(8)) and torch.equal(seen[:, 0], seen[:, 1])


def test_scenes_hold_the_fusion_of_the_pair(tmp_path: Path) -> None:
    for scene in read_scenes(exposure_manifest(tmp_path)):
        assert scene.under.mean() < scene.fused.mean() < scene.over.mean()


def test_best_gamma_finds_the_exponent_that_made_the_data() -> None:
    level = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    over, under = (np.rint((level / 255) ** gamma * 255).astype(np.uint8) for gamma in (0.5, 2.5))
    scenes = [ExposureScene("a", "a", level, over, under)]
    assert best_gamma(scenes, "over") == pytest.approx(0.5, rel=0.02)
    assert best_gamma(scenes, "under") == pytest.approx(2.5, rel=0.02)


@pytest.mark.filterwarnings("error")
def test_an_exact_prediction_has_100_db() -> None:
    level = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    exact = [ExposureScene("a", "a", level, level, level)]
    assert psnr(level / 255, level / 255) == pytest.approx(100)
    assert best_gamma(exact, "over") == pytest.approx(1)
    figures = probe_figures(ExposureProbe(), exact, exact)
    assert figures["over_gamma_psnr"] == pytest.approx(100)
    json.dumps(figures, allow_nan=False)


def test_psnr() -> None:
    """An error of one tenth everywhere is 20 dB."""
    assert psnr(np.full((4, 4), 0.4), np.full((4, 4), 0.5)) == pytest.approx(20)


def test_held_out_scenes_are_every_nth() -> None:
    scenes = _curve_scenes(7)
    learnt, held_out = split_scenes(scenes, 3)
    assert [scene.id for scene in held_out] == ["2", "5"]
    assert [scene.id for scene in learnt] == ["0", "1", "3", "4", "6"]
    with pytest.raises(InputError, match="too few"):
        split_scenes(scenes, 8)


def test_pictures_of_one_scene_are_held_out_together() -> None:
    names = [replace(picture, scene="xyz"[number // 3]) for number, picture in enumerate(_curve_scenes(9))]
    learnt, held_out = split_scenes(names, 2)
    assert {picture.scene for picture in held_out} == {"y"} and len(held_out) == 3 and len(learnt) == 6


def test_weights_do_not_go_among_the_pictures(tmp_path: Path) -> None:
    manifest = exposure_manifest(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    pictures = read_scenes(manifest)
    place = next(path for path in before if path.suffix != ".toml")
    with pytest.raises(InputError, match=r"would be among the inputs in .*; choose another output"):
        train_probe(SHORT, manifest, None, place)
    assert pictures and {path: path.read_bytes() for path in before} == before


def test_unusable_data_is_named(tmp_path: Path) -> None:
    manifest = exposure_manifest(tmp_path, size=(10, 12))
    says = r"over/0\.png: 12x10 is smaller than the patches of 16 pixels .*; remove the pair$"
    with pytest.raises(InputError, match=says):
        train_probe(SHORT, manifest, None, tmp_path / "out.safetensors")
    write_image(tmp_path / "over" / "2.png", np.zeros((10, 13, 3), np.uint8))
    with pytest.raises(InputError, match=r"2\.png: pair of two sizes, 13x10 and 12x10"):
        read_scenes(manifest)
    write_image(tmp_path / "over" / "2.png", np.zeros((10, 12, 3), np.uint8))
    with pytest.raises(InputError, match="swap"):
        read_scenes(manifest)
    assert not (tmp_path / "out.safetensors").exists()


def test_one_split_of_a_manifest_is_read(tmp_path: Path) -> None:
    manifest = exposure_manifest(tmp_path / "part1")
    exposure_manifest(tmp_path / "part2", scenes=3)
    text = manifest.read_text().replace('"over/', '"{split}/over/').replace('"under/', '"{split}/under/')
    manifest = tmp_path / "pairs.toml"
    manifest.write_text(text.replace("[roles]", 'splits = ["part1", "part2"]\n[roles]'))
    out = train_probe(SHORT, manifest, None, tmp_path / "probe.safetensors", split="part2")
    with safe_open(out, framework="np") as file:
        assert json.loads(file.metadata()["held_out"]) == ["1"]
    with pytest.raises(InputError, match="choose a split: part1, part2"):
        train_probe(SHORT, manifest, None, out)


def test_an_output_that_cannot_be_made_is_told_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = exposure_manifest(tmp_path)
    monkeypatch.setattr(
        "pipeline.exposure.training.read_scenes", lambda *_, **__: pytest.fail("data were read")
    )
    for out in (tmp_path, manifest / "probe.safetensors"):
        with pytest.raises(InputError, match="folder"):
            train_probe(SHORT, manifest, None, out)


@pytest.mark.parametrize(
    "bad",
    [{"steps": 0}, {"patch_px": 9}, {"learning_rate": 0.0}, {"average_decay": 1.0}, {"held_out_every": 1}],
)
def test_config_refuses_what_cannot_work(bad: dict) -> None:
    with pytest.raises(InputError, match=next(iter(bad))):
        ProbeTrainingConfig(**bad)


def test_shipped_weights_beat_a_global_gamma(shared: Path, tmp_path: Path) -> None:
    """On the photographs that they were not trained on."""
    repository = Path(__file__).resolve().parents[1]
    with safe_open(repository / "model/weights/probe.safetensors", "np") as file:
        header = file.metadata()
    for role in ("over", "under"):
        (tmp_path / role).mkdir()
        for name in json.loads(header["held_out"]):
            (source,) = (shared / "data/mefb" / role).glob(f"{name}.*")
            shutil.copy(source, tmp_path / role)
    scenes, stated = read_scenes(repository / "manifests/mefb.toml", tmp_path), json.loads(header["figures"])
    probe, gain = load_probe(None), {}
    for number, role in enumerate(("over", "under")):
        scores = []
        for scene in scenes:
            truth = getattr(scene, role) / np.float32(255)
            baseline = (scene.fused / np.float32(255)) ** stated[f"{role}_gamma"]
            scores.append((psnr(probe_luminance(scene.fused, probe)[number], truth), psnr(baseline, truth)))
        mean, baseline_mean = np.mean(scores, axis=0)
        assert mean == pytest.approx(stated[f"{role}_psnr"], abs=0.01)
        gain[role] = mean - baseline_mean
    assert gain["over"] > 3 and gain["under"] > 1.5
