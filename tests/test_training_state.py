"""Training states: exact resume, every field back, damage and edits noticed."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from network_samples import planes, refuses, survives_damage

from model.checkpoint import load_network, read_metadata, save_weights, training_state
from model.checkpoint.digest import content_digest, weights_digest
from model.checkpoint.training_state import load_training_state, save_training_state
from model.network import GIFNet, NetworkConfig
from pipeline.files import InputError
from pipeline.networks.optimizer_state import restore_adam, restore_scaler

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = NetworkConfig(feature_growth=2, heads=4, window=6, depth=3)


@pytest.fixture
def network() -> GIFNet:
    return GIFNet(SMALL)


@pytest.fixture
def state(network: GIFNet, tmp_path: Path) -> Path:
    return _save_state(tmp_path / "state.pt", _Run(network))


class _Run:
    """Steps of training, enough to fill the optimizer's state."""

    def __init__(self, network: GIFNet) -> None:
        self.network = network
        self.optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        self.step_count = 0

    def step(self) -> None:
        a, b = planes(2, 1, 9, 10, seed=self.step_count)
        loss = self.network(a, b, main="mm" if self.step_count % 2 else "dp").square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.step_count += 1


def _save_state(path: Path, run: _Run, **changes: Any) -> Path:
    fields: dict[str, Any] = {
        "network": run.network,
        "optimizer": run.optimizer,
        "scaler": run.scaler,
        "step": run.step_count,
        "config": {"lr": 1e-3, "amp": "off", "decay": None},
        "data_digest": "c0ffee",
        "extra": {"average": dict(run.network.state_dict()), "best": {"loss": 0.5, "step": 3}},
    }
    return save_training_state(path, **(fields | changes))


def test_resumed_training_equals_uninterrupted_training(tmp_path: Path) -> None:
    torch.manual_seed(0)
    straight = _Run(GIFNet(SMALL))
    for _ in range(2):
        straight.step()
    path = _save_state(tmp_path / "state.pt", straight)
    for _ in range(2):
        straight.step()

    saved = load_training_state(path)
    resumed = _Run(GIFNet(saved.network_config))
    resumed.network.load_state_dict(saved.network)
    restore_adam(resumed.optimizer, saved.optimizer)
    restore_scaler(resumed.scaler, saved.scaler)
    resumed.step_count = saved.step
    for _ in range(2):
        resumed.step()
    assert weights_digest(resumed.network) == weights_digest(straight.network)
    assert resumed.scaler.state_dict() == straight.scaler.state_dict()


@pytest.mark.parametrize(
    "change", [{"scale": 0.0}, {"scale": math.nan}, {"scale": "8"}, {"_growth_tracker": 3}], ids=str
)
def test_scales_that_cannot_be_are_refused(network: GIFNet, change: dict[str, Any]) -> None:
    scaler = _Run(network).scaler
    with pytest.raises(ValueError, match="scale"):
        restore_scaler(scaler, scaler.state_dict() | change)


def test_moments_that_share_their_memory_are_taken_apart() -> None:
    parameter = torch.zeros(4, 4, requires_grad=True)
    adam = torch.optim.Adam([parameter], fused=True)
    overlapping = torch.arange(16.0).as_strided((4, 4), (1, 1))
    moments = {"step": torch.ones(()), "exp_avg": overlapping, "exp_avg_sq": overlapping}
    restore_adam(adam, {"state": {0: moments}})
    for name, value in adam.state[parameter].items():
        assert torch.equal(value, moments[name]) and value.is_contiguous()


def test_training_state_gives_back_every_field(network: GIFNet, state: Path) -> None:
    saved = load_training_state(state)
    assert (saved.network_config, saved.step, saved.data_digest) == (SMALL, 0, "c0ffee")
    assert saved.config == {"lr": 1e-3, "amp": "off", "decay": None}
    assert saved.extra["best"] == {"loss": 0.5, "step": 3}
    assert saved.extra["average"].keys() == network.state_dict().keys()
    assert saved.scaler["scale"] == 8.0


def test_training_state_serves_as_weights(network: GIFNet, state: Path) -> None:
    assert weights_digest(load_network(state)) == weights_digest(network)


def test_weights_do_not_serve_as_training_state(network: GIFNet, tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "small.safetensors", network, {})
    refuses(load_training_state, weights, "weights only")
    refuses(read_metadata, weights.with_name("absent"), "No such file")


def test_metadata_of_a_training_state_is_refused(state: Path) -> None:
    refuses(read_metadata, state, "not a GIFNet weights file")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c.update(format_version="2"), "version 2, not 1"),
        (lambda c: c.update(step=4), "digest"),
        (lambda c: c.pop("data_digest"), "digest"),
        (lambda c: c["network"].popitem(), "digest"),
        (lambda c: c["config"].update(amp="fp16"), "digest"),
        (lambda c: c.update(surplus=torch.float16), "dtype"),
    ],
)
def test_edited_training_states_are_refused(
    state: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    content = torch.load(state, weights_only=True)
    change(content)
    torch.save(content, state)
    refuses(load_training_state, state, says)
    refuses(load_network, state, says)


@pytest.mark.parametrize(
    "change",
    [
        *({"step": "8"}, {"step": -1}, {"config": None}, {"extra": []}, {"network": []}),
        *({"network": {"a": 1}}, {"network": {5: torch.ones(1), "a": torch.ones(1)}}),
        *({"extra": {"average": None}}, {"extra": {"average": {5: torch.ones(1)}}}),
        *({"config": {5: 1, "lr": 1}}, {"config": {"lr": torch.ones(1)}}, {"network_config": [1]}),
    ],
    ids=str,
)
def test_values_of_another_kind_are_refused(state: Path, change: dict[str, Any]) -> None:
    content = torch.load(state, weights_only=True) | change
    body = {k: v for k, v in content.items() if k not in ("format", "format_version", "digest")}
    torch.save({**content, "digest": content_digest(body)}, state)
    refuses(load_training_state, state, "damaged, ")
    refuses(load_network, state, "damaged, ")


def test_only_tensors_and_plain_values_can_be_kept(network: GIFNet, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=type(tmp_path).__name__):
        _save_state(tmp_path / "state.pt", _Run(network), extra={"folder": tmp_path})
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_an_error_of_the_system(network: GIFNet, tmp_path: Path) -> None:
    """Not one of a library, which the command line would take for a defect."""

    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    run = _Run(network)
    for path, save in (
        (tmp_path / "a.pt", lambda path: _save_state(path, run)),
        (tmp_path / "a.safetensors", lambda path: save_weights(path, network, {})),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "write_bytes", full)
            with pytest.raises(OSError, match="No space left"):
                save(path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["in memory", "on the way"])
def test_what_cannot_be_gone_on_from_replaces_nothing(
    network: GIFNet, state: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    before = state.read_bytes()
    if damage == "in memory":
        next(network.parameters()).data.view(-1)[0] = math.nan
    else:
        honest = training_state.saved_bytes
        monkeypatch.setattr(training_state, "saved_bytes", lambda content: honest({**content, "step": 7}))
    with pytest.raises(InputError, match="not written" if damage == "in memory" else "digest"):
        _save_state(state, _Run(network))
    assert state.read_bytes() == before and list(state.parent.iterdir()) == [state]


def test_damage_never_passes_unnoticed(state: Path) -> None:
    survives_damage(state, load_network, trials=60)
