"""Decode token by token: each step computes one more token for every response of a batch, with a key-value cache.

Each prompt is computed once for its group. Room for the new keys and values is made once, and finished responses leave
the batch. On a CPU, the attention of a step is that of `cpu/step_attention.py` if the model allows it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from backbone.adapters import SharedBase
from backbone.cpu.attention import use_attention
from backbone.cpu.step_attention import STEP_ATTENTION
from backbone.hidden_states import cpu_attention_fits
from backbone.tokens import Ids, pad_left


class Decoder:
    """`group` responses to each prompt, with room for `room` tokens each; `states` (n, hidden) predict the next."""

    def __init__(self, base: SharedBase, prompts: Sequence[Ids], group: int, room: int) -> None:
        ids, mask = (tensor.to(base.device) for tensor in pad_left(prompts, base.renderer.pad_id))
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        self._decoder = getattr(base.base, base.base.base_model_prefix)
        self._config = base.base.config.get_text_config()
        self._step_attention = base.device.type == "cpu" and cpu_attention_fits(base)
        self._cache = _Cache(room, whole=self._step_attention)
        states = self._decoder(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=self._cache, use_cache=True
        ).last_hidden_state[:, -1]
        self._cache.batch_repeat_interleave(group)
        self._position = positions[:, -1:].repeat_interleave(group, dim=0)
        self._mask = torch.nn.functional.pad(mask, (0, room)).repeat_interleave(group, dim=0)
        self._length = ids.shape[1]
        self.states: Tensor = states.repeat_interleave(group, dim=0)

    def keep(self, rows: Sequence[int]) -> None:
        """Keep these rows only."""
        if len(rows) < len(self._mask):
            index = torch.tensor(rows, device=self._mask.device)
            self._cache.batch_select_indices(index)
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
            self.states = self._decoder(
                input_ids=tokens[:, None],
                position_ids=self._position,
                past_key_values=self._cache,
                use_cache=True,
                **more,
            ).last_hidden_state[:, -1]


class _Cache(DynamicCache):
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
