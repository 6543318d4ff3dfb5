import math
from typing import Any

import pytest
import torch

from policy.algorithms.losses import (
    aggregate,
    clipped_surrogate,
    entropy,
    explained_variance,
    surrogate,
    truncated_importance_weights,
    value_loss,
)

LN2 = 0.6931471805599453


AGGREGATED = [("sum", (3 + 9 + 4) / 2), ("sequence_mean", (3 + 6.5) / 2), ("token_mean", 16 / 3), ("fixed", 16 / 10)]


@pytest.mark.parametrize(("how", "expected"), AGGREGATED)
def test_losses_of_tokens_become_one_number_by_hand(how: Any, expected: float) -> None:
    per_token, mask = torch.tensor([[3.0, 50.0], [9.0, 4.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert aggregate(per_token, mask, 2, how, max_tokens=5).item() == pytest.approx(expected)
    parts = [
        aggregate(per_token[i : i + 1], mask[i : i + 1], 2, how, max_tokens=5, tokens=3.0).item() for i in range(2)
    ]
    assert sum(parts) == pytest.approx(expected)


def test_importance_weights_by_hand() -> None:
    logprobs = torch.log(torch.tensor([[0.5, 0.9, 0.1]])).requires_grad_()
    weights = truncated_importance_weights(logprobs, torch.log(torch.tensor([[0.5, 0.3, 0.4]])), cap=2.0)
    torch.testing.assert_close(weights, torch.tensor([[1.0, 2.0, 0.25]]))
    assert not weights.requires_grad


def test_the_loss_by_hand_adds_up_over_parts_of_a_batch() -> None:
    logprobs = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])
    advantages = torch.tensor([[2.0, 1.0], [-1.0, 5.0]])
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert aggregate(surrogate(logprobs, advantages), mask, 2).item() == pytest.approx((2 + 2 - 3) / 2)
    parts = [aggregate(surrogate(logprobs[i : i + 1], advantages[i : i + 1]), mask[i : i + 1], 2) for i in range(2)]
    assert sum(parts).item() == pytest.approx(0.5)


def test_the_clipped_loss_by_hand() -> None:
    ratio = torch.tensor([[1.5, 1.5, 0.5], [0.5, 1.1, 9.0]])
    advantages = torch.tensor([[2.0, -2.0, 2.0], [-2.0, 2.0, 2.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    old = torch.full((2, 3), -3.0)
    loss = aggregate(clipped_surrogate(old + ratio.log(), old, advantages, clip=0.2), mask, 2)
    # A ratio that moved too far in the direction the advantage asks for counts as 1.2 or 0.8, in the other as it is.
    assert loss.item() == pytest.approx(-(2.4 - 3.0 + 1.0 - 1.6 + 2.2) / 2)


def test_a_ratio_may_rise_further_than_it_may_fall() -> None:
    ratio, advantages = torch.tensor([[1.5, 1.25, 0.5, 1.5]]), torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    surrogate = clipped_surrogate(ratio.log(), torch.zeros(1, 4), advantages, clip=0.2, clip_high=0.28)
    torch.testing.assert_close(surrogate, -torch.tensor([[1.28, 1.25, -0.8, -1.5]]))


def test_a_clipped_ratio_has_no_gradient() -> None:
    logprobs = torch.log(torch.tensor([[1.5, 1.5, 0.5, 0.5]])).requires_grad_()
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    clipped_surrogate(logprobs, torch.zeros(1, 4), advantages, clip=0.2).sum().backward()
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, torch.tensor([[0.0, 1.5, -0.5, 0.0]]))


def test_the_value_loss_by_hand() -> None:
    values, returns = torch.tensor([[1.0, 4.0], [2.0, 7.0]]), torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert value_loss(values, returns, mask, 2).item() == pytest.approx((4 + 0 + 1) / 4)
    old = torch.tensor([[0.5, 4.0], [0.0, 0.0]])
    # Within 0.5 of the old value 2 would be 0.5, whose error 0.25 is the smaller one; 4 stays as it is.
    assert value_loss(values, returns, mask, 2, old_values=old, clip=0.5).item() == pytest.approx((4 + 0 + 1) / 4)
    far = torch.tensor([[0.0, 5.0], [4.0, 0.0]])
    assert value_loss(values, returns, mask, 2, old_values=far, clip=0.5).item() == pytest.approx(
        (6.25 + 0.25 + 6.25) / 4
    )


def test_entropy_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, -torch.inf], [LN2, 0.0]], requires_grad=True)
    values = entropy(logits)
    torch.testing.assert_close(values, torch.tensor([LN2, 0.0, math.log(3) - 2 / 3 * LN2]))
    values.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_explained_variance_by_hand() -> None:
    returns, mask = torch.tensor([[1.0, 3.0], [5.0, 99.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert explained_variance(returns, returns, mask) == 1.0
    assert explained_variance(torch.full((2, 2), 7.0), returns, mask) == pytest.approx(0.0)
    # Left over are 1, 0 and -1: variance 2/3 of 8/3.
    assert explained_variance(torch.tensor([[0.0, 3.0], [6.0, 0.0]]), returns, mask) == pytest.approx(0.75)
    assert explained_variance(-returns, returns, mask) == pytest.approx(-3.0)
    assert explained_variance(returns, torch.full((2, 2), 4.0), mask) == 0.0
