import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from policy.textbook.enumeration import enumerate_states, policy_gradient, policy_value
from policy.textbook.environment import TextGenerationEnv, TextGenerationVectorEnv
from policy.textbook.policy_gradient import (
    ActorCriticConfig,
    Episodes,
    Learner,
    PPOConfig,
    ReinforceConfig,
    TextbookConfig,
    advantages_of,
    collect,
    learn,
    most_probable,
    policy_loss,
)
from reward_model.rewards.registry import build

WORDS = ("a", "b", ".")
SMALL = {"embedding": 3, "hidden": 5, "entropy_coefficient": 0.0}


def counted(prompts: Sequence[str], completions: Sequence[str], **columns: Any) -> list[float]:
    """Something that differs from text to text."""
    return [len(text) - 2.0 * text.count("b") + 3.0 * text.startswith("b a") + 1 for text in completions]


def make_envs(count: int, **rules: Any) -> TextGenerationVectorEnv:
    return TextGenerationVectorEnv(WORDS, counted, num_envs=count, max_length=3, eos=".", **rules)


def make_learner(config: TextbookConfig, envs: TextGenerationVectorEnv, discount: float = 1.0) -> Learner:
    """In float64, with networks that already have opinions."""
    learner = Learner.start(config, envs, discount, seed=3)
    generator = torch.Generator().manual_seed(5)
    for network in (learner.policy, learner.value):
        network.double()
        torch.nn.init.normal_(network.output.weight, generator=generator)
    return learner


@pytest.mark.parametrize("per_step", [False, True])
def test_collected_episodes_are_what_the_environment_pays(per_step: bool) -> None:
    envs = make_envs(40, per_step=per_step)
    learner = Learner.start(ReinforceConfig(), envs, 1.0, seed=1)
    episodes = collect(learner.policy, envs, learner.generator)
    env = TextGenerationEnv(WORDS, counted, max_length=3, eos=".", per_step=per_step)
    lengths = episodes.mask.sum(1).long()
    assert set(lengths.tolist()) == {1, 2, 3}
    for row, length in enumerate(lengths.tolist()):
        seen, _ = env.reset()
        for t in range(length):
            assert episodes.tokens[row, t].tolist() == seen["tokens"].tolist()
            assert episodes.written[row, t].tolist() == seen["mask"].tolist()
            seen, reward, over, _, _ = env.step(int(episodes.actions[row, t]))
            assert episodes.rewards[row, t].item() == pytest.approx(reward)
            assert over == (t == length - 1)
        assert episodes.rewards[row, length:].abs().sum() == 0
        assert episodes.mask[row].tolist() == [1.0] * length + [0.0] * (episodes.mask.shape[1] - length)


def test_tokens_that_are_not_allowed_are_never_chosen() -> None:
    envs = make_envs(30, allowed=lambda pieces: [len(pieces) != 1, True, len(pieces) > 1])
    learner = Learner.start(ReinforceConfig(episodes=90), envs, 1.0, seed=1)
    episodes = collect(learner.policy, envs, learner.generator)
    assert set(episodes.actions[:, 0].tolist()) == {0, 1}
    assert set(episodes.actions[:, 1].tolist()) == {1}
    assert episodes.logprobs[:, 1].tolist() == [0.0] * 30
    learn(learner, envs)
    assert all(weight.isfinite().all() for weight in learner.policy.parameters())


def all_texts(learner: Learner, discount: float) -> Episodes:
    """Every text that can be written, one episode each, in float64."""
    texts = [(2,), *itertools.product((0, 1), (2,)), *itertools.product((0, 1), (0, 1), (0, 1, 2))]
    rows = []
    for text in texts:
        envs = make_envs(1, discount=discount)
        seen, _ = envs.reset()
        columns: list[list[torch.Tensor]] = [[] for _ in range(7)]
        for t in range(3):
            token = text[t] if t < len(text) else 0
            tokens, written = torch.tensor(seen["tokens"]).long(), torch.tensor(seen["mask"]).double()
            seen, reward, *_ = envs.step(torch.tensor([token]).numpy())
            mask = torch.tensor([float(t < len(text))]).double()
            with torch.no_grad():
                logprob = torch.log_softmax(learner.policy(tokens, written), -1)[:, token] * mask
            allowed = torch.ones(1, 3, dtype=torch.bool)
            step = (tokens, written, allowed, torch.tensor([token]), logprob, torch.tensor(reward) * mask, mask)
            for column, value in zip(columns, step, strict=True):
                column.append(value)
        rows.append([torch.stack(column, dim=1) for column in columns])
    return Episodes(*(torch.cat(column) for column in zip(*rows, strict=True)))


def exact_gradient(learner: Learner, discount: float) -> list[torch.Tensor]:
    """The gradient of the expected return, by enumeration in the logits and from there by autograd."""
    task = TextGenerationEnv(WORDS, counted, max_length=3, eos=".", discount=discount).task
    tree = enumerate_states(task)
    tokens = torch.tensor([[*state, *[0] * (3 - len(state))] for state in tree.states])
    written = torch.tensor([[1.0] * len(state) + [0.0] * (3 - len(state)) for state in tree.states]).double()
    logits = learner.policy(tokens, written)
    slope = torch.from_numpy(policy_gradient(tree, logits.detach().numpy()))
    assert policy_value(tree, logits.detach().numpy()) != 0
    return list(torch.autograd.grad((logits * slope).sum(), list(learner.policy.parameters())))


