"""The command line: every command is documented, options reach the configs, errors are one line."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
from command_runs import COMMANDS, REPOSITORY, run

import cli
from model.evaluation.scoring import EvaluateConfig
from model.fuse import FuseSummary
from model.fusing.fuse_config import FuseConfig
from model.report import ReportConfig
from model.training.train_config import TrainConfig
from pipeline.depth.training_config import DepthTrainingConfig
from pipeline.exposure import ExposureConfig
from pipeline.exposure.camera_response import CameraConfig
from pipeline.exposure.training_config import ProbeTrainingConfig
from pipeline.focus import FocusConfig
from pipeline.focus.thin_lens import ThinLens
from pipeline.scenes import SampleConfig
from pipeline.shards.schema import ATTRIBUTES, FIELDS
from pipeline.synthesis.engines import RunOptions
from pipeline.synthesis.plan import SynthesisConfig

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


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


def test_every_option_of_fusing_reaches_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[FuseConfig, list[Path], Path]] = []

    def record(config: FuseConfig, inputs: list[Path], out: Path) -> FuseSummary:
        given.append((config, inputs, out))
        return FuseSummary(done=["1"])

    monkeypatch.setattr("model.fuse.fuse", record)
    words = "fuse -a near -b far -c third -c fourth -o fused --task medical --main-task ivif --weights w.pth"
    words += " --precision bf16 --device cuda:1 --memory 1.5GB --colour upstream --range-16bit 100:9000"
    words += " --bits 16 --resize b --suffix .tif --overwrite --jobs 3"
    result = run(*words.split())
    assert result.exit_code == 0 and "done 1, skipped 0, failed 0: fused" in result.stdout, result.output
    config = FuseConfig(
        task="medical",
        main_task="ivif",
        weights=Path("w.pth"),
        precision="bf16",
        device="cuda:1",
        memory_bytes=1_500_000_000,
        colour="upstream",
        range_16bit="100:9000",
        bits=16,
        resize="b",
        suffix=".tif",
        overwrite=True,
        jobs=3,
    )
    assert given == [(config, [Path("near"), Path("far"), Path("third"), Path("fourth")], Path("fused"))]
    settings = dataclasses.fields(FuseConfig)
    assert not [one.name for one in settings if getattr(config, one.name) == one.default], "not tried"


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
        (["fuse", "-a", "MANIFEST", "-c", "MANIFEST", "-o", "OUT"], "-c is a further input beside -a and -b"),
        (["evaluate", "-a", "absent", "-b", "absent", "-f", "x=absent", "-o", "OUT.json"], "absent"),
        (["report", "absent.json", "-o", "OUT.html"], "absent"),
        (["report", "MANIFEST", "-a", ".", "-o", "OUT.html"], "-a and -b belong to --features"),
        (["report", "MANIFEST", "--features", "-a", "DATA", "-b", "DATA", "-o", "OUT.html"], "among the"),
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
    filled = arguments
    for name, path in (("MANIFEST", manifest), ("OUT", tmp_path / "out"), ("DATA", tmp_path)):
        filled = [argument.replace(name, str(path)) for argument in filled]
    result = run(*filled)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and words in lines[0], result.output
    assert "Traceback" not in result.output
