"""Coherence: how likely the frozen base finds a response, whether it keeps to the prompt, whether it repeats itself.

Computed on the base with all adapters off, so that training the policy does not change the measure.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field

from backbone.adapters import SharedBase
from backbone.batching import by_length
from backbone.logprobs import response_logprobs
from backbone.tokens import Ids, pad_right
from reward_model.rewards.interface import Given, Kind, Reward
from reward_model.rewards.texts import Text, messages_of, text_of, words

_BATCH = 8


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


@torch.no_grad()
def likelihood(base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> torch.Tensor:
    """Mean log-probability of each response's tokens, its end of turn included, given the prompt: (n,), fp32, nats."""
    longest = base.renderer.max_length
    pairs = [base.renderer.fit(p, r, longest)[:2] for p, r in zip(prompt_ids, response_ids, strict=True)]
    found = torch.zeros(len(pairs))
    with base.using(None):
        for rows in by_length([len(p) + len(r) for p, r in pairs], most_rows=_BATCH):
            part = response_logprobs(base, [pairs[row][0] for row in rows], [pairs[row][1] for row in rows])
            found[rows] = (part.logprobs.sum(1) / part.mask.sum(1)).cpu()
    return found


def acceptability(base: SharedBase, texts: Sequence[str]) -> torch.Tensor:
    """Mean log-probability of each text's tokens by itself, after the token that begins a text: (n,), fp32, nats.

    How minimal pairs are judged with a language model (Warstadt et al. 2020).
    """
    known = base.tokenizer.bos_token_id
    start = base.renderer.eos_ids[0] if known is None else int(known)
    return likelihood(base, [[start]] * len(texts), [base.renderer.response_ids(text) for text in texts])


def similarity(base: SharedBase, prompts: Sequence[str], responses: Sequence[str]) -> torch.Tensor:
    """Cosine of the embeddings of prompt and response: (n,), fp32; 0 for an empty one.

    Embeddings of a language model that was not trained for it lie in a narrow cone: read differences, not levels.
    """
    known = {text: row for row, text in enumerate(dict.fromkeys([*prompts, *responses]))}
    vectors = embeddings(base, list(known))
    one, other = ([known[text] for text in texts] for texts in (prompts, responses))
    return torch.nn.functional.cosine_similarity(vectors[one], vectors[other])


@torch.no_grad()
def embeddings(base: SharedBase, texts: Sequence[str]) -> torch.Tensor:
    """The mean of the base's final hidden states over a text's tokens: (n, hidden), fp32; zero for an empty text."""
    longest = base.renderer.max_length
    ids = [base.tokenizer(text, add_special_tokens=False)["input_ids"][:longest] for text in texts]
    found = torch.zeros(len(texts), base.hidden_size)
    with base.using(None):
        for rows in by_length([len(each) for each in ids], most_rows=_BATCH):
            if not ids[rows[-1]]:
                continue
            input_ids, mask = (
                each.to(base.device) for each in pad_right([ids[row] for row in rows], base.renderer.pad_id)
            )
            states = base.hidden_states(input_ids, mask).float() * mask[:, :, None]
            found[rows] = (states.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)).cpu()
    return found


def repeated(text: str, order: int) -> float:
    """The share of a text's n-grams of words that occurred in it before (Welleck et al. 2020, seq-rep-n)."""
    found = [word.casefold() for word in words(text)]
    ngrams = [tuple(found[start : start + order]) for start in range(len(found) - order + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0
