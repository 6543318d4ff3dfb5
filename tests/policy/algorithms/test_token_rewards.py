import torch

from policy.algorithms.token_rewards import token_rewards


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
        torch.tensor([500.0, -7.0]),
        torch.zeros(2, 2),
        torch.ones(2, 2),
        torch.tensor([True, False]),
        kl_coefficient=0.3,
    )
    assert rewards.tolist() == [[0.0, 500.0], [0.0, -7.0]]
