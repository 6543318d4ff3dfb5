"""The KL and the entropy, in the reward and in the loss: which gradient each estimator has, over all draws there are.

The KL of best-of-n is summed over all draws as well.
"""

import math
from typing import Any

import pytest
import torch

from policy.algorithms.kl import best_of_n_kl, kl_estimate, kl_loss
from policy.algorithms.losses import aggregate, entropy
from tests.policy.algorithms.enumerated import Enumerated, relative_error
from tests.policy.algorithms.exact import EXACT, VISIBLE, loss_of, policy


def token_kl(model: Enumerated, forward: bool = False) -> torch.Tensor:
    """The gradient of the sum over states of d(s) KL(policy || reference), d(s) held fixed; or of the KL reversed."""
    logs, ref_logs = torch.log_softmax(model.theta, -1), torch.log_softmax(model.reference, -1)
    kl = (ref_logs.exp() * (ref_logs - logs) if forward else logs.exp() * (logs - ref_logs)).sum(-1)
    return torch.autograd.grad((model.visits() * kl).sum(), model.theta)[0]


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
