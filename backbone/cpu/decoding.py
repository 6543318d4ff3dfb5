"""One more token for every response in a batch: what was computed before is kept, and what is finished leaves.

Each prompt is computed once for its group. Room for the new keys and values is made once. On a CPU the step's
attention, one token wide, is a small matrix product of our own: query heads that share a key head read it together.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, DynamicCache
from transformers.cache_utils import DynamicLayer

from backbone.adapters import SharedBase
from backbone.cpu.shared_prompts import attending, swappable
from backbone.tokens import Ids, pad_left

NAME = "rlhf_step"


class Decoder:
    """`group` responses to each prompt, with room for `room` tokens each; `states` (n, hidden) predicts their next."""

    def __init__(self, base: SharedBase, prompts: Sequence[Ids], group: int, room: int) -> None:
        ids, mask = (tensor.to(base.device) for tensor in pad_left(prompts, base.renderer.pad_id))
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        self._decoder = getattr(base.base, base.base.base_model_prefix)
        self._config = base.base.config.get_text_config()
        self._own = base.device.type == "cpu" and swappable(base)
        self._cache = _Cache(room, whole=self._own)
        states = self._decoder(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=self._cache, use_cache=True
        ).last_hidden_state[:, -1]
        self._cache.batch_repeat_interleave(group)
        self._position = positions[:, -1:].repeat_interleave(group, dim=0)
        self._mask = torch.nn.functional.pad(mask, (0, room)).repeat_interleave(group, dim=0)
        self._length = ids.shape[1]
        self.states: Tensor = states.repeat_interleave(group, dim=0)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows only."""
        if len(rows) < len(self._mask):
            index = torch.tensor(rows, device=self._mask.device)
            self._cache.batch_select_indices(index)
            self._mask, self._position, self.states = self._mask[index], self._position[index], self.states[index]

    def feed(self, tokens: Tensor) -> None:
        """Take in the token (n,) that each row goes on with."""
        self._position = self._position + 1
        self._mask[:, self._length] = 1
        self._length += 1
        more: dict[str, Any] = {"attention_mask": self._mask[:, : self._length]}
        if self._own:
            more = {"absent": (1 - self._mask[:, None, None, :]).float() * torch.finfo(torch.float32).min}
        with attending(self._config, NAME if self._own else None):
            self.states = self._decoder(
                input_ids=tokens[:, None],
                position_ids=self._position,
                past_key_values=self._cache,
                use_cache=True,
                **more,
            ).last_hidden_state[:, -1]


def step_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    *,
    absent: Tensor,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of one new token a row, in the form transformers asks for.

    query: (n, heads, 1, d); key, value: (n, key heads, L, d), with the room that is not filled yet, since reading it
    costs less than cutting it off; absent: (n, 1, 1, L), the lowest number where there is nothing. Returns
    (n, 1, heads, d).
    """
    n, heads, _, d = query.shape
    grouped = query.view(n, key.shape[1], -1, d)
    scale = scaling if scaling is not None else d**-0.5
    weights = (grouped @ key.transpose(-1, -2)).float().mul_(scale).add_(absent).softmax(-1)
    return (weights.to(value.dtype) @ value).view(n, 1, heads, d), None


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


class _Cache(DynamicCache):
    """A `DynamicCache` of such layers; the prompt comes first, in one piece. With `whole`, later ones see all room."""

    def __init__(self, room: int, whole: bool) -> None:
        super().__init__()
        self.layer_class_to_replicate = partial(_Layer, room, whole)  # type: ignore[assignment]


AttentionInterface.register(NAME, step_attention)
