"""What the engine computes is the model's own function: tried on a few random tokens when a model is loaded.

The model's own `forward`, one row at a time, with nothing of ours, says what is right. Each faster way is compared with
it, on rows of unequal length that share prompts, and the first of `SCORING` and of `DECODING` (`own_function.py`) that
agrees is taken: with a random adapter on, gradients included, and without one. A model that none of them computes is
refused.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from backbone.adapters import SharedBase, lora_config
from backbone.decoding import attends_to_everything, forced_states, longest_window
from backbone.hidden_states import states_before
from backbone.loading import devices
from backbone.loading.models import load_base, load_tokenizer
from backbone.loading.quantization import check_quantization
from backbone.loading.settings import Quantization
from backbone.loading.sizes import settled_sizes
from backbone.logprobs import response_logprobs
from backbone.own_function import DECODING, SCORING, Differences, Paths, as_published, decoder_of, in_float32
from backbone.templates.plain_text import TemplateChoice
from backbone.tokens import Ids
from foundation.errors import UserError

LONGEST_WINDOW = 512  # sliding windows up to this are crossed by the rows that are tried
# Relative to the size of a state: of float32 the largest over all positions, of 16-bit numbers the mean, since a
# mixture of experts may send single tokens elsewhere. What is wrong differs by far more.
_ROUNDING, _ROUNDING_16_BIT = 2e-4, 0.08
_SLOPES = {True: 1e-3, False: 0.2}  # of the adapter's whole gradient, relative to its norm: in float32, in 16 bits
_TRIED, _RANK = "tried", 4
SMALL = 1 << 28  # weights: up to so many, the model is tried in float32 too
_FAILURES = (TypeError, ValueError, RuntimeError, AttributeError, IndexError, KeyError, NotImplementedError)


class Tried(NamedTuple):
    """Rows of random tokens, two responses to each prompt, and the model's own states and logits of each whole row."""

    prompts: list[list[int]]
    responses: list[list[int]]
    states: list[Tensor]
    logits: list[Tensor] | None

    @property
    def before(self) -> Tensor:
        """The states that predict the responses' tokens: (response tokens, hidden)."""
        return torch.cat(
            [
                states[len(prompt) - 1 : len(prompt) + len(response) - 1]
                for prompt, response, states in zip(self.prompts, self.responses, self.states, strict=True)
            ]
        )


def load_shared_base(
    model: str,
    dtype: str = "auto",
    device: str = "auto",
    template: TemplateChoice = "auto",
    quantization: Quantization | None = None,
) -> SharedBase:
    """Load base and tokenizer by the rules of `backbone.loading`, and find out how the model may be computed.

    That depends on the architecture, not on the weights, and is found out once a process.
    """
    check_quantization(quantization, devices.choose_device(device))
    memory = devices.gpu_memory(devices.choose_device(device))
    tokenizer = load_tokenizer(model, template)
    base = load_base(model, dtype, device, quantization)
    shared = SharedBase(base, tokenizer, str(base.config.name_or_path))
    architecture = (base.config.to_json_string(), base.dtype, base.device, shared.renderer.max_length)
    if architecture not in _checked:
        _checked[architecture] = check(shared)
    shared.paths = _checked[architecture]
    shared.sizes = settled_sizes(base, architecture, memory)
    return shared


_checked: dict[Any, Paths] = {}


def check(base: SharedBase) -> Paths:
    """Find the fastest ways that compute the model's own function, and set `base.paths` to them.

    A small model in 16-bit numbers is first tried in float32, if it is not quantised. `UserError` if it is no causal
    language model, or if nothing here computes it.
    """
    base.paths = Paths("stream", "step") if _stream_possible(base) else Paths()
    small = sum(weight.numel() for weight in base.base.parameters()) <= SMALL
    with in_float32(base.base) if small and not base.quantization else nullcontext(), _random_adapter(base):
        base.paths = _fastest(base)
    with base.using(None):
        base.paths = _fastest(base)
    return base.paths


