"""What a text earns in the environment: when it is paid, for what, and that it is a finite number."""

import math
from typing import Any

import gymnasium
import pytest
from transformers import AutoTokenizer

from policy.textbook.environment import TextGenerationEnv
from policy.textbook.text_task import writes_target
from reward_model.rewards.mixture import compose
from tests.policy.textbook.cat_environment import CAT, ID, cat_env, letters, play


def test_the_reward_comes_at_the_end_whichever_end_it_is() -> None:
    by_length = play(cat_env(), [0, 1, 2, 3])
    assert [step[0] for step in by_length] == [0, 0, 0, 11]
    assert [step[1] for step in by_length] == [False, False, False, True]
    by_eos = play(cat_env(), [0, 5])
    assert by_eos[-1] == (3, True, False, {"text": "the", "reward_parts": {"letters": 3}, "finish_reason": "eos"})
    assert by_length[-1][3]["finish_reason"] == "length"


def test_a_time_limit_from_outside_truncates_and_pays_nothing() -> None:
    env = gymnasium.make(ID, vocabulary=CAT, reward=letters, max_length=4, max_episode_steps=2)
    assert [step[:3] for step in play(env, [0, 1])] == [(0, False, False), (0, False, True)]


@pytest.mark.parametrize("actions", [[0, 1, 2, 3], [0, 5], [5]], ids=["length", "eos", "nothing"])
def test_instalments_leave_the_discounted_return_as_it_is(actions: list[int]) -> None:
    env = cat_env(discount=0.5, per_step=True)
    instalments = [step[0] for step in play(env, actions)]
    at_once = [step[0] for step in play(cat_env(), actions)]
    assert math.fsum(0.5**t * reward for t, reward in enumerate(instalments)) == pytest.approx(
        0.5 ** (len(actions) - 1) * at_once[-1], abs=1e-12
    )
    assert len(actions) < 4 or instalments == [0.5 * 3, 0.5 * 6 - 3, 0.5 * 9 - 6, 11 - 9]


def test_step_rewards_are_paid_after_each_token_beside_the_final_one() -> None:
    env = cat_env(step_reward=lambda words: float(words[-1] == "cat"))
    steps = play(env, [1, 0, 5])
    assert [step[0] for step in steps] == [1, 0, 6]
    assert steps[-1][3]["reward_parts"] == {"step_reward": 0, "letters": 6}


def test_a_target_pays_for_each_token_that_continues_it() -> None:
    env = gymnasium.make("rlhf_pipeline/ThreeWords-v0")
    assert [step[0] for step in play(env, [0, 1, 2])] == [1, 1, 1]
    assert [step[0] for step in play(env, [0, 2, 2])] == [1, -1, -1]  # 你 in its place no longer helps
    ended = TextGenerationEnv(CAT, target="the cat", max_length=5, eos=".")
    assert [step[0] for step in play(ended, [0, 1, 5])] == [1, 1, 1]
    assert [step[0] for step in play(ended, [0, 1, 2])] == [1, 1, -1]


def test_rewards_get_what_trl_would_give_them() -> None:
    seen: list[dict[str, Any]] = []

    def spy(**given: Any) -> list[float]:
        seen.append(given)
        return [0.0]

    env = cat_env(reward=spy, prompts=["the", "cat"], columns={"source": ["a", "b"]}, target="sat", max_length=1)
    play(env, [2], options={"prompt": 1})
    assert seen == [
        {"prompts": ["cat"], "completions": ["sat"], "completion_ids": [[2]], "source": ["b"], "references": [["sat"]]}
    ]


def test_conversations_go_through_the_chat_template_and_come_back_as_messages(tiny_model: Any) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    said: list[Any] = []

    def spy(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
        said.append((prompts, completions))
        return [1.0]

    question = [{"role": "user", "content": "the cat"}]
    env = TextGenerationEnv(tokenizer, spy, max_length=2, prompts=[question])
    observation, _ = env.reset()
    text = tokenizer.decode(observation["tokens"][observation["mask"] == 1])
    assert text == "<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\n"
    (word,) = tokenizer(" the", add_special_tokens=False)["input_ids"][:1]
    env.step(word)
    *_, info = env.step(tokenizer.eos_token_id)
    assert said == [([question], [[{"role": "assistant", "content": info["text"]}]])]
    assert info["finish_reason"] == "eos"
    assert not env.action_masks()[tokenizer.pad_token_id]
    assert env.action_masks()[tokenizer.eos_token_id]


def test_several_rewards_are_weighed_and_told_apart() -> None:
    env = cat_env(reward=[letters, writes_target], reward_weights=[0.5, 10], target="the cat", max_length=2)
    (_, last) = play(env, [0, 1])
    assert last[0] == 0.5 * 6 + 10
    assert last[3]["reward_parts"] == {"letters": 6, "writes_target": 1}


def test_a_mixture_shows_what_it_is_made_of() -> None:
    mixture = compose([{"name": "bleu", "weight": 2}, {"name": "length", "weight": 0.1, "target": 5}])
    (*_, last) = play(cat_env(reward=mixture, target="the cat sat on", per_step=True), [0, 1, 2, 3])
    parts = last[3]["reward_parts"]
    assert parts.keys() == {"composite", "composite/bleu", "composite/length"}
    assert (parts["composite/bleu"], parts["composite/length"]) == pytest.approx((1, -0.2))
    assert parts["composite"] == pytest.approx(2 * parts["composite/bleu"] + 0.1 * parts["composite/length"])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
def test_a_reward_that_is_not_finite_is_refused(value: Any) -> None:
    env = cat_env(reward=lambda **_: [value])
    env.reset()
    with pytest.raises(ValueError, match="must be a finite number"):
        env.step(5)
    stepwise = cat_env(reward=None, step_reward=lambda _: value)
    stepwise.reset()
    with pytest.raises(ValueError, match="must be a finite number"):
        stepwise.step(0)


def test_a_reward_for_another_number_of_texts_is_refused() -> None:
    env = cat_env(reward=lambda **_: [1.0, 2.0])
    env.reset()
    with pytest.raises(ValueError, match="2 values for 1 texts"):
        env.step(5)
