"""A small reward model, trained once for the tests of this folder."""

from pathlib import Path
from typing import Any

import pytest
import torch

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from reward_model.config import RewardConfig
from reward_model.scorer import RewardScorer
from reward_model.training.train import train_reward
from tests.reward_model.planted import planted
from tests.reward_model.six_responses import COMPLETIONS, PROMPTS

CONFIG = RewardConfig(
    learn="adapter", epochs=2, learning_rate=5e-3, held_out=0.3, lora_rank=4, lora_alpha=8, micro_batch=4
)


@pytest.fixture(scope="session")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A reward folder and the figures that training returned."""
    folder = tmp_path_factory.mktemp("reward")
    return folder, train_reward(CONFIG, str(tiny_model), planted(120), folder, dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def base(tiny_model: Path) -> SharedBase:
    return load_shared_base(str(tiny_model), "float32", "cpu")


@pytest.fixture(scope="module")
def scorer(trained: Any, base: SharedBase) -> RewardScorer:
    return RewardScorer.load(trained[0], base)


@pytest.fixture(scope="module")
def scores(scorer: RewardScorer) -> torch.Tensor:
    """What the project's own scorer says of the six responses."""
    base = scorer.base
    said = [base.renderer.response_ids(completion[0]["content"]) for completion in COMPLETIONS]
    return scorer.score([base.renderer.prompt_ids(prompt) for prompt in PROMPTS], said)
