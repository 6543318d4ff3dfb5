"""What every programmatic reward shares: its signature, the texts it is given, words and scripts.

A reward is a function `f(prompts, completions, **columns) -> list[float]`, TRL's signature of `reward_funcs`: prompts
and completions are strings or conversations, and each column is a list with one entry a completion. The rewards
themselves are in the other `metrics_*` modules; their names in YAML are in `metrics.py`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import regex

from backbone.adapters import SharedBase
from foundation.errors import UserError
from foundation.settings import Settings

Text = str | Sequence[Any]
Reward = Callable[..., Sequence[Any]]

# Scripts that are written without spaces: each of their characters counts as a word.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}"
_WORD = regex.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+(?:['’][^\W{_UNSPACED}]+)*", regex.V1)
_LETTER = regex.compile(r"\p{L}")
_MARKED = 1 / 3


@dataclass(frozen=True)
class Given:
    """What a reward may need and cannot make for itself: the frozen base, and the learned reward."""

    base: SharedBase | None = None
    learned: Reward | None = None

    def needed_base(self, name: str) -> SharedBase:
        """The base, or a `UserError` that says which reward asked for it."""
        if self.base is None:
            raise UserError(f'the reward "{name}" is computed with the base model, and none was handed in.')
        return self.base


class Kind(Settings, ABC):
    """One kind of reward; its fields are its parameters in YAML."""

    @abstractmethod
    def make(self, given: Given) -> Reward:
        """The reward function with these parameters."""


def per_text(value: Callable[[str], float]) -> Reward:
    """A reward that looks at nothing but the text of each completion."""

    def reward(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
        return [value(text_of(completion)) for completion in completions]

    return reward


def text_of(text: Text) -> str:
    """The text of a completion or prompt: itself, or what its messages say, a line break between them."""
    if isinstance(text, str):
        return text
    messages: list[Any] = list(text)
    parts = [message["content"] for message in messages]
    return "\n".join(part if isinstance(part, str) else "".join(p.get("text", "") for p in part) for part in parts)


def messages_of(prompt: Text) -> list[Any]:
    """The prompt as a conversation; a string is one message of the user's."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def words(text: str) -> list[str]:
    """The words of a text; in scripts without spaces each character is one."""
    found: list[str] = _WORD.findall(text)
    return found


def mostly(script: str, text: str) -> bool:
    """Whether at least a third of the letters of `text` match the character class `script`."""
    letters = _LETTER.findall(text)
    return bool(letters) and len(regex.findall(script, "".join(letters), regex.V1)) >= _MARKED * len(letters)


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
