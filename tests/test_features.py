"""Feature maps and the comparison of main tasks, on a small random network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_runs import run
from fusing import tiny_network, tiny_weights
from metric_pictures import picture
from report_pages import content_of, decoded

from model.inputs.folders import FolderPairs, pair_folders
from model.network import GIFNet, NetworkConfig
from model.report import ReportConfig
from model.report.features import feature_report
from pipeline.files import InputError
from pipeline.images import read_image, to_uint8, write_image


@pytest.fixture(scope="module")
def network() -> GIFNet:
    torch.manual_seed(0)
    return GIFNet(NetworkConfig(feature_growth=8))


def write_pairs(root: Path, stems: tuple[str, ...] = ("x", "day/y")) -> FolderPairs:
    for index, stem in enumerate(stems):
        write_image(root / "a" / f"{stem}.png", picture(index, (40, 56)))
        write_image(root / "b" / f"{stem}.png", picture(10 + index, (40, 56)))
    return pair_folders({"a": root / "a", "b": root / "b"})


def test_page_and_sheets(tmp_path: Path, network: GIFNet) -> None:
    network.train()
    out = feature_report(network, write_pairs(tmp_path), tmp_path / "page.html", ReportConfig())
    content = content_of(out)
    assert network.training  # left as it was
    assert [pair["name"] for pair in content["pairs"]] == ["day/y", "x"]
    titles = [group["title"] for group in content["pairs"][0]["groups"]]
    assert titles == ["Main task", "Shared encoder", "DP branch", "MM branch"]
    assert all(len(group["tiles"]) == 12 for group in content["pairs"][0]["groups"][1:])
    for name in ("shared-encoder", "dp-branch", "mm-branch"):
        assert read_image(tmp_path / "page-features" / "day" / "y" / f"{name}.png").ndim == 3
    json.dumps(content, allow_nan=False)


def test_the_fused_images_are_the_networks(tmp_path: Path) -> None:
    network = tiny_network(seed=2)  # with which each main task gives a picture of its own
    content = content_of(
        feature_report(network, write_pairs(tmp_path, ("x",)), tmp_path / "p.html", ReportConfig())
    )
    tiles = {tile["label"]: tile["picture"] for tile in content["pairs"][0]["groups"][0]["tiles"]}
    a, b = (torch.from_numpy(picture(seed, (40, 56)))[None, None] / 255 for seed in (0, 10))
    with torch.inference_mode():
        fused = {main: to_uint8(network(a, b, main=main)[0, 0].numpy()) for main in ("dp", "mm")}
    for main, other in (("dp", "mm"), ("mm", "dp")):
        shown = decoded(tiles[f"fused, {main.upper()} is main"]).astype(int)
        errors = {task: np.abs(shown - plane).mean() for task, plane in fused.items()}
        assert errors[main] < 3 < errors[other], main  # of JPEG


def test_channels_are_numbered_as_in_the_network(tmp_path: Path, network: GIFNet) -> None:
    content = content_of(
        feature_report(network, write_pairs(tmp_path, ("x",)), tmp_path / "p.html", ReportConfig())
    )
    a, b = (torch.from_numpy(picture(seed, (40, 56)))[None, None] / 255 for seed in (0, 10))
    with torch.inference_mode():
        encoded = network.eval().encode(a, b)
        parts = [encoded, *(network.transformer(encoded, encoded, main=main) for main in ("dp", "mm"))]
    for group, maps in zip(content["pairs"][0]["groups"][1:], parts, strict=True):
        _, *channels = group["tiles"]
        for tile in channels:
            number, deviation = int(tile["label"].split()[1]), float(tile["detail"].split()[1])
            assert maps[0, number].std(correction=0).item() == pytest.approx(deviation, rel=0.01)


def test_limits_and_errors(tmp_path: Path, network: GIFNet) -> None:
    pairs = write_pairs(tmp_path)
    config = ReportConfig(picture_side_px=64, pictures_limit_mb=0.001)
    content = content_of(feature_report(network, pairs, tmp_path / "p.html", config))
    assert len(content["pairs"]) == 1 and ["not shown, over the limit", 1] in content["facts"]
    assert (tmp_path / "p-features" / "x").is_dir()
    for size in ((3, 50), (5, 640)):
        for role in "ab":
            write_image(tmp_path / role / "x.png", picture(1, size))
        with pytest.raises(InputError, match=r"x: .* is too small: both sides need 5 pixels"):
            feature_report(network, pairs, tmp_path / "q.html", config)
    write_image(tmp_path / "b" / "x.png", picture(1, (40, 60)))
    with pytest.raises(InputError, match="x: a and b differ in size"):
        feature_report(network, pairs, tmp_path / "q.html", ReportConfig())


def test_files_without_a_partner_are_listed(tmp_path: Path) -> None:
    write_pairs(tmp_path, ("x",))
    write_image(tmp_path / "a" / "only.png", picture(1, (40, 56)))
    (tmp_path / "b" / "notes.txt").write_text("")
    folders = ("-a", tmp_path / "a", "-b", tmp_path / "b")
    result = run("report", "--features", tiny_weights(tmp_path), *folders, "-o", tmp_path / "p.html")
    assert result.exit_code == 0, result.output
    assert "unmatched: only is not in b" in result.stderr
    assert f"passed over in {tmp_path / 'b'} for their ending: 1 .txt" in result.stderr
