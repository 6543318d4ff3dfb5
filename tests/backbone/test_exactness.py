"""What the engine computes is the model's own function, on one model of each kind that differs; others are refused."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from backbone.adapters import SharedBase, lora_config
from backbone.exactness import check
from backbone.logprobs import response_logprobs
from backbone.own_function import as_published
from backbone.sampling import SamplingConfig, sample
from benchmarks.tiny_models import tiny_model
from foundation.errors import UserError

PROMPTS = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16], [44, 45], [100, 101, 102, 103, 104]]
# How it is computed, and whether the head is more than the output embedding.
KINDS = {
    "llama": ("stream", "step", False),
    "qwen3": ("stream", "step", False),
    "mixtral": ("stream", "step", False),
    "granite": ("stream", "step", True),
    "cohere": ("stream", "step", True),
    "gpt2": ("stream", "step", False),
    "gemma2": ("padded", "cached", True),
    "gemma3_text": ("padded", "cached", False),
    "phi3": ("stream", "step", False),
    "gpt_oss": ("padded", "cached", False),
    "qwen3_5_text": ("padded", "cached", False),
    "lfm2": ("padded", "cached", False),
    "llama4_text": ("padded", "cached", False),
    "bloom": ("padded", "cached", False),
    "bart": ("padded", "cached_alone", False),
    "recurrent_gemma": ("padded", "recomputed", True),
    "mamba2": ("padded", "cached", False),
}
TARGETS = {"llama4_text": ("q_proj", "o_proj", "down_proj"), "mamba2": ("in_proj",)}


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Any) -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_model)
    return found


def _base(kind: str, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype = torch.float32) -> SharedBase:
    base = SharedBase(tiny_model(kind, dtype), tokenizer, kind)
    base.base.requires_grad_(False)
    check(base)
    return base


@pytest.mark.filterwarnings("ignore:fan_in_fan_out", "ignore:The following (rank|alpha)_pattern")
@pytest.mark.parametrize("kind", KINDS)
def test_sampled_scored_and_reference_logprobs_and_gradients_are_the_models_own(
    kind: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    base = _base(kind, tokenizer)
    scoring, decoding, own_head = KINDS[kind]
    assert (base.paths.scoring, base.paths.decoding, not base.linear_head) == (scoring, decoding, own_head)
    base.add_adapter("policy", lora_config(4, 8, TARGETS.get(kind, "all-linear")), trainable=True)
    weights = list(base.parameters("policy").values())
    with torch.no_grad():
        for number, weight in enumerate(weights):
            weight.copy_(torch.linspace(-0.2, 0.25, weight.numel()).view_as(weight).roll(number))
    config = SamplingConfig(max_new_tokens=12, temperature=0.7)
    with base.using("policy"):
        drawn = sample(base, PROMPTS, config, group=2)
        prompts, responses = [PROMPTS[one.prompt] for one in drawn], [one.response_ids for one in drawn]
        found = response_logprobs(base, prompts, responses, config.temperature)
        ours = torch.autograd.grad(found.logprobs.sum(), weights, allow_unused=True)
        wanted = [_own(base, *row, config.temperature) for row in zip(prompts, responses, strict=True)]
        theirs = torch.autograd.grad(torch.stack([row.sum() for row in wanted]).sum(), weights, allow_unused=True)
    for place, (one, logprobs) in enumerate(zip(drawn, wanted, strict=True)):
        torch.testing.assert_close(torch.tensor(one.logprobs), logprobs.detach(), atol=2e-4, rtol=0)
        torch.testing.assert_close(found.logprobs[place, : len(logprobs)], logprobs, atol=2e-4, rtol=0)
    for mine, its in zip(ours, theirs, strict=True):
        assert (mine is None) == (its is None)
        if mine is not None and its is not None:
            torch.testing.assert_close(mine, its, atol=2e-3 * float(its.abs().max()), rtol=0)
    with torch.no_grad():
        reference = response_logprobs(base, prompts, responses, config.temperature).logprobs
        for place, row in enumerate(zip(prompts, responses, strict=True)):
            logprobs = _own(base, *row, config.temperature)
            torch.testing.assert_close(reference[place, : len(logprobs)], logprobs, atol=2e-4, rtol=0)
            assert not torch.allclose(logprobs, wanted[place], atol=1e-3)  # else the adapter does nothing


def _own(base: SharedBase, prompt: list[int], response: list[int], temperature: float) -> torch.Tensor:
    """Log-probabilities of one response by the model's own forward pass, without anything of ours."""
    with as_published(base.base):
        logits = base.base(input_ids=torch.tensor([[*prompt, *response]])).logits[0].float() / temperature
    logprobs = torch.log_softmax(logits[len(prompt) - 1 : -1], -1)
    return logprobs.gather(-1, torch.tensor(response)[:, None]).squeeze(-1)


@pytest.mark.parametrize("kind", ["bert", "big_bird"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_that_looks_ahead_is_refused(kind: str, dtype: torch.dtype, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(UserError, match=r"states of earlier tokens change with later ones"):
        _base(kind, tokenizer, dtype)


def test_a_model_that_draws_at_random_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    base = SharedBase(tiny_model("llama"), tokenizer, "noisy")
    base.base.get_input_embeddings().register_forward_hook(lambda *args: nn.functional.dropout(args[2], 0.1))
    with pytest.raises(UserError, match="at random"):
        check(base)


def test_a_head_that_needs_more_than_the_final_states_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    base = SharedBase(tiny_model("llama"), tokenizer, "two-headed")
    forward = base.base.forward

    def biased(input_ids: torch.Tensor, **options: Any) -> Any:
        found = forward(input_ids=input_ids, **options)
        found.logits = found.logits + input_ids[..., None] * 0.01
        return found

    base.base.forward = biased
    with pytest.raises(UserError, match="do not follow from its final states"):
        check(base)


@pytest.mark.parametrize("kind", ["llama", "mixtral", "gemma2"])
def test_in_16_bits_the_same_ways_are_taken_and_the_weights_come_back(
    kind: str, tokenizer: PreTrainedTokenizerBase
) -> None:
    untouched = tiny_model(kind, torch.bfloat16).state_dict()
    base = _base(kind, tokenizer, torch.bfloat16)
    assert (base.paths.scoring, base.paths.decoding) == KINDS[kind][:2]
    for name, weight in base.base.state_dict().items():
        assert weight.dtype == untouched[name].dtype
        assert torch.equal(weight, untouched[name])


def test_a_way_that_computes_something_else_is_not_taken(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backbone.hidden_states._stream_states", lambda base, stream: torch.zeros(64, 64))
    base = _base("llama", tokenizer)
    assert base.paths.scoring == "padded"
