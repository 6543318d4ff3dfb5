"""`rlhf play FILE`: a small task of writing, learned from scratch in under a minute, by any algorithm of the textbook.

    rlhf play configs/play/cat_on_the_mat.yaml --set learner.baseline=none --out curve.png

The project's own tasks are found by name from any folder: `rlhf play cat_on_the_mat`.

Shows how the reward grows, and what the policy writes in the end. Knows no runs: nothing is kept but the picture.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from matplotlib.figure import Figure
from pydantic import Field, field_validator, model_validator
from rich.console import Console

from foundation.errors import UserError
from foundation.settings import Settings
from pipeline.config import sources
from pipeline.config.shipped_configs import found
from pipeline.terminal.progress import progress
from pipeline.terminal.sparkline import binned, sparkline
from policy.textbook.enumeration import enumerate_states, optimal_table
from policy.textbook.environment import Observation, TextGenerationEnv, TextGenerationVectorEnv, state_of
from policy.textbook.policy_gradient import ActorCriticConfig, Learner, PPOConfig, ReinforceConfig, learn, most_probable
from policy.textbook.tabular import Table, TabularConfig, learn_table
from policy.textbook.text_task import Rules
from reward_model.rewards.interface import Given
from reward_model.rewards.mixture import Composite
from reward_model.rewards.registry import BuiltReward, RewardSpec
from reward_model.rewards.texts import Text, text_of

_PICTURES = (".png", ".svg")
_WIDTH = 60
Act = Callable[[TextGenerationEnv, Observation], int]


class TaskConfig(Settings):
    """What is to be written, with which words, and what it earns."""

    vocabulary: tuple[str, ...] = Field(description="the words; a policy writes one of them at a time")
    separator: str = Field(" ", description="what stands between words; empty for Chinese")
    end: str | None = Field(
        None, description="a word that ends the text and is no part of it; null: only max_length does"
    )
    max_length: int = Field(ge=1, description="most words in a text")
    target: str | None = Field(None, description="a text: what rewards compare with; alone it pays +1 or -1 a word")
    references: tuple[str, ...] = Field((), description="texts that rewards compare with, in place of the target")
    rewards: tuple[RewardSpec, ...] = Field((), description="rewards by name, as everywhere; their weighted sum counts")
    per_step: bool = Field(False, description="whether rewards are paid word by word, as differences")
    discount: float = Field(1.0, ge=0, le=1, description="gamma: what a reward is worth one word earlier")
    before: str = Field(
        "", description="put before what is written when it is rewarded, such as the head of a function"
    )

    @field_validator("vocabulary", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        if isinstance(value, list) and any(isinstance(word, bool) for word in value):
            raise ValueError("YAML reads on, off, yes and no as true or false; put quotes around such a word")
        return value

    @model_validator(mode="after")
    def _rewarded(self) -> Self:
        if not self.rewards and self.target is None:
            raise ValueError("nothing is rewarded. Give `rewards`, or a `target`")
        return self


class ValueIterationConfig(Settings):
    """Value iteration (Sutton & Barto 2018, section 4.4): every text is laid out, nothing is sampled."""

    algorithm: Literal["value-iteration"] = Field("value-iteration", description="which algorithm")
    states: int = Field(200_000, ge=1, description="most unfinished texts that may be laid out")


class PlayConfig(Settings):
    """A task and who learns it."""

    task: TaskConfig
    learner: TabularConfig | ValueIterationConfig | ReinforceConfig | ActorCriticConfig | PPOConfig = Field(
        discriminator="algorithm", description="algorithm, and its parameters"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="where all randomness begins")


@dataclass(frozen=True)
class Played:
    """What was learned: the best text in the policy's eyes, its reward and the parts of it; and the learning curve."""

    text: str
    reward: float
    parts: dict[str, float]
    episodes: list[float]
    rewards: list[float]


def load(file: Path, overrides: Sequence[str]) -> PlayConfig:
    """Read a YAML file, or the shipped task of that name, and `--set` values; `UserError` says what is wrong."""
    return sources.load(PlayConfig, found(file), overrides, {})


def play(config: PlayConfig, console: Console, picture: Path | None = None) -> Played:
    """Learn, and show what came of it on the console and in `picture`."""
    if picture is not None and picture.suffix not in _PICTURES:
        raise UserError(f"--out {picture}: the name must end in {' or '.join(_PICTURES)}.")
    if picture is not None and isinstance(config.learner, ValueIterationConfig):
        raise UserError("--out: value iteration plays no episodes, so that there is no curve to draw. Leave it out.")
    reward = (
        Composite([Remembered(spec, config.task.before) for spec in config.task.rewards])
        if config.task.rewards
        else None
    )
    rules = _rules(config.task)
    env = TextGenerationEnv(config.task.vocabulary, reward, **rules)
    episodes: list[float] = []
    means: list[float] = []

    def note(episode: float, reward: float) -> None:
        episodes.append(episode)
        means.append(reward)

    act = _learn(config, env, reward, rules, console, note)
    text, earned = _write(env, act)
    parts = {name: values[0] for name, values in reward.last.items()} if reward else {}
    played = Played(text, earned, parts, episodes, means)
    show(played, config, console)
    if picture is not None:
        draw(played, config, picture)
        console.print(f"curve  {picture}", markup=False, highlight=False)
    return played


