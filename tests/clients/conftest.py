"""What leaves the project, made once on the tiny model: a policy and a reward model, as adapters and merged."""

from pathlib import Path

import pytest

from pipeline import tools
from reward_model.config import RewardConfig
from reward_model.training.train import train_reward
from tests.clients.exporting import export
from tests.reward_model.planted import planted

REWARD = RewardConfig(
    learn="adapter", epochs=2, learning_rate=5e-3, held_out=0.3, lora_rank=4, lora_alpha=8, micro_batch=4
)


@pytest.fixture(scope="session")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(tiny_model, tmp_path_factory.mktemp("policy") / "export")


@pytest.fixture(scope="session")
def merged(adapter: Path) -> Path:
    tools.merge(adapter, adapter.with_name("merged"), dtype="float32")
    return adapter.with_name("merged")


@pytest.fixture(scope="session")
def reward(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reward") / "reward"
    folder.mkdir()
    train_reward(REWARD, str(tiny_model), planted(100), folder, dtype="float32", device="cpu")
    return folder


@pytest.fixture(scope="session")
def merged_reward(reward: Path) -> Path:
    tools.merge(reward, reward.with_name("merged"), dtype="float32")
    return reward.with_name("merged")
