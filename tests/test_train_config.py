"""Settings of a training: rates of its steps, what is refused, names and defaults."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from training_runs import tiny

from model.blocks.head import HEADS
from model.network import NetworkConfig
from model.training import train_config
from model.training.information import load_measure, pyramid_energy
from model.training.objectives import OBJECTIVES
from model.training.train_config import TrainConfig
from pipeline.files import InputError


def test_learning_rate_is_a_function_of_the_step() -> None:
    constant = tiny(lr=2.0, steps=10)
    assert {constant.learning_rate(step) for step in range(10)} == {2.0}
    warm = tiny(lr=2.0, steps=10, warmup_steps=4)
    assert [warm.learning_rate(step) for step in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]
    cosine = tiny(lr=2.0, steps=10, warmup_steps=2, schedule="cosine")
    rates = [cosine.learning_rate(step) for step in range(11)]
    assert rates[:3] == [1.0, 2.0, 2.0]
    assert rates[6] == pytest.approx(1.0) and rates[10] == pytest.approx(0.0)
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert tiny(schedule="cosine", steps=4, warmup_steps=3).learning_rate(3) == 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"crop": 16},
        {"crop": 40, "objective": "fidelity"},
        {"batch_size": 1, "objective": "fidelity"},
        {"batch_size": 10**13},
        {"seed": 2**63},
        {"information_weights": "densenet.pth"},
        {"amp": "fp8"},
        {"dp_task": "ivif"},
        {"warmup_steps": 60, "steps": 60, "schedule": "cosine"},
        {"lr": 0.0},
        {"lr": math.nan},
        {"ema_decay": 1.0},
        {"clip_norm": -1.0},
        {"mm_task_weight": -1.0},
        {"mm_task_weight": math.nan},
        {"mm_task_weight": 0.0, "dp_task_weight": 0.0, "mm_public_weight": 0.0, "dp_public_weight": 0.0},
        {"mm_task_weight": 0.0, "dp_task_weight": 0.0, "public_ssim_weight": 0.0, "public_mse_weight": 0.0},
        {"mm_task_weight": 0.0, "dp_task_weight": 0.0, "mm_public_weight": 0.0, "objective": "fidelity"},
        {"public_mse_weight": 2.0, "mm_public_weight": 0.0, "dp_public_weight": 0.0},
        {"public_ssim_weight": 0.0, "mm_public_weight": 0.0, "objective": "fidelity"},
        {"structure_weight": 9.0},
        {"dp_public_weight": 0.0, "objective": "fidelity"},
        {"validation_share": 1.0},
        {"dp_folder": "pairs", "dp_task": "meif"},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_in_one_line(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(settings))) as error:
        TrainConfig(**settings)
    assert "\n" not in str(error.value)


def test_names_and_defaults_that_need_no_torch_are_those_of_the_code() -> None:
    assert tuple(OBJECTIVES) == train_config.OBJECTIVES
    assert set(train_config.HEADS) == set(HEADS)
    shape = NetworkConfig()
    assert all(getattr(shape, name) == default for name, default in train_config.SHAPE.items())
    assert load_measure(train_config.MEASURES[0], weights="", device=torch.device("cpu")) is pyramid_energy
    assert TrainConfig.information in train_config.MEASURES
