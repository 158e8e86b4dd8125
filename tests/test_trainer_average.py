"""The moving average of a run: it follows the network, and is what is validated and written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from training_runs import digest, tiny

from model.checkpoint import load_network
from model.checkpoint.digest import weights_digest
from model.checkpoint.training_state import load_training_state
from model.trainer import train
from model.training.distributed import Team
from model.training.feed import TrainingData
from model.training.information import load_measure
from model.training.run_folder import RunFolder
from model.training.step import AlternatingStep
from model.training.training_log import read_metrics
from pipeline.networks.schedules import average_decay

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_average_follows_the_network_and_is_validated(joint: Path, tmp_path: Path) -> None:
    config = tiny(steps=3, ema_decay=0.9, checkpoint_every=1, validate_every=3, warmup_steps=2)
    train(config, joint, tmp_path)
    folder, device = RunFolder(tmp_path), torch.device("cpu")
    records = read_metrics(folder.metrics)
    assert [record["lr"] for record in records] == [config.learning_rate(step) for step in range(3)]
    assert records[0]["lr"] < records[1]["lr"] == config.lr

    first, second, third = (load_training_state(folder.checkpoint(step)) for step in (1, 2, 3))
    for done, before, after in ((2, first, second), (3, second, third)):
        decay = average_decay(done, 0.9)
        for name, value in after.extra["average"].items():
            if value.is_floating_point():
                expected = decay * before.extra["average"][name] + (1 - decay) * after.network[name]
                assert torch.allclose(value, expected, atol=1e-7), name

    # Of the one validation, after the last step.
    assert weights_digest(load_network(folder.best_weights)) == digest(tmp_path)
    result = load_network(folder.weights)
    measure = load_measure(config.information, weights=config.information_weights, device=device)
    step = AlternatingStep(result, config, measure=measure, team=Team("cpu"))
    losses = step.validate(result, TrainingData(config, [joint], device=device).validation_batches())
    assert records[2]["validation_total"] == pytest.approx(losses["total"], rel=1e-5)
    result.load_state_dict(third.network)
    live = step.validate(result, TrainingData(config, [joint], device=device).validation_batches())
    assert live["total"] != pytest.approx(losses["total"], rel=1e-5)
