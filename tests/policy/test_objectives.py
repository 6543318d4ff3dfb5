import itertools
import math
from collections.abc import Callable

import pytest
import torch

from rlhf_pipeline.policy.objectives import (
    ADVANTAGES,
    RunningMean,
    clipped_policy_loss,
    discounted_returns,
    entropy,
    generalized_advantages,
    group_advantages,
    kl_estimate,
    leave_one_out,
    policy_gradient_loss,
    temporal_difference_errors,
    token_rewards,
    value_loss,
    whiten,
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


Estimate = tuple[torch.Tensor, torch.Tensor]


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

    @property
    def values(self) -> torch.Tensor:
        """What each state is worth: the expected score from there on, without KL and penalties, (7, 2)."""
        weight = self.probabilities.detach()
        states = [[0, 0 if b is None else a] for a, b in self.responses]
        after = [torch.tensor([state == 0 or a == state for a, _ in self.responses]) for state in range(3)]
        worth = torch.stack([(weight * self.scores)[rows].sum() / weight[rows].sum() for rows in after])
        return worth[torch.tensor(states)]

    def expected(self, loss: Callable[[list[int]], torch.Tensor], group: int = 1) -> torch.Tensor:
        """The mean gradient of `-loss(rows)` over every way to draw `group` responses."""
        return torch.stack([weight * gradient for weight, gradient in self.estimates(loss, group)]).sum(0)

    def estimates(self, loss: Callable[[list[int]], torch.Tensor], group: int = 1) -> list[Estimate]:
        """Each way to draw `group` responses: its probability, and the gradient of `-loss(rows)` there."""
        weight = self.probabilities.detach()
        draws = [list(rows) for rows in itertools.product(range(7), repeat=group)]
        return [(weight[rows].prod(), self.gradient(-loss(rows))) for rows in draws]

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

    def loss(rows: list[int]) -> torch.Tensor:
        return policy_gradient_loss(policy.logprobs[rows], advantages[rows], policy.mask[rows], 1)

    torch.testing.assert_close(policy.expected(loss), policy.exact(beta), atol=1e-9, rtol=0)


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_the_expected_rloo_gradient_is_that_of_the_expected_reward(beta: float) -> None:
    policy = Enumerated()
    rewards = policy.rewards(beta)

    def loss(rows: list[int]) -> torch.Tensor:
        advantages = ADVANTAGES["rloo"](rewards[rows], policy.mask[rows], 2, RunningMean(), 1.0)
        return policy_gradient_loss(policy.logprobs[rows], advantages, policy.mask[rows], 2)

    torch.testing.assert_close(policy.expected(loss, 2), policy.exact(beta), atol=1e-9, rtol=0)


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_with_lambda_1_the_expected_gradient_is_exact_whatever_the_values_say(beta: float) -> None:
    policy = Enumerated()
    wrong = policy.values * -3 + 7
    advantages = generalized_advantages(policy.rewards(beta), wrong, policy.mask, 1.0, 1.0)

    def loss(rows: list[int]) -> torch.Tensor:
        return policy_gradient_loss(policy.logprobs[rows], advantages[rows], policy.mask[rows], 1)

    torch.testing.assert_close(policy.expected(loss), policy.exact(beta), atol=1e-9, rtol=0)


def plain_rewards(policy: Enumerated) -> torch.Tensor:
    """The score at the last token, and nothing else."""
    return token_rewards(policy.scores, torch.zeros_like(policy.mask), policy.mask, policy.finished, 0.0)


@pytest.mark.parametrize("lambda_", [0.0, 0.5, 0.95])
def test_below_lambda_1_the_expected_gradient_is_exact_where_the_values_are(lambda_: float) -> None:
    policy = Enumerated()
    exact = policy.gradient((policy.probabilities * policy.scores).sum())
    gaps = []
    for values in (policy.values, policy.values * -3 + 7):
        advantages = generalized_advantages(plain_rewards(policy), values, policy.mask, 1.0, lambda_)

        def loss(rows: list[int], advantages: torch.Tensor = advantages) -> torch.Tensor:
            return policy_gradient_loss(policy.logprobs[rows], advantages[rows], policy.mask[rows], 1)

        gaps.append((policy.expected(loss) - exact).abs().max().item())
    assert gaps[0] < 1e-9
    assert gaps[1] > 1e-2


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_the_first_step_of_ppo_is_the_policy_gradient(beta: float) -> None:
    policy = Enumerated()
    old, advantages = policy.logprobs.detach(), policy.rewards(beta).sum(1, keepdim=True) * policy.mask

    def loss(rows: list[int]) -> torch.Tensor:
        return clipped_policy_loss(policy.logprobs[rows], old[rows], advantages[rows], policy.mask[rows], 1, clip=0.1)

    torch.testing.assert_close(policy.expected(loss), policy.exact(beta), atol=1e-9, rtol=0)


@pytest.mark.parametrize("group", [2, 3])
def test_the_group_mean_shortens_the_gradient_and_scaling_bends_it(group: int) -> None:
    policy = Enumerated()

    def expected(scale: bool) -> torch.Tensor:
        def loss(rows: list[int]) -> torch.Tensor:
            advantages = group_advantages(policy.rewards(0.0).sum(1)[rows], group, scale)[:, None] * policy.mask[rows]
            return policy_gradient_loss(policy.logprobs[rows], advantages, policy.mask[rows], group)

        return policy.expected(loss, group)

    exact = policy.exact(0.0)
    torch.testing.assert_close(expected(scale=False), (group - 1) / group * exact, atol=1e-9, rtol=0)
    direction = torch.nn.functional.cosine_similarity(expected(scale=True).flatten(), exact.flatten(), dim=0)
    assert 0.5 < direction.item() < 0.999


def test_the_variance_of_the_gradient_falls_with_what_the_baseline_knows() -> None:
    policy = Enumerated()
    policy.scores = policy.scores + 3
    rewards, mask = plain_rewards(policy), policy.mask
    mean = (policy.probabilities.detach() * policy.scores).sum().item()
    variances = []
    for advantages in (
        ADVANTAGES["reinforce"](rewards, mask, 1, RunningMean(), 1.0),
        ADVANTAGES["reinforce"](rewards, mask, 1, RunningMean(mean, 1), 1.0),
        generalized_advantages(rewards, policy.values, mask, 1.0, 1.0),
        generalized_advantages(rewards, policy.values, mask, 1.0, 0.0),
    ):

        def loss(rows: list[int], advantages: torch.Tensor = advantages) -> torch.Tensor:
            return policy_gradient_loss(policy.logprobs[rows], advantages[rows], mask[rows], 1)

        centre = policy.expected(loss)
        variances.append(sum((p * (g - centre).square().sum()).item() for p, g in policy.estimates(loss)))
    assert variances[0] > 3 * variances[1]
    assert variances[1] > variances[2] * 1.02
    assert variances[2] > variances[3] * 1.02


def test_the_kl_in_the_reward_has_a_gradient_at_all() -> None:
    policy = Enumerated()
    assert (policy.exact(0.4) - policy.exact(0.0)).abs().max() > 0.01
