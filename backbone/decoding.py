"""Decode token by token: each step computes one more token for every response of a batch.

Each prompt is computed once for its group, and finished responses leave the batch. What a model has computed is kept in
its cache: with room for the new keys and values made once where all of its layers attend to everything, else in the
kind of cache that its configuration asks for. On a CPU, the attention of a step is that of `cpu/step_attention.py` if
the model allows it. A model whose cache disagrees with its own function computes all tokens again at every step.
Which of these a model allows is found out in `exactness.py`.
"""

import inspect
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicLayer

from backbone.adapters import SharedBase
from backbone.cpu.attention import use_attention
from backbone.cpu.step_attention import STEP_ATTENTION
from backbone.own_function import decoder_of
from backbone.tokens import Ids, pad_left, pad_right


class Decoder(Protocol):
    """Responses that grow together; `states` (n, hidden) predict the next token of each."""

    states: Tensor

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows only."""

    def feed(self, tokens: Tensor) -> None:
        """Append a token (n,) to each row."""


def decoder_for(base: SharedBase, prompts: Sequence[Ids], group: int, room: int) -> Decoder:
    """`group` responses to each prompt, with room for `room` tokens each, decoded as the model allows."""
    if base.paths.decoding == "recomputed":
        return RecomputingDecoder(base, prompts, group)
    return CachedDecoder(base, prompts, group, room, step_attention=base.paths.decoding == "step")


class CachedDecoder:
    """A `Decoder` that computes new tokens only."""

    def __init__(
        self, base: SharedBase, prompts: Sequence[Ids], group: int, room: int, *, step_attention: bool
    ) -> None:
        ids, mask = (tensor.to(base.device) for tensor in pad_left(prompts, base.renderer.pad_id))
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        self._decoder = decoder_of(base.base)
        self._config = base.base.config.get_text_config(decoder=True)
        self._step_attention = step_attention
        plain = attends_to_everything(self._config)
        self._cache: Cache = _GrowingCache(room, step_attention) if plain else DynamicCache(config=self._config)
        parameters = inspect.signature(self._decoder.forward).parameters.values()
        self._takes = {each.name for each in parameters}
        self._takes_more = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
        states = self._states(ids, positions, attention_mask=mask)
        repeated = torch.arange(len(prompts), device=base.device).repeat_interleave(group)
        self._cache.reorder_cache(repeated)  # type: ignore[arg-type]
        self._position = positions[:, -1:][repeated]
        self._mask = nn.functional.pad(mask, (0, room))[repeated]
        self._length = ids.shape[1]
        self.states: Tensor = states[repeated]

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows only."""
        if len(rows) < len(self._mask):
            index = torch.tensor(rows, device=self._mask.device)
            self._cache.reorder_cache(index)  # type: ignore[arg-type]
            self._mask, self._position, self.states = self._mask[index], self._position[index], self.states[index]

    def feed(self, tokens: Tensor) -> None:
        """Append a token (n,) to each row."""
        self._position = self._position + 1
        self._mask[:, self._length] = 1
        self._length += 1
        more: dict[str, Any] = {"attention_mask": self._mask[:, : self._length]}
        if self._step_attention:
            more = {"absent": (1 - self._mask[:, None, None, :]).float() * torch.finfo(torch.float32).min}
        with use_attention(self._config, STEP_ATTENTION if self._step_attention else None):
            self.states = self._states(tokens[:, None], self._position, **more)

    def _states(self, ids: Tensor, positions: Tensor, **more: Any) -> Tensor:
        """The last state of each row: (n, hidden)."""
        cache = {"cache_params" if "cache_params" in self._takes else "past_key_values": self._cache}
        given = {"position_ids": positions, **cache, **more}
        if not self._takes_more:
            given = {name: value for name, value in given.items() if name in self._takes}
        states: Tensor = self._decoder(input_ids=ids, use_cache=True, **given).last_hidden_state
        return states[:, -1]


class RecomputingDecoder:
    """A `Decoder` that keeps nothing but tokens."""

    def __init__(self, base: SharedBase, prompts: Sequence[Ids], group: int) -> None:
        self._base = base
        self._rows = [list(prompt) for prompt in prompts for _ in range(group)]
        self.states = self._states()

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows only."""
        self._rows = [self._rows[row] for row in rows]

    def feed(self, tokens: Tensor) -> None:
        """Append a token (n,) to each row."""
        for row, token in zip(self._rows, tokens.tolist(), strict=True):
            row.append(token)
        self.states = self._states()

    def _states(self) -> Tensor:
        ids, mask = (tensor.to(self._base.device) for tensor in pad_right(self._rows, self._base.renderer.pad_id))
        states = self._base.hidden_states(ids, mask)
        return states[torch.arange(len(ids), device=states.device), mask.sum(1) - 1]


def attends_to_everything(config: PreTrainedConfig) -> bool:
    """Whether every layer keeps keys and values of all tokens: no sliding window, no state of another kind."""
    return all(type(layer) is DynamicLayer for layer in DynamicCache(config=config).layers)


def longest_window(model: PreTrainedModel, up_to: int) -> int:
    """The longest sliding window of `model` that is no longer than `up_to`; 0 if there is none."""
    config = model.config.get_text_config(decoder=True)
    names = ("sliding_window", "attention_window", "attention_chunk_size", "window_size", "local_attention")
    found = [getattr(config, name, None) for name in names]
    return max((size for size in found if isinstance(size, int) and size <= up_to), default=0)


def forced_states(base: SharedBase, prompts: Sequence[Ids], responses: Sequence[Ids]) -> Tensor:
    """The states that predict each token of given responses, two to each prompt: (response tokens, hidden).

    They are decoded as sampled ones are: one token at a time, and shorter ones leave the batch.
    """
    longest = max(map(len, responses))
    decoder = decoder_for(base, prompts, 2, longest)
    found: list[list[Tensor]] = [[] for _ in responses]
    going = list(range(len(responses)))
    for step in range(longest):
        for place, row in enumerate(going):
            found[row].append(decoder.states[place])
        places = [place for place, row in enumerate(going) if len(responses[row]) > step + 1]
        if not places:
            break
        decoder.keep(places)
        going = [going[place] for place in places]
        decoder.feed(torch.tensor([responses[row][step] for row in going], device=base.device))
    return torch.stack([state for row in found for state in row])


class _GrowingCache(DynamicCache):
    """A `DynamicCache` of such layers; the prompt comes first, in one piece. If `whole`, attention sees all room."""

    def __init__(self, room: int, whole: bool) -> None:
        super().__init__()
        self.layer_class_to_replicate = partial(_Layer, room, whole)  # type: ignore[assignment]


class _Layer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values that grow in place: room for the new tokens is made once, not copied for each of them."""

    def __init__(self, room: int, whole: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.room = room
        self.whole = whole
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
        if self.whole and self.length > new:
            return self.keys, self.values
        return self.keys[..., : self.length, :], self.values[..., : self.length, :]

    def get_seq_length(self) -> int:
        return self.length

    def _with_room(self, states: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(states, (0, 0, 0, self.room))
