"""Keywords: which of them a response holds. `safety.py` looks for words that must not occur in the same way."""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import regex
from pydantic import Field

from foundation.scripts import UNSPACED
from reward_model.rewards.interface import Given, Kind, Reward, column
from reward_model.rewards.texts import Text, text_of


class Keywords(Kind):
    """The share of keywords that a response holds, whole words in any case."""

    words: tuple[str, ...] = Field((), description="the keywords; none: each row's own, in its column `keywords`")
    count: Literal["share", "any", "all"] = Field("share", description="share of them, or 1 where any or all are there")

    def columns(self) -> Sequence[str]:
        """See `Kind`."""
        return () if self.words else ("keywords",)

    def make(self, given: Given) -> Reward:
        """See `Kind`."""

        def reward(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
            rows = [self.words] * len(completions)
            if not self.words:
                remedy = "Give each row a list of them, or the reward `words` for all rows."
                rows = column("keywords", len(completions), columns, "keywords", remedy)
            rows = [(row,) if isinstance(row, str) else row for row in rows]
            found = [
                [occurs(keyword, text_of(completion)) for keyword in row]
                for row, completion in zip(rows, completions, strict=True)
            ]
            if self.count == "share":
                return [sum(row) / len(row) for row in found]
            return [float(any(row) if self.count == "any" else all(row)) for row in found]

        return reward


def occurs(phrase: str, text: str) -> bool:
    """Whether `text` holds `phrase` as whole words, in any case and width, invisible characters aside."""
    return bool(_pattern(phrase).search(_folded(text)))


@lru_cache(4096)
def _pattern(phrase: str) -> "regex.Pattern[str]":
    folded = r"\s+".join(regex.escape(word) for word in _folded(phrase).split())
    # Next to a character of a script without spaces there is no word boundary to ask for.
    start, end = (
        (rf"(?<![^\W{UNSPACED}])" if _spaced(folded[:1]) else ""),
        (rf"(?![^\W{UNSPACED}])" if _spaced(folded[-1:]) else ""),
    )
    return regex.compile(start + folded + end, regex.V1)


def _spaced(character: str) -> bool:
    return bool(regex.match(rf"[^\W{UNSPACED}]", character, regex.V1))


def _folded(text: str) -> str:
    visible: str = regex.sub(r"\p{Cf}", "", unicodedata.normalize("NFKC", text))
    return visible.casefold()
