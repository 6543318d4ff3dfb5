"""The environment by Gymnasium's rules: observations, resets, masks, rendering."""

import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_for_stable_baselines
from transformers import AutoTokenizer

from policy.textbook.environment import TextGenerationEnv, TextGenerationVectorEnv, state_of
from tests.policy.textbook.cat_environment import CAT, ID, cat_env, letters, play


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
    with pytest.raises(gymnasium.error.UnsupportedMode, match="'depth_array'"):
        cat_env(render_mode="depth_array")


@pytest.mark.parametrize("words", [CAT, ["我", "爱", "你"]], ids=["Latin", "Chinese"])
def test_it_renders_as_pictures_that_change_with_the_text(words: list[str]) -> None:
    env = TextGenerationEnv(words, letters, max_length=40, separator="", render_mode="rgb_array")
    pictures = []
    env.reset()
    for _ in range(40):
        env.step(1)
        pictures.append(env.render())
    assert {(picture.shape, picture.dtype) for picture in pictures} == {((80, 640, 3), np.dtype(np.uint8))}
    assert len({picture.tobytes() for picture in pictures}) == 40


def test_a_pickled_environment_goes_on_where_it_was() -> None:
    for env in (
        gymnasium.make("rlhf_pipeline/ThreeWords-v0"),
        cat_env(per_step=True, discount=0.9, prompts=["the", ""]),
    ):
        env.reset(seed=3)
        env.step(0)
        other = pickle.loads(pickle.dumps(env))
        for one, two in zip(env.step(1), other.step(1), strict=True):
            np.testing.assert_equal(one, two)
        np.testing.assert_equal(env.reset(), other.reset())
