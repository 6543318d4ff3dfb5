"""What a model itself computes, whatever its class, and the ways of computing it that are faster.

Its own step from final states to logits is often more than a product with the output embedding: logits are capped,
scaled or divided. Which ways give a model's own function is found out in `exactness.py`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast

from backbone.cpu.gated_mlp import unfused_mlps
from backbone.cpu.lora_layer import unfused_lora
from backbone.cpu.rms_norm import unfused_norms

Scoring = Literal["stream", "padded", "alone"]
Decoding = Literal["step", "cached", "cached_alone", "recomputed"]
Differences = dict[str, float]

SCORING: tuple[Scoring, ...] = get_args(Scoring)  # the fastest first, and then what is plainer
DECODING: tuple[Decoding, ...] = get_args(Decoding)


@dataclass(frozen=True)
class Paths:
    """`scoring` of given tokens: one stream with shared prompts, padded rows, or rows of one length at a time.

    `decoding`: a cache and our attention for one token, a cache, a cache for prompts of one length, or all tokens again
    for each. `differences`: the largest from the model's own log-probabilities, in nats.
    """

    scoring: Scoring = "padded"
    decoding: Decoding = "cached"
    differences: Differences = field(default_factory=dict)


_LOUD = 100.0  # states so large that a cap on the logits shows in float32


class _Given(BaseModelOutputWithPast):
    """A decoder's output that holds its final states alone; whatever else a head looks for is None."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None


def decoder_of(model: PreTrainedModel) -> nn.Module:
    """The part from token ids to final hidden states: of a model that also sees images, the language model's."""
    decoder = model.get_decoder()  # type: ignore[no-untyped-call]
    if decoder is model:  # a few name their decoder otherwise than their class says
        decoder = next((child for child in model.children() if isinstance(child, PreTrainedModel)), model)
    return cast(nn.Module, decoder)


def states_by_length(decoder: nn.Module, ids: Tensor, lengths: Sequence[int]) -> Tensor:
    """Final states (n, longest, hidden) of rows ids (n, longest), computed without padding, which is zero there."""
    parts: list[Tensor] = [torch.empty(0)] * len(lengths)
    for length in sorted(set(lengths)):
        rows = [row for row, each in enumerate(lengths) if each == length]
        states = decoder(input_ids=ids[rows, :length], use_cache=False).last_hidden_state
        for row, one in zip(rows, nn.functional.pad(states, (0, 0, 0, ids.shape[1] - length)), strict=True):
            parts[row] = one
    return torch.stack(parts)


def own_logits(model: PreTrainedModel, states: Tensor) -> Tensor:
    """Logits (n, vocabulary) of final states (n, hidden), by the model's own `forward`. Differentiable."""
    decoder = decoder_of(model)
    instead = vars(decoder).get("forward")
    decoder.forward = lambda *_, **__: _Given(last_hidden_state=states[None])
    try:
        ids = torch.zeros(1, len(states), dtype=torch.long, device=states.device)
        return cast(Tensor, model(input_ids=ids, use_cache=False).logits[0])
    finally:
        del decoder.forward
        if instead is not None:
            decoder.forward = instead


@torch.no_grad()
def head_is_linear(model: PreTrainedModel) -> bool:
    """Whether logits are the output embedding applied to the final states, and nothing more. Tried on random states."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    if type(head) is not nn.Linear or head.weight.is_meta:
        return False
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(4, head.in_features, generator=generator).to(head.weight.device, head.weight.dtype)
    try:
        loud = (states, _LOUD * states)
        return all(torch.equal(own_logits(model, each).float(), head(each).float()) for each in loud)
    except (TypeError, ValueError, RuntimeError, AttributeError, IndexError):
        return False


@contextmanager
def in_float32(model: PreTrainedModel) -> Iterator[None]:
    """Compute in float32, where rounding hides nothing; weights and buffers come back as they were."""
    kept = [(each, each.data) for each in (*model.parameters(), *model.buffers()) if each.is_floating_point()]
    try:
        for each, data in kept:
            each.data = data.float()
        yield
    finally:
        for each, data in kept:
            each.data = data


@contextmanager
def as_published(model: PreTrainedModel) -> Iterator[None]:
    """Compute with the layers' own code, transformers' and PEFT's, rather than with ours."""
    with unfused_norms(model), unfused_mlps(model), unfused_lora(model):
        yield
