"""Batched sampling that returns what training needs: token ids, their log-probabilities, why each response ended.

Every response has its own stream of uniform numbers, named by `(seed, row)`, so the samples do not depend on how
responses are batched or which process draws them. How a token is drawn is in `token_draws.py`, how the next ones are
computed in `decoding.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, NamedTuple, Protocol

import torch

from backbone.adapters import SharedBase
from backbone.cpu.packed_layers import WORTH, packed, packed_bytes
from backbone.decoding import decoder_for
from backbone.sampling_config import SamplingConfig
from backbone.templates.answers import encode
from backbone.token_draws import check_drawn, draw, uniforms
from backbone.tokens import Ids
from foundation.errors import UserError

FinishReason = Literal["stop", "length"]
_LEAVING = 4  # finished rows leave in multiples: each time the cache is copied and kernels are built for a new size


class Sample(NamedTuple):
    """One response. `logprobs[t]` is the log-probability of `response_ids[t]` under the distribution it was drawn from
    (tempered, and renormalised within the nucleus; for greedy decoding the model's own)."""

    prompt: int
    response_ids: list[int]
    logprobs: list[float]
    finish_reason: FinishReason


class Draw(Protocol):
    """Draws as `sample` does, by `adapter` of `base` or by the base itself, whoever draws."""

    def __call__(
        self, base: SharedBase, adapter: str | None, prompts: Sequence[Ids], config: SamplingConfig, *, group: int = 1,
        seed: int = 0, rows: Sequence[int] | None = None, batch: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[Sample]:  # fmt: skip
        """`group` responses to each prompt, in the order of the prompts."""


@torch.no_grad()
def sample(
    base: SharedBase,
    prompts: Sequence[Ids],
    config: SamplingConfig,
    *,
    group: int = 1,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    batch: int | None = None,
    progress: Callable[[int], None] | None = None,
    on_token: Callable[[list[list[int]]], None] | None = None,
) -> list[Sample]:
    """`group` responses to each prompt under the active adapter, in prompt order.

    `rows[i]` names the random stream of prompt i's first response (its j-th uses `rows[i] + j`); by default
    `i * group`. At most `batch` responses are decoded at once, by default as many as the base's `sizes` allow;
    `progress` gets the number of finished ones, and `on_token`, after each step, the token ids so far of all responses
    that are decoded together.
    """
    check_room(base, prompts, config.max_new_tokens)
    rows = rows if rows is not None else range(0, len(prompts) * group, group)
    batch = batch or base.sizes.rows(max(map(len, prompts), default=0) + config.max_new_tokens)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    found: dict[int, list[Sample]] = {}
    with packed(base.base) if config.max_new_tokens >= WORTH else nullcontext():
        for chosen in _batches(base, prompts, order, max(1, batch // group)):
            asked, streams = [prompts[i] for i in chosen], [rows[i] for i in chosen]
            drawn = _decode(base, asked, streams, config, group, seed, on_token)
            for place, index in enumerate(chosen):
                found[index] = [one._replace(prompt=index) for one in drawn[place * group : (place + 1) * group]]
            if progress:
                progress(len(chosen) * group)
    return [one for index in range(len(prompts)) for one in found[index]]


def _batches(base: SharedBase, prompts: Sequence[Ids], order: Sequence[int], most: int) -> Iterator[list[int]]:
    """Up to `most` prompts at a time, in this order; of one length where the model's cache allows no padding."""
    alike = base.paths.decoding == "cached_alone"
    for _, run in groupby(order, key=lambda index: len(prompts[index]) if alike else 0):
        indices = list(run)
        yield from (indices[start : start + most] for start in range(0, len(indices), most))


def check_room(base: SharedBase, prompts: Sequence[Ids], max_new_tokens: int) -> None:
    """Refuse prompts that leave no room for so many new tokens in the model's context."""
    longest = max(map(len, prompts), default=0) + max_new_tokens
    if longest > base.renderer.max_length:
        raise UserError(
            f"a prompt and {max_new_tokens} new tokens need {longest} tokens; the model's context has "
            f"{base.renderer.max_length}. Shorten the prompt or lower max_new_tokens."
        )


def copied_bytes(model: torch.nn.Module, device: torch.device) -> int:
    """Bytes that `sample` takes on this device for weights that are laid out anew."""
    return packed_bytes(model) if device.type == "cpu" else 0


@dataclass
class Growing:
    """A response that is being drawn; "length" is why it ends unless it ends by itself."""

    tokens: list[int]
    logprobs: list[float]
    uniforms: torch.Tensor
    finish_reason: FinishReason = "length"


class Step(NamedTuple):
    """One more token for those of the responses that had not ended: their `places` among `responses`.

    `logits`: (rows, vocabulary), fp32, is what the model itself says of the next token; the row of `places[i]` is
    `rows[i]`, for some rows may be of responses that have ended.
    """

    responses: Sequence[Growing]
    places: Sequence[int]
    rows: Sequence[int]
    logits: torch.Tensor


@torch.no_grad()
def draw_in_steps(
    base: SharedBase, prompts: Sequence[Ids], config: SamplingConfig, *, group: int = 1, seed: int = 0,
    streams: Sequence[int] | None = None,
) -> Iterator[Step]:  # fmt: skip
    """Decode `group` responses to each prompt together, a token a step; what is drawn is what `sample` draws.

    The same adapter has to be active at every step; between steps, others may be. `streams` are as `rows` of `sample`.
    """
    check_room(base, prompts, config.max_new_tokens)
    named = streams if streams is not None else range(0, len(prompts) * group, group)
    rows = [
        Growing([], [], uniforms(seed, named[index // group] + index % group, config.max_new_tokens))
        for index in range(len(prompts) * group)
    ]
    decoder = decoder_for(base, prompts, group, config.max_new_tokens)
    active = list(range(len(rows)))
    for step in range(config.max_new_tokens):
        logits = base.lm_head(decoder.states).float()
        draws = torch.stack([rows[place].uniforms[step] for place in active]).to(base.device)
        tokens, logprobs = draw(logits, draws, config.temperature, config.top_p, config.top_k)
        going = [index for index, place in enumerate(active) if rows[place].finish_reason != "stop"]
        chosen, told = tokens.tolist(), logprobs.tolist()
        check_drawn(told)
        for index in going:
            row = rows[active[index]]
            row.tokens.append(chosen[index])
            row.logprobs.append(told[index])
            if chosen[index] in base.renderer.eos_ids or _stopped(base, row.tokens, config.stop):
                row.finish_reason = "stop"
        yield Step(rows, [active[index] for index in going], going, logits)
        keep = _staying([rows[place] for place in active])
        if not keep or step + 1 == config.max_new_tokens:
            break
        decoder.keep(keep)
        active = [active[place] for place in keep]
        decoder.feed(tokens[keep])


def _decode(
    base: SharedBase, prompts: Sequence[Ids], streams: Sequence[int], config: SamplingConfig, group: int, seed: int,
    on_token: Callable[[list[list[int]]], None] | None,
) -> list[Sample]:  # fmt: skip
    responses: Sequence[Growing] = ()
    for responses, *_ in draw_in_steps(base, prompts, config, group=group, seed=seed, streams=streams):
        if on_token:
            on_token([list(row.tokens) for row in responses])
    return [Sample(place // group, row.tokens, row.logprobs, row.finish_reason) for place, row in enumerate(responses)]


def _staying(rows: Sequence[Growing]) -> list[int]:
    """Places of the rows to continue: those that are not finished, filled up to a multiple of `_LEAVING`."""
    going = [place for place, row in enumerate(rows) if row.finish_reason != "stop"]
    done = [place for place, row in enumerate(rows) if row.finish_reason == "stop"]
    return sorted(going + done[: -len(going) % _LEAVING])


def _stopped(base: SharedBase, tokens: Sequence[int], stop: Sequence[str]) -> bool:
    """Whether the last token completed a stop string: every token spells a byte at least, so the end is enough.

    It is read from a token before on, for some tokenizers drop the space that a text begins with.
    """
    return any(text in _read(base, tokens[-len(text.encode()) - 1 :], len(tokens)) for text in stop)


def _read(base: SharedBase, end: Sequence[int], count: int) -> str:
    """The text of the last ones of `count` tokens. At its beginning, a plain text keeps its white space."""
    tokenizer, answers = base.renderer.tokenizer, base.renderer.answers
    before = encode(tokenizer, answers.before) if answers.plain and len(end) == count else []

    def decoded(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    return decoded([*before, *end])[len(decoded(before)) :]
