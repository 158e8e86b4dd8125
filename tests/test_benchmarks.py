"""Benchmarks must not wait for somebody who needs a figure, or for a GPU, to show that they are broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pretended_gpu import pretended_gpu

from model.network import GIFNet, NetworkConfig
from pipeline.networks.device import computes_bfloat16

BENCHMARKS = Path(__file__).parent / "benchmarks"
#: Of the rows that fuse.py prints.
LAST_PRECISION = "bf16" if computes_bfloat16(torch.device("cpu")) else "fp32"

#: Scripts with little to do, the fixture with the folder that they read, and a line that each prints.
SMALL = [
    ("alignment.py {}/data", "shared", r"\| llvip \| 32 \| 0( \| \d+ \(\d+\)){5} \|"),
    ("busy.py --pairs 1 --size 64x96", "tmp_path", r"\| [1-9]\d* \| spin( \| -?\d+\.\d+){3} \|"),
    (
        "convolution.py --shapes 2,9,8,16 --repeats 1",
        "tmp_path",
        r"\| 2, 9 -> 8, 16( \| \d+){3} \| \d+\.\d \|",
    ),
    (
        "depth.py --shared {} --scenes 1 --repeats 1 --device cpu",
        "few_photos",
        r"default, infrared too( +-){3}( +0\.\d{3}){3} +-( +\d+\.\d{3}){3}",
    ),
    (
        "fuse.py --part speed --pairs 2 --size 64x96 --threads 1",
        "tmp_path",
        rf"\| {LAST_PRECISION}( \| \d+\.\d+){{6}} \|",
    ),
    ("metrics.py --size 200x200 --repeats 1", "tmp_path", r"VIF +\d\.\d{3} +0\.\d+( .*)?"),
    ("pansharpen.py {}/data/samples/remote", "shared", r"this product( +\d\.\d{3}){2} +0\.\d{4}"),
    (
        "probe.py manifests/mefb.toml --root {}/data/mefb",
        "shared",
        r"mean +under( +\d\d\.\d\d){2} +\+\d\.\d\d( +0\.\d{3}){2}",
    ),
    (
        "quality.py --tasks ivif --limit 1 --side 128 --metrics Qabf,SF",
        "shared",
        r"ivif: \d of 2: Qabf [+-] .*, SF [+-] .*",
    ),
    (
        "synth.py --frames 2 --size 256x320 --jobs 1 --threads 1 --repeats 1",
        "tmp_path",
        r"product +\d+\.\d\d +1\.00x( +\d+\.\d%?){3}",
    ),
]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The script's modules."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import gpu
    import gpu_bench
    import gpu_experiments
    import gpu_report
    import gpu_train

    return SimpleNamespace(
        main=gpu, bench=gpu_bench, experiments=gpu_experiments, report=gpu_report, train=gpu_train
    )


def test_operations_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    from gpu_fuse import _macs_per_pixel

    count = _macs_per_pixel(GIFNet(NetworkConfig()), SimpleNamespace(quick=True))
    encoder, embed = 9 * 32 * (2 + 34 + 66), 9 * 98 * 196
    # Queries, keys and values of each stream, but for the queries of the first block's second one.
    block = 98 * 98 + 98 * 196 * 2 + 25 * 98 + 2 * 64 * 98
    blocks = 3 * block + (3 + 2 + 3) * 98 * 98
    decoder = 98 * 98 + 9 * (98 * 98 + 98 * 64 + 64 * 32 + 32 * 16 + 16)
    assert 1 <= count / (encoder + embed + blocks + decoder) < 1.05  # windows over the border


@pytest.fixture
def few_photos(shared: Path, tmp_path: Path) -> Path:
    """Third-party data with little of each kind by which depth is scored."""
    for name in (
        "reference/megadepth",
        "data/llvip/visible/train/010001.jpg",
        "data/llvip/infrared/train/010001.jpg",
        "data/roadscene/visible_hr/FLIR_00006.jpg",
    ):
        link = tmp_path / "few" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(shared / name)
    return tmp_path / "few"


def output_of(script: str, *arguments: str) -> str:
    """What a script prints that is run from the repository's root."""
    run = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        capture_output=True,
        text=True,
        timeout=290,
        cwd=BENCHMARKS.parents[1],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "folder", "line"),
    [
        pytest.param(
            *row,
            marks=[pytest.mark.shared] * (row[1] != "tmp_path")
            + [pytest.mark.slow] * row[0].startswith("busy"),
        )
        for row in SMALL
    ],
    ids=[row[0].split(".")[0] for row in SMALL],
)
def test_a_script_prints_its_table(
    command: str, folder: str, line: str, request: pytest.FixtureRequest
) -> None:
    where = request.getfixturevalue(folder)
    found = output_of(*(word.format(where) for word in command.split()))
    assert re.search(f"^{line}$", found, re.MULTILINE), found


