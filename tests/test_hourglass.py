"""The MegaDepth hourglass against its published layer listing and a seeded forward pass."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.depth.hourglass import Hourglass, load_hourglass
from pipeline.files import InputError
from pipeline.networks.saved_tensors import read_published_state


@pytest.fixture(scope="module")
def seeded_state() -> dict[str, torch.Tensor]:
    """Every tensor drawn from a generator that its own key seeds, as in the reference description."""
    return {key: _draw(key, tuple(value.shape)) for key, value in Hourglass().state_dict().items()}


def test_keys_and_shapes_are_the_published_ones(shared: Path) -> None:
    listing = json.loads((shared / "reference/megadepth/state_dict.json").read_text())
    assert {key: list(value.shape) for key, value in Hourglass().state_dict().items()} == listing


def test_parameter_count_is_the_published_one() -> None:
    assert sum(parameter.numel() for parameter in Hourglass().parameters()) == 5_357_153


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_seeded_forward(
    shared: Path, seeded_state: dict[str, torch.Tensor], dtype: torch.dtype, tmp_path: Path
) -> None:
    with np.load(shared / "reference/megadepth/seeded_forward.npz") as reference:
        expected = reference["log_depth"]
    torch.save(seeded_state, tmp_path / "net_G.pth")
    network = load_hourglass(tmp_path / "net_G.pth").to(dtype)
    frame = np.random.default_rng(3).random((1, 3, 96, 128), np.float32)
    with torch.inference_mode():
        output = network(torch.from_numpy(frame).to(dtype)).numpy()
    np.testing.assert_allclose(output.reshape(expected.shape), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_both_key_styles_load(seeded_state: dict[str, torch.Tensor], tmp_path: Path, prefix: str) -> None:
    path = tmp_path / "net_G.pth"
    torch.save({prefix + key: value for key, value in seeded_state.items()}, path)
    network = load_hourglass(path)
    assert not network.training
    for key, value in network.state_dict().items():
        assert torch.equal(value, seeded_state[key].to(value.dtype))


def test_files_of_something_else_are_refused(seeded_state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with pytest.raises(InputError, match="no such file"):
        load_hourglass(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="not a PyTorch weights file"):
        load_hourglass(path)
    path.write_text("not weights")
    with pytest.raises(InputError, match="not a PyTorch weights file"):
        load_hourglass(path)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="no plain state dict"):
        load_hourglass(path)
    torch.save({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(InputError, match="not the MegaDepth hourglass"):
        load_hourglass(path)
    torch.save({**seeded_state, "4.weight": torch.zeros(2, 64, 3, 3)}, path)
    with pytest.raises(InputError, match=r"1 of \d+ tensors differ, the first is 4\.weight"):
        load_hourglass(path)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "old"])
def test_cut_files_are_refused_wherever_they_end(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"4.bias": torch.zeros(1)}, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="not a PyTorch weights file, or damaged") as error:
            read_published_state(path)
        assert "\n" not in str(error.value)


def test_code_in_a_weights_file_is_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"0.weight": Payload()}, tmp_path / "weights.pth")
    with pytest.raises(InputError):
        load_hourglass(tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()


def _draw(key: str, shape: tuple[int, ...]) -> torch.Tensor:
    values = np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
    if key.endswith("num_batches_tracked"):
        return torch.tensor(0)
    if key.endswith("running_var"):
        values = 1 + 0.1 * np.abs(values)
    elif key.endswith("running_mean"):
        values = 0.1 * values
    elif key.endswith("bias"):
        values = 0.05 * values
    elif len(shape) == 4:
        values = values * np.sqrt(2 / np.prod(shape[1:]))
    else:
        values = 1 + 0.1 * values
    return torch.from_numpy(np.asarray(values, np.float32))
