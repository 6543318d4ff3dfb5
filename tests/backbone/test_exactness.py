"""What the engine computes is the model's own function, on one model of each kind that differs; others are refused."""

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from backbone.adapters import SharedBase
from backbone.exactness import check
from benchmarks.architectures.__main__ import measure
from benchmarks.architectures.tiny_models import tiny_model
from foundation.errors import UserError

# How it is computed, and whether the head is more than the output embedding.
KINDS = {
    "llama": ("stream", "cache, own attention", "output embedding"),
    "qwen3": ("stream", "cache, own attention", "output embedding"),
    "mixtral": ("stream", "cache, own attention", "output embedding"),
    "granite": ("stream", "cache, own attention", "the model's own"),
    "cohere": ("stream", "cache, own attention", "the model's own"),
    "gpt2": ("stream", "cache, own attention", "output embedding"),
    "gemma2": ("padded", "cache", "the model's own"),
    "gemma3_text": ("padded", "cache", "output embedding"),
    "phi3": ("stream", "cache, own attention", "output embedding"),
    "gpt_oss": ("padded", "cache", "output embedding"),
    "qwen3_5_text": ("padded", "cache", "output embedding"),
    "lfm2": ("padded", "cache", "output embedding"),
    "llama4_text": ("padded", "cache", "output embedding"),
    "bloom": ("padded", "cache", "output embedding"),
    "bart": ("padded", "cache, by length", "output embedding"),
    "recurrent_gemma": ("padded", "none", "the model's own"),
    "mamba2": ("padded", "cache", "output embedding"),
}


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Any) -> PreTrainedTokenizerBase:
    found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tiny_model)
    return found


def _base(kind: str, tokenizer: PreTrainedTokenizerBase, dtype: torch.dtype = torch.float32) -> SharedBase:
    base = SharedBase(tiny_model(kind, dtype), tokenizer, kind)
    base.base.requires_grad_(False)
    check(base)
    return base


@pytest.mark.parametrize("kind", KINDS)
def test_logprobs_gradients_scores_and_exports_are_the_models_own(kind: str) -> None:
    found = measure(kind)
    assert (found.scoring, found.decoding, found.head) == KINDS[kind]
    assert found.exact, found


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


@pytest.mark.parametrize(("kind", "ways"), [("llama", ("stream", "step")), ("gemma2", ("padded", "cached"))])
def test_in_16_bits_the_same_ways_are_taken_and_the_weights_come_back(
    kind: str, ways: tuple[str, str], tokenizer: PreTrainedTokenizerBase
) -> None:
    untouched = tiny_model(kind, torch.bfloat16).state_dict()
    base = _base(kind, tokenizer, torch.bfloat16)
    assert (base.paths.scoring, base.paths.decoding) == ways
    for name, weight in base.base.state_dict().items():
        assert weight.dtype == untouched[name].dtype
        assert torch.equal(weight, untouched[name])


def test_a_way_that_computes_something_else_is_not_taken(
    tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backbone.hidden_states._stream_states", lambda base, stream: torch.zeros(64, 64))
    base = _base("llama", tokenizer)
    assert base.paths.scoring == "padded"


def test_a_forward_pass_that_fails_without_a_word_is_named(tokenizer: PreTrainedTokenizerBase) -> None:
    base = SharedBase(tiny_model("llama"), tokenizer, "silent")

    def fail(*args: Any, **options: Any) -> Any:
        raise NotImplementedError

    base.base.forward = fail
    with pytest.raises(UserError, match=r"fails \(NotImplementedError\)"):
        check(base)
