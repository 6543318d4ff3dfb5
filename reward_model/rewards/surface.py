"""Rewards that look at the response alone: grammar, length, keywords, unsafe words.

None of them needs the network, or a model unless it is asked for.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import regex
from harper import Dialect, Language, Linter
from pydantic import Field, model_validator

from foundation.errors import UserError
from reward_model.rewards.coherence import acceptability
from reward_model.rewards.reward_function import Given, Kind, Reward, Text, column, mostly, per_text, text_of, words

_NOT_LATIN = r"[\p{L}--\p{Latin}]"


@lru_cache
def _linter(dialect: str) -> Linter:
    return Linter(Dialect[dialect.upper()])


def errors_per_100_words(text: str, dialect: str = "american") -> dict[str, float]:
    """Grammar errors in English `text` for every 100 words, by Harper's kinds ("Agreement", "Spelling", ...)."""
    found = Counter(lint.lint_kind for lint in _linter(dialect).lint(text, language=Language.PLAINTEXT))
    return {kind: 100 * count / max(1, len(words(text))) for kind, count in sorted(found.items())}


class Grammar(Kind):
    """Minus the errors in 100 words that Harper finds; 0 is without errors. On request, how natural the base finds it.

    Harper knows English only: a response without words, or mostly in another script, gets the worst value, so that
    saying nothing does not pay.
    """

    kinds: dict[str, float] | None = Field(
        None, description="weight of an error by its kind; kinds that are not named do not count. null: all count 1"
    )
    dialect: Literal["american", "british", "australian", "canadian", "indian"] = Field(
        "american", description="whose spelling is right"
    )
    worst: float = Field(50, gt=0, description="errors in 100 words beyond which it does not get worse")
    acceptability: float = Field(
        0,
        ge=0,
        description="weight of the mean log-probability of the text's tokens under the base, without the prompt",
    )

    def make(self, given: Given) -> Reward:
        """See `Kind`."""

        def value(text: str) -> float:
            if not words(text) or mostly(_NOT_LATIN, text):
                return -self.worst
            errors = errors_per_100_words(text, self.dialect)
            if self.kinds is None:
                return -min(sum(errors.values()), self.worst)
            return -min(sum(self.kinds.get(kind, 0.0) * rate for kind, rate in errors.items()), self.worst)

        if not self.acceptability:
            return per_text(value)
        base = given.needed_base("grammar")

        def with_acceptability(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
            texts = [text_of(completion) for completion in completions]
            natural = acceptability(base, texts).tolist()
            return [value(text) + self.acceptability * more for text, more in zip(texts, natural, strict=True)]

        return with_acceptability


class Length(Kind):
    """0 within a band of lengths, falling to -1 outside: a target, a band, or a soft cap (a band with no lower end).

    At a distance d from the band the value is -min(1, d/fall).
    """

    unit: Literal["words", "tokens", "characters"] = Field("words", description="what is counted")
    target: float | None = Field(None, gt=0, description="the one best length")
    low: float | None = Field(None, ge=0, description="shortest length without a penalty")
    high: float | None = Field(None, gt=0, description="longest length without a penalty")
    fall: float | None = Field(
        None,
        gt=0,
        description="distance at which the value is -1; null: as much as the target, or the band's upper end",
    )

    @model_validator(mode="after")
    def _one_band(self) -> Self:
        if (self.target is None) == (self.low is None and self.high is None):
            raise ValueError("give either target, or low and/or high")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is above high ({self.high:g})")
        return self

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        low = self.target if self.target is not None else self.low or 0.0
        high = self.target if self.target is not None else float("inf") if self.high is None else self.high
        fall = self.fall or (low if high == float("inf") else high) or 1.0

        def reward(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
            lengths = self._lengths(completions, columns, given)
            return [0.0 - min(1.0, max(low - length, length - high, 0.0) / fall) for length in lengths]

        return reward

    def _lengths(self, completions: Sequence[Text], columns: dict[str, Any], given: Given) -> list[int]:
        if self.unit == "tokens" and columns.get("completion_ids") is not None:
            return [len(ids) for ids in columns["completion_ids"]]
        texts = [text_of(completion) for completion in completions]
        if self.unit == "tokens":
            renderer = given.needed_base("length").renderer
            return [len(renderer.response_ids(text)) for text in texts]
        return [len(text) if self.unit == "characters" else len(words(text)) for text in texts]


class Keywords(Kind):
    """The share of keywords that a response holds, whole words in any case."""

    words: tuple[str, ...] = Field((), description="the keywords; none: each row's own, in its column `keywords`")
    count: Literal["share", "any", "all"] = Field("share", description="share of them, or 1 where any or all are there")

    def make(self, given: Given) -> Reward:
        """See `Kind`."""

        def reward(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
            rows = [self.words] * len(completions)
            if not self.words:
                remedy = "Give each row a list of them, or the reward `words` for all rows."
                rows = column("keywords", len(completions), columns, "keywords", remedy)
            found = [
                [occurs(keyword, text_of(completion)) for keyword in row]
                for row, completion in zip(rows, completions, strict=True)
            ]
            if self.count == "share":
                return [sum(row) / len(row) for row in found]
            return [float(any(row) if self.count == "any" else all(row)) for row in found]

        return reward


class Safety(Kind):
    """1 for a response without any word of a list, 0 otherwise; most useful as a gate (`at_least: 1`).

    The list is the user's: what must not be said depends on who listens. It matches words, not meanings.
    """

    words: tuple[str, ...] = Field((), description="words and phrases that must not occur")
    file: Path | None = Field(
        None, description="a file with more of them, one a line; lines that begin with # are left out"
    )

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        listed = [*self.words, *(_lines(self.file) if self.file else [])]
        if not listed:
            raise UserError('the reward "safety" has an empty word list: give it `words`, or a `file` with one a line.')
        return per_text(lambda text: float(not any(occurs(word, text) for word in listed)))


def occurs(phrase: str, text: str) -> bool:
    """Whether `text` holds `phrase` as whole words, in any case and width, invisible characters aside."""
    return bool(_pattern(phrase).search(_folded(text)))


@lru_cache(4096)
def _pattern(phrase: str) -> "regex.Pattern[str]":
    folded = r"\s+".join(regex.escape(word) for word in _folded(phrase).split())
    # Next to a character of a script without spaces there is no word boundary to ask for.
    start, end = (
        (r"(?<![^\W\p{Han}])" if _spaced(folded[:1]) else ""),
        (r"(?![^\W\p{Han}])" if _spaced(folded[-1:]) else ""),
    )
    return regex.compile(start + folded + end, regex.V1)


def _spaced(character: str) -> bool:
    return bool(regex.match(r"[\w--\p{Han}]", character, regex.V1))


def _folded(text: str) -> str:
    visible: str = regex.sub(r"\p{Cf}", "", unicodedata.normalize("NFKC", text))
    return visible.casefold()


def _lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'the word list {path} of the reward "safety" cannot be read: {error}') from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
