"""Checkpoints: what was saved comes back, and nothing else passes for it."""

from __future__ import annotations

import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from network_samples import planes, refuses, survives_damage
from safetensors.torch import load_file, save_file
from torch import Tensor

import model.checkpoint
from model.checkpoint import load_network, read_metadata, save_weights
from model.checkpoint.digest import weights_digest
from model.checkpoint.training_state import load_training_state
from model.network import GIFNet, NetworkConfig

SMALL = NetworkConfig(feature_growth=2, heads=4, window=6, depth=3)
FACTS = {"steps": 200, "data": "sample", "losses": [0.5, 0.25]}


@pytest.fixture
def network() -> GIFNet:
    return GIFNet(SMALL)


@pytest.fixture
def weights(network: GIFNet, tmp_path: Path) -> Path:
    return save_weights(tmp_path / "small.safetensors", network, FACTS)


def test_weights_rebuild_their_network_from_the_file_alone(network: GIFNet, weights: Path) -> None:
    loaded = load_network(weights)
    assert loaded.config == SMALL and not loaded.training
    assert weights_digest(loaded) == weights_digest(network)
    with torch.inference_mode():
        assert torch.equal(loaded(*planes(1, 1, 9, 14)), network(*planes(1, 1, 9, 14)))
    assert read_metadata(weights) == FACTS


def test_half_the_bytes_hold_the_digits_of_float16(network: GIFNet, tmp_path: Path) -> None:
    whole = save_weights(tmp_path / "whole.safetensors", network, FACTS)
    half = save_weights(tmp_path / "half.safetensors", network, FACTS, half=True)
    assert half.stat().st_size < 0.8 * whole.stat().st_size and read_metadata(half) == FACTS
    expected = {name: value.half().float() for name, value in network.state_dict().items()}
    loaded = load_network(half).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_equal_weights_are_equal_files(network: GIFNet, tmp_path: Path) -> None:
    paths = [save_weights(tmp_path / f"{number}.safetensors", network, FACTS) for number in range(8)]
    assert len({path.read_bytes() for path in paths}) == 1


def test_digest_sees_values_names_and_shapes_but_not_the_layout(network: GIFNet) -> None:
    digest = weights_digest(network)
    assert weights_digest(network.to(memory_format=torch.channels_last)) == digest
    with torch.no_grad():
        network.transformer.lambda_mm += 2**-20
    assert weights_digest(network) != digest


def test_weights_that_are_not_finite_are_not_saved(network: GIFNet, tmp_path: Path) -> None:
    with torch.no_grad():
        network.transformer.lambda_mm.fill_(float("nan"))
    path = tmp_path / "nan.safetensors"
    refuses(lambda path: save_weights(path, network, {}), path, "NaN")
    assert not path.exists()


def test_default_weights_are_used_or_missed_clearly(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.checkpoint, "DEFAULT_WEIGHTS", weights)
    assert load_network(None).config == SMALL
    absent = weights.with_name("absent.safetensors")
    monkeypatch.setattr(model.checkpoint, "DEFAULT_WEIGHTS", absent)
    refuses(lambda _: load_network(None), absent, "cannot be read")


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        ({"format": "other"}, "no GIFNet weights"),
        ({"format_version": "2"}, "version 2, not 1"),
        ({"metadata": "{}"}, "digest"),
        ({"network": json.dumps({"feature_growth": 3})}, "digest"),
        ({"digest": "0" * 64}, "digest"),
    ],
)
def test_edited_headers_are_refused(weights: Path, edit: dict[str, str], says: str) -> None:
    _rewrite(weights, header=edit)
    refuses(load_network, weights, says)


