"""What is added to the likelihood of labels in training."""

import pytest
import torch

from reward_model.training.label_trainer import centring


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_centring_of_pairs_is_the_square_of_their_sum():
    scores, group = tensor(1.0, 2.0, -1.0, 0.5), torch.tensor([0, 0, 1, 1])
    assert centring(scores, group, 2).item() == pytest.approx((3.0**2 + 0.5**2) / 2)
