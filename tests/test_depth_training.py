"""Training of the depth network: a short run, what goes on and what is refused, its photographs."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from pipeline.depth import scenes as depth_scenes
from pipeline.depth import training as depth_training
from pipeline.depth.losses import ordinal_error
from pipeline.depth.network import load_depth_network, save_depth_network
from pipeline.depth.photographs import photographs_digest, read_photographs
from pipeline.depth.scenes import SceneSet, render_scene_set
from pipeline.depth.training import FIRST_HELD_OUT, train_depth
from pipeline.depth.training_config import DepthTrainingConfig, learning_rate_at
from pipeline.depth.training_state import DepthTrainingState
from pipeline.files import InputError, read_json, sha256_file
from pipeline.images import write_image
from pipeline.networks.saved_tensors import saved_bytes
from pipeline.scenes import render_scene

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = DepthTrainingConfig(
    encoder="regnetx_002", size_hw=(64, 64), inference_size_hw=(64, 96), render_size_hw=(80, 80), scenes=6,
    held_out=1, steps=10, infrared_scenes=4, infrared_steps=5, batch_size=2, save_every=5, warmup_steps=2,
    pairs=200, device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_depth(TINY, tmp_path_factory.mktemp("trained") / "depth.safetensors")


def test_a_short_training_lowers_its_loss(trained: Path) -> None:
    history = read_json(trained.with_name("depth.training") / "metrics.json")
    assert [row["step"] for row in history] == [5, 10, 15]
    assert history[1]["loss"] < history[0]["loss"]
    _, description = load_depth_network(trained)
    assert description["encoder"] == TINY.encoder and description["size_hw"] == [64, 96]
    assert description["training"]["steps_done"] == 15
    assert description["training"]["config"]["seed"] == 0


@pytest.mark.parametrize(("kind", "randomised"), [("natural", False), ("randomised", True)])
def test_the_history_ends_with_the_errors_of_the_weights(trained: Path, kind: str, randomised: bool) -> None:
    scene = render_scene(
        seed=TINY.seed, index=FIRST_HELD_OUT, size_hw=TINY.render_size_hw, randomise_texture=randomised
    )
    size_wh = TINY.inference_size_hw[::-1]
    frame, infrared = (
        torch.from_numpy(cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA) / np.float32(255))
        for picture in (scene.visible, scene.infrared)
    )
    with torch.inference_mode():
        log_inverse = load_depth_network(trained)[0](frame.permute(2, 0, 1)[None], infrared[None, None])
    truth = cv2.resize(scene.inverse_depth, size_wh, interpolation=cv2.INTER_NEAREST)
    error = ordinal_error(log_inverse[0, 0].numpy(), truth, np.random.default_rng(0))
    history = read_json(trained.with_name("depth.training") / "metrics.json")
    assert history[-1][f"ordinal_error_{kind}"] == pytest.approx(error, abs=0.02)


def test_a_stopped_training_goes_on_to_the_same_bits(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = _with_scenes_of(trained, tmp_path)
    step, calls = depth_training._step, iter(range(7))

    def stop_in_the_middle(*arguments: Any) -> dict[str, float]:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(depth_training, "_step", stop_in_the_middle)
        with pytest.raises(KeyboardInterrupt):
            train_depth(TINY, out)
    assert load_depth_network(out)[1]["training"]["steps_done"] == 5
    # Under another name of the device, and with other processes.
    train_depth(replace(TINY, device="auto" if not torch.cuda.is_available() else "cpu", jobs=2), out)
    assert out.read_bytes() == trained.read_bytes()


def test_a_kill_between_the_last_files_is_made_good_by_a_rerun(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = _with_scenes_of(trained, tmp_path)
    folder = out.with_name("depth.training")
    checkpoint = (trained.with_name("depth.training") / "checkpoint.pt").read_bytes()
    (folder / "checkpoint.pt").write_bytes(checkpoint)
    train_depth(TINY, out)
    assert out.read_bytes() == trained.read_bytes(), "a missing file"
    network = DepthTrainingState(TINY, torch.device("cpu")).average
    old = {"config": TINY.plain(), "steps_done": 10, "metrics": {}}
    save_depth_network(out, network, encoder=TINY.encoder, size_hw=(64, 96), training=old)
    train_depth(TINY, out)
    assert out.read_bytes() == trained.read_bytes(), "one of an earlier step"
    times = out.stat().st_mtime_ns
    train_depth(TINY, out)
    assert out.stat().st_mtime_ns == times, "nothing is left to be done"

    def killed(*_: object) -> None:
        assert load_depth_network(out)[1]["training"]["steps_done"] == 5
        raise KeyboardInterrupt

    (folder / "checkpoint.pt").unlink()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DepthTrainingState, "save", killed)
        train_depth(TINY, out)
    train_depth(TINY, out)
    assert out.read_bytes() == trained.read_bytes()
    assert [row["step"] for row in read_json(folder / "metrics.json")] == [5, 10, 15]


def test_the_second_stage_leaves_what_sees_visible_frames_alone(trained: Path, tmp_path: Path) -> None:
    first = DepthTrainingConfig(**{**TINY.__dict__, "infrared_steps": 0})
    base = train_depth(first, _with_scenes_of(trained, tmp_path))
    before, after = (load_depth_network(path)[0].state_dict() for path in (base, trained))
    assert before.keys() == {key for key in after if not key.startswith("correction.")}
    for key, value in before.items():
        assert torch.equal(value, after[key]), key
    assert after["correction.head.weight"].any()  # untrained it corrects nothing


def test_a_correction_can_be_trained_for_weights_that_exist(trained: Path, tmp_path: Path) -> None:
    out = _with_scenes_of(trained, tmp_path)
    config = DepthTrainingConfig(**{**TINY.__dict__, "base": trained})
    network, description = load_depth_network(train_depth(config, out))
    for key, value in load_depth_network(trained)[0].state_dict().items():
        assert key.startswith("correction.") or torch.equal(value, network.state_dict()[key]), key
    facts = description["training"]
    assert facts["steps_done"] == 15 and facts["config"]["base"] == sha256_file(trained)
    assert facts["base"] == load_depth_network(trained)[1]["training"]
    state = DepthTrainingState(config, torch.device("cpu"))
    assert state.first_infrared_scene == TINY.scenes
    state.base_facts = {"config": {"scenes": 5000}}
    assert state.first_infrared_scene == 5000, "scenes that the base has seen are no new ones"
    with pytest.raises(InputError, match="weights of encoder regnetx_002, not resnet10t; give"):
        other = DepthTrainingConfig(**{**config.__dict__, "encoder": "resnet10t"})
        train_depth(other, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="would replace what it is made of"):
        train_depth(config, trained)


def test_a_damaged_checkpoint_is_named(trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "depth.training" / "checkpoint.pt"
    path.parent.mkdir()
    whole = (trained.with_name("depth.training") / "checkpoint.pt").read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    saved = torch.load(io.BytesIO(whole), weights_only=True)
    moments = {**saved["optimiser"]["state"][0], "exp_avg": torch.ones(1)}
    edited = ({"step": 5}, saved | {"config": []}, saved | {"optimiser": {"state": {0: moments}}})
    for content in (b"", whole[:1000], whole[:-1000], flipped, *map(saved_bytes, edited)):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"checkpoint\.pt: .*; delete it to begin anew$"):
            train_depth(TINY, tmp_path / "depth.safetensors")


def test_what_cannot_work_is_told_before_scenes_are_rendered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depth_training, "render_scene_set", lambda *_, **__: pytest.fail("rendered"))
    # No such model; one whose maps have their channels last; one that takes pictures of one size alone.
    for encoder in (
        "nonsense",
        "hf-hub:somebody/nonsense",
        "swin_tiny_patch4_window7_224",
        "coatnet_nano_cc_224",
    ):
        unfit = DepthTrainingConfig(**{**TINY.__dict__, "encoder": encoder})
        with pytest.raises(InputError, match=f"^encoder {encoder}: [^\n]*$"):
            train_depth(unfit, tmp_path / "depth.safetensors")
    with pytest.raises(InputError, match="is a folder"):
        train_depth(TINY, tmp_path)


def test_another_config_on_the_same_output_stops(trained: Path, tmp_path: Path) -> None:
    out = _with_scenes_of(trained, tmp_path)
    shutil.copy(trained.with_name("depth.training") / "checkpoint.pt", out.with_name("depth.training"))
    changed = DepthTrainingConfig(**{**TINY.__dict__, "learning_rate": 1e-4})
    with pytest.raises(InputError, match="another learning_rate"):
        train_depth(changed, out)


def test_scenes_of_another_renderer_are_rendered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rendered() -> SceneSet:
        return render_scene_set(tmp_path, seed=0, first=0, count=1, size_hw=(32, 32), randomised=False)

    before = rendered()
    monkeypatch.setattr(depth_scenes, "render_scene", lambda **_: pytest.fail("rendered again"))
    np.testing.assert_array_equal(rendered().visible, before.visible)
    monkeypatch.setattr(depth_scenes, "REVISION", depth_scenes.REVISION + 1)
    with pytest.raises(pytest.fail.Exception, match="rendered again"):
        rendered()


def test_views_get_the_detail_of_photographs(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    for number in range(3):
        picture = np.random.default_rng(number).integers(0, 256, (40, 900, 3), np.uint8)
        write_image(folder / "deeper" / f"{number}.png", picture)
    assert [picture.shape for picture in read_photographs(folder, 384)] == [(17, 384, 3)] * 3
    config = replace(TINY, photographs=folder, infrared_steps=0)
    out = train_depth(config, _with_scenes_of(trained, tmp_path))
    network, description = load_depth_network(out)
    others = load_depth_network(trained)[0].state_dict()
    assert any(not torch.equal(value, others[key]) for key, value in network.state_dict().items())
    photographs = photographs_digest(folder)
    assert description["training"]["config"]["photographs"] == photographs
    # The same ones elsewhere are the same; others are not.
    assert photographs_digest(folder.rename(tmp_path / "moved")) == photographs
    write_image(tmp_path / "moved" / "3.png", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="another photographs"):
        train_depth(replace(config, photographs=tmp_path / "moved"), out)


def test_photographs_that_cannot_be_read_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_training, "render_scene_set", lambda *_, **__: pytest.fail("rendered"))
    (tmp_path / "photographs").mkdir()
    config = replace(TINY, photographs=tmp_path / "photographs")
    with pytest.raises(InputError, match="no photographs; give a folder"):
        train_depth(config, tmp_path / "depth.safetensors")
    (tmp_path / "photographs" / "cut.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"cut\.png: damaged image"):
        train_depth(config, tmp_path / "depth.safetensors")


@pytest.mark.parametrize(
    "wrong",
    [
        *({"steps": 0}, {"scenes": 0}, {"size_hw": (100, 128)}, {"size_hw": (0, 64)}, {"learning_rate": 0.0}),
        *({"learning_rate": float("nan")}, {"randomised_share": 1.5}, {"weight_decay": -1.0}),
        *({"infrared_steps": -1}, {"infrared_scenes": 0}, {"base": Path("a"), "infrared_steps": 0}),
    ],
)
def test_configs_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"train-depth: {next(iter(wrong)).split('_')[0]}"):
        DepthTrainingConfig(**wrong)


def test_learning_rate_rises_then_falls_to_zero() -> None:
    every = [learning_rate_at(step, TINY) for step in range(TINY.all_steps + 1)]
    for rates in (every[: TINY.steps], every[TINY.steps :]):  # in either stage
        peak = rates.index(max(rates))
        assert rates[:peak] == sorted(rates[:peak]) and rates[peak:] == sorted(rates[peak:], reverse=True)
        assert max(rates) == TINY.learning_rate and rates[-1] < 0.3 * TINY.learning_rate
    assert every[-1] == pytest.approx(0)


def _with_scenes_of(trained: Path, folder: Path) -> Path:
    """Another output beside which the same scenes are already rendered."""
    source = trained.with_name("depth.training") / "scenes"
    shutil.copytree(source, folder / "depth.training" / "scenes")
    return folder / "depth.safetensors"
