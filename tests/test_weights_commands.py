"""Commands about weights and training: what cannot be used is refused before the work; who prints what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command_runs import run
from fusing import picture, tiny_network, tiny_weights

from model.checkpoint import save_weights
from model.checkpoint.digest import weights_digest
from model.export_onnx import export_onnx
from model.network import GIFNet
from pipeline.files import InputError


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["calibrate", "WEIGHTS", "DATA", "-o", "FILE/c.safetensors"], "cannot be made a folder"),
        (["calibrate", "WEIGHTS", "DATA", "-o", "c.safetensors", "--jobs", 0], "--jobs 0: give"),
        (["calibrate", "FILE", "DATA", "-o", "c.safetensors"], "FILE: not a GIFNet file"),
        (["train-fusion", "DATA", "-o", "OUT", "--steps", 0], "--steps"),
        (["train-fusion", "DATA", "-o", "OUT", "--batch-size", 1], "--batch-size"),
    ],
    ids=str,
)
def test_unusable_arguments_are_found_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[object], says: str
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("computed")

    for name in ("model.calibration.pairs.calibration_pairs", "model.calibration.calibrate.calibrate"):
        monkeypatch.setattr(name, never)
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("no weights")
    result = run("weights", *arguments)
    assert result.exit_code == 2 and says in result.stderr, result.output
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]


@pytest.mark.parametrize("command", ["import", "calibrate"])
def test_weights_are_not_written_over_what_is_read(tmp_path: Path, command: str) -> None:
    weights = tiny_weights(tmp_path)
    before = weights.read_bytes()
    data = [tmp_path] if command == "calibrate" else []
    result = run("weights", command, weights, *data, "-o", weights)
    assert result.exit_code == 2 and "would replace what it is made of" in result.stderr, result.output
    assert weights.read_bytes() == before


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (["import", "WEIGHTS"], "weights' path, ending in .safetensors"),
        (["calibrate", "WEIGHTS", "."], "weights' path, ending in .safetensors"),
        (["train-depth"], "weights' path, ending in .safetensors"),
        (["train-probe", "mefb", "--root", "."], "weights' path, ending in .safetensors"),
        (["export", "-w", "WEIGHTS"], "model's path, ending in .onnx"),
    ],
    ids=str,
)
def test_a_picture_is_not_replaced_by_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], what: str
) -> None:
    monkeypatch.setattr("pipeline.depth.training.train_depth", lambda _, out: out)  # takes long
    weights, out = tiny_weights(tmp_path), tmp_path / "001.png"
    picture(out, 1)
    before = out.read_bytes()
    places = {"WEIGHTS": weights, ".": tmp_path}
    result = run("weights", *(places.get(word, word) for word in command), "-o", out)
    assert result.exit_code == 2 and result.stderr == f"error: {out}: give the {what}\n", result.output
    assert out.read_bytes() == before and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(("share", "held_out"), [(None, 0.1), (0.05, 0.1), (0.3, 0.3)])
def test_a_head_is_calibrated_without_what_its_training_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float | None, held_out: float
) -> None:
    seen: list[float] = []

    def none(data: Path, count: int, *, held_out: float) -> dict[str, list[np.ndarray]]:
        seen.append(held_out)
        return {"infrared": [], "focus": []}

    monkeypatch.setattr("model.calibration.pairs.calibration_pairs", none)
    monkeypatch.setattr("model.calibration.calibrate.calibrate", lambda network, known, jobs: network)
    facts = {} if share is None else {"config": {"validation_share": share}}
    weights = save_weights(tmp_path / "w.safetensors", tiny_network(), facts)
    (tmp_path / "roadscene").mkdir()
    result = run("weights", "calibrate", weights, tmp_path, "-o", tmp_path / "c.safetensors")
    assert "not there, left out: " in result.stderr and "roadscene" not in result.stderr
    told = "no pair to calibrate {} fusion with: all are held out of training"
    assert told.format("infrared") in result.stderr and told.format("focus") not in result.stderr
    assert result.exit_code == 0 and seen == [held_out], result.output


@pytest.mark.parametrize("failures", [False, True])
def test_chains_tell_of_failures_by_their_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: bool
) -> None:
    for module in ("cli", "model.commands.weights"):
        monkeypatch.setattr(f"{module}.run_commands", lambda *_: failures)
    (tmp_path / "roadscene").mkdir()
    for folder in ("scenes/visible", "scenes/infrared", "fused"):
        picture(tmp_path / folder / "1.png", 1)
    trained = run("weights", "train-fusion", tmp_path, "-o", tmp_path / "fusion", "--device", "cpu")
    assert [run("demo", "-o", tmp_path).exit_code, trained.exit_code] == [failures, failures], trained.output


@pytest.mark.parametrize(
    ("name", "size_hw", "says"),
    [
        ("file/network.onnx", (16, 16), "cannot be made a folder"),
        ("network.onnx", (10**6, 10**7), "10000000x1000000 is too large"),
        ("network.onnx", (3, 4096), "4096x3 is too small"),
    ],
)
def test_a_model_that_cannot_be_written_is_not_exported(
    tmp_path: Path, name: str, size_hw: tuple[int, int], says: str
) -> None:
    pytest.importorskip("onnxscript")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=says):
        export_onnx(tiny_network(), tmp_path / name, size_hw=size_hw)


def test_options_of_an_export_reach_the_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[str, Path, dict[str, object]]] = []

    def record(network: GIFNet, path: Path, **options: object) -> Path:
        given.append((weights_digest(network), path, options))
        return path

    monkeypatch.setattr("model.export_onnx.export_onnx", record)
    out = tmp_path / "network.onnx"
    options = ("--main-task", "ivif", "--size", "16x24", "--onnx")
    result = run("weights", "export", "--weights", tiny_weights(tmp_path), "-o", out, *options)
    assert result.exit_code == 0 and result.stdout == f"{out}\n", result.output
    assert given == [(weights_digest(tiny_network()), out, {"main": "mm", "size_hw": (16, 24)})]


@pytest.mark.parametrize(("size", "lines"), [([], 1), (["--size", "16x24"], 0)])
def test_an_export_that_takes_minutes_says_so_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: list[str], lines: int
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise InputError("begins")

    monkeypatch.setattr("model.export_onnx._PACKAGES", ())
    monkeypatch.setattr("torch.onnx.export", stop)
    result = run("weights", "export", "-w", tiny_weights(tmp_path), "-o", tmp_path / "n.onnx", *size)
    said = result.stderr.splitlines()
    assert said[lines:] == ["error: begins"] and not result.stdout
    assert all("takes minutes" in line and "--size" in line for line in said[:lines])


@pytest.mark.parametrize(("rank", "printed"), [("0", "weights.safetensors\n"), ("1", "")])
def test_one_of_several_processes_prints_the_result(
    monkeypatch: pytest.MonkeyPatch, rank: str, printed: str
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr("model.trainer.train", lambda *_, **__: Path("weights.safetensors"))
    assert run("train", "shards", "-o", "run").stdout == printed
    monkeypatch.delenv("WORLD_SIZE")  # what another launcher has left
    assert run("train", "shards", "-o", "run").stdout == "weights.safetensors\n"
