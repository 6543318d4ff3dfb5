"""How likely the frozen base finds texts, and how alike their embeddings are.

Computed on the base with all adapters off, so that training the policy does not change the measure.
"""

from collections.abc import Sequence

import torch

from backbone.adapters import SharedBase
from backbone.batching import by_length
from backbone.logprobs import response_logprobs
from backbone.tokens import Ids, pad_right

_BATCH = 8


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
