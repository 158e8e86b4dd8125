"""Training of the depth network: losses against the paper's equations, views, and a short run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.depth import training as depth_training
from pipeline.depth.augmentation import random_view, with_detail
from pipeline.depth.losses import data_loss, draw_pairs, gradient_loss, ordinal_error, ordinal_loss
from pipeline.depth.network import load_depth_network, save_depth_network
from pipeline.depth.photographs import photographs_digest, read_photographs
from pipeline.depth.training import train_depth
from pipeline.depth.training_config import DepthTrainingConfig, learning_rate_at
from pipeline.depth.training_state import DepthTrainingState
from pipeline.files import InputError, read_json, sha256_file
from pipeline.images import write_image

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = DepthTrainingConfig(
    encoder="regnetx_002", size_hw=(64, 64), inference_size_hw=(64, 96), render_size_hw=(80, 80), scenes=6,
    held_out=1, steps=10, infrared_scenes=4, infrared_steps=5, batch_size=2, save_every=5, warmup_steps=2,
    pairs=200, device="cpu",
)  # fmt: skip


# --- losses ---------------------------------------------------------------------------------------------


def test_losses_do_not_see_the_scale_of_depth() -> None:
    random = torch.Generator().manual_seed(0)
    target = torch.rand(2, 1, 16, 24, generator=random)
    predicted = torch.rand(2, 1, 16, 24, generator=random)
    pairs = torch.from_numpy(
        np.stack([draw_pairs(np.random.default_rng(i), (16, 24), 50, 0.5) for i in (0, 1)])
    )
    scaled = predicted + torch.tensor([3.0, -2.0])[:, None, None, None]  # a factor on depth
    for loss in (
        lambda p: data_loss(p, target),
        lambda p: gradient_loss(p, target),
        lambda p: ordinal_loss(p, target, pairs, margin=0.1),
    ):
        torch.testing.assert_close(loss(scaled), loss(predicted), rtol=1e-5, atol=1e-6)
    assert data_loss(target + 1, target) < 1e-12 and gradient_loss(target, target) == 0


def test_data_loss_is_equation_2() -> None:
    difference = torch.tensor([1.0, 2.0, 4.0, -3.0]).reshape(1, 1, 2, 2)
    expected = (1 + 4 + 16 + 9) / 4 - (1 + 2 + 4 - 3) ** 2 / 16
    assert data_loss(difference, torch.zeros_like(difference)).item() == pytest.approx(expected)


def test_ordinal_loss_is_equation_4() -> None:
    # Target says that point 1 is nearer (greater log inverse depth) than point 0.
    target = torch.tensor([0.0, 1.0]).reshape(1, 1, 1, 2)
    pair = torch.tensor([[[1], [0]]])

    def cost(step: float) -> float:
        return ordinal_loss(torch.tensor([0.0, step]).reshape(1, 1, 1, 2), target, pair, margin=0.1).item()

    assert cost(0.7) == pytest.approx(np.log1p(np.exp(-0.7)), rel=1e-5)
    assert cost(-0.2) == pytest.approx(np.log1p(np.exp(0.2)), rel=1e-5)
    assert cost(-0.2500001) == pytest.approx(cost(-0.2499999), abs=1e-5)  # the cases meet at tau
    growth = cost(-9.0) - cost(-4.0)
    assert growth == pytest.approx(np.log1p(np.exp(3)) - np.log1p(np.exp(2)), rel=1e-5)  # roots of 9 and 4


def test_pairs_that_hardly_differ_do_not_count() -> None:
    target = torch.tensor([0.0, 0.05]).reshape(1, 1, 1, 2)
    predicted = torch.tensor([5.0, 0.0], requires_grad=True)
    loss = ordinal_loss(predicted.reshape(1, 1, 1, 2), target, torch.tensor([[[1], [0]]]), margin=0.1)
    loss.backward()
    assert loss == 0 and (predicted.grad == 0).all()  # type: ignore[union-attr]


def test_ordinal_error_of_known_maps() -> None:
    truth = np.random.default_rng(0).random((30, 40), np.float32)
    random = np.random.default_rng(1)
    assert ordinal_error(truth, truth, random) == 0
    assert ordinal_error(np.exp(3 * truth), truth, random, row_share=1) == 0
    assert ordinal_error(-truth, truth, random) == 1
    assert ordinal_error(np.zeros_like(truth), truth, random) == 0.5
    rows = np.repeat(np.arange(30.0)[:, None], 40, axis=1)
    assert ordinal_error(rows, truth, random, row_share=1) == 0.5  # "lower is nearer" says nothing in a row


# --- views ----------------------------------------------------------------------------------------------

#: Another picture, for the fine detail of views.
OTHER = np.random.default_rng(9).integers(0, 256, (90, 70, 3), np.uint8)


def test_views_move_frame_and_depth_together() -> None:
    # Depth is painted into the frame; under mild photography the two must still agree everywhere.
    height, width = 100, 140
    rows, columns = np.mgrid[0:height, 0:width]
    depth = ((rows // 20 + columns // 20) % 2).astype(np.float16)
    frame = (np.repeat(depth[..., None], 3, axis=2) * 155 + 50).astype(np.uint8)
    agreements = []
    for seed in range(40):
        view = random_view(frame, depth, None, OTHER, (64, 96), np.random.default_rng(seed))
        moved = view.inverse_depth
        assert view.frame.shape == (64, 96, 3) and view.frame.dtype == np.float32 and view.infrared is None
        assert np.isfinite(view.frame).all() and view.frame.min() >= 0 and view.frame.max() <= 1
        assert moved.shape == (64, 96) and set(np.unique(moved)) <= {0.0, 1.0}
        agreements.append(np.corrcoef(view.frame.mean(axis=2).ravel(), moved.ravel())[0, 1])
    assert np.median(agreements) > 0.8


def test_infrared_moves_with_its_scene_however_dark_that_is() -> None:
    rows, columns = np.mgrid[0:100, 0:140]
    depth = ((rows // 20 + columns // 20) % 2).astype(np.float16)
    infrared = (depth * 155 + 50).astype(np.uint8)
    frame = np.repeat(infrared[..., None], 3, axis=2)
    agreements, brightness = [], []
    for seed in range(40):
        view = random_view(frame, depth, infrared, OTHER, (64, 96), np.random.default_rng(seed))
        assert view.infrared is not None and view.infrared.shape == (64, 96)
        assert view.infrared.dtype == view.frame.dtype == np.float32
        for picture in (view.infrared, view.frame):
            assert np.isfinite(picture).all() and picture.min() >= 0 and picture.max() <= 1
        agreements.append(abs(np.corrcoef(view.infrared.ravel(), view.inverse_depth.ravel())[0, 1]))
        brightness.append(view.frame.mean())
    assert np.median(agreements) > 0.7
    assert np.quantile(brightness, 0.4) < 0.15 < np.quantile(brightness, 0.9)


def test_foreign_detail_textures_a_frame_and_keeps_its_tone() -> None:
    columns = np.arange(96, dtype=np.float32) / 96
    frame = np.repeat(np.tile(0.2 + 0.4 * columns, (64, 1))[..., None], 3, axis=2)
    flat = np.full_like(frame, 0.7)
    np.testing.assert_allclose(with_detail(frame, flat, np.random.default_rng(0)), frame, atol=1e-6)
    stripes = np.repeat(np.tile(0.5 + 0.2 * (np.arange(96) % 4 < 2), (64, 1))[..., None], 3, axis=2)
    textured = with_detail(frame, stripes.astype(np.float32), np.random.default_rng(0))
    assert textured.dtype == np.float32 and textured.min() >= 0 and textured.max() <= 1
    stands_out = textured / frame - 1
    assert np.corrcoef(stands_out[..., 0].ravel(), stripes[..., 0].ravel())[0, 1] > 0.9
    # Of eight columns each.
    tone = [picture.reshape(64, 12, 8, 3).mean(axis=(0, 2)) for picture in (textured, frame)]
    np.testing.assert_allclose(*tone, rtol=0.05)


def test_views_follow_from_their_stream() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)
    depth = np.random.default_rng(1).random((80, 100)).astype(np.float16)
    infrared = frame[..., 0]
    first, second, other = (
        random_view(frame, depth, infrared, OTHER, (64, 64), np.random.default_rng(seed))
        for seed in (5, 5, 6)
    )
    for name in ("frame", "inverse_depth", "infrared"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


# --- training -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_depth(TINY, tmp_path_factory.mktemp("trained") / "depth.safetensors")


def test_a_short_training_lowers_its_loss(trained: Path) -> None:
    history = read_json(trained.with_name("depth.training") / "metrics.json")
    assert [row["step"] for row in history] == [5, 10, 15]
    assert history[1]["loss"] < history[0]["loss"]
    for kind in ("natural", "randomised"):
        assert 0 <= history[-1][f"ordinal_error_{kind}"] <= 1
    _, description = load_depth_network(trained)
    assert description["encoder"] == TINY.encoder and description["size_hw"] == [64, 96]
    assert description["training"]["steps_done"] == 15
    assert description["training"]["config"]["seed"] == 0


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
    with pytest.raises(InputError, match=r"weights of encoder regnetx_002; give that as --encoder"):
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
    torch.save({"step": 5}, tmp_path / "other.pt")
    for content in (b"", whole[:1000], whole[:-1000], flipped, (tmp_path / "other.pt").read_bytes()):
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
