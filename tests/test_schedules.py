"""Learning rates and moving averages by the step, as all three trainings use them."""

from __future__ import annotations

import copy
import itertools
import math

import pytest
import torch
from torch import nn

from pipeline.networks.schedules import average_decay, cosine_share, follow


def test_a_rate_rises_linearly_and_falls_along_half_a_cosine() -> None:
    shares = [cosine_share(step, steps=10, warmup=4) for step in range(11)]
    assert shares[:4] == [0.25, 0.5, 0.75, 1.0] and shares[4] == 1.0
    assert shares[7] == pytest.approx(0.5) and shares[10] == 0.0
    assert all(later < earlier for earlier, later in itertools.pairwise(shares[4:]))
    assert {cosine_share(step, steps=math.inf) for step in (0, 1, 10**9)} == {1.0}


def test_the_memory_of_an_average_is_short_at_first() -> None:
    decays = [average_decay(done, 0.99) for done in range(2000)]
    assert decays[0] == 0.1 and decays[-1] == 0.99
    assert all(earlier <= later for earlier, later in itertools.pairwise(decays))
    # The start is forgotten soon: after a hundred steps less than a millionth of it is left.
    assert math.prod(decays[:100]) < 1e-6 < math.prod([0.99] * 100)


def test_weights_and_statistics_are_averaged_and_counters_are_not() -> None:
    live = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = copy.deepcopy(live)
    before = copy.deepcopy(average.state_dict())
    for tensor in live.state_dict().values():
        tensor.add_(1)
    follow(average, live, done=10**6, most=0.75)
    for name, mean in average.state_dict().items():
        moved = 0.25 if mean.is_floating_point() else 0
        torch.testing.assert_close(mean, before[name] + moved)
    assert average[0].weight.requires_grad
