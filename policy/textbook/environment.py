"""Text generation as a Gymnasium environment, for any reinforcement-learning tool that knows Gymnasium.

State: the prompt and the tokens so far. Action: the next token. Reward: from any function of TRL's `reward_funcs`
signature, at the end or step by step (`TextTask` describes all the rules). Importing this module registers

    gymnasium.make("rlhf_pipeline/TextGeneration-v0", vocabulary=[...], reward=..., max_length=...)
    gymnasium.make("rlhf_pipeline/ThreeWords-v0")     # the language of 我, 爱 and 你, with the target 我爱你

and `gymnasium.make_vec` gives `TextGenerationVectorEnv`, which calls each reward function once for all its texts.
Where nothing imports this module, as in the processes of stable-baselines3's `SubprocVecEnv`, the name says what to
import: "policy.textbook.environment:rlhf_pipeline/ThreeWords-v0".

Both ends of a text are terminations. The longest length is part of the task and can be seen in the observation (Pardo
et al. 2018): the reward is paid on the text as it stands there, and there is no later state whose value a learner
could put in its place. Truncation is left to `max_episode_steps`, from outside, which pays no final reward.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import gymnasium
import numpy as np
from gymnasium import error, spaces
from gymnasium.vector.utils import batch_space
from gymnasium.vector.vector_env import AutoresetMode
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from policy.textbook import frames
from policy.textbook.text_task import Episode, RewardFunction, Rules, State, TextTask
from policy.textbook.vocabulary import SpecificationError

Observation = dict[str, NDArray[Any]]
_MODES = '"ansi", "rgb_array" or "human"'


def state_of(observation: Observation) -> State:
    """An observation as a key: its token ids up to the last one that is there, -1 for padding before it."""
    tokens, mask = observation["tokens"].tolist(), observation["mask"].tolist()
    while mask and not mask[-1]:
        mask.pop()
    return tuple(token if there else -1 for token, there in zip(tokens, mask, strict=False))


class TextGenerationEnv(gymnasium.Env[Observation, np.int64]):
    """One text at a time.

    Observations are a dictionary that stable-baselines3's MultiInputPolicy takes as it is: "tokens" (width,), ids,
    the prompt ending where the text begins, 0 if there is none; "mask" (width,), 1 if there is one.
    `info` has the "text"; if a reward was computed, "reward_parts", what each function returned (and the parts
    of a `Composite`); at the end, the "finish_reason" ("eos" or "length").

    Raises `SpecificationError` (a ValueError) for what cannot be made or rewarded, Gymnasium's `InvalidAction` for a
    token outside the vocabulary, and its `ResetNeeded` for a step before the beginning or after the end.
    """

    metadata = {"render_modes": ["ansi", "human", "rgb_array"], "render_fps": 4}  # noqa: RUF012 - Gymnasium's own form

    def __init__(
        self,
        vocabulary: Sequence[str] | PreTrainedTokenizerBase,
        reward: RewardFunction | Sequence[RewardFunction] | None = None,
        *,
        render_mode: str | None = None,
        **rules: Unpack[Rules],
    ) -> None:
        _check_render_mode(render_mode)
        self.task = TextTask(vocabulary, reward, **rules)
        self.render_mode = render_mode
        self.observation_space, self.action_space = _spaces(self.task)
        self._episode: Episode | None = None

    @property
    def discount(self) -> float:
        """Gamma of the task."""
        return self.task.discount

    @property
    def episode(self) -> Episode:
        """The text being written; `ResetNeeded` if none was begun."""
        if self._episode is None:
            raise error.ResetNeeded("no text has been begun. Call reset first.")
        return self._episode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin a text, for a prompt drawn at random or `options["prompt"]`; see `TextTask.begin`."""
        super().reset(seed=seed)
        self._episode = self.task.begin(self.np_random, options)
        if self.render_mode == "human":
            self.render()
        return self._observe(), {"text": ""}

    def step(self, action: np.int64 | int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Write one token."""
        episode = self.episode
        if episode.finish_reason:
            raise error.ResetNeeded("the text has ended. Call reset before the next step.")
        if not self.action_space.contains(action):
            raise error.InvalidAction(f"{action!r} is no token; they are 0 to {self.task.vocabulary.size - 1}.")
        [(reward, parts)] = self.task.advance([episode], [int(action)])
        if self.render_mode == "human":
            self.render()
        return self._observe(), reward, episode.finish_reason is not None, False, _info(self.task, episode, parts)

    def action_masks(self) -> NDArray[np.bool_]:
        """Which tokens may come next, for sb3-contrib's MaskablePPO: (vocabulary,)."""
        return self.task.mask(self.episode)

    def render(self) -> str | NDArray[np.uint8] | None:
        """The prompt and the text so far: returned ("ansi"), as an image ("rgb_array"), or printed ("human")."""
        if self.render_mode is None:
            gymnasium.logger.warn(f"render was called without a render mode. Choose {_MODES} when making it.")
            return None
        if self.render_mode == "rgb_array":
            return frames.picture(self.task, self.episode)
        frame = frames.line(self.task, self.episode)
        if self.render_mode == "ansi":
            return frame
        sys.stdout.write(frame)
        return None

    def _observe(self) -> Observation:
        tokens = np.zeros(self.task.width, dtype=np.int64)
        mask = np.zeros(self.task.width, dtype=np.int8)
        self.task.write(self.episode, tokens, mask)
        return {"tokens": tokens, "mask": mask}


class TextGenerationVectorEnv(gymnasium.vector.VectorEnv[Observation, NDArray[np.int64], NDArray[Any]]):
    """`num_envs` texts at a time, with one call of each reward function per step.

    A text that ended begins anew at the next step, whose action is ignored for it (Gymnasium's "NextStep"); with
    `autoreset_mode` "Disabled", it has to be reset before, alone or with others, by the option "reset_mask".
    """

    metadata = {  # noqa: RUF012 - Gymnasium's own form
        **TextGenerationEnv.metadata,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }

    def __init__(
        self,
        vocabulary: Sequence[str] | PreTrainedTokenizerBase,
        reward: RewardFunction | Sequence[RewardFunction] | None = None,
        *,
        num_envs: int = 1,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **rules: Unpack[Rules],
    ) -> None:
        _check_render_mode(render_mode)
        self.num_envs = num_envs
        self.autoreset_mode = _autoreset_mode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.task = TextTask(vocabulary, reward, **rules)
        self.render_mode = render_mode
        self.single_observation_space, self.single_action_space = _spaces(self.task)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._episodes: list[Episode] = []

    @property
    def episodes(self) -> list[Episode]:
        """The texts being written; `ResetNeeded` if none were begun."""
        if not self._episodes:
            raise error.ResetNeeded("no texts have been begun. Call reset first.")
        return self._episodes

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin all texts, each for a prompt drawn at random or all for `options["prompt"]`.

        With `options["reset_mask"]`, (num_envs,) of truth values, only those are begun; the others stay as they are.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        rows = _rows(options.pop("reset_mask", None), self.num_envs)
        begun = {row: self.task.begin(self.np_random, options) for row in rows}
        self._episodes = [begun[row] if row in begun else self.episodes[row] for row in range(self.num_envs)]
        return self._observe(), self._infos({row: {"text": ""} for row in rows})

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[Observation, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Write one token to each text, and begin those anew that had ended."""
        episodes = self.episodes
        actions = np.asarray(actions)
        if not self.action_space.contains(actions):
            raise error.InvalidAction(
                f"{actions!r} is not one token, 0 to {self.task.vocabulary.size - 1}, for each of the texts."
            )
        going = [row for row, episode in enumerate(episodes) if not episode.finish_reason]
        infos: dict[int, dict[str, Any]] = {}
        over = sorted(set(range(self.num_envs)).difference(going))
        if over and self.autoreset_mode is AutoresetMode.DISABLED:
            raise error.ResetNeeded(f'the texts {over} have ended. Reset them first, by the option "reset_mask".')
        for row in over:
            episodes[row] = self.task.begin(self.np_random)
            infos[row] = {"text": ""}
        rewards = np.zeros(self.num_envs)
        paid = self.task.advance([episodes[row] for row in going], actions[going].tolist())
        for row, (reward, parts) in zip(going, paid, strict=True):
            rewards[row] = reward
            infos[row] = _info(self.task, episodes[row], parts)
        ended = np.array([episode.finish_reason is not None for episode in episodes])
        return self._observe(), rewards, ended, np.zeros(self.num_envs, dtype=bool), self._infos(infos)

    def action_masks(self) -> NDArray[np.bool_]:
        """Which tokens may come next: (num_envs, vocabulary)."""
        return np.stack([self.task.mask(episode) for episode in self.episodes])

    def render(self) -> tuple[Any, ...] | None:
        """Every prompt and text so far, each as a single environment renders it."""
        if self.render_mode == "rgb_array":
            return tuple(frames.picture(self.task, episode) for episode in self.episodes)
        lines = tuple(frames.line(self.task, episode) for episode in self.episodes)
        if self.render_mode == "human":
            sys.stdout.writelines(lines)
        return lines if self.render_mode == "ansi" else None

    def _observe(self) -> Observation:
        tokens = np.zeros((self.num_envs, self.task.width), dtype=np.int64)
        mask = np.zeros((self.num_envs, self.task.width), dtype=np.int8)
        for row, episode in enumerate(self.episodes):
            self.task.write(episode, tokens[row], mask[row])
        return {"tokens": tokens, "mask": mask}

    def _infos(self, infos: Mapping[int, dict[str, Any]]) -> dict[str, Any]:
        together: dict[str, Any] = {}
        for row in sorted(infos):
            together = self._add_info(together, infos[row], row)
        return together


def _spaces(task: TextTask) -> tuple[gymnasium.Space[Any], spaces.Discrete]:
    tokens = spaces.MultiDiscrete([task.vocabulary.size] * task.width)
    return spaces.Dict({"tokens": tokens, "mask": spaces.MultiBinary(task.width)}), spaces.Discrete(
        task.vocabulary.size
    )


def _check_render_mode(mode: str | None) -> None:
    if mode is not None and mode not in TextGenerationEnv.metadata["render_modes"]:
        raise error.UnsupportedMode(f"the render mode {mode!r} is not supported. Choose {_MODES}.")


def _autoreset_mode(mode: AutoresetMode | str) -> AutoresetMode:
    known = {AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED}
    if mode not in known | {each.value for each in known}:
        raise SpecificationError(f'the autoreset mode {mode!r} is not supported. Choose "NextStep" or "Disabled".')
    return AutoresetMode(mode)


def _rows(mask: Any, number: int) -> list[int]:
    """The places where a `reset_mask` is true; all of them without one."""
    if mask is None:
        return list(range(number))
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (number,) or not mask.any():
        raise SpecificationError(
            f'the option "reset_mask" is {mask!r}. Give a NumPy array of {number} truth values, one of them true.'
        )
    return [int(row) for row in np.flatnonzero(mask)]


def _info(task: TextTask, episode: Episode, parts: dict[str, float]) -> dict[str, Any]:
    info: dict[str, Any] = {"text": task.text(episode)}
    if parts:
        info["reward_parts"] = parts
    if episode.finish_reason:
        info["finish_reason"] = episode.finish_reason
    return info


gymnasium.register(
    id="rlhf_pipeline/TextGeneration-v0",
    entry_point="policy.textbook.environment:TextGenerationEnv",
    vector_entry_point="policy.textbook.environment:TextGenerationVectorEnv",
)
gymnasium.register(
    id="rlhf_pipeline/ThreeWords-v0",
    entry_point="policy.textbook.environment:TextGenerationEnv",
    vector_entry_point="policy.textbook.environment:TextGenerationVectorEnv",
    kwargs={"vocabulary": ("我", "爱", "你"), "separator": "", "target": "我爱你", "max_length": 3},
)
