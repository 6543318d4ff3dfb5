"""The kinds of label: comparisons, rankings and ratings of responses to one prompt.

How a row of a file becomes one of them is in `reading.py`. How several annotators become one label, and what is learned
from it, is not known here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from foundation.files import content_id

Row = Mapping[str, Any]
Message = dict[str, str]

OVERALL = ""  # the aspect of labels that name none


def prompt_key(messages: Iterable[Mapping[str, Any]]) -> str:
    """The same for the same conversation, whatever else is kept of its messages."""
    return content_id("prompt", [{"role": each["role"], "content": each["content"]} for each in messages])


class _Labelled:
    """Responses to one prompt."""

    prompt: tuple[Message, ...]

    @property
    def prompt_key(self) -> str:
        """The same for every label about the same prompt, however the row spelled it."""
        return prompt_key(self.prompt)


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
