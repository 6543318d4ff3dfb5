"""Hidden states of responses: before each token, as the LM head needs, or at the last one, as a reward head does.

The plain way pads rows on the right. On a CPU, rows that are not too long are computed as one stream without padding,
each prompt once for all of its responses (`cpu/shared_prompts.py`), with the same states. Models that padding disturbs
compute rows of one length at a time. Which of these a model allows is found out in `exactness.py`.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from backbone.adapters import SharedBase
from backbone.cpu.attention import use_attention
from backbone.cpu.shared_prompt_attention import SHARED_PROMPT_ATTENTION
from backbone.cpu.shared_prompts import LONGEST, Stream
from backbone.tokens import Ids, pad_right


def states_before(base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> Tensor:
    """The state before each response token, row after row: (response tokens, hidden), under the active adapter.

    Differentiable. The LM head predicts the tokens from these states.
    """
    seen = [list(response[:-1]) for response in response_ids]  # nothing is predicted from the last one
    if not shares_prompts(base, prompt_ids, seen):
        states, before = _padded(base, prompt_ids, seen)
        index = [start + i for start, row in zip(before, seen, strict=True) for i in range(len(row) + 1)]
        return states[torch.tensor(index, device=base.device)]
    stream = Stream.of(prompt_ids, seen)
    index = [place for end, rest in zip(stream.prompt_ends, stream.places, strict=True) for place in (end, *rest)]
    return _stream_states(base, stream)[torch.tensor(index, device=base.device)]


def last_states(base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> Tensor:
    """The state at the last token of each response: (n, hidden), under the active adapter. Differentiable."""
    if not shares_prompts(base, prompt_ids, response_ids):
        states, before = _padded(base, prompt_ids, response_ids)
        ends = [start + len(row) for start, row in zip(before, response_ids, strict=True)]
        return states[torch.tensor(ends, device=base.device)]
    stream = Stream.of(prompt_ids, response_ids)
    ends = [rest[-1] if rest else end for end, rest in zip(stream.prompt_ends, stream.places, strict=True)]
    return _stream_states(base, stream)[torch.tensor(ends, device=base.device)]


def shares_prompts(base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> bool:
    """Whether these rows are computed as one stream: on a CPU, not too long, and by a model that allows it."""
    longest = max(len(prompt) + len(response) for prompt, response in zip(prompt_ids, response_ids, strict=True))
    recomputes = base.base.is_activation_checkpointing  # in the backward pass, when our attention is no longer set
    return base.device.type == "cpu" and longest <= LONGEST and not recomputes and base.paths.scoring == "stream"


def _padded(base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> tuple[Tensor, list[int]]:
    """States of all positions of padded rows, flat, and where in them each row's prompt ends."""
    sequences = [[*prompt, *response] for prompt, response in zip(prompt_ids, response_ids, strict=True)]
    ids, mask = pad_right(sequences, base.renderer.pad_id)
    states = base.hidden_states(ids.to(base.device), mask.to(base.device))
    return states.flatten(0, 1), [row * ids.shape[1] + len(prompt) - 1 for row, prompt in enumerate(prompt_ids)]


def _stream_states(base: SharedBase, stream: Stream) -> Tensor:
    """States after the final norm: (N, hidden)."""
    with use_attention(base.base.config.get_text_config(), SHARED_PROMPT_ATTENTION):
        states = base.decoder(
            input_ids=stream.input_ids.to(base.device),
            position_ids=stream.positions.to(base.device),
            use_cache=False,
            stream=stream,
        ).last_hidden_state
    return cast(Tensor, states[0])
