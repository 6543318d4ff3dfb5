"""Recomputing activations changes nothing: on random models whose layers drop half of what they compute in training."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from backbone.adapters import SharedBase
from backbone.logprobs import response_logprobs
from backbone.training.activation_checkpointing import checkpointed
from backbone.training.evaluation_mode import evaluation_mode
from foundation.errors import UserError
from tests.shared_base import add_random_adapter

WIDE = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}
OPT = {**WIDE, "ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.5, "attention_dropout": 0.5, "layerdrop": 0.5}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "opt": OPT,
    "xglm": {
        "num_layers": 2, "d_model": 32, "attention_heads": 4, "ffn_dim": 64,
        "dropout": 0.5, "attention_dropout": 0.5, "activation_dropout": 0.5, "layerdrop": 0.5,
    },
    "biogpt": {
        **WIDE, "intermediate_size": 64, "hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5,
        "activation_dropout": 0.5, "layerdrop": 0.5,
    },
    "falcon": {**WIDE, "hidden_dropout": 0.5, "attention_dropout": 0.5, "new_decoder_architecture": False},
    "gpt2": {"n_layer": 2, "n_embd": 32, "n_head": 4, "resid_pdrop": 0.5, "attn_pdrop": 0.5, "embd_pdrop": 0.5},
    "gpt_neox": {**WIDE, "intermediate_size": 64, "hidden_dropout": 0.5, "attention_dropout": 0.5},
    "bloom": {"n_layer": 2, "hidden_size": 32, "n_head": 4, "hidden_dropout": 0.5, "attention_dropout": 0.5},
    "llama": {**WIDE, "num_key_value_heads": 4, "intermediate_size": 64, "attention_dropout": 0.5},
}  # fmt: skip
PROMPT_IDS = [[1, 5, 6], [1, 9, 10, 11]]
RESPONSES = [[40, 41, 42], [50, 2]]


def make(kind: str, tiny_model: Path, **settings: Any) -> SharedBase:
    """A random model of this architecture in evaluation mode, with a random adapter that is to be trained."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), pad_token_id=0, bos_token_id=1, eos_token_id=2)
    for name, value in settings.items():
        assert hasattr(config, name), f"{kind} has no {name}"
        setattr(config, name, value)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    base = SharedBase(model, tokenizer, kind)
    add_random_adapter(base, "policy", trainable=True)
    return base


def computed(base: SharedBase) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Log-probabilities of the responses, and the gradient of the square of their sum."""
    with base.using("policy"):
        logprobs = response_logprobs(base, PROMPT_IDS, RESPONSES).logprobs
        logprobs.sum().square().backward()  # type: ignore[no-untyped-call]
    gradient = {}
    for name, weight in base.parameters("policy").items():
        assert weight.grad is not None
        gradient[name], weight.grad = weight.grad, None
    return logprobs.detach(), gradient


@contextmanager
def as_trainers_do(model: PreTrainedModel) -> Iterator[None]:
    """Training mode for everything, asked for inside `evaluation_mode`, as a trainer does before each step."""
    with evaluation_mode(model):
        model.train()
        yield
    model.train()  # it can be set again afterwards
    assert all(module.training for module in model.modules())
    model.eval()


@pytest.mark.filterwarnings("ignore:fan_in_fan_out")  # PEFT corrects it for the layers of GPT-2
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_recomputing_activations_changes_neither_logprobs_nor_gradients(kind: str, tiny_model: Path) -> None:
    base = make(kind, tiny_model, **ARCHITECTURES[kind])
    logprobs, gradient = computed(base)
    assert max(float(value.abs().max()) for value in gradient.values()) > 1e-3
    for mode in (nullcontext(), as_trainers_do(base.base)):
        with mode, checkpointed(base.base):
            found, found_gradient = computed(base)
            assert not any(module.training for module in base.base.modules())
        torch.testing.assert_close(found, logprobs, atol=1e-5, rtol=1e-5)
        for name, value in gradient.items():
            torch.testing.assert_close(found_gradient[name], value, atol=1e-4, rtol=1e-4)


def test_every_layer_is_computed_again_in_the_backward_pass(tiny_model: Path) -> None:
    base = make("opt", tiny_model, **OPT)
    calls: list[int] = []
    for number, layer in enumerate(base.base.model.decoder.layers):
        layer.fc1.register_forward_hook(lambda *_, number=number: calls.append(number))
    with checkpointed(base.base):
        computed(base)
    assert sorted(calls) == [0, 0, 1, 1]


def test_afterwards_the_model_is_as_before(tiny_model: Path) -> None:
    base = make("llama", tiny_model, **ARCHITECTURES["llama"])
    layer = base.base.model.layers[0]
    layer.forward = hooked = layer.forward  # as accelerate sets it
    with checkpointed(base.base):
        assert base.base.is_activation_checkpointing
        assert layer.forward is not hooked
    assert layer.forward is hooked
    assert not base.base.is_activation_checkpointing
    assert all("forward" not in vars(module) for module in base.base.modules() if module is not layer)


def test_a_model_without_layers_to_recompute_is_refused(tiny_model: Path) -> None:
    settings = {"n_layer": 1, "n_embd": 32, "n_head": 4, "dff": 64}
    base = make("ctrl", tiny_model, **settings)
    with pytest.raises(UserError, match="CTRLLMHeadModel cannot be recomputed"), checkpointed(base.base):
        pass
