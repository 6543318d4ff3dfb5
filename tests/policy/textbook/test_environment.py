"""The environment by Gymnasium's rules, and what a text earns in it."""

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from gymnasium.vector.vector_env import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_env_for_stable_baselines
from transformers import AutoTokenizer

from foundation.errors import UserError
from policy.textbook.environment import TextGenerationEnv, TextGenerationVectorEnv, state_of
from policy.textbook.text_task import writes_target
from reward_model.rewards.mixture import compose

ID = "rlhf_pipeline/TextGeneration-v0"
CAT = ["the", "cat", "sat", "on", "mat", "."]


def letters(prompts: list[Any], completions: list[Any], **columns: Any) -> list[float]:
    """A reward: the letters written."""
    return [float(len(text.replace(" ", ""))) for text in completions]


def play(env: Any, actions: list[int], **reset: Any) -> list[tuple[float, bool, bool, dict[str, Any]]]:
    env.reset(**reset)
    return [env.step(action)[1:] for action in actions]


def cat_env(**changes: Any) -> TextGenerationEnv:
    return TextGenerationEnv(CAT, **{"reward": letters, "max_length": 4, "eos": "."} | changes)


@pytest.mark.parametrize(
    "settings",
    [
        {"vocabulary": CAT, "reward": letters, "max_length": 4},
        {"vocabulary": CAT, "reward": letters, "max_length": 4, "eos": ".", "per_step": True, "discount": 0.9},
        {"vocabulary": CAT, "reward": letters, "max_length": 2, "prompts": ["the cat", "", "mat"]},
        {"vocabulary": ["我", "爱", "你"], "separator": "", "target": "我爱你", "max_length": 3},
    ],
    ids=["words", "steps", "prompts", "target"],
)
def test_gymnasium_and_stable_baselines_find_nothing_to_warn_of(
    settings: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    env = gymnasium.make(ID, **settings).unwrapped
    check_env(env)
    check_env_for_stable_baselines(env)


def test_a_tokenizer_passes_the_same_checks(tiny_model: Any, capsys: pytest.CaptureFixture[str]) -> None:
    env = gymnasium.make(ID, vocabulary=AutoTokenizer.from_pretrained(tiny_model), reward=letters, max_length=3)
    check_env(env.unwrapped)


def test_the_observation_is_the_prompt_and_the_tokens_so_far() -> None:
    env = cat_env(prompts=["the cat", "mat"], max_length=2)
    observation, info = env.reset(options={"prompt": "mat"})
    assert observation["tokens"].tolist() == [0, 4, 0, 0]
    assert observation["mask"].tolist() == [0, 1, 0, 0]
    assert info == {"text": ""}
    observation, *_, info = env.step(3)
    assert observation["tokens"].tolist() == [0, 4, 3, 0]
    assert observation["mask"].tolist() == [0, 1, 1, 0]
    assert info["text"] == "on"
    assert state_of(observation) == env.task.state(env.episode) == (-1, 4, 3)


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


def test_words_without_a_separator_are_found_in_a_text() -> None:
    env = TextGenerationEnv(["ab", "a", "bc", "c"], letters, max_length=3, separator="", prompts="abc")
    assert env.task.vocabulary.encode("abc") in ((0, 3), (1, 2))
    assert env.task.vocabulary.encode("aabc") in ((1, 0, 3), (1, 1, 2))
    assert play(env, [1, 2, 3])[-1][3]["text"] == "abcc"


def test_resets_are_seeded_and_take_a_prompt() -> None:
    env = cat_env(prompts=["the", "cat", "mat"], columns={"source": [1, 2, 3]})
    first = [env.reset(seed=7 if draw == 0 else None)[0]["tokens"][0] for draw in range(20)]
    again = [env.reset(seed=7 if draw == 0 else None)[0]["tokens"][0] for draw in range(20)]
    assert first == again
    assert set(first) == {0, 1, 4}
    env.reset(options={"prompt": "sat", "source": 4})
    assert (env.episode.prompt, env.episode.columns) == ("sat", {"source": 4})
    with pytest.raises(ValueError, match='needs the option "source"'):
        env.reset(options={"prompt": "sat"})
    with pytest.raises(ValueError, match="room for 1"):
        env.reset(options={"prompt": "the cat", "source": 4})
    with pytest.raises(ValueError, match='no option "promt"'):
        env.reset(options={"promt": "the"})
    with pytest.raises(ValueError, match="no prompt 3"):
        env.reset(options={"prompt": 3})


def test_masks_say_what_may_come_next() -> None:
    env = cat_env(allowed=lambda words: [word not in words for word in CAT])
    env.reset()
    assert env.action_masks().tolist() == [True] * 6
    env.step(1)
    assert env.action_masks().tolist() == [True, False, True, True, True, True]
    env = cat_env(allowed=lambda words: [False] * 6)
    env.reset()
    with pytest.raises(ValueError, match="leaves no token"):
        env.action_masks()


def test_it_renders_as_text_that_cannot_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    env = TextGenerationEnv(["a", "\x1b[31m", "\n"], letters, max_length=3, prompts="a", render_mode="ansi")
    play(env, [0, 1, 2])
    assert env.render() == "a → a �[31m �  [3 of 3 tokens, ended by length]\n"
    human = TextGenerationEnv(CAT, letters, max_length=2, render_mode="human")
    play(human, [0, 1])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "the  [1 of 2 tokens]",
        "the cat  [2 of 2 tokens, ended by length]",
    ]


