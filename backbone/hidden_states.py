"""Hidden states of responses: before each token, as the LM head needs, or at the last one, as a reward head does.

The plain way pads rows on the right. On a CPU, rows that are not too long are computed as one stream without padding,
each prompt once for all of its responses (`cpu/shared_prompts.py`), with the same states. Models that padding disturbs
compute rows of one length at a time. Which of these a model allows is found out in `exactness.py`.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, distributed

from backbone.adapters import SharedBase
from backbone.cpu.attention import use_attention
from backbone.cpu.shared_prompt_attention import SHARED_PROMPT_ATTENTION
from backbone.cpu.shared_prompts import LONGEST, Stream
from backbone.lora_targets import blocks
from backbone.tokens import Ids, pad_right

PROBED = 0.6
"""How far up the block lies that a linear probe reads, as a share of all blocks: see docs/decisions.md, 278."""


def states_before(base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> Tensor:
    """The state before each response token, row after row: (response tokens, hidden), under the active adapter.

    Differentiable. The LM head predicts the tokens from these states.
    """
    seen = [list(response[:-1]) for response in response_ids]  # nothing is predicted from the last one
    states, ends, places = _states(base, prompt_ids, seen)
    index = [place for end, rest in zip(ends, places, strict=True) for place in (end, *rest)]
    return states[torch.tensor(index, device=base.device)]


def last_states(base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> Tensor:
    """The state at the last token of each response: (n, hidden), under the active adapter. Differentiable."""
    states, ends, places = _states(base, prompt_ids, response_ids)
    index = [rest[-1] if rest else end for end, rest in zip(ends, places, strict=True)]
    return states[torch.tensor(index, device=base.device)]


@torch.no_grad()
def pooled_states(
    base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids], *, final: bool = True
) -> Tensor:
    """What a linear probe reads of each response: (n, 3, hidden), float32, under the active adapter.

    The final state of its last token; and of the block that `probed_block` names, the state of its last token and the
    mean over its tokens. In a model whose blocks cannot be told, or that computes rows of one length at a time, these
    are final states too. Unless `final`, the blocks above are not computed, and the first is not a final state either.
    """
    number = probed_block(base)
    compute, ends, places = _laid_out(base, prompt_ids, response_ids)
    seen: list[Tensor] = []

    def keep(module: torch.nn.Module, args: object, output: Tensor | tuple[Tensor, ...]) -> None:
        seen.append(output if isinstance(output, Tensor) else output[0])
        if not final and not distributed.is_initialized():  # weights that are divided are put back at the end
            raise _Enough

    hook = blocks(base.base)[number - 1].register_forward_hook(keep) if number else None
    try:
        last = compute()
    except _Enough:
        last = seen[0].flatten(0, -2)
    finally:
        if hook:
            hook.remove()
    inner = seen[0].reshape(last.shape) if len(seen) == 1 and seen[0].numel() == last.numel() else last
    found = []
    for end, rest in zip(ends, places, strict=True):
        tokens = torch.tensor(rest or [end], device=base.device)
        found.append(torch.stack([last[tokens[-1]], inner[tokens[-1]], inner[tokens].float().mean(0)]).float())
    return torch.stack(found)


class _Enough(Exception):
    """Not an error: what was asked for has been computed."""


def probed_block(base: SharedBase) -> int | None:
    """The number of the block whose states a linear probe reads, from 1; None if it reads final states."""
    stack = [] if base.paths.scoring == "alone" else blocks(base.base)
    return max(1, int(PROBED * len(stack))) if stack else None


def shares_prompts(base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]) -> bool:
    """Whether these rows are computed as one stream: on a CPU, not too long, and by a model that allows it."""
    longest = max(len(prompt) + len(response) for prompt, response in zip(prompt_ids, response_ids, strict=True))
    recomputes = base.base.is_activation_checkpointing  # in the backward pass, when our attention is no longer set
    return base.device.type == "cpu" and longest <= LONGEST and not recomputes and base.paths.scoring == "stream"


def _states(
    base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]
) -> tuple[Tensor, list[int], list[list[int]]]:
    """States of all tokens, (tokens, hidden); where in them each row's prompt ends, and where its response lies."""
    compute, ends, places = _laid_out(base, prompt_ids, response_ids)
    return compute(), ends, places


def _laid_out(
    base: SharedBase, prompt_ids: Sequence[Ids], response_ids: Sequence[Ids]
) -> tuple[Callable[[], Tensor], list[int], list[list[int]]]:
    """As `_states`, with what computes the states in their place."""
    if shares_prompts(base, prompt_ids, response_ids):
        stream = Stream.of(prompt_ids, response_ids)
        return lambda: _stream_states(base, stream), stream.prompt_ends, stream.places
    sequences = [[*prompt, *response] for prompt, response in zip(prompt_ids, response_ids, strict=True)]
    ids, mask = (each.to(base.device) for each in pad_right(sequences, base.renderer.pad_id))
    ends = [row * ids.shape[1] + len(prompt) - 1 for row, prompt in enumerate(prompt_ids)]
    places = [[*range(end + 1, end + 1 + len(rest))] for end, rest in zip(ends, response_ids, strict=True)]
    return lambda: base.hidden_states(ids, mask).flatten(0, 1), ends, places


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
