"""Every estimator's expected gradient, over all draws there are, against the exact gradient of what it is to raise.

No sampling: the model is small enough to list every response (`enumerated.py`), so that an expectation is a sum and a
bias cannot hide in noise. Where an algorithm is biased, the bias is written down here.
"""

import itertools
from dataclasses import replace

import pytest
import torch

from policy.algorithms.advantages import RunningMean, discounted_returns, whiten
from policy.algorithms.losses import aggregate, clipped_surrogate, truncated_importance_weights
from policy.algorithms.registry import ALGORITHMS, Experience
from policy.textbook.enumeration import policy_gradient
from tests.policy.algorithms.enumerated import Enumerated, Loss, relative_error
from tests.policy.algorithms.exact import EXACT, VISIBLE, any_values, loss_of, policy, size


def each_group_by_itself(loss: Loss, group: int) -> Loss:
    """For what looks at the whole batch: a batch is one group, and every group is given to `loss` alone."""

    def alone(logprobs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        parts = zip(logprobs.split(group), rows.split(group), strict=True)
        return torch.stack([loss(*part) for part in parts]).sum()

    return alone


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


# The yardstick itself.


def test_the_responses_listed_are_all_there_are() -> None:
    model = policy()
    assert len(model.mask) == 2 * (1 + 3 + 9 + 27 * 4)
    for prompt in range(2):
        assert model.probabilities[model.prompt == prompt].sum().item() == pytest.approx(1, abs=1e-12)
    assert model.finished.sum() == 2 * (1 + 3 + 9 + 27)
    assert len({tuple(row) for row in torch.cat([model.prompt[:, None], model.tokens], 1).tolist()}) == 2 * 121


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_the_exact_gradient_is_the_slope_of_the_expected_reward(beta: float) -> None:
    model = policy()
    theta = model.theta.detach()
    direction = torch.randn(theta.shape, generator=torch.Generator().manual_seed(1)).double()
    step = 1e-4
    slope = (model.value(theta + step * direction, beta) - model.value(theta - step * direction, beta)) / (2 * step)
    assert slope == pytest.approx(float((model.exact(beta) * direction).sum()), rel=1e-6)


# Unbiased estimators.


@pytest.mark.parametrize("beta", [0.0, 0.4])
@pytest.mark.parametrize("baseline", [0.0, 0.8, -13.0])
def test_reinforce_without_and_with_a_running_mean(baseline: float, beta: float) -> None:
    model = policy()
    loss = loss_of("reinforce", model, model.rewards(beta, penalty=0.7), baseline=RunningMean(baseline, 1))
    assert relative_error(model.expected(loss), model.exact(beta, penalty=0.7)) < EXACT


@pytest.mark.parametrize("beta", [0.0, 0.4])
@pytest.mark.parametrize("group", [2, 3])
def test_rloo(group: int, beta: float) -> None:
    model = size(group)
    loss = loss_of("rloo", model, model.rewards(beta, penalty=0.7), group)
    assert relative_error(model.expected(loss, group), model.exact(beta, penalty=0.7)) < EXACT


@pytest.mark.parametrize("beta", [0.0, 0.4])
@pytest.mark.parametrize("seed", [0, 1])
def test_reinforce_with_a_value_network_whatever_it_says(seed: int, beta: float) -> None:
    model = policy()
    loss = loss_of("reinforce", model, model.rewards(beta), values=any_values(model, seed))
    assert relative_error(model.expected(loss), model.exact(beta)) < EXACT


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_the_first_step_of_ppo_with_lambda_1_whatever_the_values_say(beta: float) -> None:
    model = policy()
    loss = loss_of("ppo", model, model.rewards(beta), values=any_values(model), gae_lambda=1.0)
    assert relative_error(model.expected(loss), model.exact(beta)) < EXACT


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 0.95])
def test_below_lambda_1_ppo_is_exact_where_its_values_are_and_biased_elsewhere(lambda_: float) -> None:
    model = policy()
    right, wrong = (
        loss_of("ppo", model, model.rewards(), values=values, gae_lambda=lambda_)
        for values in (model.state_values(), any_values(model))
    )
    assert relative_error(model.expected(right), model.exact()) < EXACT
    assert relative_error(model.expected(wrong), model.exact()) > VISIBLE


@pytest.mark.parametrize("group", [1, 2])
def test_a_batch_of_many_prompts_is_the_mean_over_them(group: int) -> None:
    # The sum over one group at a time, as everywhere in this file, is what a batch of both prompts adds up to.
    model = policy(2, 2)
    rewards, half = model.rewards(), len(model.mask) // 2
    name = "rloo" if group > 1 else "reinforce"
    batch = loss_of(name, model, rewards, group)
    total = torch.zeros_like(model.theta)
    weights = model.probabilities.detach()
    each = torch.cartesian_prod(*[torch.arange(half)] * (2 * group))
    for draw in each:
        rows = torch.cat([draw[:group], draw[group:] + half])
        gradient = torch.autograd.grad(-batch(model.logprobs[rows], rows) / 2, model.theta, retain_graph=True)[0]
        total += weights[rows].prod() * gradient
    assert relative_error(total, model.exact()) < EXACT


