"""The vectorised environment does what many single ones do, and asks each reward once for all its texts."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import SyncVectorEnv
from gymnasium.vector.vector_env import AutoresetMode

from policy.textbook.environment import TextGenerationVectorEnv
from tests.policy.textbook.cat_environment import CAT, ID, letters


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


def test_some_texts_are_reset_and_the_others_go_on() -> None:
    settings = {"vocabulary": CAT, "reward": letters, "max_length": 2, "eos": "."}
    disabled = {"autoreset_mode": AutoresetMode.DISABLED}
    ours = gymnasium.make_vec(ID, num_envs=3, **disabled, **settings)
    theirs = gymnasium.make_vec(ID, num_envs=3, vectorization_mode="sync", vector_kwargs=disabled, **settings)
    assert ours.metadata["autoreset_mode"] is theirs.metadata["autoreset_mode"]
    mask = np.array([False, True, False])
    same(ours.reset(seed=0), theirs.reset(seed=0))
    same(ours.step(np.array([0, 5, 1])), theirs.step(np.array([0, 5, 1])))
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"\[1\] have ended"):
        ours.step(np.array([0, 0, 0]))
    same(ours.reset(options={"reset_mask": mask}), theirs.reset(options={"reset_mask": mask}))
    same(ours.step(np.array([0, 3, 1])), theirs.step(np.array([0, 3, 1])))
    with pytest.raises(ValueError, match="the autoreset mode 'SameStep' is not"):
        TextGenerationVectorEnv(CAT, letters, max_length=2, autoreset_mode="SameStep")


@pytest.mark.parametrize("mask", [[True, False], np.array([1, 0]), np.array([True]), np.array([False, False])])
def test_a_mask_of_resets_that_means_nothing_is_refused(mask: Any) -> None:
    env = TextGenerationVectorEnv(CAT, letters, num_envs=2, max_length=2)
    env.reset()
    before = list(env.episodes)
    with pytest.raises(ValueError, match="Give a NumPy array of 2 truth values"):
        env.reset(options={"reset_mask": mask})
    assert env.episodes == before


def test_a_first_reset_is_one_of_all_texts() -> None:
    env = TextGenerationVectorEnv(CAT, letters, num_envs=2, max_length=2)
    with pytest.raises(gymnasium.error.ResetNeeded, match="Call reset first"):
        env.reset(options={"reset_mask": np.array([True, False])})


def test_vectorised_texts_render_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    env = TextGenerationVectorEnv(CAT, letters, num_envs=2, max_length=2, render_mode="ansi")
    env.reset()
    env.step(np.array([0, 1]))
    assert env.render() == ("the  [1 of 2 tokens]\n", "cat  [1 of 2 tokens]\n")