@pytest.mark.parametrize(
    ("network_json", "says"),
    [
        ({"feature_growth": 2, "heads": 4, "depth": 2}, "does not fit"),
        ({"feature_growth": 256, "decoder_channels": 512, "depth": 16, "window": 32}, "does not fit"),
        ({"feature_growth": 10**9}, "feature_growth is"),
        ({"window": 10**6}, "window is"),
        ({"colour": True}, "colour"),
        ({"depth": "two"}, "not understood"),
        ({"depth": 2.0}, r"not understood \(depth is 2\.0\)"),
        ({"heads": True}, r"not understood \(heads is True\)"),
        ([1], "not understood"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(weights: Path, network_json: Any, says: str) -> None:
    """Even with a digest that is right, and before anything is taken from the file."""
    _rewrite(weights, header={"network": json.dumps(network_json)}, sign=True)
    refuses(load_network, weights, says)


def test_a_foreign_file_without_metadata_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "null.safetensors"
    for text in (b'{"__metadata__":null}', b"{}"):
        path.write_bytes(len(text).to_bytes(8, "little") + text)
        refuses(load_network, path, "holds no GIFNet weights")


def test_metadata_that_is_no_object_is_refused(weights: Path) -> None:
    _rewrite(weights, header={"metadata": "[1]"}, sign=True)
    refuses(read_metadata, weights, "metadata is no object")
    for name in ("network", "metadata"):
        _rewrite(weights, header={name: "[" * 100_000}, sign=True)
        refuses(read_metadata, weights, "header without network or metadata")


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems have no such names")
def test_a_name_need_not_be_utf8(network: GIFNet, tmp_path: Path) -> None:
    path = save_weights(tmp_path / os.fsdecode(b"\xff.safetensors"), network, FACTS)
    assert weights_digest(load_network(path)) == weights_digest(network) and read_metadata(path) == FACTS


def test_a_small_file_takes_no_large_memory(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"lambda": torch.zeros(1 << 20)}, path)
    with (
        zipfile.ZipFile(path) as stored,
        zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for member in stored.infolist():
            new.writestr(member.filename, stored.read(member))
    refuses(load_network, tmp_path / "a.pt", "compressed")
    torch.save({"network": [torch.zeros(1).expand(1 << 20, 1 << 20)]}, path)  # 4 TiB
    refuses(load_network, path, "larger than what is stored of it")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.pop("transformer.lambda_mm"), "lambda_mm does not fit"),
        (lambda t: t.update(extra=torch.zeros(1)), "extra does not fit"),
        (lambda t: t.update({"transformer.lambda_mm": torch.zeros(2)}), "lambda_mm does not fit"),
        (lambda t: t.update({"transformer.lambda_mm": torch.zeros(1).half()}), "lambda_mm does not fit"),
        (lambda t: t.update({"transformer.lambda_mm": torch.full((1,), torch.inf)}), "not finite"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    weights: Path, change: Callable[[dict[str, Tensor]], object], says: str
) -> None:
    _rewrite(weights, change=change, sign=True)
    refuses(load_network, weights, says)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty file"),
        (b"no weights at all\n", "not a GIFNet file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "not a GIFNet file"),
        (b"PK\x03\x04" + bytes(64), "not a GIFNet file"),
        (b"\xff" * 8 + b"{" + bytes(64), "safetensors file, or a damaged one"),
        (bytes(8) + b"{", "safetensors file, or a damaged one"),
    ],
    ids=["empty", "text", "png", "zip", "long-header", "no-header"],
)
@pytest.mark.parametrize("load", [load_network, load_training_state])
def test_foreign_files_are_refused(load: Callable, content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    path.write_bytes(content)
    if load is load_training_state and says == "safetensors file, or a damaged one":
        says = "weights only"
    refuses(load, path, says)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    refuses(load_network, tmp_path / "absent.pt", "No such file")
    refuses(load_network, tmp_path, "directory")


def test_pickles_run_nothing(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Callable, tuple[str]]:
            return os.mkdir, (str(tmp_path / "owned"),)

    for name, write in (("a.pt", torch.save), ("b.pt", _plain_pickle)):
        write({"format": "gifnet-training", "network": Attack()}, tmp_path / name)
        refuses(load_network, tmp_path / name, "not a GIFNet file")
    assert not (tmp_path / "owned").exists()


def test_pickles_of_something_else_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    for content in ([1, 2], torch.zeros(3), {"state_dict": {}}, {"format": "gifnet-training"}):
        torch.save(content, path)
        refuses(load_network, path, "no GIFNet weights|version None")


def test_damage_never_passes_unnoticed(weights: Path) -> None:
    survives_damage(weights, load_network, trials=60)


def test_a_failed_save_leaves_the_old_file(
    weights: Path, network: GIFNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = weights.read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_weights(weights, network, {"new": True})
    assert weights.read_bytes() == before
    assert [file.name for file in weights.parent.iterdir()] == [weights.name]


def _rewrite(
    path: Path,
    *,
    header: dict[str, str] | None = None,
    change: Callable[[dict[str, Tensor]], object] = lambda tensors: None,
    sign: bool = False,
) -> None:
    """Edit a weights file; ``sign`` gives it the digest of its new content."""
    tensors = load_file(path)
    change(tensors)
    length = int.from_bytes(path.read_bytes()[:8], "little")
    metadata = json.loads(path.read_bytes()[8 : 8 + length])["__metadata__"] | (header or {})
    if sign:
        metadata["digest"] = model.checkpoint._weights_file_digest(metadata, tensors)
    save_file(tensors, path, metadata=metadata)


def _plain_pickle(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))
