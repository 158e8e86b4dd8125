"""The shape of the code: data flows one way, the command line starts light, files stay readable."""

from __future__ import annotations

import ast
import subprocess
import sys
from configparser import ConfigParser
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest

from pipeline.images import write_image

REPOSITORY = Path(__file__).resolve().parents[1]
#: What stage two may use of stage one: the interface between them and what both are built on.
SHARED = {"shards", "sources", "images", "files", "networks", "runtime"}


def imported_modules(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


@pytest.mark.parametrize("path", sorted((REPOSITORY / "pipeline").rglob("*.py")), ids=lambda path: path.name)
def test_stage_one_does_not_know_stage_two(path: Path) -> None:
    assert not {name for name in imported_modules(path) if name.split(".")[0] in ("model", "cli")}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "model").rglob("*.py")), ids=lambda path: path.name)
def test_stage_two_knows_only_the_interface_of_stage_one(path: Path) -> None:
    used = {name for name in imported_modules(path) if name.startswith("pipeline.")}
    assert {name.split(".")[1] for name in used if "pipeline.commands.options" not in name} <= SHARED
    assert not {name for name in imported_modules(path) if name.split(".")[0] == "cli"}


@pytest.mark.parametrize("package", ["pipeline", "pipeline.scenes", "model"])
def test_parts_of_a_package_depend_on_each_other_one_way(package: str) -> None:
    """Each can be understood without those that are built on it."""
    folder, depth = REPOSITORY / package.replace(".", "/"), package.count(".") + 1
    needs: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        part = path.relative_to(folder).parts[0].removesuffix(".py")
        used = {name.split(".")[depth] for name in imported_modules(path) if name.startswith(f"{package}.")}
        needs.setdefault(part, set()).update(used - {part})
    TopologicalSorter(needs).prepare()  # raises for a cycle


@pytest.mark.parametrize("command", [[], ["synth"], ["train"], ["fuse"], ["evaluate"], ["weights"]], ids=str)
def test_help_imports_neither_torch_nor_h5py(command: list[str]) -> None:
    _runs_alone(
        "import sys\nimport cli\n"
        f"try: cli.main({[*command, '--help']!r})\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "heavy = {'torch', 'h5py', 'timm', 'matplotlib', 'scipy.fft'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )


def test_fusing_does_not_wait_for_the_compiler(tmp_path: Path) -> None:
    """PyTorch imports it for some functions of tensors that have a shape alone, in twice fusing's start."""
    a, b, fused = (str(tmp_path / f"{name}.png") for name in ("a", "b", "fused"))
    for path in (a, b):
        write_image(Path(path), np.full((16, 16), 99, np.uint8))
    _runs_alone(
        "import sys\nimport cli\n"
        f"cli.main({['fuse', '-a', a, '-b', b, '-o', fused, '--device', 'cpu']!r}, standalone_mode=False)\n"
        "assert 'torch' in sys.modules and 'torch._dynamo' not in sys.modules"
    )
    assert Path(fused).is_file()


def _runs_alone(code: str) -> None:
    """Code passes in a Python of its own."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_files_stay_readable() -> None:
    code = [path for folder in ("pipeline", "model") for path in (REPOSITORY / folder).rglob("*.py")]
    lengths = {
        str(path.relative_to(REPOSITORY)): len(path.read_text(encoding="utf-8").splitlines()) for path in code
    }
    assert not {name: length for name, length in lengths.items() if length > 260}


def test_an_installation_has_every_file() -> None:
    """What ``setup.cfg`` lists are all packages and all that lies in them, and nothing that is not there."""
    config = ConfigParser()
    config.read(REPOSITORY / "setup.cfg")
    packages = set(config["options"]["packages"].split())
    patterns = {name: globs.split(", ") for name, globs in config["options.package_data"].items()}
    files = {
        path
        for folder in ("pipeline", "model", "manifests")
        for path in (REPOSITORY / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert packages == {".".join(path.parent.relative_to(REPOSITORY).parts) for path in files}
    matched = {name: _matched(name, globs) for name, globs in patterns.items()}
    assert all(all(found) for found in matched.values()), "a pattern of files that are gone"
    installed = set().union(*(one for found in matched.values() for one in found))
    assert {path for path in files if path.suffix != ".py"} <= installed
    modules = {path.stem for path in REPOSITORY.glob("*.py")}
    assert set(config["options"]["py_modules"].split()) == modules


def _matched(package: str, globs: list[str]) -> list[set[Path]]:
    folder = REPOSITORY.joinpath(*package.split("."))
    return [set(folder.glob(pattern)) for pattern in globs]