def _learn(
    config: PlayConfig,
    env: TextGenerationEnv,
    reward: Composite | None,
    rules: Rules,
    console: Console,
    note: Callable[[float, float], None],
) -> Act:
    """Train, telling `note` the episodes so far and their reward; returns the policy that was learned."""
    learner = config.learner
    if isinstance(learner, ValueIterationConfig):
        return _from_table(optimal_table(enumerate_states(env.task, learner.states)))
    with progress(console, learner.algorithm, learner.episodes) as advance:
        if isinstance(learner, TabularConfig):

            def on_episode(episode: int, reward: float) -> None:
                note(episode + 1, reward)
                advance(1, f"reward {reward:.2f}")

            return _from_table(learn_table(env, learner, seed=config.seed, on_episode=on_episode))
        envs = TextGenerationVectorEnv(config.task.vocabulary, reward, num_envs=learner.batch, **rules)
        envs.reset(seed=config.seed)

        def on_update(row: Mapping[str, float]) -> None:
            note(row["episodes"], row["reward"])
            advance(learner.batch, f"reward {row['reward']:.2f}")

        trained = Learner.start(learner, envs, config.task.discount, config.seed)
        learn(trained, envs, on_update)
        return lambda env, seen: most_probable(trained.policy, seen, env.action_masks())


def _from_table(table: Table) -> Act:
    return lambda env, seen: table.greedy(state_of(seen))


def _write(env: TextGenerationEnv, act: Act) -> tuple[str, float]:
    """What a policy writes, and its reward."""
    seen, info = env.reset()
    total, over = 0.0, False
    while not over:
        seen, reward, over, _, info = env.step(act(env, seen))
        total += reward
    return info["text"], total


def _rules(task: TaskConfig) -> Rules:
    references = task.references or ((task.target,) if task.target is not None else ())
    return {
        "max_length": task.max_length,
        "target": task.target,
        "eos": task.end,
        "separator": task.separator,
        "columns": {"references": [list(references)]} if references else None,
        "per_step": task.per_step,
        "discount": task.discount,
    }


class Remembered(BuiltReward):
    """A reward that is asked about each text once; for the single prompt of these tasks.

    Texts come again and again while a policy settles, and running a text's tests takes a tenth of a second.
    """

    def __init__(self, spec: RewardSpec, before: str = "") -> None:
        super().__init__(spec, spec.kind.make(Given()))
        self._before = before
        self._known: dict[str, float] = {}

    def __call__(self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
        """As the reward itself, of `before` and the completion."""
        texts = [self._before + text_of(completion) for completion in completions]
        new = {text: row for row, text in enumerate(texts) if text not in self._known}
        if new:
            rows = list(new.values())
            given = {name: [values[row] for row in rows] for name, values in columns.items()}
            values = super().__call__([prompts[row] for row in rows], list(new), **given)
            self._known |= dict(zip(new, values, strict=True))
        return [self._known[text] for text in texts]


def show(played: Played, config: PlayConfig, console: Console) -> None:
    """The learning curve in one line, what is written now, and its reward."""
    lines = []
    if played.rewards:
        curve = binned(played.rewards, _WIDTH)
        lines.append(
            f"reward {sparkline(curve)}  {curve[0]:.2f} to {curve[-1]:.2f} in {played.episodes[-1]:.0f} episodes"
        )
    lines.append(f"writes {config.task.before}{played.text}")
    parts = ", ".join(f"{name} {value:.2f}" for name, value in played.parts.items())
    lines.append(f"earns  {played.reward:.2f}" + (f" ({parts})" if len(played.parts) > 1 else ""))
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def draw(played: Played, config: PlayConfig, picture: Path) -> None:
    """The learning curve as a PNG or SVG."""
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(played.episodes, played.rewards, color="0.75", linewidth=0.8, label="as played")
    axes.plot(binned(played.episodes, _WIDTH), binned(played.rewards, _WIDTH), color="tab:blue", label="mean")
    axes.set(xlabel="episodes", ylabel="reward", title=config.learner.algorithm)
    axes.legend(frameon=False)
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(picture, dpi=150)
    except OSError as error:
        raise UserError(f"cannot write {picture}: {error.strerror or error}. Choose another place.") from error
