"""The authors' checkpoint: recognised by content, imported tensor by tensor, refused where it differs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from network_samples import published_state, random_network, refuses, survives_damage
from torch import Tensor

from model.checkpoint import load_network
from model.checkpoint.digest import weights_digest
from model.checkpoint.published import PUBLISHED_CONFIG, UNUSED_NAMES


def test_published_file_is_recognised_by_its_content(shared: Path) -> None:
    network = load_network(shared / "reference/gifnet/Final.model")
    assert network.config == PUBLISHED_CONFIG and network.config.local_path_quirk
    assert network.transformer.lambda_mm.item() == pytest.approx(0.186, abs=1e-3)
    assert network.transformer.lambda_dp.item() == pytest.approx(0.088, abs=1e-3)


def test_published_layout_is_the_published_one(shared: Path) -> None:
    """What the other tests build in the authors' layout has exactly their names and shapes."""
    listed = json.loads((shared / "reference/gifnet/state_dict.json").read_text())
    state = published_state(random_network(seed=2))
    assert len(state) == 116
    assert {name: list(value.shape) for name, value in state.items()} == listed


def test_published_tensors_arrive_unchanged(tmp_path: Path) -> None:
    network = random_network(seed=3, local_path_quirk=True)
    torch.save(published_state(network), tmp_path / "any.name")
    assert weights_digest(load_network(tmp_path / "any.name")) == weights_digest(network)


NORM = "extractor_multask.SwinTransformerSpecific.layer1.blocks.1.norm1_mfif.weight"
VALUE = "extractor_multask.SwinTransformerSpecific.layer1.blocks.0.attn.V.weight"
CONVOLUTION = "getSharedFeatures.conv_2.conv2d.weight"
OFFSETS = "extractor_multask.SwinTransformerSpecific.layer1.blocks.0.attn.attn.relative_positions"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop(NORM), "lacks"),
        (lambda s: s.pop(UNUSED_NAMES[0]), "lacks"),
        (lambda s: s.update(surplus=torch.zeros(1)), "surplus"),
        (lambda s: s.update({5: torch.zeros(1), "surplus": torch.zeros(1)}), "holds 5, which"),
        (lambda s: s.update({NORM: torch.zeros(1, 97, 1, 1)}), r"shape \(1, 97, 1, 1\) where \(98, 1, 1\)"),
        (lambda s: s.update({CONVOLUTION: s[CONVOLUTION].flatten(1).T}), r"where \(32, 34, 3, 3\) is due"),
        (lambda s: s.update({VALUE: torch.zeros(98, 98)}), r"\(196, 98, 1, 1\) and \(98, 98\) where"),
        (lambda s: s.update({VALUE: torch.tensor(0.0)}), r"and \(\) where"),
        (lambda s: s.update({NORM: torch.zeros(1, 98, 1, 1).double()}), "float32"),
        (lambda s: s.update({NORM: "text"}), "float32"),
        (lambda s: s[NORM].fill_(torch.nan), "finite"),
        (lambda s: s[OFFSETS].mul_(2), "offsets"),
    ],
)
def test_published_files_that_differ_are_refused(
    change: Callable[[dict[str, Tensor]], object], says: str, tmp_path: Path
) -> None:
    state = published_state(random_network(seed=4))
    change(state)
    torch.save(state, tmp_path / "Final.model")
    refuses(load_network, tmp_path / "Final.model", says)


def test_damage_never_passes_unnoticed(tmp_path: Path) -> None:
    torch.save(published_state(random_network(seed=1)), tmp_path / "Final.model")
    survives_damage(tmp_path / "Final.model", load_network, trials=12)
