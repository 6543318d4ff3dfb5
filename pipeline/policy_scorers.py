"""What the policy is tuned towards: the learned reward model, programmatic rewards, or a mixture.

Joins `reward_model`, whose rewards take texts and columns, to `policy`, whose scorers take token ids.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object

from backbone.adapters import SharedBase
from backbone.tokens import Ids, Renderer
from foundation.errors import UserError
from foundation.files import Row
from policy.scorer_protocol import Scorer
from reward_model.ensemble import Ensemble, load_scorer
from reward_model.rewards.mixture import Composite, compose
from reward_model.rewards.registry import LEARNED, LEARNED_ONLY, RewardSpec
from reward_model.scorer import RewardScorer

_OWN = ("id", "prompt", "split")


class TextScorer:
    """Any reward on texts as a scorer of token ids.

    `rows` are prompts with further columns (`references`, `tests`): each prompt is found by its ids, and what a row
    lacks is None. Beside them a reward is given `prompt_ids` and `completion_ids`, as TRL does.
    """

    def __init__(self, reward: Callable[..., Sequence[float]], renderer: Renderer, rows: Sequence[Row]) -> None:
        self._reward, self._renderer = reward, renderer
        self._rows: Mapping[tuple[int, ...], Row] = {tuple(renderer.prompt_ids(row["prompt"])): row for row in rows}
        self._columns = sorted({name for row in rows for name in row if name not in _OWN})

    def score(self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> torch.Tensor:
        """The reward of each response: (n,), fp32."""
        rows = [self._rows[tuple(ids)] for ids in prompt_ids]
        values = self._reward(
            prompts=[row["prompt"] for row in rows],
            completions=[[{"role": "assistant", "content": self._renderer.text(ids)}] for ids in response_ids],
            prompt_ids=[list(ids) for ids in prompt_ids],
            completion_ids=[list(ids) for ids in response_ids],
            **{name: [row.get(name) for row in rows] for name in self._columns},
        )
        return torch.tensor(values, dtype=torch.float32)


class MixtureScorer(TextScorer):
    """A composite as a scorer, with what the policy stage logs of it and keeps in checkpoints."""

    def __init__(self, composite: Composite, renderer: Renderer, rows: Sequence[Row]) -> None:
        super().__init__(composite, renderer, rows)
        self._composite = composite

    @property
    def parts(self) -> dict[str, list[float]]:
        """What each reward gave in the last call."""
        return self._composite.last

    def state(self) -> dict[str, list[float]]:
        """What must be kept to go on later."""
        return self._composite.state()

    def restore(self, state: Mapping[str, Sequence[float]]) -> None:
        """Go on from what was kept."""
        self._composite.restore(state)


class UnsureScorer:
    """The reward model by itself, and how unsure it is of each score: the part "std", logged as `score_std`."""

    def __init__(self, scorer: RewardScorer | Ensemble) -> None:
        self._scorer = scorer
        self.parts: dict[str, list[float]] = {}

    def score(self, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> torch.Tensor:
        """As the reward model: (n,), fp32."""
        scores, stds = self._scorer.score(prompt_ids, response_ids, return_std=True)
        self.parts = {"std": stds.tolist()}
        return scores

    def state(self) -> None:
        """Nothing is to be kept."""

    def restore(self, state: None) -> None:
        """Nothing was kept."""


def as_scorer(reward: Callable[..., Sequence[float]], renderer: Renderer, rows: Sequence[Row]) -> Scorer:
    """The reward as what `policy` is given: see `TextScorer`."""
    if isinstance(reward, Composite):
        return MixtureScorer(reward, renderer, rows)
    return TextScorer(reward, renderer, rows)


def programmed_judge(specs: Sequence[RewardSpec], base: SharedBase, rows: Sequence[Row]) -> Scorer:
    """Programmatic rewards as a judge of two policies' answers.

    Without running normalisation: its moments would be others for one policy than for the other.
    """
    fixed = [spec.model_copy(update={"normalise": "none"}) if spec.normalise == "running" else spec for spec in specs]
    return as_scorer(compose(fixed, base=base), base.renderer, rows)


def policy_scorer(specs: Sequence[RewardSpec], base: SharedBase, rows: Sequence[Row], folder: Path | None) -> Scorer:
    """The scorer of the policy stage; `folder` is the reward model's.

    The learned reward model by itself is given ids and nothing else, as it was trained.
    """
    model = load_scorer(folder, base) if folder else None
    if tuple(specs) == LEARNED_ONLY:
        assert model is not None
        return UnsureScorer(model) if model.unsure else model
    return mixture_scorer(specs, base, rows, model)


def mixture_scorer(
    specs: Sequence[RewardSpec], base: SharedBase, rows: Sequence[Row], model: RewardScorer | Ensemble | None
) -> Scorer:
    """Programmatic rewards, and with a reward `model` that as well, as the scorer of the policy stage."""
    learned = None
    if model:
        unsure = model.unsure or any(spec.name == LEARNED and spec.pessimism for spec in specs)
        learned = learned_reward(model, unsure)
    return as_scorer(compose(specs, base=base, learned=learned, gather=gather_object), base.renderer, rows)


def learned_reward(scorer: Any, unsure: bool) -> Callable[..., list[Any]]:
    """A trained reward model as a reward function on `prompt_ids` and `completion_ids`.

    With `unsure` it gives pairs of mean and standard deviation; `UserError` where the model knows none.
    """
    if unsure and "return_std" not in inspect.signature(scorer.score).parameters:
        raise UserError(
            f'the reward "{LEARNED}" has a pessimism, but its reward model was trained without an estimate of its '
            "uncertainty. Set its pessimism to 0."
        )

    def reward(
        prompts: Sequence[Any],
        completions: Sequence[Any],
        prompt_ids: Sequence[Ids],
        completion_ids: Sequence[Ids],
        **columns: Any,
    ) -> list[Any]:
        if not unsure:
            scores: list[Any] = scorer.score(prompt_ids, completion_ids).tolist()
            return scores
        means, stds = scorer.score(prompt_ids, completion_ids, return_std=True)
        return list(zip(means.tolist(), stds.tolist(), strict=True))

    return reward