def test_discounting_leaves_out_that_later_states_count_less() -> None:
    # Sutton & Barto 2018, section 13.3, have gamma^t before the update of step t; as is usual, it is left out here.
    model, discount = policy(), 0.6
    exact = torch.tensor(policy_gradient(replace(model.tree, discount=discount), model.theta.detach().numpy()))
    depth = torch.zeros(len(model.theta)).double()
    for tokens, level in enumerate(model.tree.levels):
        depth[level] = tokens
    found = model.expected(loss_of("reinforce", model, model.rewards(), discount=discount))
    assert relative_error(found * discount ** depth[:, None], exact) < EXACT
    assert relative_error(found, exact) > VISIBLE


# Biased ones.


@pytest.mark.parametrize("group", [2, 3])
def test_dr_grpo_has_the_right_direction_and_is_shorter(group: int) -> None:
    # The mean that is taken off contains the response itself; "fixed" divides by the longest length there can be.
    model = size(group)
    found = model.expected(loss_of("dr_grpo", model, model.rewards(), group), group)
    assert relative_error(found * model.mask.shape[1] * group / (group - 1), model.exact()) < EXACT


@pytest.mark.parametrize("group", [2, 3])
def test_grpo_weighs_prompts_by_how_alike_their_rewards_are_and_points_elsewhere(group: int) -> None:
    model = size(group)
    found = model.expected(loss_of("grpo", model, model.rewards(), group, aggregation="sum"), group)
    exact = model.exact()
    assert 0.5 < cosine(found, exact) < 0.99
    # The second prompt pays four times as much: divided by the spread, that counts for nothing any more.
    first, second = (model.prompt_of_state == prompt for prompt in range(2))
    larger = exact[second].norm() / exact[first].norm()
    assert found[second].norm() / found[first].norm() < larger / 2
    # Within one prompt, too, it is not the gradient of the expected reward.
    assert cosine(found[first], exact[first]) < 0.999


def test_the_scale_of_a_prompts_rewards_makes_no_difference_to_grpo() -> None:
    model = policy()
    gradients = [model.expected(loss_of("grpo", model, scale * model.rewards(), 2), 2) for scale in (1.0, 1000.0)]
    assert relative_error(gradients[1], gradients[0]) < 0.01
    assert cosine(*gradients) > 0.9999


@pytest.mark.parametrize(("how", "group"), [("sequence_mean", 2), ("token_mean", 2)])
def test_means_over_tokens_count_those_of_long_responses_less(how: str, group: int) -> None:
    model = policy(3, 3)
    loss = loss_of("rloo", model, model.rewards(), group, aggregation=how)
    found = model.expected(each_group_by_itself(loss, group), group)
    assert cosine(found, model.exact()) < 0.999
    # Where all are as long, it is a matter of scale alone.
    short = policy(3, 1)
    found = short.expected(each_group_by_itself(loss_of("rloo", short, short.rewards(), 2, aggregation=how), 2), 2)
    assert relative_error(found, short.exact()) < EXACT


def test_the_bias_of_reinforce_plus_plus_falls_with_the_batch() -> None:
    model = Enumerated(3, 2, prompts=1)
    rewards, bends = model.rewards(), []
    for batch in (2, 3, 4, 5):

        def loss(logprobs: torch.Tensor, rows: torch.Tensor, batch: int = batch) -> torch.Tensor:
            # Whitening looks at a whole batch: each draw, `batch` rows, is one.
            drawn = rows.view(-1, batch)
            mask = model.mask[drawn]
            each = torch.vmap(lambda paid, there: whiten(discounted_returns(paid, 1.0), there))
            return -(each(rewards[drawn], mask) * logprobs.view_as(mask)).sum() / batch

        bends.append(1 - cosine(model.expected(loss, batch), model.exact()))
    assert bends[0] > 0.01
    assert all(after < 0.6 * before for before, after in itertools.pairwise(bends))


def test_whitening_ppo_bends_the_gradient() -> None:
    model, group = policy(3, 2), 3
    values = model.state_values()

    def loss(logprobs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        batch = Experience(model.rewards()[rows], model.mask[rows], values[rows], 1, gae_lambda=0.95)
        advantages = whiten(ALGORITHMS["ppo"].advantages(batch), batch.mask)
        return aggregate(clipped_surrogate(logprobs, logprobs.detach(), advantages, 0.2), batch.mask, group)

    assert 0.5 < cosine(model.expected(each_group_by_itself(loss, group), group), model.exact()) < 0.9999


# Off policy.


def test_importance_weights_mend_what_another_sampler_drew_and_the_cap_bounds_them() -> None:
    # One token, drawn from the reference and weighed: exact. Over several tokens each is weighed by its own ratio.
    model = policy(4, 1)
    sampled, rewards = model.ref_logprobs, model.rewards()
    gradients = {}
    for cap in (1e9, 1.0):
        weights = truncated_importance_weights(model.logprobs, sampled, cap)
        assert weights.max() <= cap
        surrogate = (sampled.exp() * weights * rewards * model.logprobs).sum() / model.prompts
        gradients[cap] = torch.autograd.grad(surrogate, model.theta, retain_graph=True)[0]
    assert relative_error(gradients[1e9], model.exact()) < EXACT
    assert relative_error(gradients[1.0], model.exact()) > VISIBLE