@contextmanager
def _random_adapter(base: SharedBase) -> Iterator[None]:
    """An adapter that changes what the model computes, for as long as this lasts; none if it can carry none."""
    try:
        with torch.random.fork_rng(devices=[]):
            base.add_adapter(_TRIED, lora_config(_RANK, _RANK), trainable=True)
    except UserError:  # told where an adapter is asked for
        with base.using(None):
            yield
        return
    generator = torch.Generator().manual_seed(1)
    try:
        for weight in base.parameters(_TRIED).values():
            drawn = torch.randn(weight.shape, generator=generator) * weight.shape[-1] ** -0.5
            weight.data.copy_(drawn)
        with base.using(_TRIED):
            yield
    finally:
        base.trainable = None
        base.remove_adapter(_TRIED)


@torch.no_grad()
def own_results(base: SharedBase) -> Tried:
    """Rows that the model's own code computes one at a time, under the active adapter."""
    prompts, responses = _rows(base)
    headed = base.base.get_output_embeddings() is not None  # type: ignore[no-untyped-call]
    with as_published(base.base):
        found = [_own_forward(base, [*row, *more]) for row, more in zip(prompts, responses, strict=True)]
    return Tried(prompts, responses, [one for one, _ in found], [one for _, one in found] if headed else None)


def _fastest(base: SharedBase) -> Paths:
    """The first ways that agree, from those on that `base.paths` names, under the active adapter."""
    tried = own_results(base)
    _check_causal(base, tried)
    if tried.logits is not None:
        _check_head(base, tried)
    differences: Differences = {}
    slopes = _own_slopes(base, tried)
    scoring = _first(
        base, tried, SCORING[SCORING.index(base.paths.scoring) :], "scoring", differences,
        lambda: states_before(base, tried.prompts, tried.responses), lambda: _slopes_agree(base, tried, slopes),
    )  # fmt: skip
    decoding = _first(
        base, tried, DECODING[DECODING.index(base.paths.decoding) :], "decoding", differences,
        lambda: _decoded(base, tried), lambda: True,
    )  # fmt: skip
    return Paths(scoring, decoding, differences)


