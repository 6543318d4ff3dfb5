"""What labels make of scores: by hand, by enumeration, and what must never change a probability."""

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reward_model.labels.likelihood import bradley_terry, davidson, ordinal, plackett_luce

SCORES = st.floats(-20, 20)
SHARES = st.floats(0, 1)


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def close(one: torch.Tensor, other: torch.Tensor | float) -> bool:
    return torch.allclose(one, torch.as_tensor(other, dtype=one.dtype), atol=1e-9)


# By hand.


def test_a_preference_by_hand():
    # sigmoid(1) = 0.731; a third of the votes for the other, who found sigmoid(-1) = 0.269
    assert bradley_terry(tensor(1.0)).item() == pytest.approx(-math.log(0.7310586))
    soft = bradley_terry(tensor(1.0), tensor(2 / 3)).item()
    assert soft == pytest.approx(-(2 * math.log(0.7310586) + math.log(0.2689414)) / 3)
    assert bradley_terry(tensor(1.5), 1.0, tensor(0.5)).item() == pytest.approx(-math.log(0.7310586))


def test_a_tie_by_hand():
    # equal scores and nu = 1: win, tie and loss have a third each
    assert davidson(tensor(0.0), tensor(0.5), tensor(1.0), tensor(0.0)).item() == pytest.approx(math.log(3))
    # odds of a difference of log 4 are 2 : 1 : 1/2
    found = davidson(tensor(math.log(4)), tensor(1.0), tensor(0.0), tensor(0.0)).item()
    assert found == pytest.approx(-math.log(2 / 3.5))


def test_a_ranking_by_hand():
    # weights 1, 2, 3 in the order third, second, first: 3/6, then 2/3, then the one that is left
    found = plackett_luce(tensor(0.0, math.log(2), math.log(3))[None], torch.tensor([[3, 2, 1]]))
    assert found.item() == pytest.approx(-math.log(3 / 6 * 2 / 3))
    # two equals on top of a third: each is chosen among all three, and the third among nobody
    tied = plackett_luce(tensor(0.0, math.log(2), math.log(3))[None], torch.tensor([[1, 1, 2]]))
    assert tied.item() == pytest.approx(-math.log(1 / 6) - math.log(2 / 6))
    assert plackett_luce(tensor(1.0, 2.0)[None], torch.tensor([[1, 1]])).item() == 0


def test_a_rating_by_hand():
    thresholds, slope = tensor(-1.0, 1.0)[None], tensor(1.0)
    middle = ordinal(tensor(0.0), thresholds, slope, torch.tensor([2])).item()
    assert middle == pytest.approx(-math.log(0.7310586 - 0.2689414))
    top = ordinal(tensor(0.0), thresholds, slope, torch.tensor([3])).item()
    assert top == pytest.approx(-math.log(0.2689414))


# Every kind is a distribution over what can be said.


@given(st.lists(st.floats(-8, 8), min_size=4, max_size=4))
def test_all_orders_together_are_certain(scores):
    orders = torch.tensor(list(permutations(range(1, 5))))
    nll = plackett_luce(tensor(*scores).expand(len(orders), -1), orders)
    assert torch.exp(-nll).sum().item() == pytest.approx(1)


@given(SCORES, st.floats(-3, 3))
def test_win_tie_and_loss_together_are_certain(difference, log_tie):
    said = tensor(1, 0.5, 0), tensor(0, 1, 0)
    nll = davidson(tensor(difference).expand(3), *said, tensor(log_tie))
    assert torch.exp(-nll).sum().item() == pytest.approx(1)


@given(SCORES, st.floats(0.2, 5))
def test_all_ratings_together_are_certain(score, slope):
    thresholds = tensor(-2.0, -0.5, 0.1, 3.0).expand(5, -1)
    nll = ordinal(tensor(score).expand(5), thresholds, tensor(slope).expand(5), torch.arange(1, 6))
    assert torch.exp(-nll).sum().item() == pytest.approx(1)


