import pytest
import torch

from policy.algorithms.advantages import (
    RunningMean,
    discounted_returns,
    generalized_advantages,
    group_advantages,
    leave_one_out,
    temporal_difference_errors,
    whiten,
)
from policy.algorithms.registry import ALGORITHMS, Experience


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


def test_the_running_mean_weighs_responses_and_not_steps() -> None:
    rewards = torch.arange(64.0)
    for sizes in ([1] * 64, [32, 32], [60, 3, 1]):
        baseline = RunningMean()
        for batch in rewards.split(sizes):
            baseline = baseline.after(batch)
        assert baseline == RunningMean(pytest.approx(31.5), 64)


def test_rloo_gives_every_token_of_a_response_its_advantage() -> None:
    rewards = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 2.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    advantages = ALGORITHMS["rloo"].advantages(Experience(rewards, mask, None, 2, RunningMean(99.0, 1), 0.3))
    assert advantages.tolist() == [[-2.0, -2.0, 0.0], [2.0, 2.0, 2.0]]


def test_reinforce_takes_the_running_mean_off_each_return() -> None:
    rewards = torch.tensor([[0.0, 2.0, 0.0], [1.0, 2.0, 4.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    advantages = ALGORITHMS["reinforce"].advantages(Experience(rewards, mask, None, 2, RunningMean(1.0, 7), 0.5))
    assert advantages.tolist() == [[0.0, 1.0, 0.0], [2.0, 3.0, 3.0]]


def test_a_value_network_is_the_baseline_of_reinforce_and_makes_the_advantages_of_ppo() -> None:
    rewards, mask = torch.tensor([[0.0, 2.0], [1.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    values = torch.tensor([[0.5, 1.0], [3.0, 99.0]])
    batch = Experience(rewards, mask, values, discount=0.5, gae_lambda=0.5)
    assert ALGORITHMS["reinforce"].advantages(batch).tolist() == [[1 - 0.5, 2 - 1.0], [1 - 3.0, 0.0]]
    # Errors are [0 + 0.5 - 0.5, 2 - 1] and [1 - 3].
    assert ALGORITHMS["ppo"].advantages(batch).tolist() == [[0.25, 1.0], [-2.0, 0.0]]


def test_grpo_and_dr_grpo_give_every_token_the_place_in_its_group() -> None:
    rewards = torch.tensor([[0.5, 0.5, 0.0], [0.0, 1.0, 2.0]])
    mask = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    batch = Experience(rewards, mask, group=2)
    assert ALGORITHMS["dr_grpo"].advantages(batch).tolist() == [[-1.0, -1.0, 0.0], [1.0, 1.0, 1.0]]
    scaled = 1 / (2**0.5 + 1e-4)
    expected = torch.tensor([[-scaled, -scaled, 0.0], [scaled, scaled, scaled]])
    torch.testing.assert_close(ALGORITHMS["grpo"].advantages(batch), expected)


def test_reinforce_plus_plus_by_hand() -> None:
    rewards, mask = torch.tensor([[0.0, 2.0], [8.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    returns = torch.tensor([[1.0, 2.0], [8.0, 0.0]])
    found = ALGORITHMS["reinforce_plus_plus"].advantages(Experience(rewards, mask, discount=0.5))
    torch.testing.assert_close(found, returns, msg="whitening comes after it, and can be turned off")
    # Over the tokens, their mean is 11/3 and their variance 86/9.
    torch.testing.assert_close(whiten(found, mask), (returns - 11 / 3) / (86 / 9) ** 0.5 * mask)


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
