"""How likely the base model finds a response, with its prompt and without: what sense and topic are measured by.

The base computes without an adapter, whatever it carries, so that a policy cannot change its own measure.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from labeling_ui.data_model import Message, Messages

if TYPE_CHECKING:
    from backbone.adapters import SharedBase

UNPROMPTED: Messages = (Message(role="user", content="Say something."),)
"""What stands for no prompt, since a chat template needs one; one that all responses share, so it is computed once."""

_BATCH = 16


class Likelihood(NamedTuple):
    """Mean log-probabilities of a response's tokens and its end, in nats a token: given the prompt, and without it.

    `tokens` is how many there are.
    """

    given: float
    alone: float
    tokens: int

    @property
    def information(self) -> float:
        """Pointwise mutual information of prompt and response: log p(response | prompt) - log p(response), in nats."""
        return (self.given - self.alone) * self.tokens


def likelihoods(base: "SharedBase", prompts: Sequence[Messages], responses: Sequence[str]) -> list[Likelihood]:
    """One for each response to the prompt at its place; those to one prompt are best given one after another."""
    given = mean_logprobs(base, prompts, responses)
    alone = mean_logprobs(base, [UNPROMPTED] * len(responses), responses)
    tokens = [len(base.renderer.response_ids(response)) for response in responses]
    return [Likelihood(*each) for each in zip(given, alone, tokens, strict=True)]


def mean_logprobs(base: "SharedBase", prompts: Sequence[Messages], responses: Sequence[str]) -> list[float]:
    """Mean log-probability of each response's tokens, its end of turn included, at temperature 1: nats a token."""
    import torch

    from backbone.logprobs import response_logprobs

    found: list[float] = []
    with torch.no_grad(), base.using(None):
        for start in range(0, len(responses), _BATCH):
            places = range(start, min(start + _BATCH, len(responses)))
            pairs = [
                base.renderer.fit(
                    base.renderer.prompt_ids(prompts[place]),
                    base.renderer.response_ids(responses[place]),
                    base.renderer.max_length,
                )
                for place in places
            ]
            logprobs = response_logprobs(base, [prompt for prompt, _, _ in pairs], [ids for _, ids, _ in pairs])
            found += (logprobs.logprobs.sum(-1) / logprobs.mask.sum(-1)).tolist()
    return found
