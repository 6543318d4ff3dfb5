"""The variance of each estimator, over all draws there are, falls with what its baseline knows."""

import itertools

import pytest
import torch

from policy.algorithms.advantages import RunningMean
from tests.policy.algorithms.enumerated import Enumerated
from tests.policy.algorithms.exact import loss_of, policy


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
