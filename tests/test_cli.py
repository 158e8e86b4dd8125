"""The command line: every command is documented, errors are one line, and the demo's chain holds together."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import cli
from model.calibration.calibrate import MOVES
from model.calibration.recipe import FUSION_TRAINING
from model.checkpoint import load_network, read_metadata
from model.evaluation.scoring import EvaluateConfig
from model.fusing.fuse_config import FuseConfig
from model.report import ReportConfig
from model.training.train_config import TrainConfig
from pipeline.camera_response import CameraConfig
from pipeline.depth.training_config import DepthTrainingConfig
from pipeline.engines import RunOptions
from pipeline.exposure import ExposureConfig
from pipeline.focus import FocusConfig
from pipeline.plan import SynthesisConfig
from pipeline.probe_training_config import ProbeTrainingConfig
from pipeline.scenes import SampleConfig, render_scene
from pipeline.shard_schema import ATTRIBUTES, FIELDS
from pipeline.shards import load_arrays, read_index
from pipeline.thin_lens import ThinLens

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def all_commands(
    group: click.Group = cli.main, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from all_commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(all_commands())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert f"gifnet {' '.join(path)}" in (command.help or "").split("Example")[1]
    for parameter in command.params:
        assert isinstance(parameter, click.Argument) or getattr(parameter, "help", None), parameter.name
    assert run(*path, "--help").exit_code == 0


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_stands_in_the_readme(path: tuple[str, ...]) -> None:
    assert path in _named_in_the_readme()


def test_every_command_of_the_readme_exists() -> None:
    assert _named_in_the_readme() == COMMANDS.keys()


def _named_in_the_readme() -> set[tuple[str, ...]]:
    named = set()
    for words in re.findall(r"`gifnet ([a-z]+(?: [a-z\\|-]+)?)", README):
        command, _, rest = words.partition(" ")
        grouped = isinstance(cli.main.commands.get(command), click.Group)
        named |= {(command, name) for name in rest.split("\\|")} if grouped else {(command,)}
    return named


@pytest.mark.parametrize(
    ("path", "configs"),
    [
        (("sample",), [SampleConfig]),
        (("synth",), [SynthesisConfig, RunOptions, ThinLens, CameraConfig]),
        (("train",), [TrainConfig]),
        (("fuse",), [FuseConfig]),
        (("evaluate",), [EvaluateConfig]),
        (("report",), [ReportConfig]),
        (("weights", "train-depth"), [DepthTrainingConfig]),
        (("weights", "train-probe"), [ProbeTrainingConfig]),
    ],
)
def test_defaults_are_those_of_the_configs(path: tuple[str, ...], configs: list[type]) -> None:
    fields = {field.name: field for config in configs for field in dataclasses.fields(config)}
    compared = 0
    for parameter in COMMANDS[path].params:
        if parameter.name in fields and not isinstance(parameter, click.Argument):
            default = fields[parameter.name].default
            if default is dataclasses.MISSING or parameter.multiple:
                continue
            assert str(parameter.default) == str(default), parameter.name
            compared += 1
    assert compared >= 2


@pytest.mark.parametrize(
    ("path", "config", "renamed"),
    [
        (("train",), TrainConfig, {}),
        (("fuse",), FuseConfig, {"memory_bytes": "memory"}),
        (("evaluate",), EvaluateConfig, {}),
    ],
    ids=["train", "fuse", "evaluate"],
)
def test_every_setting_has_an_option(path: tuple[str, ...], config: type, renamed: dict[str, str]) -> None:
    options = {parameter.name for parameter in COMMANDS[path].params}
    names = [renamed.get(field.name, field.name) for field in dataclasses.fields(config)]
    assert not [name for name in names if name not in options]


def test_switches_and_weights_of_training_reach_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[TrainConfig] = []

    def record(config: TrainConfig, shards: Path, out: Path, *, resume: bool) -> Path:
        given.append(config)
        return out

    monkeypatch.setattr("model.trainer.train", record)
    options = ["--no-flip", "--no-deterministic", "--mm-task-weight", 2, "--keep-checkpoints", 1]
    assert run("train", "shards", "-o", "run", *options, "--validation-share", 0).exit_code == 0
    assert given == [
        TrainConfig(flip=False, deterministic=False, mm_task_weight=2, keep_checkpoints=1, validation_share=0)
    ]


def test_modes_default_to_those_of_their_configs() -> None:
    defaults = {parameter.name: parameter.default for parameter in COMMANDS["synth",].params}
    assert defaults["focus"] == FocusConfig().mode
    assert defaults["exposure"] == ExposureConfig().mode


def test_the_readme_describes_the_shards() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (\(N[^|]*?) \|", README, flags=re.MULTILINE))
    assert rows == {name: field.shape for name, field in FIELDS.items()}
    for name, field in FIELDS.items():
        kind = "UTF-8" if field.dtype == "str" else field.dtype
        assert f"| `{name}` | {field.shape} | {kind} | {field.meaning} |" in README
    for name in ATTRIBUTES:
        assert f"`{name}`" in README


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["synth", "absent.toml", "-o", "OUT"], "absent.toml"),
        (["synth", ".", "-o", "OUT"], "Is a directory"),
        (["synth", "MANIFEST", "-o", "OUT", "--root", "absent"], "absent"),
        (["synth", "MANIFEST", "-o", "OUT", "--depth", "nonsense"], "depth"),
        (["synth", "MANIFEST", "-o", "OUT", "--depth", "files:absent"], "absent"),
        (["synth", "MANIFEST", "-o", "OUT", "--tile", "8"], "tile"),
        (["synth", "MANIFEST", "-o", "OUT", "--samples-per-shard", "0"], "at least 1"),
        (["synth", "MANIFEST", "-o", "OUT", "--part", "3/2"], "part"),
        (["synth", "MANIFEST", "-o", "OUT", "--f-number-min", "2"], "--focus thin-lens"),
        (["synth", "MANIFEST", "-o", "OUT", "--under-ev", "-3", "-2"], "--exposure camera-response"),
        (["synth", "MANIFEST", "-o", "OUT", "--focus", "thin-lens", "--f-number-min", "30"], "f-numbers"),
        (["synth", "MANIFEST", "-o", "OUT", "--exposure", "camera-response", "--curves", "absent"], "absent"),
        (["synth", "MANIFEST", "-o", "OUT", "--device", "cuda:99"], "cuda:99"),
        (["inspect", "absent"], "absent"),
        (["train", "absent", "-o", "OUT"], "absent"),
        (["fuse", "-a", "absent", "-b", "absent", "-o", "OUT"], "absent"),
        (["fuse", "-a", "MANIFEST", "-o", "OUT", "--weights", "MANIFEST"], "manifest.toml"),
        (["fuse", "-a", "MANIFEST", "-o", "OUT", "--resize", "a"], "--resize: has no effect with one input"),
        (["evaluate", "-a", "absent", "-b", "absent", "-f", "x=absent", "-o", "OUT.json"], "absent"),
        (["report", "absent.json", "-o", "OUT.html"], "absent"),
        (["weights", "import", "MANIFEST", "-o", "OUT.safetensors"], "manifest.toml"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_input_is_one_line_and_status_2(tmp_path: Path, arguments: list[str], words: str) -> None:
    manifest = tmp_path / "manifest.toml"
    manifest.write_text('name = "x"\n[roles]\nvisible = "v/{id}.png"\ninfrared = "i/{id}.png"\n')
    for folder in "vi":
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "1.png"), np.zeros((40, 40), np.uint8))
    filled = [
        argument.replace("MANIFEST", str(manifest)).replace("OUT", str(tmp_path / "out"))
        for argument in arguments
    ]
    result = run(*filled)
    assert result.exit_code == 2, result.output
    assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and words in lines[0], result.output
    assert "Traceback" not in result.output


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


def test_weights_list_names_size_digest_and_card() -> None:
    result = run("weights", "list")
    assert result.exit_code == 0
    for name in ("depth", "probe"):
        assert re.search(rf"^{name} +[\d.]+ MB +[0-9a-f]{{64}} ", result.stdout, flags=re.MULTILINE)
        assert f"{name}.md" in result.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute alone; other work on the machine is no fault of it
def test_demo(tmp_path: Path) -> None:
    result = run("demo", "-o", tmp_path)
    assert result.exit_code == 0, result.output
    assert len(re.findall(r"^\$ gifnet ", result.stdout, flags=re.MULTILINE)) == 7
    for name in ("samples.png", "fused.png", "results.md", "report.html", "run/weights.safetensors"):
        assert (tmp_path / name).stat().st_size > 1000


def test_weights_of_each_kind_are_made_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short versions of the commands that made the shipped weights."""
    monkeypatch.setattr("model.calibration.calibrate.ROUNDS", 1)
    monkeypatch.setattr("model.calibration.calibrate.MOVES", MOVES[-4:])
    monkeypatch.setattr("model.weights_commands.FUSION_TRAINING", (*FUSION_TRAINING, "--crop", 48))
    data = tmp_path / "data"
    for index in range(3):
        scene = render_scene(seed=5, index=index, size_hw=(176, 208))
        for folder, picture in (
            ("roadscene/visible", scene.visible),
            ("roadscene/infrared", scene.infrared),
            ("mefb/over", np.minimum(scene.visible.astype(int) * 2, 255).astype(np.uint8)),
            ("mefb/under", scene.visible // 3),
        ):
            (data / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(data / folder / f"scene{index}.jpg", quality=95)
    options = ["--steps", 1, "--batch-size", 2, "--device", "cpu"]
    result = run("weights", "train-fusion", data, "-o", tmp_path / "fusion", *options)
    assert result.exit_code == 0, result.output
    assert "harvard/ct-mri" in result.stderr
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
