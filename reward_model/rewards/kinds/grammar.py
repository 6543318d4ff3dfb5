"""Grammar: the errors that Harper finds in English text."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

from harper import Dialect, Language, Linter
from pydantic import Field

from reward_model.rewards.interface import Given, Kind, Reward, per_text
from reward_model.rewards.texts import Text, mostly, text_of, words

_NOT_LATIN = r"[\p{L}--\p{Latin}]"


@lru_cache
def _linter(dialect: str) -> Linter:
    return Linter(Dialect[dialect.upper()])


def errors_per_100_words(text: str, dialect: str = "american") -> dict[str, float]:
    """Grammar errors in English `text` for every 100 words, by Harper's kinds ("Agreement", "Spelling", ...)."""
    found = Counter(lint.lint_kind for lint in _linter(dialect).lint(text, language=Language.PLAINTEXT))
    return {kind: 100 * count / max(1, len(words(text))) for kind, count in sorted(found.items())}


class Grammar(Kind):
    """Minus the errors in 100 words that Harper finds; 0 is without errors. If asked, how natural the base finds it.

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
        from reward_model.rewards.language_models.likelihood import acceptability

        base = given.needed_base("grammar")

        def with_acceptability(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
            texts = [text_of(completion) for completion in completions]
            natural = acceptability(base, texts).tolist()
            return [value(text) + self.acceptability * more for text, more in zip(texts, natural, strict=True)]

        return with_acceptability
