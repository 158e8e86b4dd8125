"""Files of an evaluation: where they may not go, what they may not replace, and how they name folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from metric_pictures import write_set

from model.evaluate import evaluate, recorded_images
from model.evaluation.scoring import EvaluateConfig
from pipeline.files import InputError

DEEP = "[" * 100_000
FEW = EvaluateConfig(metrics=("EN", "SF"), jobs=1)


@pytest.mark.parametrize("out", ["copy/r.json", "copy/x/r.json", "a/r.json", "b/r.json", "truth/r.json"])
def test_results_do_not_go_among_the_images_that_are_read(tmp_path: Path, out: str) -> None:
    methods = write_set(tmp_path)
    (tmp_path / "truth").symlink_to(tmp_path / "b")
    with pytest.raises(InputError, match=r"would be among the inputs in .*; choose another output folder"):
        sources = tmp_path / "a", tmp_path / "b"
        evaluate(FEW, *sources, methods, tmp_path / out, ground_truth=tmp_path / "truth")
    assert not list(tmp_path.rglob("r*"))


@pytest.mark.parametrize(
    "line", ['{"step": 1, "lr": 0.001}', '{"name": "1", "output": "1.png"}', "[1]", "", DEEP]
)
def test_lines_of_others_are_never_replaced(tmp_path: Path, line: str) -> None:
    methods, lines = write_set(tmp_path), tmp_path / "metrics.jsonl"
    lines.write_text(line + "\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl: is there, and not of an evaluation"):
        evaluate(FEW, tmp_path / "a", tmp_path / "b", methods, tmp_path / "metrics.json")
    assert lines.read_text() == line + "\n"


@pytest.mark.parametrize("name", ["r.json", "r.md", "r.csv"])
def test_nor_are_tables_and_notes_of_others(tmp_path: Path, name: str) -> None:
    methods, sources = write_set(tmp_path), (tmp_path / "a", tmp_path / "b")
    (tmp_path / name).write_text('{"notes": 1}')
    with pytest.raises(InputError, match=rf"{name}: is there, and not of an evaluation; choose another -o"):
        evaluate(FEW, *sources, methods, tmp_path / "r.json")
    assert (tmp_path / name).read_text() == '{"notes": 1}'
    (tmp_path / name).unlink()
    out = evaluate(FEW, *sources, methods, tmp_path / "r.json")
    evaluate(FEW, *sources, methods, out)  # its own are replaced
    out.unlink()  # as of an evaluation that was stopped
    assert evaluate(FEW, *sources, methods, out).is_file()


def test_folders_of_the_summary_are_found_from_behind_links(tmp_path: Path) -> None:
    methods = write_set(tmp_path / "disk/data")
    (tmp_path / "disk/results/deep").mkdir(parents=True)
    (tmp_path / "data").symlink_to(tmp_path / "disk/data")
    (tmp_path / "out").symlink_to(tmp_path / "disk/results/deep")
    sources = tmp_path / "data/a", tmp_path / "data/b"
    out = evaluate(FEW, *sources, methods, tmp_path / "out/r.json")
    folders = json.loads(out.read_text())["folders"]
    assert (folders["a"], folders["method copy of b"]) == ("../../data/a", "../../data/copy")
    assert recorded_images(folders["a"], out).is_dir()
