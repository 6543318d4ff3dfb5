"""What length alone predicts."""

import math

import pytest
import torch

from reward_model.training.length_effect import length_effect


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_length_alone_by_hand():
    # of four pairs that differ by 1, three prefer the longer: log 3, but for a weak prior
    found = length_effect(tensor(1, 1, 1, -1), tensor(1, 1, 1, 1), tensor(1, 1, 1, 1))
    assert found == pytest.approx(math.log(3), abs=0.02)
    assert abs(length_effect(tensor(1, -1), tensor(1, 1), tensor(1, 1))) < 1e-9
    assert 3 < length_effect(tensor(1, 1), tensor(1, 1), tensor(1, 1)) < 10, "it stays finite"
