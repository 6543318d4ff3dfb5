"""Coherence: how likely the frozen base finds a response, whether it keeps to the prompt, whether it repeats itself.

What is computed with the base is in `language_models/likelihood.py`.
"""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from reward_model.rewards.interface import Given, Kind, Reward
from reward_model.rewards.texts import Text, messages_of, text_of, words


class Coherence(Kind):
    """A weighted sum of three: the mean log-probability of the response's tokens under the base (nats, at most 0), the
    cosine between the embeddings of prompt and response (-1 to 1), and minus the share of repeated n-grams (0 to 1).

    A part with weight 0 is not computed; `repetition` alone needs no base. Give them in separate rewards to log each.
    """

    likelihood: float = Field(1.0, description="weight of the mean log-probability of a token")
    similarity: float = Field(1.0, description="weight of the similarity of prompt and response")
    repetition: float = Field(1.0, description="weight of the share of n-grams that were there before")
    order: int = Field(3, ge=1, description="words in such an n-gram")

    def make(self, given: Given) -> Reward:
        """See `Kind`."""
        import torch

        from reward_model.rewards.language_models.likelihood import likelihood, similarity

        base = given.needed_base("coherence") if self.likelihood or self.similarity else None

        def reward(prompts: Sequence[Text], completions: Sequence[Text], **columns: Any) -> list[float]:
            texts = [text_of(completion) for completion in completions]
            total = torch.tensor([-self.repetition * repeated(text, self.order) for text in texts])
            if base is not None:
                asked = [base.renderer.prompt_ids(messages_of(prompt)) for prompt in prompts]
                said = [base.renderer.response_ids(text) for text in texts]
                if self.likelihood:
                    total += self.likelihood * likelihood(base, asked, said)
                if self.similarity:
                    total += self.similarity * similarity(base, [text_of(prompt) for prompt in prompts], texts)
            return total.tolist()

        return reward


def repeated(text: str, order: int) -> float:
    """The share of a text's n-grams of words that occurred in it before (Welleck et al. 2020, seq-rep-n)."""
    found = [word.casefold() for word in words(text)]
    ngrams = [tuple(found[start : start + order]) for start in range(len(found) - order + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0
