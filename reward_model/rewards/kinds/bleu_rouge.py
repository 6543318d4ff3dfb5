"""How much a response shares with reference texts: BLEU and chrF by sacrebleu, ROUGE by rouge-score.

Each is the library's own sentence-level figure, brought to 0..1 (1 is the reference itself), so that it equals what the
library's command line prints. Which tokenizer is used depends on the references, never on the response: a policy cannot
choose how it is measured.
"""

from abc import ABC
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import regex
from pydantic import Field

from foundation.scripts import UNSPACED
from reward_model.rewards.interface import Given, Kind, Reward, column
from reward_model.rewards.texts import Text, mostly, text_of

_HAN, _NOT_LATIN = r"\p{Han}", r"[\p{L}--\p{Latin}]"
_REMEDY = 'Give every prompt "references": a list of texts, or choose a reward that compares with none.'


def against_references(
    name: str,
    value: Callable[[str, list[str]], float],
    prompts: Sequence[Text],
    completions: Sequence[Text],
    **columns: Any,
) -> list[float]:
    """`value(response, references)` of each row; the column `references` holds a string or several for each."""
    rows = column("references", len(completions), columns, name, _REMEDY)
    several = [[row] if isinstance(row, str) else [text_of(text) for text in row] for row in rows]
    return [value(text_of(completion), texts) for completion, texts in zip(completions, several, strict=True)]


class Reference(Kind, ABC):
    """A reward that compares with the texts in the column `references`."""

    def columns(self) -> Sequence[str]:
        """See `Kind`."""
        return ("references",)


class Bleu(Reference):
    """Sentence BLEU (Papineni et al. 2002) against all references at once, its orders up to the response's length."""

    smoothing: Literal["exp", "floor", "add-k", "none"] = Field(
        "exp", description="of n-gram orders without a match (Chen and Cherry 2014): exp halves, floor and add-k add"
    )
    smoothing_value: float | None = Field(None, gt=0, description="what floor (0.1) or add-k (1) adds")
    tokenize: Literal["auto", "13a", "intl", "zh", "char", "none"] = Field(
        "auto", description="sacrebleu's tokenizer; auto is zh where the references are Chinese, else 13a"
    )
    lowercase: bool = Field(False, description="whether case is ignored")
    max_order: int = Field(4, ge=1, le=4, description="longest n-grams that are compared")

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        from sacrebleu.metrics.bleu import BLEU

        scorers: dict[str, BLEU] = {}

        def value(response: str, references: list[str]) -> float:
            name = self.tokenize if self.tokenize != "auto" else _bleu_tokenizer(references)
            if name not in scorers:
                scorers[name] = BLEU(
                    tokenize=name,
                    smooth_method=self.smoothing,
                    smooth_value=self.smoothing_value,
                    lowercase=self.lowercase,
                    max_ngram_order=self.max_order,
                    effective_order=True,
                )
            return float(scorers[name].sentence_score(response, references).score) / 100

        return partial(against_references, "bleu", value)


class Chrf(Reference):
    """Character n-gram F-score (Popovic 2015), the best of the references; word_order 2 is chrF++ (Popovic 2017)."""

    char_order: int = Field(6, ge=1, description="longest character n-grams")
    word_order: int = Field(0, ge=0, description="longest word n-grams beside them; 2 is chrF++")
    beta: int = Field(2, ge=1, description="how many times as much recall counts as precision")
    lowercase: bool = Field(False, description="whether case is ignored")

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        from sacrebleu.metrics.chrf import CHRF

        scorer = CHRF(self.char_order, self.word_order, self.beta, self.lowercase)

        def value(response: str, references: list[str]) -> float:
            return float(scorer.sentence_score(response, references).score) / 100

        return partial(against_references, "chrf", value)


class Rouge(Reference):
    """ROUGE (Lin 2004), the reference with the best F-measure counting."""

    variant: Literal["rouge1", "rouge2", "rougeL"] = Field(
        "rougeL", description="overlap of words, of word pairs, or the longest common subsequence"
    )
    measure: Literal["precision", "recall", "fmeasure"] = Field("fmeasure", description="which of the three it gives")
    stemming: bool = Field(False, description="whether English endings are cut off first (Porter)")
    tokenize: Literal["auto", "latin", "any"] = Field(
        "auto", description="latin is rouge-score's own; any knows all scripts; auto chooses by the references"
    )

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        # Imports nltk, which takes seconds.
        from rouge_score.rouge_scorer import RougeScorer
        from rouge_score.tokenizers import DefaultTokenizer

        latin = RougeScorer([self.variant], tokenizer=DefaultTokenizer(self.stemming))
        any_script = RougeScorer([self.variant], tokenizer=AnyScript())

        def value(response: str, references: list[str]) -> float:
            other_script = self.tokenize == "any" or (
                self.tokenize == "auto" and mostly(_NOT_LATIN, " ".join(references))
            )
            scores = (any_script if other_script else latin).score_multi(references, response)
            return float(getattr(scores[self.variant], self.measure))

        return partial(against_references, "rouge", value)


class AnyScript:
    """A tokenizer for rouge-score, whose own drops all but a-z and 0-9: each character of a script without spaces is a
    token, as in sacrebleu's zh, and each run of other letters and digits."""

    _TOKEN = regex.compile(rf"[{UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{UNSPACED}]]+", regex.V1)

    def tokenize(self, text: str) -> list[str]:
        """The tokens of `text`, lower-case."""
        found: list[str] = self._TOKEN.findall(text.lower())
        return found


def _bleu_tokenizer(references: list[str]) -> str:
    return "zh" if mostly(_HAN, " ".join(references)) else "13a"