UNBIASED = [
    ReinforceConfig(baseline="none", **SMALL),
    ReinforceConfig(baseline="mean", **SMALL),
    ReinforceConfig(baseline="value", **SMALL),
    ActorCriticConfig(gae_lambda=1.0, **SMALL),
    PPOConfig(gae_lambda=1.0, **SMALL),
]


def expected_gradient(learner: Learner, discount: float, late: float = 1.0) -> list[torch.Tensor]:
    """The mean of the update's gradient over all texts; advantages of step t are multiplied by late ** t."""
    episodes = all_texts(learner, discount)
    advantages, _ = advantages_of(learner, episodes)
    advantages = advantages * late ** torch.arange(3)
    total = torch.zeros((), dtype=torch.float64)
    probabilities = episodes.logprobs.sum(1).exp()
    assert probabilities.sum().item() == pytest.approx(1.0)
    for row, probability in enumerate(probabilities):
        loss, _ = policy_loss(learner, episodes[[row]], advantages[[row]], 1)
        total = total - probability * loss
    return list(torch.autograd.grad(total, list(learner.policy.parameters())))


@pytest.mark.parametrize("config", UNBIASED, ids=["none", "mean", "value", "actor-critic", "ppo"])
def test_the_expected_update_is_the_exact_policy_gradient(config: TextbookConfig) -> None:
    learner = make_learner(config, make_envs(1))
    learner.baseline = learner.baseline.after(torch.tensor([4.0, 1.0]))
    exact = exact_gradient(learner, 1.0)
    assert max(gradient.abs().max().item() for gradient in exact) > 0.01
    for found, wanted in zip(expected_gradient(learner, 1.0), exact, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-9, rtol=1e-6)


def test_with_a_discount_it_is_exact_once_late_steps_are_discounted_too() -> None:
    learner = make_learner(UNBIASED[2], make_envs(1), discount=0.7)
    exact = exact_gradient(learner, 0.7)
    for found, wanted in zip(expected_gradient(learner, 0.7, late=0.7), exact, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-9, rtol=1e-6)
    gaps = [(f - e).abs().max().item() for f, e in zip(expected_gradient(learner, 0.7), exact, strict=True)]
    assert max(gaps) > 1e-3


def written(learner: Learner, words: Sequence[str], **rules: Any) -> str:
    """The policy's most probable text."""
    env = TextGenerationEnv(words, **rules)
    seen, info = env.reset()
    over = False
    while not over:
        seen, _, over, _, info = env.step(most_probable(learner.policy, seen, env.action_masks()))
    return str(info["text"])


SEEDS = 20
CHINESE = {"separator": "", "target": "我爱你", "max_length": 3}


@pytest.mark.parametrize(
    "config",
    [
        ReinforceConfig(episodes=1600, baseline="none", entropy_coefficient=0.1),
        ReinforceConfig(episodes=1600, baseline="mean", entropy_coefficient=0.3),
        ReinforceConfig(episodes=1600, entropy_coefficient=0.1),
        ActorCriticConfig(episodes=1600, entropy_coefficient=0.1, value_learning_rate=0.03),
        PPOConfig(episodes=640),
    ],
    ids=["none", "mean", "value", "actor-critic", "ppo"],
)
def test_every_algorithm_writes_the_three_words_whatever_the_seed(config: TextbookConfig) -> None:
    texts = []
    for seed in range(SEEDS):
        envs = TextGenerationVectorEnv(["我", "爱", "你"], num_envs=config.batch, **CHINESE)  # type: ignore[arg-type]
        learner = Learner.start(config, envs, 1.0, seed)
        learn(learner, envs)
        texts.append(written(learner, ["我", "爱", "你"], **CHINESE))
    assert texts == ["我爱你"] * SEEDS


@pytest.mark.timeout(900)  # four trainings of a few seconds each, on a machine that may have other work
def test_reinforce_writes_the_sentence_from_bleu_alone_in_three_of_four_seeds() -> None:
    words = ["the", "cat", "sat", "on", "mat", "<end>"]
    rules = {"max_length": 8, "eos": "<end>", "target": "the cat sat on the mat"}
    reward = build({"name": "bleu", "smoothing": "add-k"})
    config = ReinforceConfig(episodes=9600, entropy_coefficient=0.03)
    texts = []
    for seed in range(4):
        envs = TextGenerationVectorEnv(words, reward, num_envs=config.batch, **rules)  # type: ignore[arg-type]
        learner = Learner.start(config, envs, 1.0, seed)
        learn(learner, envs)
        texts.append(written(learner, words, reward=reward, **rules))
    assert texts.count("the cat sat on the mat") >= 3, texts


def test_the_seed_decides_everything() -> None:
    logs = []
    for seed in (1, 1, 2):
        envs = make_envs(8)
        logs.append(learn(Learner.start(ReinforceConfig(episodes=80), envs, 1.0, seed), envs))
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]
    assert [row["episodes"] for row in logs[0]] == list(range(8, 81, 8))
