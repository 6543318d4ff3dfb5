"""The reward function for TRL's trainers gives the scores that this project gives."""

from pathlib import Path
from typing import Any

import torch

from reward_model.scorer import RewardScorer
from reward_model.trl_reward_function import reward_function
from tests.reward_model.six_responses import COMPLETIONS, PROMPTS
from tests.reward_model.trl_rewards import trl_rewards


def test_trl_scores_with_the_function_as_we_do(
    scorer: RewardScorer, scores: torch.Tensor, tiny_model: Path, tmp_path: Path
) -> None:
    found = trl_rewards(reward_function(scorer), tiny_model, tmp_path)
    torch.testing.assert_close(found, scores, atol=1e-4, rtol=0)


def test_the_function_takes_plain_text_and_loads_a_folder(trained: Any, scores: torch.Tensor) -> None:
    reward = reward_function(trained[0], dtype="float32", device="cpu")
    texts = [prompt[0]["content"] for prompt in PROMPTS], [completion[0]["content"] for completion in COMPLETIONS]
    torch.testing.assert_close(torch.tensor(reward(*texts)), scores)
