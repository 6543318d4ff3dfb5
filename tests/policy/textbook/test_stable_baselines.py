"""stable-baselines3 and its maskable PPO train on the environment as it is, and learn the small tasks."""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from sb3_contrib import MaskablePPO
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.env_checker import check_env as check_env_for_stable_baselines
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import SubprocVecEnv

import policy.textbook.environment
from reward_model.rewards.registry import RewardSpec, build

gymnasium.register_envs(policy.textbook.environment)

ID = "rlhf_pipeline/ThreeWords-v0"
CAT = ["the", "cat", "sat", "on", "mat"]
SENTENCE = "the cat sat on the mat"


def words_in_place(completions: list[str], references: list[list[str]], **columns: Any) -> list[float]:
    """A reward at the end: the share of words that stand where the reference has them."""
    pairs = [(text.split(), known[0].split()) for text, known in zip(completions, references, strict=True)]
    return [sum(a == b for a, b in zip(ours, known, strict=False)) / len(known) for ours, known in pairs]


def three_words(**changes: Any) -> gymnasium.Env[Any, Any]:
    return gymnasium.make(ID, **changes)


def the_cat(**changes: Any) -> gymnasium.Env[Any, Any]:
    task = {"vocabulary": CAT, "reward": words_in_place, "target": SENTENCE, "max_length": 6}
    return gymnasium.make("rlhf_pipeline/TextGeneration-v0", **task | changes)


def written(model: Any, make: Callable[[], gymnasium.Env[Any, Any]]) -> str:
    env = make()
    observation, info = env.reset()
    over = False
    while not over:
        action, _ = model.predict(observation, deterministic=True)
        observation, _, terminated, truncated, info = env.step(action)
        over = terminated or truncated
    return str(info["text"])


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


ON_POLICY: dict[str, Any] = {"policy": "MultiInputPolicy", "gamma": 1.0, "ent_coef": 0.02, "seed": 0}
PROXIMAL: dict[str, Any] = ON_POLICY | {"n_steps": 48, "batch_size": 96, "n_epochs": 4, "learning_rate": 4e-3}
LEARNERS: dict[str, Callable[[Any], Any]] = {
    "PPO": lambda env: PPO(env=env, **PROXIMAL),
    "MaskablePPO": lambda env: MaskablePPO(env=env, **PROXIMAL),
    "A2C": lambda env: A2C(env=env, **ON_POLICY, n_steps=12, learning_rate=3e-3),
    "DQN": lambda env: DQN(
        "MultiInputPolicy",
        env,
        gamma=1.0,
        learning_rate=3e-3,
        learning_starts=200,
        train_freq=8,
        gradient_steps=2,
        target_update_interval=200,
        exploration_fraction=0.6,
        seed=0,
    ),
}


def learner(name: str, make: Callable[[], gymnasium.Env[Any, Any]]) -> Any:
    return LEARNERS[name](make_vec_env(make, n_envs=1 if name == "DQN" else 8, seed=0))


@pytest.mark.parametrize("name", LEARNERS)
def test_it_learns_three_words_from_step_rewards(name: str) -> None:
    model = learner(name, three_words)
    assert written(model, three_words) != "我爱你"
    model.learn(3000)
    assert written(model, three_words) == "我爱你"


@pytest.mark.parametrize("name", LEARNERS)
def test_it_learns_a_sentence_from_a_reward_at_the_end(name: str) -> None:
    model = learner(name, the_cat)
    model.learn(5000 if name == "DQN" else 8000)
    assert written(model, the_cat) == SENTENCE


@pytest.mark.parametrize("name", [ID, f"policy.textbook.environment:{ID}"], ids=["id", "module and id"])
def test_it_is_made_by_its_id(name: str) -> None:
    PPO("MultiInputPolicy", name, n_steps=8, batch_size=8).learn(8)
    many = make_vec_env(name, n_envs=2)
    assert many.reset()["tokens"].shape == (2, 3)
    assert many.render().shape[-1] == 3
    env = gymnasium.make(name)
    check_env(env.unwrapped)
    check_env_for_stable_baselines(env, warn=True)


def test_other_processes_make_it_by_its_module_and_id() -> None:
    many = make_vec_env(f"policy.textbook.environment:{ID}", n_envs=2, vec_env_cls=SubprocVecEnv)
    try:
        many.reset()
        _, rewards, _, infos = many.step(np.array([0, 1]))
    finally:
        many.close()
    assert rewards.tolist() == [1.0, -1.0]
    assert [info["text"] for info in infos] == ["我", "爱"]


def test_ppo_learns_from_a_reward_of_the_project() -> None:
    bleu = build(RewardSpec.model_validate({"name": "bleu", "smoothing": "add-k"}))
    model = learner("PPO", lambda: the_cat(reward=bleu))
    before, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=64, deterministic=False)
    model.learn(6000)
    after, _ = evaluate_policy(model, model.get_env(), n_eval_episodes=64, deterministic=False)
    assert after > before + 0.3


def test_a_masked_policy_keeps_to_the_words_that_are_allowed() -> None:
    def different_words(completions: list[str], **columns: Any) -> list[float]:
        return [float(len(set(text.split()))) for text in completions]

    def make(**changes: Any) -> gymnasium.Env[Any, Any]:
        return the_cat(reward=different_words, max_length=5, target=None, **changes)

    masked = learner("MaskablePPO", lambda: make(allowed=lambda words: [word not in words for word in CAT]))
    masked.learn(384)
    assert {episode["r"] for episode in masked.ep_info_buffer} == {5.0}
    free = learner("MaskablePPO", make)
    free.learn(384)
    assert {episode["r"] for episode in free.ep_info_buffer} > {3.0, 4.0}


def test_it_is_told_when_a_text_was_cut_off_from_outside() -> None:
    env = make_vec_env(lambda: three_words(max_episode_steps=2), n_envs=1)
    env.reset()
    env.step([0])
    _, _, (done,), (info,) = env.step([1])
    assert done
    assert info["TimeLimit.truncated"]
    ended = make_vec_env(three_words, n_envs=1)
    ended.reset()
    for action in range(3):
        _, _, (done,), (info,) = ended.step([action])
    assert done
    assert not info["TimeLimit.truncated"]
