"""What every programmatic reward is: a function `f(prompts, completions, **columns) -> list[float]`, as TRL calls it.

Prompts and completions are strings or conversations, and each column is a list with one entry for each completion. The
rewards themselves are in `kinds/`; their names in YAML are in `registry.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.errors import UserError
from foundation.settings import Settings
from reward_model.rewards.texts import Text, text_of

if TYPE_CHECKING:
    from backbone.adapters import SharedBase

Reward = Callable[..., Sequence[Any]]


@dataclass(frozen=True)
class Given:
    """What a reward may need and cannot make for itself: the frozen base, and the learned reward."""

    base: "SharedBase | None" = None
    learned: Reward | None = None

    def needed_base(self, name: str) -> "SharedBase":
        """The base, or a `UserError` that says which reward asked for it."""
        if self.base is None:
            raise UserError(f'the reward "{name}" is computed with the base model, and none was handed in.')
        return self.base


class Kind(Settings, ABC):
    """One kind of reward; its fields are its parameters in YAML."""

    @abstractmethod
    def make(self, given: Given) -> Reward:
        """The reward function with these parameters."""

    def columns(self) -> Sequence[str]:
        """The further fields of a row without which it has no value."""
        return ()

    def reads(self) -> Mapping[str, Sequence[Path]]:
        """The files that its values depend on, by the parameter that names them; what is not there is left out."""
        return {}


def per_text(value: Callable[[str], float]) -> Reward:
    """A reward that looks at nothing but the text of each completion."""

    def reward(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
        return [value(text_of(completion)) for completion in completions]

    return reward


def column(name: str, rows: int, columns: dict[str, Any], reward: str, remedy: str) -> list[Any]:
    """One entry a row; `UserError` names the first row (from 1) that has none."""
    values = columns.get(name)
    if values is None:
        values = [None] * rows
    if isinstance(values, str) or len(values) != rows:
        raise UserError(f'the reward "{reward}" was given {len(values)} {name} for {rows} completions.')
    for number, value in enumerate(values, start=1):
        if value is None or len(value) == 0:
            raise UserError(f'the reward "{reward}" needs {name}, and row {number} has none. {remedy}')
    return list(values)
