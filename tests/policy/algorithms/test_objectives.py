import math
from typing import Any

import pytest
import torch

from policy.algorithms.objectives import (
    AdaptiveKL,
    RunningMean,
    RunningMoments,
    aggregate,
    best_of_n_kl,
    clipped_policy_loss,
    clipped_surrogate,
    discounted_returns,
    entropy,
    explained_variance,
    generalized_advantages,
    group_advantages,
    kl_estimate,
    kl_loss,
    leave_one_out,
    policy_gradient_loss,
    reinforce_plus_plus_advantages,
    temporal_difference_errors,
    token_rewards,
    truncated_importance_weights,
    value_loss,
    whiten,
)
from policy.algorithms.registry import ALGORITHMS, Judged

LN2 = 0.6931471805599453


def test_kl_estimators_by_hand() -> None:
    logprobs, ref_logprobs = torch.tensor([[-1.0, -2.0, 0.0]]), torch.tensor([[-1.0 - LN2, -2.0 + LN2, 0.0]])
    torch.testing.assert_close(kl_estimate(logprobs, ref_logprobs, "k1"), torch.tensor([[LN2, -LN2, 0.0]]))
    torch.testing.assert_close(kl_estimate(logprobs, ref_logprobs, "k2"), torch.tensor([[0.240227, 0.240227, 0.0]]))
    torch.testing.assert_close(
        kl_estimate(logprobs, ref_logprobs, "k3"), torch.tensor([[0.5 - 1 + LN2, 2 - 1 - LN2, 0.0]])
    )


def test_k1_and_k3_are_unbiased_and_k2_is_not() -> None:
    policy = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    reference = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    exact = (policy * (policy / reference).log()).sum()
    expected = {name: (policy * kl_estimate(policy.log(), reference.log(), name)).sum() for name in ("k1", "k2", "k3")}
    torch.testing.assert_close(expected["k1"], exact, atol=1e-12, rtol=0)
    torch.testing.assert_close(expected["k3"], exact, atol=1e-12, rtol=0)
    assert abs(expected["k2"] - exact) > 0.004
    assert (kl_estimate(policy.log(), reference.log(), "k3") >= 0).all()
    assert (kl_estimate(policy.log(), reference.log(), "k1") < 0).any()


def test_the_kl_loss_is_the_estimate_on_response_tokens_with_its_slope() -> None:
    logprobs, mask = torch.tensor([[-1.0, -2.0]], requires_grad=True), torch.tensor([[1.0, 0.0]])
    for estimator, value, slope in (("k2", LN2**2 / 2, LN2), ("k3", LN2 - 0.5, 0.5)):
        loss = kl_loss(logprobs, torch.tensor([[-1.0 - LN2, 5.0]]), mask, estimator)
        torch.testing.assert_close(loss, torch.tensor([[value, 0.0]]))
        torch.testing.assert_close(torch.autograd.grad(loss.sum(), logprobs)[0], torch.tensor([[slope, 0.0]]))


def test_the_adaptive_coefficient_by_hand() -> None:
    controller = AdaptiveKL(coefficient=0.1, target=4.0, horizon=100.0)
    assert controller.after(4.0, 50) == controller
    assert controller.after(4.4, 50).coefficient == pytest.approx(0.1 * (1 + 0.1 * 0.5))
    assert controller.after(40.0, 50).coefficient == pytest.approx(0.1 * (1 + 0.2 * 0.5))  # clipped
    assert controller.after(0.0, 50).coefficient == pytest.approx(0.1 * (1 - 0.2 * 0.5))
    assert controller.after(-40.0, 100).after(4.0, 7).coefficient == pytest.approx(0.08)


def test_the_adaptive_coefficient_brings_the_kl_to_its_target() -> None:
    # A policy whose KL is 1/beta: at a coefficient of 0.25 it is 4.
    controller = AdaptiveKL(coefficient=5.0, target=4.0, horizon=100.0)
    for _ in range(400):
        controller = controller.after(1 / controller.coefficient, 20)
    assert 1 / controller.coefficient == pytest.approx(4.0, rel=0.01)


