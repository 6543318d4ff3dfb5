"""Batched sampling that returns what training needs: token ids, their log-probabilities, why each response ended.

Each prompt is prefilled once for its whole group, and a finished response leaves the batch. A token is drawn by
inverting the cumulative distribution at one uniform number, and every response has its own stream of uniform
numbers, named by `(seed, row)`: what is sampled does not depend on how responses are batched or which process
draws them. Knows nothing of rewards.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from rlhf_pipeline.backbone.adapters import SharedBase
from rlhf_pipeline.backbone.tokens import Ids, pad_left
from rlhf_pipeline.errors import UserError
from rlhf_pipeline.settings import Settings

FinishReason = Literal["stop", "length"]
_NUCLEUS = 256


class SamplingConfig(Settings):
    """How responses are drawn. `temperature` 0 is greedy; `top_p` below 1 keeps the smallest set of that mass."""

    max_new_tokens: int = Field(96, ge=1, description="longest response, in tokens")
    temperature: float = Field(0.8, ge=0, description="divides the logits; 0 is greedy decoding")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling (Holtzman et al. 2020); 1 keeps everything")


class Sample(NamedTuple):
    """One response. `logprobs[t]` is the log-probability of `response_ids[t]` under the distribution it was drawn from
    (tempered, and renormalised within the nucleus; for greedy decoding the model's own)."""

    prompt: int
    response_ids: list[int]
    logprobs: list[float]
    finish_reason: FinishReason


@torch.no_grad()
def sample(
    base: SharedBase,
    prompts: Sequence[Ids],
    config: SamplingConfig,
    *,
    group: int = 1,
    seed: int = 0,
    rows: Sequence[int] | None = None,
    batch: int = 64,
    progress: Callable[[int], None] | None = None,
    on_token: Callable[[list[list[int]]], None] | None = None,
) -> list[Sample]:
    """`group` responses to each prompt under the active adapter, in prompt order.

    `rows[i]` names the random stream of prompt i's first response (its j-th uses `rows[i] + j`); by default
    `i * group`. At most `batch` responses are decoded at once; `progress` is told how many are done, and `on_token`,
    after each step, the token ids so far of all responses that are decoded together.
    """
    longest = max(map(len, prompts), default=0) + config.max_new_tokens
    if longest > base.renderer.max_length:
        raise UserError(
            f"a prompt and {config.max_new_tokens} new tokens need {longest} tokens; the model's context has "
            f"{base.renderer.max_length}. Shorten the prompt or lower max_new_tokens."
        )
    rows = rows if rows is not None else range(0, len(prompts) * group, group)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    found: dict[int, list[Sample]] = {}
    step = max(1, batch // group)
    for start in range(0, len(order), step):
        chosen = order[start : start + step]
        drawn = _decode(base, [prompts[i] for i in chosen], [rows[i] for i in chosen], config, group, seed, on_token)
        for place, index in enumerate(chosen):
            found[index] = [one._replace(prompt=index) for one in drawn[place * group : (place + 1) * group]]
        if progress:
            progress(len(chosen) * group)
    return [one for index in range(len(prompts)) for one in found[index]]


@dataclass
class _Row:
    place: int
    tokens: list[int]
    logprobs: list[float]
    uniforms: torch.Tensor
    finish_reason: FinishReason = "length"


def _decode(
    base: SharedBase, prompts: Sequence[Ids], streams: Sequence[int], config: SamplingConfig, group: int, seed: int,
    on_token: Callable[[list[list[int]]], None] | None,
) -> list[Sample]:  # fmt: skip
    ids, mask = (tensor.to(base.device) for tensor in pad_left(prompts, base.renderer.pad_id))
    decoder = getattr(base.base, base.base.base_model_prefix)
    cache = _Cache(config.max_new_tokens)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    states = decoder(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True
    ).last_hidden_state[:, -1]
    cache.batch_repeat_interleave(group)
    mask, position, states = (
        tensor.repeat_interleave(group, dim=0) for tensor in (mask, positions[:, -1:] + 1, states)
    )
    rows = [
        _Row(index, [], [], uniforms(seed, streams[index // group] + index % group, config.max_new_tokens))
        for index in range(len(prompts) * group)
    ]
    active = rows
    for step in range(config.max_new_tokens):
        logits = base.lm_head(states).float()
        draws = torch.stack([row.uniforms[step] for row in active]).to(base.device)
        tokens, logprobs = draw(logits, draws, config.temperature, config.top_p)
        keep = []
        for place, (row, token, logp) in enumerate(zip(active, tokens.tolist(), logprobs.tolist(), strict=True)):
            row.tokens.append(token)
            row.logprobs.append(logp)
            if token in base.renderer.eos_ids:
                row.finish_reason = "stop"
            else:
                keep.append(place)
        if on_token:
            on_token([list(row.tokens) for row in rows])
        if not keep or step + 1 == config.max_new_tokens:
            break
        if len(keep) < len(active):
            index = torch.tensor(keep, device=base.device)
            cache.batch_select_indices(index)
            active = [active[place] for place in keep]
            mask, position, tokens = mask[index], position[index], tokens[index]
        mask = torch.cat([mask, mask.new_ones(len(active), 1)], dim=1)
        states = decoder(
            input_ids=tokens[:, None], attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True
        ).last_hidden_state[:, -1]
        position = position + 1
    return [Sample(row.place // group, row.tokens, row.logprobs, row.finish_reason) for row in rows]


class _Layer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values that grow in place: room for the new tokens is made once, not copied for each of them."""

    def __init__(self, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.room = room
        self.length = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        new = key_states.shape[-2]
        if self.length == 0:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = self._with_room(key_states), self._with_room(value_states)
        assert self.keys is not None
        assert self.values is not None
        here = slice(self.length, self.length + new)
        self.keys[..., here, :], self.values[..., here, :] = key_states, value_states
        self.length += new
        return self.keys[..., : self.length, :], self.values[..., : self.length, :]

    def get_seq_length(self) -> int:
        return self.length

    def _with_room(self, states: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(states, (0, 0, 0, self.room))


class _Cache(DynamicCache):
    """A `DynamicCache` of such layers; the prompt comes first, in one piece."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.layer_class_to_replicate = partial(_Layer, room)  # type: ignore[assignment]


def uniforms(seed: int, row: int, count: int) -> torch.Tensor:
    """The first `count` numbers in [0, 1) of the stream named by `(seed, row)`: (count,), float64."""
    name = hashlib.sha256(f"{seed}/{row}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(name[:8], "little", signed=True))
    return torch.rand(count, generator=generator, dtype=torch.float64)


def draw(
    logits: torch.Tensor, uniform: torch.Tensor, temperature: float, top_p: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """One token a row by inverting the cumulative distribution: exact, and far cheaper than `torch.multinomial`.

    logits: (batch, vocabulary) fp32; uniform: (batch,) in [0, 1). Returns tokens (batch,) int64 and their
    log-probabilities (batch,) under the distribution that was drawn from.
    """
    if temperature == 0:
        tokens = logits.argmax(-1)
        return tokens, torch.log_softmax(logits, -1).gather(-1, tokens[:, None]).squeeze(-1)
    logprobs = torch.log_softmax(logits / temperature, dim=-1)
    if top_p < 1:
        return _draw_nucleus(logprobs, uniform, top_p)
    tokens = _invert(logprobs.exp(), uniform)
    return tokens, logprobs.gather(-1, tokens[:, None]).squeeze(-1)


def _invert(probabilities: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Index of the first entry at which the running sum of a row exceeds `uniform` of its total."""
    cumulative = probabilities.cumsum(-1)
    target = uniform.to(cumulative.dtype)[:, None] * cumulative[:, -1:]
    index = torch.searchsorted(cumulative, target, right=True).squeeze(-1)
    # Rounding may push the target to the very end; the last entry with any probability is meant.
    last = (probabilities > 0).to(torch.int8).flip(-1).argmax(-1)
    return index.minimum(probabilities.shape[-1] - 1 - last)


def _draw_nucleus(logprobs: torch.Tensor, uniform: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """As `draw`, within the smallest set of tokens whose mass reaches `top_p`; sorts the vocabulary only if it must."""
    size = min(_NUCLEUS, logprobs.shape[-1])
    top, ids = logprobs.topk(size, dim=-1)
    if size < logprobs.shape[-1] and bool((top.exp().sum(-1) < top_p).any()):
        top, ids = logprobs.sort(dim=-1, descending=True)
    probabilities = top.exp()
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities.masked_fill(before >= top_p, 0.0)
    choice = _invert(kept, uniform)[:, None]
    return ids.gather(-1, choice).squeeze(-1), (top.gather(-1, choice) - kept.sum(-1, keepdim=True).log()).squeeze(-1)