def _own_slopes(base: SharedBase, tried: Tried) -> Tensor | None:
    """The gradient of the sum of the last row's log-probabilities with respect to the adapter, by the model's own code.

    Flat; None if no adapter is on.
    """
    if base.active is None or tried.logits is None:
        return None
    prompt, response = tried.prompts[-1], tried.responses[-1]
    row = torch.tensor([[*prompt, *response]], device=base.device)
    with as_published(base.base), torch.enable_grad():
        logits = base.base(input_ids=row, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
        tokens = row[0, len(prompt) :, None]
        return _flat(torch.log_softmax(logits, -1).gather(-1, tokens).sum(), base)


def _slopes_agree(base: SharedBase, tried: Tried, wanted: Tensor | None) -> bool:
    if wanted is None:
        return True
    with torch.enable_grad():
        found = _flat(response_logprobs(base, tried.prompts[-1:], tried.responses[-1:]).logprobs.sum(), base)
    return bool((found - wanted).norm() <= _SLOPES[_precise(base)] * wanted.norm())


def _flat(loss: Tensor, base: SharedBase) -> Tensor:
    weights = list(base.parameters(_TRIED).values())
    slopes = torch.autograd.grad(loss, weights, allow_unused=True)
    kept = zip(slopes, weights, strict=True)
    return torch.cat(
        [(torch.zeros_like(weight) if slope is None else slope).float().flatten() for slope, weight in kept]
    )


def _first(
    base: SharedBase, tried: Tried, ways: Sequence[Any], what: str, differences: Differences,
    compute: Callable[[], Tensor], also: Callable[[], bool],
) -> Any:  # fmt: skip
    """The first way that gives the model's own states; notes by how many nats its log-probabilities differ."""
    for way in ways:
        base.paths = replace(base.paths, **{what: way})
        try:
            with torch.no_grad():
                found = compute()
            agrees = found.shape == tried.before.shape and close(found, tried.before, _precise(base)) and also()
        except _FAILURES:
            continue
        if agrees:
            if tried.logits is not None:
                differences[what] = float(
                    (_logprobs(base, tried, found) - _logprobs(base, tried, tried.before)).abs().max()
                )
            return way
    raise _refused(base, f"no way of {what} several rows at once gives what it computes of one row by itself")


@torch.no_grad()
def _logprobs(base: SharedBase, tried: Tried, states: Tensor) -> Tensor:
    """Log-probabilities of the responses' tokens, in nats: (response tokens,)."""
    tokens = torch.tensor([token for row in tried.responses for token in row], device=states.device)
    return torch.log_softmax(base.lm_head(states).float(), -1).gather(-1, tokens[:, None]).squeeze(-1)


def _stream_possible(base: SharedBase) -> bool:
    config = base.base.config.get_text_config(decoder=True)
    return base.device.type == "cpu" and attends_to_everything(config) and base.base._can_set_attn_implementation()


def _precise(base: SharedBase) -> bool:
    """Whether all is computed in float32; in int8, activations are rounded too."""
    return base.base.dtype == torch.float32 and not base.quantization


def close(found: Tensor, wanted: Tensor, precise: bool) -> bool:
    """Whether states (n, hidden) are equal but for rounding, which is small if they are `precise`."""
    size = wanted.float().norm(dim=-1).clamp(min=1e-12)
    error = (found.float() - wanted.float()).norm(dim=-1) / size
    if precise:
        return bool(error.max() <= _ROUNDING)
    return bool(error.mean() <= _ROUNDING_16_BIT)


def _decoded(base: SharedBase, tried: Tried) -> Tensor:
    """The states that predict each token of the responses, one token at a time; shorter ones leave the batch."""
    groups = range(0, len(tried.prompts), 2)
    if base.paths.decoding == "cached_alone":
        return torch.cat([forced_states(base, [tried.prompts[row]], tried.responses[row : row + 2]) for row in groups])
    return forced_states(base, [tried.prompts[row] for row in groups], tried.responses)


def _rows(base: SharedBase) -> tuple[list[list[int]], list[list[int]]]:
    """Two prompts of unequal length, each twice, and responses of unequal length; one crosses a sliding window."""
    model = base.base
    table = cast(Any, model.get_input_embeddings()).weight
    generator = torch.Generator().manual_seed(0)
    window = longest_window(model, up_to=LONGEST_WINDOW)
    longest = min(max(11, window - 3), max(8, base.renderer.max_length // 2))
    lengths = [(6, (1, 3)), (longest, (5, 4))]

    def draw(n: int) -> list[int]:
        return cast("list[int]", torch.randint(3, table.shape[0] - 1, (n,), generator=generator).tolist())

    prompts = [draw(length) for length, _ in lengths]
    return (
        [prompt for prompt in prompts for _ in range(2)],
        [draw(length) for _, pair in lengths for length in pair],
    )


def _own_forward(base: SharedBase, ids: Ids) -> tuple[Tensor, Tensor]:
    """Final states (n, hidden) and logits (n, vocabulary) of one row, by the model's own `forward`."""
    kept: list[Tensor] = []
    hook = decoder_of(base.base).register_forward_hook(lambda _module, _args, output: kept.append(output[0]))
    row = torch.tensor([list(ids)], device=base.device)
    try:
        logits = base.base(input_ids=row, use_cache=False).logits
    except _FAILURES as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise _refused(base, f"its own forward pass on token ids fails ({reason})") from error
    finally:
        hook.remove()
    if len(kept) != 1 or kept[0].dim() != 3 or kept[0].shape[1] != len(ids):
        raise _refused(base, "it has no decoder from token ids to one state a token")
    return kept[0][0], logits[0]


def _check_causal(base: SharedBase, tried: Tried) -> None:
    """Refuse a model in which later tokens change what was said of earlier ones, or chance does: rows share prompts."""
    for row in range(0, len(tried.states), 2):
        shared = len(tried.prompts[row])
        if not close(tried.states[row][:shared], tried.states[row + 1][:shared], _precise(base)):
            raise _refused(base, "its states of earlier tokens change with later ones, or at random")


@torch.no_grad()
def _check_head(base: SharedBase, tried: Tried) -> None:
    assert tried.logits is not None
    for states, logits in zip(tried.states, tried.logits, strict=True):
        try:
            found = base.lm_head(states)
        except _FAILURES as error:
            raise _refused(base, f"its LM head cannot be computed from its states ({error})") from error
        if not torch.allclose(found.float(), logits.float(), rtol=1e-3, atol=1e-3 * float(logits.float().abs().max())):
            raise _refused(base, "its logits do not follow from its final states alone")


def _refused(base: SharedBase, reason: str) -> UserError:
    kind = type(base.base).__name__
    return UserError(f"{base.name} ({kind}) cannot be used: {reason}. Use another model.")