@pytest.mark.parametrize("per_step", [False, True], ids=["end", "steps"])
def test_the_vectorised_environment_does_what_many_single_ones_do(per_step: bool) -> None:
    settings = {
        "vocabulary": CAT,
        "reward": letters,
        "max_length": 3,
        "eos": ".",
        "per_step": per_step,
        "discount": 0.9,
    }
    ours = gymnasium.make_vec(ID, num_envs=5, **settings)
    theirs = gymnasium.make_vec(ID, num_envs=5, vectorization_mode="sync", **settings)
    assert isinstance(ours, TextGenerationVectorEnv)
    assert isinstance(theirs, SyncVectorEnv)
    assert ours.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
    same(ours.reset(seed=0), theirs.reset(seed=0))
    ours.action_space.seed(0)
    for _ in range(30):
        actions = ours.action_space.sample()
        same(ours.step(actions), theirs.step(actions))


def same(ours: Any, theirs: Any) -> None:
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            same(ours[key], theirs[key])
    elif isinstance(ours, tuple):
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    else:
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


def test_the_vectorised_environment_calls_a_reward_once_for_all_its_texts() -> None:
    calls: list[int] = []

    def counting(completions: list[str], **columns: Any) -> list[float]:
        calls.append(len(completions))
        return [0.0] * len(completions)

    env = TextGenerationVectorEnv(CAT, counting, num_envs=4, max_length=2, eos=".", prompts=["the", "cat"])
    env.reset(seed=0)
    env.step(np.array([0, 5, 0, 0]))
    env.step(np.array([0, 0, 0, 0]))
    assert calls == [1, 3]
    assert env.action_masks().shape == (4, 6)
    env.reset(options={"prompt": "cat"})
    assert {episode.prompt for episode in env.episodes} == {"cat"}


def test_vectorised_texts_render_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    env = TextGenerationVectorEnv(CAT, letters, num_envs=2, max_length=2, render_mode="ansi")
    env.reset()
    env.step(np.array([0, 1]))
    assert env.render() == ("the  [1 of 2 tokens]\n", "cat  [1 of 2 tokens]\n")


