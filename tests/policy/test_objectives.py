import itertools

import pytest
import torch

from rlhf_pipeline.policy.objectives import (
    ADVANTAGES,
    RunningMean,
    discounted_returns,
    kl_estimate,
    leave_one_out,
    policy_gradient_loss,
    token_rewards,
)

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


def test_rloo_gives_every_token_of_a_response_its_advantage() -> None:
    rewards = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 2.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    advantages = ADVANTAGES["rloo"](rewards, mask, 2, RunningMean(99.0, 1), 0.3)
    assert advantages.tolist() == [[-2.0, -2.0, 0.0], [2.0, 2.0, 2.0]]


def test_reinforce_takes_the_running_mean_off_each_return() -> None:
    rewards = torch.tensor([[0.0, 2.0, 0.0], [1.0, 2.0, 4.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    advantages = ADVANTAGES["reinforce"](rewards, mask, 2, RunningMean(1.0, 7), 0.5)
    assert advantages.tolist() == [[0.0, 1.0, 0.0], [2.0, 3.0, 3.0]]


def test_the_loss_by_hand_adds_up_over_parts_of_a_batch() -> None:
    logprobs = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])
    advantages = torch.tensor([[2.0, 1.0], [-1.0, 5.0]])
    mask = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    assert policy_gradient_loss(logprobs, advantages, mask, 2).item() == pytest.approx((2 + 2 - 3) / 2)
    parts = [policy_gradient_loss(logprobs[i : i + 1], advantages[i : i + 1], mask[i : i + 1], 2) for i in range(2)]
    assert sum(parts).item() == pytest.approx(0.5)


class Enumerated:
    """A softmax policy over three tokens and at most two of them, small enough to list every response.

    Token 0 ends the turn: [0], and [a, b] for a in {1, 2} and every b. Tensors are (7, 2), float64.
    """

    responses = ((0, None), *itertools.product((1, 2), (0, 1, 2)))

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(8)
        self.theta, reference = torch.randn(2, 4, 3, generator=generator, dtype=torch.float64)
        self.theta.requires_grad_()
        self.scores = torch.randn(7, generator=generator, dtype=torch.float64)
        self.mask = torch.tensor([[1.0, 0.0 if b is None else 1.0] for _, b in self.responses], dtype=torch.float64)
        self.finished = torch.tensor([a == 0 or b == 0 for a, b in self.responses])
        self.logprobs, self.ref_logprobs = self._logprobs(self.theta), self._logprobs(reference)

    def _logprobs(self, theta: torch.Tensor) -> torch.Tensor:
        """Rows of theta are the logits of the first token, then of the second after each first."""
        logps = torch.log_softmax(theta, -1)
        zero = logps.new_zeros(())
        rows = [torch.stack([logps[0, a], zero if b is None else logps[1 + a, b]]) for a, b in self.responses]
        return torch.stack(rows)

    @property
    def probabilities(self) -> torch.Tensor:
        return self.logprobs.sum(1).exp()

    def gradient(self, objective: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(objective, self.theta, retain_graph=True)[0]

    def rewards(self, beta: float) -> torch.Tensor:
        kl = kl_estimate(self.logprobs.detach(), self.ref_logprobs, "k1")
        return token_rewards(self.scores, kl, self.mask, self.finished, beta, missing_eos_penalty=0.7, score_clip=1.0)

    def exact(self, beta: float) -> torch.Tensor:
        """The gradient of E[score] - beta KL(policy || reference), by autograd through the sum over all responses."""
        assert self.probabilities.sum().item() == pytest.approx(1.0)
        score = self.scores.clamp(-1.0, 1.0) - 0.7 * (~self.finished).double()
        kl = (self.probabilities * (self.logprobs.sum(1) - self.ref_logprobs.sum(1))).sum()
        return self.gradient((self.probabilities * score).sum() - beta * kl)


@pytest.mark.parametrize("beta", [0.0, 0.4])
@pytest.mark.parametrize("baseline", [0.0, 0.8, -13.0])
def test_the_expected_reinforce_gradient_is_that_of_the_expected_reward(baseline: float, beta: float) -> None:
    policy = Enumerated()
    advantages = ADVANTAGES["reinforce"](policy.rewards(beta), policy.mask, 1, RunningMean(baseline, 1), 1.0)
    weight = policy.probabilities.detach()
    expected = sum(
        weight[row]
        * policy.gradient(policy_gradient_loss(policy.logprobs[[row]], advantages[[row]], policy.mask[[row]], 1))
        for row in range(7)
    )
    torch.testing.assert_close(-expected, policy.exact(beta), atol=1e-9, rtol=0)


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_the_expected_rloo_gradient_is_that_of_the_expected_reward(beta: float) -> None:
    policy = Enumerated()
    rewards, weight = policy.rewards(beta), policy.probabilities.detach()
    expected = torch.zeros_like(policy.theta)
    for pair in itertools.product(range(7), repeat=2):
        rows = list(pair)
        advantages = ADVANTAGES["rloo"](rewards[rows], policy.mask[rows], 2, RunningMean(), 1.0)
        loss = policy_gradient_loss(policy.logprobs[rows], advantages, policy.mask[rows], 2)
        expected = expected + weight[rows].prod() * policy.gradient(loss)
    torch.testing.assert_close(-expected, policy.exact(beta), atol=1e-9, rtol=0)


def test_the_kl_in_the_reward_has_a_gradient_at_all() -> None:
    policy = Enumerated()
    assert (policy.exact(0.4) - policy.exact(0.0)).abs().max() > 0.01