# What must change nothing, and what must change sides.


@given(st.lists(SCORES, min_size=3, max_size=3), st.floats(-100, 100), SHARES, st.floats(-2, 2))
def test_adding_a_constant_to_all_scores_changes_no_probability(scores, constant, share, log_tie):
    s, moved = tensor(*scores), tensor(*scores) + constant
    ranks = torch.tensor([[2, 1, 3]])
    assert torch.allclose(plackett_luce(s[None], ranks), plackett_luce(moved[None], ranks))
    for loss in (
        lambda x: bradley_terry(x[:1] - x[1:2], tensor(share)),
        lambda x: davidson(x[:1] - x[1:2], tensor(0.5), tensor(share), tensor(log_tie)),
    ):
        assert torch.allclose(loss(s), loss(moved))
    thresholds = tensor(-1.0, 0.0, 2.0).expand(3, -1)
    rated = torch.tensor([1, 3, 4])
    assert torch.allclose(  # an annotator's thresholds are on the scores' own scale
        ordinal(s, thresholds, torch.ones_like(s), rated),
        ordinal(moved, thresholds + constant, torch.ones_like(s), rated),
    )


@given(SCORES, SHARES, st.floats(-1, 1), st.floats(-2, 2))
def test_swapping_chosen_and_rejected_flips_the_sign(difference, share, margin, log_tie):
    d, m = tensor(difference).requires_grad_(), tensor(margin)
    tie = 2 * min(share, 1 - share) * tensor(0.8)
    for loss in (
        lambda x, p, m: bradley_terry(x, p, m),
        lambda x, p, m: davidson(x, p, tie, tensor(log_tie), m),
    ):
        here, there = loss(d, tensor(share), m), loss(-d, tensor(1 - share), -m)
        assert close(here, there)
        (slope,) = torch.autograd.grad(here.sum(), d)
        swapped = (-d).detach().requires_grad_()
        (other,) = torch.autograd.grad(loss(swapped, tensor(1 - share), -m).sum(), swapped)
        assert close(slope, -other)


@given(SCORES, SCORES, SHARES)
def test_kinds_of_labels_agree_where_they_say_the_same(one, other, share):
    preference = bradley_terry(tensor(one - other))
    assert close(plackett_luce(tensor(one, other)[None], torch.tensor([[1, 2]])), preference)
    # where ties are all but impossible, and for two levels with a threshold at the other's score
    assert close(davidson(tensor(one - other), tensor(share), tensor(0.0), tensor(-80.0)),
                 bradley_terry(tensor(one - other), tensor(share)))  # fmt: skip
    rated = ordinal(tensor(one), tensor(other)[None], tensor(1.0), torch.tensor([2]))
    assert close(rated, preference)


@given(st.lists(SCORES, min_size=4, max_size=4), st.permutations([1, 1, 2, 3]), st.permutations(range(4)))
def test_a_ranking_does_not_depend_on_the_order_in_which_responses_are_listed(scores, ranks, order):
    s, r = tensor(*scores)[None], torch.tensor([ranks])
    assert close(plackett_luce(s, r), plackett_luce(s[:, order], r[:, order]))
    padded = torch.cat([s, tensor(99.0)[None]], 1), torch.cat([r, torch.tensor([[0]])], 1)
    assert close(plackett_luce(s, r), plackett_luce(*padded))


@given(st.floats(-300, 300), st.integers(1, 4))
def test_gradients_are_numbers_far_from_every_threshold(score, rating):
    s = torch.tensor([score], requires_grad=True)
    slope = torch.ones(1, requires_grad=True)
    ordinal(s, torch.tensor([[-1.0, 0.0, 1.0]]), slope, torch.tensor([rating])).sum().backward()
    assert s.grad.isfinite().all()
    assert slope.grad.isfinite().all()