def test_the_training_benchmark_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import train

    train.compare_steps(1, 64, 1, ["off"])
    train.measure_loader(2, 32, tile=40, count=4)
    assert re.search(
        r"^gifnet train --amp off .*^loader: ", capsys.readouterr().out, re.DOTALL | re.MULTILINE
    )


def quick_bench(script: SimpleNamespace, folder: Path, device: str = "cpu") -> Any:
    return script.bench.Bench(
        device=torch.device(device), size_hw=(64, 96), repeats=1, quick=True, data=None, folder=folder
    )


def run(script: SimpleNamespace, sections: list[Any], bench: Any, out: Path) -> dict[str, Any]:
    """Run sections; what the JSON file says."""
    report = script.report.Report("a machine", out)
    script.main.run_sections(sections, bench, report, until=time.monotonic() + 250)
    content = json.loads(out.with_suffix(".json").read_text())
    assert content["good"] == report.good
    return content


def named(script: SimpleNamespace, name: str) -> Any:
    (section,) = (one for one in script.main.sections(quick=True) if one.name == name)
    return replace(section, seconds=80.0)  # a slow or busy CPU takes longer than the GPU that it is made for


def test_sections_stand_alone(script: SimpleNamespace, tmp_path: Path) -> None:
    def section(name: str, seconds: float, run: Any) -> Any:
        return script.main.Section(name=name, seconds=seconds, run=run)

    def fails(bench: Any, report: Any) -> None:
        raise ValueError("first line\nsecond line")

    def hangs(bench: Any, report: Any) -> None:
        report.figure("before it hung", 1.0, "s")
        time.sleep(50)

    def misses(bench: Any, report: Any) -> None:
        report.figure("speed", 1.0, "/s", at_least=2)
        report.limit("idle", 0.5, at_most=0.1)

    def breaks(bench: Any, report: Any) -> None:
        report.check("error", float("nan"), at_most=1e-3)

    no_bench = SimpleNamespace(cuda=False)
    targets = run(script, [section("misses", 1, misses)], no_bench, tmp_path / "targets")
    assert targets["good"] and [figure["met"] for figure in targets["figures"]] == [False, False]
    assert not run(script, [section("breaks", 1, breaks)], no_bench, tmp_path / "bounds")["good"]

    ended = run(
        script,
        [
            section("fails", 1, fails),
            section("hangs", 0.1, hangs),
            section("too long", 1000, fails),
            section("goes on", 1, misses),
        ],
        no_bench,
        tmp_path / "found",
    )
    assert not ended["good"]
    assert re.search(r"tests/test_benchmarks.py:\d+: ValueError: first line$", ended["sections"]["fails"])
    assert "OutOfTime" in ended["sections"]["hangs"]
    assert ended["sections"]["too long"].startswith("SKIPPED")
    assert ended["sections"]["goes on"].startswith("done")
    assert [figure["name"] for figure in ended["figures"]] == ["before it hung", "speed", "idle"]
    assert "- before it hung: 1 s\n" in (tmp_path / "found.md").read_text()


@pytest.mark.parametrize(
    "name", ["ceilings", "fuse: network", "fuse: folder", "train: steps", "train: compiled"]
)
def test_a_section_on_the_cpu(name: str, script: SimpleNamespace, tmp_path: Path) -> None:
    content = run(script, [named(script, name)], quick_bench(script, tmp_path), tmp_path / "found")
    assert content["good"] and content["figures"], content


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="here is a real one")
@pytest.mark.parametrize(
    "name",
    [
        *("check: fused planes", "check: training losses", "check: repeated steps"),
        *(
            "fuse: folder",
            "fuse: error of lower precisions",
            "train: steps",
            "synthesis: default depth, 1 jobs",
        ),
    ],
)
def test_a_section_on_a_pretended_gpu(name: str, script: SimpleNamespace, tmp_path: Path) -> None:
    with pretended_gpu():
        content = run(
            script, [named(script, name)], quick_bench(script, tmp_path, "cuda"), tmp_path / "found"
        )
    assert content["good"] and content["figures"], content


@pytest.mark.slow
def test_the_whole_script_on_the_cpu(tmp_path: Path) -> None:
    arguments = ["--device", "cpu", "--size", "64x96", "--repeats", "1", "--out", str(tmp_path / "found")]
    found = output_of("gpu.py", *arguments)
    content = json.loads((tmp_path / "found.json").read_text())
    assert len(content["sections"]) == found.count("\n## ") > 15
    assert all(end.startswith("done") for end in content["sections"].values()), content["sections"]
