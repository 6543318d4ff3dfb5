from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from backbone.adapters import SharedBase
from backbone.sampling import sample
from backbone.sampling_config import SamplingConfig
from foundation.errors import UserError
from policy.algorithms.advantages import RunningMean, reinforce_advantages
from policy.native import train
from policy.native.master_weights import MasterWeights
from policy.native.rollout import Rollout
from policy.native.training_state import ADAPTER, TrainState
from policy.native.update import update
from policy.textbook.environment import TextGenerationEnv
from policy.textbook.language_model import EnvironmentScorer, Trajectory, act, env_prompts, replay
from tests.policy.tiny_run import CONFIG, load_base
from tests.shared_base import add_random_adapter

PROMPTS = [[{"role": "user", "content": text}] for text in ("the cat", "the dog and the cat", "mat")]
LENGTH = 7
SAMPLING = SamplingConfig(max_new_tokens=LENGTH, temperature=0.9)


def vowels(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
    """A reward that changes with nearly every token."""
    return [sum(letter in "aeiou" for letter in text[-1]["content"]) / 3 for text in completions]


@pytest.fixture
def base(tiny_model: Path) -> SharedBase:
    base = load_base(tiny_model)
    add_random_adapter(base, ADAPTER, trainable=True)
    return base


def make_env(base: SharedBase, **rules: Any) -> TextGenerationEnv:
    return TextGenerationEnv(base.tokenizer, vowels, max_length=LENGTH, prompts=PROMPTS, **rules)


def act_all(
    base: SharedBase, env: TextGenerationEnv, group: int, sampling: SamplingConfig = SAMPLING
) -> list[Trajectory]:
    with base.using(ADAPTER):
        return [
            act(base, env, sampling, prompt=number, seed=22, row=number * group + i)
            for number in range(len(PROMPTS))
            for i in range(group)
        ]


def test_the_environment_shows_the_prompts_that_the_engine_sees(base: SharedBase) -> None:
    assert env_prompts(make_env(base)) == [base.renderer.prompt_ids(prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("cut", [{}, {"top_k": 3}, {"top_p": 0.6}])
def test_acting_token_by_token_writes_what_the_engine_samples(base: SharedBase, cut: dict[str, Any]) -> None:
    env, sampling = make_env(base), SAMPLING.model_copy(update=cut)
    with base.using(ADAPTER):
        drawn = sample(base, env_prompts(env), sampling, group=4, seed=22)
    trajectories = act_all(base, env, 4, sampling)
    assert [one.response_ids for one in trajectories] == [one.response_ids for one in drawn]
    assert cut or {one.finished for one in trajectories} == {True, False}
    for ours, theirs in zip(trajectories, drawn, strict=True):
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
        assert ours.finished == (theirs.finish_reason == "stop")


def test_a_stop_text_is_refused_where_the_environment_would_go_on(base: SharedBase) -> None:
    with pytest.raises(UserError, match="no stop texts"):
        act(base, make_env(base), SAMPLING.model_copy(update={"stop": ("the",)}), prompt=0, seed=0)


@pytest.mark.parametrize("per_step", [False, True])
def test_a_text_played_again_is_paid_the_same(base: SharedBase, per_step: bool) -> None:
    env = make_env(base, per_step=per_step)
    trajectories = act_all(base, env, group=2)
    for row, one in enumerate(trajectories):
        assert replay(env, row // 2, one.response_ids) == one.rewards
    scores = EnvironmentScorer(env).score(
        [one.prompt_ids for one in trajectories], [one.response_ids for one in trajectories]
    )
    texts = [base.tokenizer.decode(one.response_ids, skip_special_tokens=True) for one in trajectories]
    said = vowels([], [[{"role": "assistant", "content": text}] for text in texts])
    assert scores.tolist() == pytest.approx(said)
    assert len(set(said)) > 2


@pytest.mark.parametrize(("ids", "found"), [([5, 6], "did not end"), ([5, 2, 6], "ended after 2")])
def test_a_text_that_does_not_end_in_the_environment_is_refused(base: SharedBase, ids: list[int], found: str) -> None:
    with pytest.raises(UserError, match=found):
        replay(make_env(base), 0, ids)


def padded(rows: list[list[float]]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def test_a_plain_loop_and_the_engine_have_the_same_gradient_on_the_same_trajectories(base: SharedBase) -> None:
    env = make_env(base, per_step=True, discount=0.9)
    trajectories = act_all(base, env, group=3)
    mask = padded([[1.0] * len(one.response_ids) for one in trajectories])
    rewards = padded([one.rewards for one in trajectories])
    advantages = reinforce_advantages(rewards, mask, RunningMean(0.2, 1), env.discount)

    # By autograd through the whole model, one text at a time, with nothing of the engine.
    weights = base.parameters(ADAPTER)
    with base.using(ADAPTER):
        for one in trajectories:
            ids = [*one.prompt_ids, *one.response_ids]
            logits = base.base(torch.tensor([ids])).logits[0] / SAMPLING.temperature
            logprobs = torch.log_softmax(logits, -1)
            loss = torch.zeros(())
            for t, token in enumerate(one.response_ids):
                to_go = sum(0.9 ** (k - t) * one.rewards[k] for k in range(t, len(one.rewards)))
                loss = loss - (to_go - 0.2) * logprobs[len(one.prompt_ids) + t - 1, token]
            (loss / len(trajectories)).backward()  # type: ignore[no-untyped-call]
    plain = {name: weight.grad.clone() for name, weight in weights.items() if weight.grad is not None}

    config = CONFIG.model_copy(update={"temperature": SAMPLING.temperature, "max_grad_norm": 1e9, "micro_batch": 4})
    state = TrainState(MasterWeights((config.learning_rate, weights)))
    rollout = Rollout(
        list(range(len(trajectories))),
        [one.prompt_ids for one in trajectories],
        [one.response_ids for one in trajectories],
        logprobs=padded([one.logprobs for one in trajectories]),
        ref_logprobs=torch.zeros_like(mask),
        mask=mask,
        scores=rewards.sum(1),
        finished=torch.tensor([one.finished for one in trajectories]),
        seconds={},
    )
    update(config, base, rollout, advantages, state, Accelerator(cpu=True))
    master = state.policy.master
    assert plain.keys() == master.keys()
    assert max(gradient.abs().max().item() for gradient in plain.values()) > 0.01
    for name, gradient in plain.items():
        torch.testing.assert_close(master[name].grad, gradient, atol=1e-5, rtol=1e-5)


def test_a_language_model_learns_in_the_environment(tiny_model: Path, tmp_path: Path) -> None:
    base = load_base(tiny_model)
    env = make_env(base)
    config = CONFIG.model_copy(
        update={
            "algorithm": "reinforce",
            "steps": 12,
            "prompts_per_step": 3,
            "group": 6,
            "max_new_tokens": LENGTH,
            "kl_coefficient": 0.0,
            "learning_rate": 2e-2,
        }
    )
    log = train.train_policy(config, base, EnvironmentScorer(env), env_prompts(env), tmp_path, seed=1)
    scores = [row["score"] for row in log]
    assert sum(scores[-3:]) / 3 > sum(scores[:3]) / 3 + 0.2