BAD = {
    "an empty vocabulary": ({"vocabulary": []}, "vocabulary is empty"),
    "a word twice": ({"vocabulary": ["a", "b", "a"]}, "twice: a"),
    "a string for a vocabulary": ({"vocabulary": "abc"}, "one string"),
    "an empty word": ({"vocabulary": ["a", ""]}, "'' cannot be a word"),
    "a word with the separator": ({"vocabulary": ["a", "b c"]}, "'b c' cannot be a word"),
    "an eos outside": ({"eos": "!"}, "'!' is not in the vocabulary"),
    "an eos id outside": ({"eos": 6}, "6 is not in the vocabulary"),
    "a target outside": ({"target": "the dog"}, "'dog' is not in the vocabulary"),
    "a target outside, unseparated": ({"target": "catdog", "separator": ""}, "cannot be written"),
    "a target that is too long": ({"target": "the cat sat", "max_length": 2}, "3 tokens and max_length is 2"),
    "a prompt outside": ({"prompts": ["the dog"]}, "'dog' is not in the vocabulary"),
    "a conversation without a tokenizer": ({"prompts": [[{"role": "user", "content": "the"}]]}, "chat template"),
    "no prompts": ({"prompts": []}, "no prompts"),
    "a discount above 1": ({"discount": 1.01}, r"discount is 1.01; it must lie in \[0, 1\]"),
    "a discount below 0": ({"discount": -0.1}, "discount is -0.1"),
    "a discount that is no number": ({"discount": math.nan}, "discount is nan"),
    "no length": ({"max_length": 0}, "max_length is 0"),
    "no reward": ({"reward": None}, "nothing is rewarded"),
    "a column that is too short": (
        {"prompts": ["the", "cat"], "columns": {"x": [1]}},
        '"x" has 1 values for 2 prompts',
    ),
    "weights that do not fit": ({"reward_weights": [1, 2]}, "2 reward_weights for 1"),
    "a weight that is not finite": ({"reward_weights": [math.inf]}, "weight of letters gave inf"),
}


@pytest.mark.parametrize(("settings", "message"), BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("kind", [TextGenerationEnv, TextGenerationVectorEnv])
def test_what_cannot_be_is_a_value_error_and_a_user_error(kind: Any, settings: dict[str, Any], message: str) -> None:
    usual: dict[str, Any] = {"vocabulary": CAT, "reward": letters, "max_length": 4}
    for expected in (ValueError, UserError):
        with pytest.raises(expected, match=message):
            kind(**usual | settings)


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


@pytest.mark.parametrize("action", [-1, 6, 1.0, np.array([1]), "the", None])
def test_an_action_that_is_no_token_is_invalid(action: Any) -> None:
    env = cat_env()
    env.reset()
    with pytest.raises(gymnasium.error.InvalidAction, match="0 to 5"):
        env.step(action)
    assert env.episode.tokens == []
    many = TextGenerationVectorEnv(CAT, letters, num_envs=2, max_length=3)
    many.reset()
    with pytest.raises(gymnasium.error.InvalidAction, match="0 to 5"):
        many.step(np.array([0, 6]))


def test_steps_before_the_beginning_and_after_the_end_need_a_reset() -> None:
    env = cat_env(render_mode="ansi")
    for call in (lambda: env.step(0), env.render, env.action_masks):
        with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset first"):
            call()
    play(env, [5])
    with pytest.raises(gymnasium.error.ResetNeeded, match="has ended"):
        env.step(0)
    env.reset()
    env.step(0)
    with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset first"):
        TextGenerationVectorEnv(CAT, letters, num_envs=2, max_length=3).step(np.array([0, 0]))


def test_rendering_without_a_mode_warns_and_an_unknown_mode_is_refused() -> None:
    env = cat_env()
    env.reset()
    with pytest.warns(UserWarning, match="without a render mode"):
        assert env.render() is None
    with pytest.raises(gymnasium.error.UnsupportedMode, match="'rgb_array'"):
        cat_env(render_mode="rgb_array")
