"""The exposure probe: published form and numbers, loading, strips."""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import pipeline.exposure.probe
from pipeline.exposure.probe import (
    DEFAULT_WEIGHTS,
    PUBLISHED_FILES,
    ExposureProbe,
    load_probe,
    probe_luminance,
    probe_tiles,
    save_probe,
)
from pipeline.files import InputError
from pipeline.networks.saved_tensors import read_tensors


def _seeded(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """The reference's rule for weights: seeded by the CRC-32 of the key."""
    noise = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    scaled = noise * np.sqrt(2 / np.prod(shape[1:])) if len(shape) == 4 else 0.05 * noise
    return torch.from_numpy(scaled.astype(np.float32))


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A folder with two files of the authors' form, seeded weights."""
    widths = (1, 16, 32, 16, 1)
    for role, stem in (("over", "CIR"), ("under", "CVIS")):
        state = {}
        for layer in range(4):
            key, shape = f"{stem}{layer + 1}.conv.1", (widths[layer + 1], widths[layer], 3, 3)
            state[f"module.{key}.weight"] = _seeded(f"{key}.weight", shape)
            state[f"module.{key}.bias"] = _seeded(f"{key}.bias", shape[:1])
        torch.save(state, tmp_path / PUBLISHED_FILES[role])
    return tmp_path


def test_published_networks_to_the_reference(published: Path, shared: Path) -> None:
    expected = np.load(shared / "reference/probe/seeded_forward.npz")
    probe = load_probe(published)
    x = torch.from_numpy(np.random.default_rng(5).random((2, 1, 37, 50), np.float32))
    with torch.inference_mode():
        over, under = probe(x)
    assert np.abs(over.numpy() - expected["over"]).max() <= 1e-4
    assert np.abs(under.numpy() - expected["under"]).max() <= 1e-4


def test_form_is_the_published_one() -> None:
    shapes = [tuple(p.shape) for p in ExposureProbe().over.parameters() if p.ndim == 4]
    assert shapes == [(16, 1, 3, 3), (32, 16, 3, 3), (16, 32, 3, 3), (1, 16, 3, 3)]


def test_weights_survive_a_round_trip(tmp_path: Path) -> None:
    probe = ExposureProbe()
    again = load_probe(save_probe(tmp_path / "probe.safetensors", probe, {"note": "test"}))
    with safe_open(tmp_path / "probe.safetensors", framework="np") as file:
        form = {"format": "gifnet-probe", "config": '{"channels": [16, 32, 16]}'}
        assert file.metadata() == {**form, "note": "test"}
    for mine, its in zip(again.parameters(), probe.parameters(), strict=True):
        assert mine.dtype == torch.float32 and torch.equal(mine, its.half().float())
    twice = load_probe(save_probe(tmp_path / "again.safetensors", again, {"note": "test"}))
    assert twice.digest == again.digest
    files = [(tmp_path / name).read_bytes() for name in ("probe.safetensors", "again.safetensors")]
    assert files[0] == files[1]
    with torch.no_grad():
        again.over[0].bias += 1
    assert again.digest != twice.digest


def test_strips_do_not_show(monkeypatch: pytest.MonkeyPatch, published: Path) -> None:
    probe = load_probe(published)
    plane = np.random.default_rng(0).integers(0, 256, (61, 47), dtype=np.uint8)
    whole = probe_luminance(plane, probe)
    for pixels in (47 * 7, 47 * 60):
        monkeypatch.setattr(pipeline.exposure.probe, "_STRIP_PIXELS", pixels)
        for got, expected in zip(probe_luminance(plane, probe), whole, strict=True):
            assert np.abs(got - expected).max() < 1e-6


def test_batches_do_not_show(monkeypatch: pytest.MonkeyPatch, published: Path) -> None:
    """On a GPU tiles pass in filled-up batches of a fixed number; here the CPU is told to do the same."""
    probe = load_probe(published)
    tiles = np.random.default_rng(0).integers(0, 256, (7, 24, 20), dtype=np.uint8)
    expected = probe_tiles(tiles, probe)
    sizes: list[int] = []
    forward = type(probe).forward
    monkeypatch.setattr(type(probe), "forward", lambda self, x: sizes.append(len(x)) or forward(self, x))
    monkeypatch.setattr(pipeline.exposure.probe, "_tiles_at_once", lambda device, pixels: 3)
    for got, one_by_one in zip(probe_tiles(tiles, probe), expected, strict=True):
        assert got.shape == tiles.shape and np.abs(got - one_by_one).max() < 1e-6
    assert sizes == [3, 3, 3]


def test_only_pixels_within_reach_matter() -> None:
    torch.manual_seed(0)
    probe = ExposureProbe().eval()
    plane = np.full((40, 40), 90, np.uint8)
    changed = plane.copy()
    changed[20, 20] = 255
    for before, after in zip(probe_luminance(plane, probe), probe_luminance(changed, probe), strict=True):
        rows, cols = np.nonzero(np.abs(before - after) > 1e-7)
        assert max(abs(rows - 20).max(), abs(cols - 20).max()) <= probe.reach_px


@pytest.mark.parametrize("content", [b"", b"not weights", b"\x08\0\0\0\0\0\0\0{}      "])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "probe.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"probe\.safetensors"):
        load_probe(path)


def test_missing_and_foreign_files_are_named(
    tmp_path: Path, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_probe(tmp_path / "absent.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.exposure.probe, "CHANNELS", (4, 6))
        narrow = save_probe(tmp_path / "narrow.safetensors", ExposureProbe(), {})
    with pytest.raises(InputError, match=r"narrow\.safetensors: not an exposure probe"):
        load_probe(narrow)
    over, under = (published / PUBLISHED_FILES[role] for role in ("over", "under"))
    over.write_bytes(under.read_bytes())
    with pytest.raises(InputError, match="not the over-exposed probe"):
        load_probe(published)
    over.unlink()
    with pytest.raises(InputError, match="no such file"):
        load_probe(published)


def test_non_finite_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = ExposureProbe()
    with torch.no_grad():
        probe.under[0].weight[0] = float("nan")
    path = tmp_path / "probe.safetensors"
    with pytest.raises(InputError, match=r"not written, under\.0\.weight holds NaN .*lower learning rate$"):
        save_probe(path, probe, {})
    assert not path.exists()
    monkeypatch.setattr("pipeline.networks.saved_tensors.check_finite", lambda *_: None)
    with pytest.raises(InputError, match="holds NaN or infinite values; make or fetch"):
        load_probe(save_probe(path, probe, {}))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.bool, torch.int64, torch.float8_e4m3fn], ids=str)
def test_weights_are_floating_point_numbers(tmp_path: Path, dtype: torch.dtype) -> None:
    path = save_probe(tmp_path / "probe.safetensors", ExposureProbe(), {})
    tensors, header = read_tensors(path)
    save_file({key: value.to(dtype) for key, value in tensors.items()}, path, header)
    with pytest.raises(InputError, match=f"is of {dtype}, no float"):
        load_probe(path)


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems have no such names")
def test_a_name_that_is_no_utf8_is_read(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.safetensors")
    path.write_bytes(DEFAULT_WEIGHTS.read_bytes())
    assert load_probe(path).digest == load_probe(None).digest
