"""Every estimator's expected gradient, over all draws there are, against the exact gradient of what it is to raise.

No sampling: the model is small enough to list every response (`enumerated.py`), so that an expectation is a sum and a
bias cannot hide in noise. Where an algorithm is biased, the bias is written down here.
"""

import itertools
import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from policy.algorithms.advantages import RunningMean, reinforce_plus_plus_advantages, whiten
from policy.algorithms.kl import best_of_n_kl, kl_estimate, kl_loss
from policy.algorithms.losses import aggregate, clipped_surrogate, entropy, surrogate, truncated_importance_weights
from policy.algorithms.registry import ALGORITHMS, Experience
from policy.textbook.enumeration import policy_gradient
from tests.policy.algorithms.enumerated import Enumerated, Loss, relative_error

EXACT = 1e-9  # the project promises 1e-6
VISIBLE = 0.02


@cache
def policy(words: int = 4, length: int = 4) -> Enumerated:
    """242 responses of up to four tokens to two prompts; or fewer, where groups are large."""
    return Enumerated(words, length)


def size(group: int) -> Enumerated:
    """As large a model as lists all groups of this size in little time."""
    return policy() if group < 3 else policy(3, 3)


def loss_of(name: str, model: Enumerated, rewards: torch.Tensor, group: int = 1, **changes: Any) -> Loss:
    """The loss of one entry of `ALGORITHMS` on the first update after sampling, as `train_step` puts it together."""
    entry = ALGORITHMS[name]
    how, values = changes.pop("aggregation", entry.aggregation), changes.pop("values", None)

    def loss(logprobs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        known = None if values is None else values[rows]
        mask = model.mask[rows]
        advantages = entry.advantages(Experience(rewards[rows], mask, known, group, **changes))
        if entry.clipped:
            per_token = clipped_surrogate(logprobs, logprobs.detach(), advantages, clip=0.2)
        else:
            per_token = surrogate(logprobs, advantages)
        return aggregate(per_token, mask, group, how, max_tokens=mask.shape[1])

    return loss


def each_group_by_itself(loss: Loss, group: int) -> Loss:
    """For what looks at the whole batch: a batch is one group, and every group is given to `loss` alone."""

    def alone(logprobs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        parts = zip(logprobs.split(group), rows.split(group), strict=True)
        return torch.stack([loss(*part) for part in parts]).sum()

    return alone


def any_values(model: Enumerated, seed: int = 0) -> torch.Tensor:
    """A value network that knows nothing: any number, but the same one whenever it sees the same state."""
    drawn = torch.randn(len(model.tree.states), generator=torch.Generator().manual_seed(seed)) * 5 + 2
    return drawn.double()[model.states] * model.mask


def cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()


def token_kl(model: Enumerated, forward: bool = False) -> torch.Tensor:
    """The gradient of the sum over states of d(s) KL(policy || reference), d(s) held fixed; or of the KL reversed."""
    logs, ref_logs = torch.log_softmax(model.theta, -1), torch.log_softmax(model.reference, -1)
    kl = (ref_logs.exp() * (ref_logs - logs) if forward else logs.exp() * (logs - ref_logs)).sum(-1)
    return torch.autograd.grad((model.visits() * kl).sum(), model.theta)[0]


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


# The KL.


def test_k1_in_the_reward_has_the_gradient_of_the_kl_of_whole_responses() -> None:
    model = policy()
    logprobs = model.logprobs.sum(1)
    kl = (logprobs.exp() * (logprobs - model.ref_logprobs.sum(1))).sum() / model.prompts
    analytic = torch.autograd.grad(-kl, model.theta, retain_graph=True)[0]
    only_kl = model.rewards(1.0) - model.rewards(0.0)
    for name, group in (("reinforce", 1), ("rloo", 2)):
        assert relative_error(model.expected(loss_of(name, model, only_kl, group), group), analytic) < EXACT
    torch.testing.assert_close(analytic, model.exact(1.0) - model.exact(0.0), atol=1e-12, rtol=0)


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_other_estimators_in_the_reward_have_another_gradient(estimator: str) -> None:
    model = policy()
    rewards = model.rewards(1.0, estimator) - model.rewards(0.0)
    found, exact = model.expected(loss_of("rloo", model, rewards, 2), 2), model.exact(1.0) - model.exact(0.0)
    assert relative_error(found, exact) > 0.1


@pytest.mark.parametrize(("estimator", "forward"), [("k2", False), ("k3", True)])
def test_in_the_loss_k2_is_the_kl_of_tokens_and_k3_the_reverse_one(estimator: Any, forward: bool) -> None:
    model = policy()

    def loss(logprobs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        mask = model.mask[rows]
        return aggregate(kl_loss(logprobs, model.ref_logprobs[rows], mask, estimator), mask, 1)

    assert relative_error(model.expected(loss), -token_kl(model, forward)) < EXACT
    assert relative_error(model.expected(loss), -token_kl(model, not forward)) > VISIBLE


def test_k1_in_the_loss_has_no_gradient_and_is_refused() -> None:
    model = policy()

    def loss(logprobs: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return (kl_estimate(logprobs, model.ref_logprobs[rows], "k1") * model.mask[rows]).sum()

    assert model.expected(loss).abs().max() < 1e-12
    with pytest.raises(ValueError, match="zero expected gradient"):
        kl_loss(model.logprobs, model.ref_logprobs, model.mask, "k1")


def test_the_kl_of_tokens_is_that_of_responses_only_where_one_token_is_all() -> None:
    short, long = policy(4, 1), policy()
    assert relative_error(-token_kl(short), short.exact(1.0) - short.exact(0.0)) < EXACT
    # In longer ones it leaves out that a token decides where later ones will be.
    assert relative_error(-token_kl(long), long.exact(1.0) - long.exact(0.0)) > 0.1


def test_an_entropy_bonus_has_the_gradient_of_the_entropy_of_the_choices_that_came() -> None:
    model = policy()
    weights = (model.probabilities.detach()[:, None] * model.mask / model.prompts).flatten()
    met = torch.zeros(len(model.theta)).double().index_add(0, model.states.flatten(), weights)
    torch.testing.assert_close(met, model.visits(), atol=1e-12, rtol=0)
    found = torch.autograd.grad((met * entropy(model.theta)).sum(), model.theta)[0]
    chances = torch.softmax(model.theta.detach(), -1)
    surprise = -chances.log() - entropy(model.theta.detach())[:, None]
    torch.testing.assert_close(found, model.visits()[:, None] * chances * surprise, atol=1e-12, rtol=0)


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
            each = torch.vmap(lambda paid, there: reinforce_plus_plus_advantages(paid, there, 1.0))
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


# Variance.


def test_the_variance_falls_with_what_the_baseline_knows() -> None:
    model = policy()
    rewards = model.rewards()
    mean = float((model.probabilities.detach() * model.scores).sum() / 2)
    exact = model.state_values()
    losses = [
        loss_of("reinforce", model, rewards),  # knows nothing
        loss_of("reinforce", model, rewards, baseline=RunningMean(mean, 1)),  # the mean of everything
        loss_of("reinforce", model, rewards, values=exact),  # that of the prompt and the tokens so far
        loss_of("ppo", model, rewards, values=exact, gae_lambda=0.5),  # and what the next token changes, half of it
        loss_of("ppo", model, rewards, values=exact, gae_lambda=0.0),
    ]
    variances = [model.variance(loss) for loss in losses]
    assert all(after < 0.98 * before for before, after in itertools.pairwise(variances)), variances


def test_the_best_constant_baseline_weighs_rewards_by_the_square_of_their_gradient() -> None:
    # Greensmith, Bartlett and Baxter 2004: E[R |grad|^2] / E[|grad|^2], near the mean and not quite at it.
    model = policy()
    returns = model.rewards()
    chances = torch.softmax(model.theta.detach(), -1)
    each = 1 - 2 * model.logprobs.detach().exp() + chances.square().sum(-1)[model.states]  # |grad log pi|^2 of a token
    weights = model.probabilities.detach() * (each * model.mask).sum(1)
    best = float((weights * model.scores).sum() / weights.sum())
    variances = {
        shift: model.variance(loss_of("reinforce", model, returns, baseline=RunningMean(best + shift, 1)))
        for shift in (-0.5, 0.0, 0.5)
    }
    assert variances[0.0] < variances[0.5]
    assert variances[0.5] == pytest.approx(variances[-0.5], rel=1e-9)  # the bottom of a parabola


def test_the_variance_of_rloo_falls_with_the_group_towards_that_of_the_prompts_mean() -> None:
    # Each for one response: a mean of k has a k-th of it. Drawn within one prompt, so that prompts add none of theirs.
    model = Enumerated(3, 2, prompts=1)
    model.scores = model.scores + 3  # all much alike: there is something for a baseline to take off
    rewards = model.rewards()
    values = (model.probabilities.detach() @ model.scores) * model.mask
    known = model.variance(loss_of("reinforce", model, rewards, values=values))
    nothing = model.variance(loss_of("reinforce", model, rewards))
    variances = [group * model.variance(loss_of("rloo", model, rewards, group), group) for group in (2, 3, 4)]
    assert nothing > variances[0] > variances[1] > variances[2] > known
    # b, the mean of the k - 1 others, adds Var(R)/(k - 1) times what it is multiplied with, and pairs of siblings
    # share it: what is left over the known mean falls as 1/(k - 1).
    excess = [variance - known for variance in variances]
    assert excess[0] / excess[1] == pytest.approx(2, rel=1e-6)
    assert excess[0] / excess[2] == pytest.approx(3, rel=1e-6)


# Best of n.


@pytest.mark.parametrize("n", [2, 3])
def test_best_of_n_by_every_draw_there_is(n: int) -> None:
    # Responses as fine as can be: the uniform policy over 64 texts of the same length, no two with the same score.
    texts = 64
    order = torch.randperm(texts, generator=torch.Generator().manual_seed(0))
    best = torch.zeros(texts).double()
    draws = torch.cartesian_prod(*[torch.arange(texts)] * n)
    best.index_add_(0, order[draws].max(1).values, torch.full((len(draws),), texts**-n).double())
    kl = float((best * (best * texts).log()).sum())
    assert best.sum().item() == pytest.approx(1)
    assert kl == pytest.approx(best_of_n_kl(n), abs=n / texts)
    assert kl < best_of_n_kl(n)  # texts are atoms: the formula is the limit of ever finer ones, and bounds them


@pytest.mark.parametrize("n", [1, 2, 4, 16, 64])
def test_the_best_of_n_formula_is_the_limit_of_finer_policies(n: int) -> None:
    gaps = []
    for texts in (10**3, 10**4, 10**5):
        edges = (torch.arange(texts + 1).double() / texts) ** n
        best = edges.diff()
        gaps.append(best_of_n_kl(n) - float(torch.xlogy(best, best * texts).sum()))
    assert best_of_n_kl(n) == pytest.approx(math.log(n) - (n - 1) / n, abs=1e-12)
    assert all(gap > -1e-12 for gap in gaps)
    assert gaps[2] < 1e-3
    if n > 1:
        assert gaps[0] > 5 * gaps[1] > 25 * gaps[2]


def test_the_best_of_n_of_a_real_policy_is_bounded_by_the_formula() -> None:
    model = Enumerated(4, 4, prompts=1)
    chances, scores = model.probabilities.detach(), model.scores
    assert scores.unique().numel() == len(scores)
    cumulative = chances[scores.argsort()].cumsum(0)
    for n in (2, 4, 8):
        best = torch.diff(cumulative**n, prepend=torch.zeros(1).double())
        kl = float(torch.xlogy(best, best / chances[scores.argsort()]).sum())
        assert 0.5 * best_of_n_kl(n) < kl < best_of_n_kl(n)
