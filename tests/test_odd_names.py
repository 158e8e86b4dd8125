"""Names that are no UTF-8, as old archives have them, from fusing to the page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fusing import picture, tiny_weights
from report_pages import Page, content_of

import cli

REPOSITORY = Path(__file__).resolve().parents[1]
ODD = os.fsdecode(b"caf\xe9 1")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other file systems have no such names")


def test_from_fusing_to_the_page(tmp_path: Path) -> None:
    def run(*arguments: object) -> str:
        """In a process of its own, for what a strict standard output makes of it."""
        command = [sys.executable, "cli.py", *map(str, arguments)]
        environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
        result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, env=environment, check=False)
        assert result.returncode == 0, result.stderr.decode(errors="replace")
        return result.stdout.decode()

    root = tmp_path / ODD
    for role in "ab":
        picture(root / role / f"{ODD}.png", 1, size_hw=(44, 48))
    pair = ("-a", root / "a", "-b", root / "b")
    written = ("-o", root / "fused", "--weights", tiny_weights(tmp_path), "--device", "cpu")
    assert run("fuse", *pair, *written).strip().endswith("/caf\\udce9 1/fused")
    assert (root / "fused" / f"{ODD}.png").is_file()
    options = ("--metric", "EN", "--metric", "SSIM", "--jobs", 1)
    printed = run("evaluate", *pair, "-f", f"{ODD}={root / 'fused'}", *options, "-o", root / "r.json")
    assert "| caf\\udce9 1 |" in printed and "| SSIM" in printed
    for line in (root / "r.jsonl").read_bytes().splitlines():
        assert json.loads(line.decode("ascii"))["image"] == ODD
    assert printed.strip().endswith("/caf\\udce9 1/r.json")
    assert run("report", root / "r.json", "-o", root / "r.html").strip().endswith("/caf\\udce9 1/r.html")
    content = content_of(root / "r.html")
    assert content["images"] == [ODD] and content["methods"][0]["name"] == ODD


def test_the_title_of_a_page(tmp_path: Path) -> None:
    from model.report import report

    run = tmp_path / ODD
    run.mkdir()
    (run / "metrics.jsonl").write_text('{"step": 1, "mm_task": 0.5}\n')
    page = Page(report(run, tmp_path / "r.html"))
    assert json.loads(page.data)["title"].endswith(ODD) and "title" in page.tags


def test_messages_are_one_line_whatever_a_name_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a/x\ny.png", "a/l\x1b[2Jz.png"):
        picture(tmp_path / name, 0)
    picture(tmp_path / "b/x\ny.png", 0, size_hw=(24, 28))
    (tmp_path / "a/o.webp").touch()
    pair = ("-a", tmp_path / "a", "-b", tmp_path / "b", "-o", tmp_path / "out")
    settings = ("--weights", tiny_weights(tmp_path), "--device", "cpu")
    with pytest.raises(SystemExit) as end:
        cli.main.main(["fuse", *map(str, pair + settings)])
    assert end.value.code == 1
    failed, unmatched, passed_over = (
        line
        for line in capsys.readouterr().err.splitlines()
        if line.startswith(("failed", "unmatched", "passed over"))
    )
    assert r"a/x\ny.png is 24x20, " in failed and r"b/x\ny.png is 28x24; sizes must be equal" in failed
    assert r"l\x1b[2Jz is not in b" in unmatched
    assert passed_over.endswith("for their ending: 1 .webp")
