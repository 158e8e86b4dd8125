"""Settings of a run that goes on: which may change, and how those that may not are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from joint_data import write_joint
from training_runs import tiny

from model.trainer import train
from model.training.run_folder import RunFolder, settings_changed
from model.training.train_config import SHAPE, TrainConfig
from pipeline.files import InputError, read_json, write_json

pytestmark = pytest.mark.usefixtures("one_thread")


def test_changed_settings_or_data_stop_with_what_differs(joint: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny(steps=1), joint, run)
    with pytest.raises(InputError, match="holds a run already; add --resume"):
        train(tiny(steps=1), joint, run)
    with pytest.raises(InputError, match=r"batch_size: 2 -> 4; lr: 0.001 -> 0.01"):
        train(tiny(steps=1, lr=0.01, batch_size=4), joint, run, resume=True)
    other = write_joint(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="data: "):
        train(tiny(steps=1), other, run, resume=True)
    with pytest.raises(InputError, match="not empty and not a training run"):
        train(tiny(steps=1), joint, run / "checkpoints")
    damaged = {"config": None, "data_digest": "d"}
    for resume, foreign in ((True, {"architectures": []}), (True, [1]), (False, {}), (True, damaged)):
        write_json(tmp_path / "foreign/config.json", foreign)
        with pytest.raises(InputError, match=r"config\.json: not of a training run"):
            train(tiny(steps=1), joint, tmp_path / "foreign", resume=resume)


def test_going_on_needs_no_weights_to_start_from(joint: Path, tmp_path: Path, straight: Path) -> None:
    weights = tmp_path / "start.safetensors"
    weights.write_bytes((straight / "weights.safetensors").read_bytes())
    config: dict[str, Any] = dict.fromkeys(SHAPE)
    train(tiny(steps=1, init=str(weights), **config), joint, tmp_path / "run")
    moved = weights.rename(tmp_path / "moved.safetensors")
    for steps, init in ((2, str(weights)), (3, ""), (4, str(moved))):
        if not init:
            weights.write_bytes(b"others have this name now")
        train(tiny(steps=steps, init=init, **config), joint, tmp_path / "run", resume=True)
        told = read_json(tmp_path / "run/config.json")["config"]
        assert (told["init"], told["feature_growth"]) == (str(weights), 8)
    weights.unlink()
    for other in (RunFolder(straight).checkpoint(2), tmp_path / "nowhere.safetensors"):
        with pytest.raises(InputError, match=f"init: .*start.safetensors -> {other}"):
            train(tiny(init=str(other), **config), joint, tmp_path / "run", resume=True)
    with pytest.raises(InputError, match="feature_growth: 8 -> 32"):  # the default, if asked for
        train(tiny(init="", **config | {"feature_growth": 32}), joint, tmp_path / "run", resume=True)
    with pytest.raises(InputError, match=r"start\.safetensors"):
        train(tiny(steps=1, init=str(weights), **config), joint, tmp_path / "new")


@pytest.mark.parametrize("begun", [False, True])
def test_only_settings_that_matter_keep_a_run_from_going_on(begun: bool) -> None:
    def changes(earlier: dict[str, Any], **settings: Any) -> list[str]:
        return settings_changed(TrainConfig(**settings), earlier, begun=begun)

    earlier = TrainConfig(**SHAPE).to_json()
    assert changes(earlier) == changes(earlier, steps=9000, device="cpu", keep_checkpoints=9) == []
    assert changes(earlier, seed=1) == ["seed: 0 -> 1"]
    cosine = TrainConfig(schedule="cosine", **SHAPE).to_json()
    assert changes(cosine, schedule="cosine", steps=9000) == ["steps: 5000 -> 9000"]
    assert changes({**earlier, "momentum": 0.9}) == ["momentum: 0.9 -> (absent)"]
    # A shape or weights to start from that are left out are those of the network, once there is one.
    assert changes({**earlier, "head": "pyramid"}) == ([] if begun else ["head: pyramid -> plane"])
    assert changes({**earlier, "init": "/a"}) == ([] if begun else ["init: /a -> "])
    assert changes({**earlier, "init": 5}) == ["init: 5 -> "]
    assert changes({**earlier, "init": "/a"}, init="/b") == ["init: /a -> /b"]
    assert changes({**earlier, "init": "/x/../a"}, init="/a") == ([] if begun else ["init: /x/../a -> /a"])
    # The digest of the data tells what pairs show, but not that there are none.
    assert changes({**earlier, "dp_folder": "/a"}, dp_folder="b") == []
    assert changes({**earlier, "dp_folder": "/a"}) == ["dp_folder: /a -> "]


def test_one_file_has_many_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    paths = (str(tmp_path / "w.pth"), "w.pth", "x/../w.pth", "link/w.pth")
    one, *others = (TrainConfig(information="densenet121", information_weights=path) for path in paths)
    assert not any(settings_changed(other, one.to_json(), begun=True) for other in others)
    other = TrainConfig(information="densenet121", information_weights="v.pth")
    (line,) = settings_changed(other, one.to_json(), begun=True)
    assert line == f"information_weights: {paths[0]} -> v.pth"
    assert settings_changed(other, {**other.to_json(), "information_weights": 5}, begun=True)
