"""Training: the published step, what a run leaves, fine-tuning, mixed precision."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import digest, tiny, without_times

from model.checkpoint import load_network, load_with_facts, read_metadata, save_weights
from model.checkpoint.digest import weights_digest
from model.checkpoint.training_state import load_training_state
from model.network import GIFNet, NetworkConfig
from model.trainer import train
from model.training.curves import LOSSES
from model.training.distributed import Team
from model.training.feed import Batch, TrainingData
from model.training.information import load_measure, pyramid_energy
from model.training.objectives import OBJECTIVES
from model.training.run_folder import RunFolder
from model.training.start import start_network
from model.training.step import AlternatingStep
from model.training.train_config import TrainConfig
from model.training.training_log import read_metrics
from pipeline.files import InputError, read_json
from pipeline.images import read_image

pytestmark = pytest.mark.usefixtures("one_thread")

PUBLISHED = OBJECTIVES["published"]


@pytest.mark.parametrize("main", ["mm", "dp"])
def test_step_reproduces_the_published_outputs_and_losses(shared: Path, main: Any) -> None:
    reference = shared / "reference/gifnet"
    network = load_network(reference / "Final.model")
    planes = np.load(reference / "train_inputs.npz")
    names = {"infrared": "ir", "visible": "vis", "dp_a": "near", "dp_b": "far", "dp_truth": "vis"}
    batch = Batch(**{name: torch.from_numpy(planes[source]) for name, source in names.items()})
    published = np.load(reference / f"train_{main}.npz")
    outputs = torch.cat([torch.from_numpy(published[name]) for name in ("fused", "reconstruction")], dim=1)
    with torch.no_grad():
        assert torch.allclose(PUBLISHED.outputs(network, batch[:1], main), outputs[:1], atol=1e-5)

    expected = json.loads((reference / "train_losses.json").read_text())[main]
    weights = (torch.full((4,), 0.4), torch.full((4,), 0.6))
    losses = PUBLISHED.losses(outputs, batch, main, weights, TrainConfig())
    assert losses.task.item() == pytest.approx(expected["task_loss"], rel=1e-5)
    # The reference computed 1 - MS-SSIM in float32, which leaves it an error of 1e-7.
    assert losses.public.item() == pytest.approx(expected["public_loss"], rel=1e-5, abs=1.5e-7)
    assert losses.total.item() == pytest.approx(expected["total"], rel=1e-5, abs=1.5e-7)


def test_loss_weights_scale_their_losses(joint: Path) -> None:
    batch = TrainingData(tiny(), [joint], device=torch.device("cpu")).batch(0)
    outputs = torch.rand(2, 2, 32, 32)
    weights = (torch.full((2,), 0.3), torch.full((2,), 0.7))

    def losses(main: Any, **settings: float) -> tuple[float, float, float]:
        found = PUBLISHED.losses(outputs, batch, main, weights, tiny(**settings))
        return float(found.task), float(found.public), float(found.total)

    for main in ("mm", "dp"):
        task, public, total = losses(main)
        assert total == pytest.approx(task + public)
        scaled = losses(main, **{f"{main}_task_weight": 3.0, f"{main}_public_weight": 0.5})
        assert scaled == pytest.approx((task, public, 3 * task + 0.5 * public))
        parts = losses(main, public_ssim_weight=0.0)[1] + losses(main, public_mse_weight=0.0)[1]
        assert parts == pytest.approx(public)


def test_parameters_without_gradient_are_left_alone(straight: Path) -> None:
    """Adam counts an update of a parameter only where the task reaches it: 4 steps are 4 or 8 updates."""
    state = load_training_state(RunFolder(straight).checkpoint(4))
    names = [name for name, _ in load_network(straight / "weights.safetensors").named_parameters()]
    updates = {names[index]: int(value["step"]) for index, value in state.optimizer["state"].items()}
    assert updates.keys() == set(names)
    assert updates["encoder.convolutions.0.weight"] == 8  # shared by both tasks
    assert updates["transformer.lambda_mm"] == updates["transformer.lambda_dp"] == 4
    assert updates["transformer.cross_block.mm.qkv.weight"] == 4
    assert updates["transformer.cross_block.mm.mlp.0.weight"] == 8  # reached through lambda by the other task
    assert set(updates.values()) == {4, 8}


@pytest.mark.parametrize("amp", ["off", "fp16"])
def test_losses_that_weigh_nothing_reach_nothing(joint: Path, amp: str) -> None:
    """An update that a task's losses do not ask for is none; Adam's moments would move weights without it."""
    settings = {"amp": amp, "mm_task_weight": 0.0, "clip_norm": 1.0}
    data = TrainingData(tiny(), [joint], device=torch.device("cpu"))

    def updates(**more: float) -> dict[str, int]:
        config = tiny(**settings, **more)
        network = start_network(config)
        step = AlternatingStep(network, config, measure=pyramid_energy, team=Team("cpu"))
        step.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=amp == "fp16")  # nothing overflows
        records = [step(data.batch(number), 1e-3) for number in range(2)]
        assert all(record["mm_task"] > 0 and record["mm_public"] > 0 for record in records)
        assert all((record["mm_gradient_norm"] == 0) == bool(more) for record in records)
        names = {parameter: name for name, parameter in network.named_parameters()}
        return {names[p]: int(state["step"]) for p, state in step.optimizer.state.items()}

    dp_alone = updates(mm_public_weight=0.0)
    assert set(dp_alone.values()) == {2}
    with_public = updates()
    assert with_public["encoder.convolutions.0.weight"] == 4
    assert with_public["global_decoder.decoder.0.weight"] == 2  # of MM, only the reconstruction is taught


def test_a_network_that_cannot_learn_is_told(joint: Path, tmp_path: Path, capsys: Any) -> None:
    config = tiny(steps=2, picture_every=10)
    for dead in (False, True):
        network = start_network(config)
        if dead:  # the last hidden layer of the fusing decoder is 0 whatever comes in
            network.global_decoder.decoder[4].bias.data.fill_(-1e3)
        weights = save_weights(tmp_path / f"{dead}.safetensors", network, {})
        train(replace(config, init=str(weights)), joint, tmp_path / f"run-{dead}")
        assert ("the fused image is a constant" in capsys.readouterr().err) is dead
    for mm_share in (1.0, 0.0):  # without MM the first update goes through weights of 0
        train(tiny(head="pyramid", steps=1, mm_task_weight=mm_share), joint, tmp_path / f"pyramid-{mm_share}")
    assert "the fused image is a constant" not in capsys.readouterr().err


def test_a_run_leaves_everything_that_it_promises(straight: Path) -> None:
    folder = RunFolder(straight)
    records = read_metrics(folder.metrics)
    assert [record["step"] for record in records] == [1, 2, 3, 4]
    assert all(math.isfinite(record[name]) for record in records for name in (*LOSSES, "w_ir", "lr"))
    assert ["validation_total" in record for record in records] == [False, True, False, True]

    summary = read_json(folder.summary)
    for name in LOSSES:
        mean = sum(record[name] for record in records) / 4
        assert summary["losses"][name] == {
            "first_10_mean": pytest.approx(mean),
            "last_10_mean": pytest.approx(mean),
        }
    best = min((r for r in records if "validation_total" in r), key=lambda r: r["validation_total"])
    assert summary["best_validation"] == {"step": best["step"], "total": best["validation_total"]}
    assert summary["weights_digest"] == digest(straight)
    assert summary["lambda_mm"] == records[-1]["lambda_mm"]

    assert read_metadata(folder.best_weights)["step"] == best["step"]
    metadata = read_metadata(folder.weights)
    assert metadata["step"] == 4 and metadata["config"] == tiny().to_json()
    assert read_json(folder.config)["config"] == tiny().to_json()
    assert [path.name for path in folder.checkpoints()] == ["step-00000002.pt", "step-00000004.pt"]
    network, facts = load_with_facts(folder.checkpoint(4))
    assert weights_digest(network) == digest(straight) and facts == metadata
    assert read_image(folder.curves).std() > 5
    assert read_image(folder.pictures / "step-00000004.png").std() > 5


@pytest.mark.parametrize("out", ["joint/run", "joint/a/b", "pairs/near/run"])
def test_a_run_does_not_go_among_its_data(tmp_path: Path, out: str) -> None:
    (tmp_path / "joint").mkdir()
    (tmp_path / "pairs").mkdir()
    with pytest.raises(InputError, match=r"would be among the inputs in .*; choose another output folder"):
        train(tiny(dp_folder=str(tmp_path / "pairs")), tmp_path / "joint", tmp_path / out)
    assert not (tmp_path / out).exists()


def test_network_is_a_function_of_the_seed_alone(joint: Path, tmp_path: Path, straight: Path) -> None:
    torch.rand(7)  # moves the global generator, which must not matter
    before = torch.get_rng_state()
    start_network(tiny())
    assert torch.equal(torch.get_rng_state(), before)
    train(tiny(), joint, tmp_path / "again")
    assert digest(tmp_path / "again") == digest(straight)
    assert without_times(tmp_path / "again") == without_times(straight)
    train(tiny(seed=1, steps=1), joint, tmp_path / "other")
    assert without_times(tmp_path / "other")[0]["mm_task"] != without_times(straight)[0]["mm_task"]


def test_overfitting_one_batch_lowers_every_loss(joint: Path, tmp_path: Path) -> None:
    train(tiny(steps=24, overfit=True, validation_share=0, checkpoint_every=100), joint, tmp_path)
    records = read_metrics(tmp_path / "metrics.jsonl")
    for name in LOSSES:
        assert records[-1][name] < 0.8 * records[0][name], name


def test_long_gradients_are_shortened_and_told_as_they_were(joint: Path) -> None:
    config, device = tiny(clip_norm=1e-3), torch.device("cpu")
    network = GIFNet(NetworkConfig(feature_growth=2, decoder_channels=8))
    measure = load_measure("pyramid", weights="", device=device)
    step = AlternatingStep(network, config, measure=measure, team=Team("cpu"))
    told = step(TrainingData(config, [joint], device=device).batch(0), 1e-3)
    norm = torch.nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
    assert float(norm) == pytest.approx(1e-3, rel=1e-3) and told["dp_gradient_norm"] > 2e-3


def test_a_validation_is_the_mean_over_its_samples(joint: Path) -> None:
    config, device = tiny(), torch.device("cpu")
    network = start_network(config)
    step = AlternatingStep(network, config, measure=pyramid_energy, team=Team("cpu"))
    batch = TrainingData(config, [joint], device=device).batch(0)
    one, rest = step.validate(network, [batch[:1]]), step.validate(network, [batch[1:]])
    both = step.validate(network, [batch[:1], batch[1:]])
    for name in both:
        assert both[name] == pytest.approx((one[name] + (len(batch) - 1) * rest[name]) / len(batch))
    whole = step.validate(network, [batch])
    assert whole["total"] == pytest.approx(sum(whole[name] for name in LOSSES))
    told = step(batch, 1e-12)
    assert [whole[name] for name in LOSSES] == pytest.approx([told[name] for name in LOSSES], rel=1e-4)


def test_what_is_validated_is_the_average_that_is_written(joint: Path, tmp_path: Path) -> None:
    config, device = tiny(lr=0.02, ema_decay=0.9), torch.device("cpu")
    train(config, joint, tmp_path)
    data = TrainingData(config, [joint], device=device)
    result, last = load_network(tmp_path / "weights.safetensors"), start_network(config)
    last.load_state_dict(load_training_state(RunFolder(tmp_path).checkpoints()[-1]).network)
    step = AlternatingStep(last, config, measure=pyramid_energy, team=Team("cpu"))
    totals = [step.validate(network, data.validation_batches())["total"] for network in (result, last)]
    told = read_metrics(tmp_path / "metrics.jsonl")[-1]["validation_total"]
    assert told == pytest.approx(totals[0], rel=1e-4) and told != pytest.approx(totals[1], rel=1e-3)


def test_fine_tuning_starts_from_the_given_weights(joint: Path, tmp_path: Path, straight: Path) -> None:
    weights = straight / "weights.safetensors"
    unsaid: dict[str, Any] = {"feature_growth": None, "decoder_channels": None}
    train(tiny(steps=1, lr=1e-12, init=str(weights), **unsaid), joint, tmp_path)
    config = read_json(tmp_path / "config.json")["config"]
    assert (config["feature_growth"], config["decoder_channels"], config["head"]) == (8, 16, "plane")
    start, end = (load_network(path).state_dict() for path in (weights, tmp_path / "weights.safetensors"))
    assert all(torch.allclose(start[name], end[name], atol=1e-9) for name in start)
    with pytest.raises(InputError, match="absent"):
        train(tiny(init="absent.safetensors"), joint, tmp_path / "none")
    with pytest.raises(InputError, match=r"head is 'pyramid', but .* has 'plane'"):
        train(tiny(init=str(weights), head="pyramid"), joint, tmp_path / "other")
    with pytest.raises(InputError, match=r"feature_growth is 32, but .* has 8"):  # the default, if asked for
        train(tiny(init=str(weights), feature_growth=32), joint, tmp_path / "other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("amp", "steps"),
    [
        ("bf16", 6),
        # Some processors emulate these, and take half a minute for the gradients of a step.
        pytest.param("bf16", 50, marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
        pytest.param("fp16", 50, marks=[pytest.mark.slow, pytest.mark.timeout(3600)]),
    ],
)
def test_mixed_precision_follows_float32(joint: Path, tmp_path: Path, amp: str, steps: int) -> None:
    """From weights that have settled a little, every step's losses are within 10 % plus 0.01 of float32's.

    At the very start, and with the full learning rate, rounding alone sends runs different ways.
    """
    common = {"validation_share": 0, "checkpoint_every": 100}
    train(tiny(steps=40 if steps > 10 else 4, **common), joint, tmp_path / "start")
    losses = {}
    for name in ("off", amp):
        init = str(tmp_path / "start/weights.safetensors")
        train(tiny(steps=steps, amp=name, lr=1e-4, init=init, **common), joint, tmp_path / name)
        records = read_metrics(tmp_path / name / "metrics.jsonl")
        assert all(record["mm_gradient_norm"] for record in records[5:])  # the scale of fp16 has settled
        losses[name] = np.array([[record[key] for key in LOSSES] for record in records])
    assert (np.abs(losses[amp] - losses["off"]) < 0.1 * losses["off"] + 0.01).all()