def test_rewards_by_hand() -> None:
    rewards = token_rewards(
        scores=torch.tensor([5.0, -7.0]),
        kl=torch.tensor([[0.5, 1.0, 2.0], [1.0, -0.5, 9.0]]),
        mask=torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]),
        finished=torch.tensor([True, False]),
        kl_coefficient=0.1,
        missing_eos_penalty=1.5,
        score_clip=3.0,
    )
    torch.testing.assert_close(rewards, torch.tensor([[-0.05, -0.1, 2.8], [-0.1, -4.45, 0.0]]))


def test_every_token_of_a_response_can_cost() -> None:
    rewards = token_rewards(
        torch.tensor([5.0, 1.0]),
        torch.zeros(2, 3),
        torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]]),
        torch.tensor([True, True]),
        kl_coefficient=0.1,
        length_penalty=0.25,
    )
    assert rewards.tolist() == [[-0.25, -0.25, 4.75], [0.75, 0.0, 0.0]]


def test_scores_pass_unclipped_and_unpunished_unless_asked() -> None:
    rewards = token_rewards(
        torch.tensor([500.0, -7.0]), torch.zeros(2, 2), torch.ones(2, 2), torch.tensor([True, False]), 0.3
    )
    assert rewards.tolist() == [[0.0, 500.0], [0.0, -7.0]]


def test_returns_by_hand() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0], [0.0, 3.0, 0.0]])
    assert discounted_returns(rewards, 0.5).tolist() == [[3.0, 4.0, 4.0], [1.5, 3.0, 0.0]]
    assert discounted_returns(rewards, 1.0).tolist() == [[7.0, 6.0, 4.0], [3.0, 3.0, 0.0]]
    assert discounted_returns(rewards, 0.0).tolist() == rewards.tolist()


