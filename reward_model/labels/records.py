"""The kinds of label: comparisons, rankings and ratings of responses to one prompt.

How a row of a file becomes one of them is in `reading.py`. How several annotators become one label, and what is learned
from it, is not known here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import east_asian_width

from foundation.files import content_id

Row = Mapping[str, Any]
Message = dict[str, str]
Messages = Sequence[Mapping[str, Any]]

OVERALL = ""  # the aspect of labels that name none
_SAYS = 16  # columns of text from which on a message says something, more than "Hello" or "How are you?"


def prompt_key(messages: Iterable[Mapping[str, Any]]) -> str:
    """The same for the same messages, whatever else is kept of them."""
    return content_id("prompt", [{"role": each["role"], "content": each["content"]} for each in messages])


def conversation_key(messages: Messages) -> str:
    """The same for all prompts that go on with one conversation: the key of its beginning.

    It begins with all up to the first user message that says something, or is the whole prompt if none does. System
    messages do not count: the same question under another one is not another conversation. So a prompt of one message
    is its own beginning.
    """
    turns = [each for each in messages if each["role"] != "system"]
    says = (
        place for place, each in enumerate(turns, 1) if each["role"] == "user" and _columns(each["content"]) >= _SAYS
    )
    return prompt_key(turns[: next(says, None)])


def _columns(text: str) -> int:
    """The width of a text: a Chinese character, say, is two columns wide, and says about as much as two letters."""
    return sum(1 + (east_asian_width(each) in "WF") for each in text.strip()[:_SAYS])


class _Labelled:
    """Responses to one prompt."""

    prompt: tuple[Message, ...]

    @property
    def prompt_key(self) -> str:
        """The same for every label about the same prompt, however the row spelled it."""
        return prompt_key(self.prompt)

    @property
    def conversation_key(self) -> str:
        """The same for every label of one conversation: what splits and intervals go by."""
        return conversation_key(self.prompt)


@dataclass(frozen=True)
class Pair(_Labelled):
    """Two responses to one prompt, the preferred one first, and by how much it is preferred (0 to 1).

    Of annotators of total `weight`, a share `p_chosen` preferred the first, a tie counting one half, and a share
    `p_tie` preferred neither. If it is not `decided`, they split, and neither is the better one: what is learned from
    it is how they split. A negative `margin` goes with a second response that was preferred.
    """

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    margin: float = 0.0
    weight: float = 1.0
    p_chosen: float = 1.0
    p_tie: float = 0.0
    aspect: str = OVERALL
    decided: bool = True

    @property
    def responses(self) -> tuple[str, ...]:
        """Both, chosen first."""
        return self.chosen, self.rejected

    def row(self) -> dict[str, Any]:
        """The pair in the format of `preferences.jsonl`."""
        known = {"weight": 1.0, "p_chosen": 1.0, "p_tie": 0.0, "aspect": OVERALL, "decided": True}
        return {
            "prompt": list(self.prompt),
            "chosen": [{"role": "assistant", "content": self.chosen}],
            "rejected": [{"role": "assistant", "content": self.rejected}],
            "margin": self.margin,
            **{name: getattr(self, name) for name, default in known.items() if getattr(self, name) != default},
        }


@dataclass(frozen=True)
class Ranking(_Labelled):
    """Responses to one prompt with their places, 1 the best; equal places are ties."""

    prompt: tuple[Message, ...]
    responses: tuple[str, ...]
    ranks: tuple[int, ...]
    weight: float = 1.0
    aspect: str = OVERALL


@dataclass(frozen=True)
class Rating(_Labelled):
    """One response with a score from 1 to `scale`, by one annotator."""

    prompt: tuple[Message, ...]
    response: str
    score: int
    scale: int
    annotator: str = ""
    weight: float = 1.0
    aspect: str = OVERALL

    @property
    def responses(self) -> tuple[str, ...]:
        """The one."""
        return (self.response,)


Label = Pair | Ranking | Rating
