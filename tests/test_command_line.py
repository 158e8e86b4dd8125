"""What all commands have in common: how they stop, which names they refuse, what an encoding lacks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import cli

REPOSITORY = Path(__file__).resolve().parents[1]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def test_ctrl_c_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt("after step 3; go on with --resume")

    monkeypatch.setattr("model.trainer.train", stopped)
    result = run("train", tmp_path, "-o", tmp_path / "run")
    assert result.exit_code == 1
    assert result.stderr.strip() == "stopped: after step 3; go on with --resume"


def test_a_file_that_ends_too_early_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def ended(*_: object, **__: object) -> None:
        raise EOFError("No data left in file")

    monkeypatch.setattr("model.trainer.train", ended)
    result = run("train", tmp_path, "-o", tmp_path / "run")
    assert result.exit_code == 2
    assert result.stderr.strip().endswith("a file ends too early (No data left in file); make it again")


def test_a_folder_without_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("sample", "", "--pairs", 1)
    assert result.exit_code == 2 and "the name of the folder is empty" in result.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", [("synth",), ("weights", "train-probe")], ids=" ".join)
def test_a_folder_with_the_name_of_a_recipe_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mefb").mkdir()
    result = run(*command, "mefb", "--root", "mefb", "-o", "out")
    assert result.exit_code == 2 and result.stderr.startswith("error: "), result.stderr
    assert "mefb.toml" in result.stderr, "the recipe was read"


def test_output_that_an_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    command = [sys.executable, "cli.py", "inspect", os.fsdecode(b"caf\xe9")]
    for encoding in ("utf-8:strict", "cp1252"):
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, env=environment, check=False)
        assert result.returncode == 2 and b"error: caf\\udce9: no index" in result.stderr, result.stderr
