"""Commands at work: short runs of each, from the command line to the files it leaves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from command_runs import REPOSITORY, run
from fusing import tiny_network, tiny_weights
from metric_pictures import picture
from network_samples import published_state, random_network
from PIL import Image
from report_pages import content_of, decoded

from model.calibration.calibrate import MOVES
from model.calibration.recipe import FUSION_TRAINING
from model.checkpoint import load_network, read_metadata
from pipeline.files import WEIGHTS_DIR, sha256_file
from pipeline.images import read_rgb, write_image
from pipeline.scenes import render_scene
from pipeline.shards.dataset import load_arrays, read_index
from pipeline.shards.inspection import iterate_samples

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_zero_byte_shard_is_named(tmp_path: Path) -> None:
    scenes, dataset = tmp_path / "scenes", tmp_path / "dataset"
    assert run("sample", scenes, "--pairs", 2, "--size", "64x96").exit_code == 0
    depth = f"files:{scenes / 'inverse_depth'}"
    made = run("synth", scenes / "manifest.toml", "-o", dataset, "--depth", depth, "--tile", 32, "--jobs", 1)
    assert made.exit_code in (0, 1), made.output
    shard = next(dataset.glob("*.h5"))
    shard.write_bytes(b"")
    result = run("inspect", dataset, "--verify")
    assert result.exit_code == 1
    assert str(shard) in result.stderr
    training = run("train", dataset, "-o", tmp_path / "run", "--steps", 1, "--crop", 32, "--device", "cpu")
    assert training.exit_code == 2
    assert str(shard) in training.stderr


def test_lens_and_camera_are_set_by_options(tmp_path: Path) -> None:
    scenes, dataset = tmp_path / "scenes", tmp_path / "dataset"
    assert run("sample", scenes, "--pairs", 1, "--size", "64x96").exit_code == 0
    arguments = ["synth", scenes / "manifest.toml", "-o", dataset, "--tile", 32, "--jobs", 1]
    arguments += ["--depth", f"files:{scenes / 'inverse_depth'}"]
    lens = {"focal_length_mm": 50.0, "f_number_min": 0.05, "f_number_max": 8.0}
    lens |= {"nearest_m": 1.0, "farthest_m": 90.0}
    camera = {"over_ev": [0.5, 1.0], "under_ev": [-2.0, -1.0], "full_well_e": 5000.0, "read_noise_e": 3.0}
    for name, value in {**lens, **camera}.items():
        values = value if isinstance(value, list) else [value]
        arguments += [f"--{name.replace('_', '-')}", *values]
    made = run(*arguments, "--focus", "thin-lens", "--exposure", "camera-response")
    assert made.exit_code in (0, 1), made.output
    config = read_index(dataset)["config"]
    assert lens.items() <= config["focus"]["lens"].items()
    assert camera.items() <= config["exposure"]["camera"].items()


def test_the_blur_of_either_focus_is_set_by_options(tmp_path: Path) -> None:
    scenes, dataset = tmp_path / "scenes", tmp_path / "dataset"
    assert run("sample", scenes, "--pairs", 1, "--size", "64x96").exit_code == 0
    arguments = ["synth", scenes / "manifest.toml", "--tile", 32, "--tiles-per-frame", 3, "--jobs", 1]
    arguments += ["--depth", f"files:{scenes / 'inverse_depth'}"]
    blur = ["--blur-sigma-min-px", 2.5, "--blur-sigma-max-px", 2.75]
    assert run(*arguments, "-o", dataset, *blur).exit_code in (0, 1)
    sigma = load_arrays(dataset, ["blur_sigma_px"])["blur_sigma_px"]
    assert len(sigma) and 2.5 <= sigma.min() <= sigma.max() <= 2.75
    lens = ["--focus", "thin-lens", "--f-number-min", 0.01]
    assert run(*arguments, "-o", tmp_path / "lens", *lens, *blur).exit_code in (0, 1)
    sigma = load_arrays(tmp_path / "lens", ["blur_sigma_px"])["blur_sigma_px"]
    assert len(sigma) and 2.5 <= sigma.min() <= sigma.max() <= 2.75


def test_weights_of_each_kind_are_made_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short versions of the commands that made the shipped weights."""
    monkeypatch.setattr("model.calibration.calibrate.ROUNDS", 1)
    monkeypatch.setattr("model.calibration.calibrate.MOVES", MOVES[-4:])
    monkeypatch.setattr("model.commands.weights.FUSION_TRAINING", (*FUSION_TRAINING, "--crop", 48))
    data = tmp_path / "data"
    for index in range(3):
        scene = render_scene(seed=5, index=index, size_hw=(176, 208))
        for folder, image in (
            ("roadscene/visible", scene.visible),
            ("roadscene/infrared", scene.infrared),
            ("mefb/over", np.minimum(scene.visible.astype(int) * 2, 255).astype(np.uint8)),
            ("mefb/under", scene.visible // 3),
        ):
            (data / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(data / folder / f"scene{index}.jpg", quality=95)
    options = ["--steps", 1, "--batch-size", 2, "--device", "cpu"]
    result = run("weights", "train-fusion", data, "-o", tmp_path / "fusion", *options)
    assert result.exit_code == 0, result.output
    assert "harvard/ct-mri" in result.stderr
    made = [line for line in result.stdout.splitlines() if line.startswith("$ gifnet synth")]
    assert len(made) == 3 and all(line.endswith("--device cpu") for line in made)
    whole, half = tmp_path / "fusion/run/weights.safetensors", tmp_path / "fusion/gifnet.safetensors"
    network = load_network(half)
    assert network.config.head == "pyramid" and network.config.feature_growth == 14
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    assert {**read_metadata(whole), **read_metadata(half)} == read_metadata(half)

    manifest = REPOSITORY / "manifests/mefb.toml"
    out = tmp_path / "probe.safetensors"
    options = ["--steps", 1, "--held-out-every", 2, "--device", "cpu"]
    result = run("weights", "train-probe", manifest, "--root", data / "mefb", "-o", out, *options)
    assert result.exit_code == 0 and out.is_file(), result.output

    out = tmp_path / "depth.safetensors"
    options = ["--steps", 1, "--scenes", 2, "--infrared-steps", 1, "--infrared-scenes", 2]
    options += ["--batch-size", 2, "--held-out", 1, "--device", "cpu"]
    result = run("weights", "train-depth", "-o", out, *options)
    assert result.exit_code == 0 and out.is_file(), result.output

    result = run("weights", "train-fusion", tmp_path / "fusion/run", "-o", tmp_path / "again")
    assert result.exit_code == 2 and "holds none of roadscene" in result.output


def test_inspect_draws_and_exports(dataset: Path, tmp_path: Path) -> None:
    sheet, folder = tmp_path / "sheet.png", tmp_path / "export"
    result = run("inspect", dataset, "--verify", "--preview", sheet, "--export", folder)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-2:] == [f"preview: {sheet}", f"exported 14 samples to {folder}"]
    assert read_rgb(sheet).std() > 5
    exported = (read_rgb(folder / f"visible/train/{number}.jpg") for number in range(1, 15))
    for image, sample in zip(exported, iterate_samples(dataset), strict=True):
        assert np.abs(image.astype(int) - sample["visible"]).mean() < 4  # JPEG


@pytest.mark.parametrize("half", [False, True])
def test_published_weights_are_imported(tmp_path: Path, half: bool) -> None:
    published, out = tmp_path / "Final.model", tmp_path / "published.safetensors"
    network = random_network(seed=1, local_path_quirk=True)
    torch.save(published_state(network), published)
    result = run("weights", "import", published, "-o", out, *(["--half"] if half else []))
    assert result.exit_code == 0 and result.stdout == f"{out}\n", result.output
    assert read_metadata(out)["source"] == "Final.model"
    assert read_metadata(out)["source_sha256"] == sha256_file(published)
    imported = load_network(out)
    assert imported.config == network.config
    for name, value in network.state_dict().items():
        expected = value.half().float() if half else value
        assert torch.equal(imported.state_dict()[name], expected), name


def test_weights_list_names_size_digest_and_card() -> None:
    result = run("weights", "list")
    assert result.exit_code == 0 and "no card" not in result.stdout
    for name in ("depth", "gifnet", "probe"):
        path = WEIGHTS_DIR / f"{name}.safetensors"
        line = rf"^{name} +{path.stat().st_size / 1e6:.2f} MB +{sha256_file(path)} "
        assert re.search(line, result.stdout, flags=re.MULTILINE)
        assert str(path.with_suffix(".md")) in result.stdout


def test_a_page_of_feature_maps(tmp_path: Path) -> None:
    sources = {role: picture(seed, (40, 56)) for seed, role in enumerate("ab")}
    for role, image in sources.items():
        write_image(tmp_path / role / "1.png", image)
    weights, page = tiny_weights(tmp_path), tmp_path / "features.html"
    result = run("report", weights, "--features", "-a", tmp_path / "a", "-b", tmp_path / "b", "-o", page)
    assert result.exit_code == 0 and result.stdout == f"{page}\n", result.output
    (pair,) = content_of(page)["pairs"]
    shown = {tile["label"]: decoded(tile["picture"]) for tile in pair["groups"][0]["tiles"]}
    for role, image in sources.items():
        assert np.abs(shown[role].astype(int) - image).mean() < 4, role  # JPEG
    assert (tmp_path / "features-features/1/shared-encoder.png").is_file()


def test_true_images_are_given_beside_folders(tmp_path: Path) -> None:
    for seed, role in enumerate(("a", "b", "truth")):
        write_image(tmp_path / role / "1.png", picture(seed, (40, 45)))
    out = tmp_path / "results.json"
    sources = ("-a", tmp_path / "a", "-b", tmp_path / "b", "--ground-truth", tmp_path / "truth")
    methods = ("-f", f"perfect={tmp_path / 'truth'}", "-f", f"far={tmp_path / 'b'}")
    result = run("evaluate", *sources, *methods, "--metric", "EN", "--jobs", 1, "-o", out)
    assert result.exit_code == 0 and result.stdout.endswith(f"{out}\n"), result.output
    means = json.loads(out.read_text())["means"]
    assert means["perfect"]["PSNR-GT"] == 150.0 and means["perfect"]["SSIM-GT"] == pytest.approx(1)
    assert means["far"]["PSNR-GT"] < 15


@pytest.mark.slow
def test_weights_are_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    out = tmp_path / "network.onnx"
    options = ("--main-task", "ivif", "--size", "16x24", "--onnx")
    result = run("weights", "export", "--weights", tiny_weights(tmp_path, seed=1), "-o", out, *options)
    assert result.exit_code == 0 and result.stdout == f"{out}\n", result.output
    a, b = np.random.default_rng(0).random((2, 1, 1, 16, 24), np.float32)
    with torch.inference_mode():
        expected = tiny_network(seed=1)(torch.from_numpy(a), torch.from_numpy(b), main="mm").numpy()
    (fused,) = runtime.InferenceSession(str(out)).run(["fused"], {"a": a, "b": b})
    np.testing.assert_allclose(fused, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute alone; other work on the machine is no fault of it
def test_demo(tmp_path: Path) -> None:
    result = run("demo", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert len(re.findall(r"^\$ gifnet ", result.stdout, flags=re.MULTILINE)) == 7
    for name in ("samples.png", "fused.png", "results.md", "report.html", "run/weights.safetensors"):
        assert (tmp_path / name).stat().st_size > 1000