def test_leave_one_out_by_hand() -> None:
    rewards = torch.tensor([1.0, 2.0, 6.0, 10.0, 10.0, 10.0])
    assert leave_one_out(rewards, 3).tolist() == [-3.0, -1.5, 4.5, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("group", [2, 3, 5])
def test_leave_one_out_is_the_reward_less_the_mean_of_the_others(group: int) -> None:
    rewards = torch.randn(4 * group, generator=torch.Generator().manual_seed(group), dtype=torch.float64)
    expected = []
    for row in range(len(rewards)):
        first = row // group * group
        others = [rewards[other] for other in range(first, first + group) if other != row]
        expected.append(rewards[row] - sum(others) / len(others))
    torch.testing.assert_close(leave_one_out(rewards, group), torch.stack(expected))
    # TRL's RLOOTrainer writes the same as (r - mean of all) * group / (group - 1).
    grouped = rewards.view(-1, group)
    theirs = (grouped - grouped.mean(1, keepdim=True)) * group / (group - 1)
    torch.testing.assert_close(leave_one_out(rewards, group), theirs.view(-1))


def test_the_running_mean_is_the_mean_of_all_that_came_before() -> None:
    batches = [torch.tensor([1.0, 3.0]), torch.tensor([5.0]), torch.tensor([-2.0, 0.0, 8.0])]
    baseline = RunningMean()
    means = []
    for batch in batches:
        means.append(baseline.mean)
        baseline = baseline.after(batch)
    assert means == [0.0, 2.0, 3.0]
    assert baseline == RunningMean(pytest.approx(2.5), 6)


def test_running_moments_are_those_of_all_that_came_before() -> None:
    batches = [torch.tensor([1.0, 3.0]), torch.tensor([5.0]), torch.tensor([-2.0, 0.0, 1e6])]
    moments = RunningMoments()
    assert moments.std == 0.0
    for batch in batches:
        moments = moments.after(batch)
    everything = torch.cat(batches).double()
    assert moments.count == 6
    assert moments.mean == pytest.approx(float(everything.mean()))
    assert moments.std == pytest.approx(float(everything.std(correction=0)))


def test_values_are_normalised_by_moments() -> None:
    moments = RunningMoments().after(torch.tensor([1.0, 5.0]))
    torch.testing.assert_close(moments.normalised(torch.tensor([3.0, 7.0])), torch.tensor([0.0, 2.0]))
    level = RunningMoments().after(torch.tensor([4.0, 4.0]))
    assert level.normalised(torch.tensor([4.0])).tolist() == [0.0]


def test_rloo_gives_every_token_of_a_response_its_advantage() -> None:
    rewards = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 2.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    advantages = ALGORITHMS["rloo"].advantages(Judged(rewards, mask, None, 2, RunningMean(99.0, 1), 0.3))
    assert advantages.tolist() == [[-2.0, -2.0, 0.0], [2.0, 2.0, 2.0]]


def test_reinforce_takes_the_running_mean_off_each_return() -> None:
    rewards = torch.tensor([[0.0, 2.0, 0.0], [1.0, 2.0, 4.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    advantages = ALGORITHMS["reinforce"].advantages(Judged(rewards, mask, None, 2, RunningMean(1.0, 7), 0.5))
    assert advantages.tolist() == [[0.0, 1.0, 0.0], [2.0, 3.0, 3.0]]


def test_a_value_network_is_the_baseline_of_reinforce_and_makes_the_advantages_of_ppo() -> None:
    rewards, mask = torch.tensor([[0.0, 2.0], [1.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    values = torch.tensor([[0.5, 1.0], [3.0, 99.0]])
    judged = Judged(rewards, mask, values, discount=0.5, gae_lambda=0.5)
    assert ALGORITHMS["reinforce"].advantages(judged).tolist() == [[1 - 0.5, 2 - 1.0], [1 - 3.0, 0.0]]
    # Errors are [0 + 0.5 - 0.5, 2 - 1] and [1 - 3].
    assert ALGORITHMS["ppo"].advantages(judged).tolist() == [[0.25, 1.0], [-2.0, 0.0]]


def test_grpo_and_dr_grpo_give_every_token_the_place_in_its_group() -> None:
    rewards = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 2.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    judged = Judged(rewards, mask, group=2)
    assert ALGORITHMS["dr_grpo"].advantages(judged).tolist() == [[-1.0, -1.0, 0.0], [1.0, 1.0, 1.0]]
    scaled = 1 / (2**0.5 + 1e-4)
    expected = torch.tensor([[-scaled, -scaled, 0.0], [scaled, scaled, scaled]])
    torch.testing.assert_close(ALGORITHMS["grpo"].advantages(judged), expected)


def test_reinforce_plus_plus_by_hand() -> None:
    rewards, mask = torch.tensor([[0.0, 2.0], [8.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    # Returns 1, 2 and 8 over the tokens: mean 11/3, variance 86/9.
    expected = (torch.tensor([[1.0, 2.0], [8.0, 0.0]]) - 11 / 3) / (86 / 9) ** 0.5 * mask
    torch.testing.assert_close(reinforce_plus_plus_advantages(rewards, mask, 0.5), expected)


AGGREGATED = [("sum", (3 + 9 + 4) / 2), ("sequence_mean", (3 + 6.5) / 2), ("token_mean", 16 / 3), ("fixed", 16 / 10)]


@pytest.mark.parametrize(("how", "expected"), AGGREGATED)
def test_losses_of_tokens_become_one_number_by_hand(how: Any, expected: float) -> None:
    per_token, mask = torch.tensor([[3.0, 50.0], [9.0, 4.0]]), torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert aggregate(per_token, mask, 2, how, max_tokens=5).item() == pytest.approx(expected)
    parts = [aggregate(per_token[i : i + 1], mask[i : i + 1], 2, how, 5, tokens=3.0).item() for i in range(2)]
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
    assert policy_gradient_loss(logprobs, advantages, mask, 2).item() == pytest.approx((2 + 2 - 3) / 2)
    parts = [policy_gradient_loss(logprobs[i : i + 1], advantages[i : i + 1], mask[i : i + 1], 2) for i in range(2)]
    assert sum(parts).item() == pytest.approx(0.5)


def test_group_advantages_by_hand() -> None:
    rewards = torch.tensor([1.0, 2.0, 6.0, 4.0, 4.0, 4.0])
    assert group_advantages(rewards, 3, scale=False).tolist() == [-2.0, -1.0, 3.0, 0.0, 0.0, 0.0]
    spread = 7**0.5 + 1e-4  # (4 + 1 + 9) / 2
    expected = torch.tensor([-2 / spread, -1 / spread, 3 / spread, 0, 0, 0])
    torch.testing.assert_close(group_advantages(rewards, 3, scale=True), expected)


def test_temporal_difference_errors_by_hand() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0], [0.0, 3.0, 0.0]])
    values = torch.tensor([[2.0, 4.0, 8.0], [1.0, 6.0, 99.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    errors = temporal_difference_errors(rewards, values, mask, 0.5)
    assert errors.tolist() == [[1 + 2 - 2, 2 + 4 - 4, 4 - 8], [3 - 1, 3 - 6, 0]]


def test_generalized_advantages_by_hand() -> None:
    rewards = torch.tensor([[1.0, 2.0, 4.0], [0.0, 3.0, 0.0]])
    values = torch.tensor([[2.0, 4.0, 8.0], [1.0, 6.0, 99.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    # Errors are [1, 2, -4] and [2, -3, 0]; each is worth a quarter of the one before it.
    expected = torch.tensor([[1 + 0.25 * (2 - 0.25 * 4), 2 - 0.25 * 4, -4], [2 - 0.25 * 3, -3, 0]])
    torch.testing.assert_close(generalized_advantages(rewards, values, mask, 0.5, 0.5), expected)
    errors = temporal_difference_errors(rewards, values, mask, 0.5)
    assert generalized_advantages(rewards, values, mask, 0.5, 0.0).tolist() == errors.tolist()
    complete = (discounted_returns(rewards, 0.5) - values) * mask
    torch.testing.assert_close(generalized_advantages(rewards, values, mask, 0.5, 1.0), complete)


def test_whitening_by_hand() -> None:
    values = torch.tensor([[1.0, 3.0], [5.0, 99.0]])
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    spread = (8 / 3) ** 0.5
    torch.testing.assert_close(whiten(values, mask), torch.tensor([[-2 / spread, 0.0], [2 / spread, 0.0]]))
    kept = whiten(values, mask, shift_mean=False)
    torch.testing.assert_close(kept, torch.tensor([[3 - 2 / spread, 3.0], [3 + 2 / spread, 0.0]]))
    assert whiten(torch.ones(2, 2), mask).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_the_clipped_loss_by_hand() -> None:
    ratio = torch.tensor([[1.5, 1.5, 0.5], [0.5, 1.1, 9.0]])
    advantages = torch.tensor([[2.0, -2.0, 2.0], [-2.0, 2.0, 2.0]])
    mask = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    old = torch.full((2, 3), -3.0)
    loss = clipped_policy_loss(old + ratio.log(), old, advantages, mask, 2, clip=0.2)
    # A ratio that moved too far in the direction the advantage asks for counts as 1.2 or 0.8, in the other as it is.
    assert loss.item() == pytest.approx(-(2.4 - 3.0 + 1.0 - 1.6 + 2.2) / 2)


def test_a_ratio_may_rise_further_than_it_may_fall() -> None:
    ratio, advantages = torch.tensor([[1.5, 1.25, 0.5, 1.5]]), torch.tensor([[1.0, 1.0, -1.0, -1.0]])
    surrogate = clipped_surrogate(ratio.log(), torch.zeros(1, 4), advantages, clip=0.2, clip_high=0.28)
    torch.testing.assert_close(surrogate, -torch.tensor([[1.28, 1.25, -0.8, -1.5]]))


def test_a_clipped_ratio_has_no_gradient() -> None:
    logprobs = torch.log(torch.tensor([[1.5, 1.5, 0.5, 0.5]])).requires_grad_()
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0]])
    clipped_policy_loss(logprobs, torch.zeros(1, 4), advantages, torch.ones(1, 4), 1, clip=0.2).backward()
    assert logprobs.grad is not None
    torch.testing.assert_close(logprobs.grad, torch.tensor([[0.0, 1.5, -0.5, 0.0]]))


def test_the_value_loss_by_hand() -> None:
    values, returns = torch.tensor([[1.0, 4.0], [2.0, 7.0]]), torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert value_loss(values, returns, mask, 2).item() == pytest.approx((4 + 0 + 1) / 4)
    old = torch.tensor([[0.5, 4.0], [0.0, 0.0]])
    # Within 0.5 of the old value 2 would be 0.5, whose error 0.25 is the smaller one; 4 stays as it is.
    assert value_loss(values, returns, mask, 2, old, clip=0.5).item() == pytest.approx((4 + 0 + 1) / 4)
    far = torch.tensor([[0.0, 5.0], [4.0, 0.0]])
    assert value_loss(values, returns, mask, 2, far, clip=0.5).item() == pytest.approx((6.25 + 0.25 + 6.25) / 4)


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


def test_the_kl_of_the_best_of_n_by_hand() -> None:
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(2) == pytest.approx(LN2 - 0.5)
    assert best_of_n_kl(16) == pytest.approx(4 * LN2 - 0.9375)
