"""Fused LoRA layers compute what PEFT's own do."""

import warnings
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel
from peft.tuners.lora import BdLoraConfig
from transformers import AutoModelForCausalLM

from backbone.adapters import SharedBase
from backbone.cpu.lora_layer import FusedLoRALinear, fuse_lora
from tests.backbone.peft_adapters import config_of

IDS = torch.tensor([[1, 5, 6, 7, 8, 9]])


def _model(base: SharedBase, **settings: object) -> PeftModel:
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=12, target_modules="all-linear", init_lora_weights=False, **settings)
    with warnings.catch_warnings(action="ignore"):  # that biases could not be merged
        return PeftModel(base.base, config)


def _outcome(model: PeftModel) -> tuple[torch.Tensor, list[torch.Tensor]]:
    logits = model(IDS).logits
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return logits, list(torch.autograd.grad(logits.square().mean(), weights, allow_unused=True))


def _compare(model: PeftModel, *, fused: bool = True) -> None:
    torch.manual_seed(1)
    expected, slopes = _outcome(model)
    fuse_lora(model)
    assert any(type(module) is FusedLoRALinear for module in model.modules()) == fused
    torch.manual_seed(1)
    found, ours = _outcome(model)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(ours, slopes, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_values_and_gradients_are_those_of_peft(base: SharedBase) -> None:
    _compare(_model(base))


@pytest.mark.parametrize(
    "settings",
    [
        {"use_dora": True},
        {"lora_dropout": 0.5},
        {"lora_bias": True},
        {"use_bdlora": BdLoraConfig(nblocks=2, target_modules_bd_a=["o_proj"], match_strict=False)},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_is_not_covered_is_left_to_peft(base: SharedBase, settings: dict[str, object]) -> None:
    _compare(_model(base, **settings).train())


def test_biases_that_are_trained_get_their_gradient(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, attention_bias=True)
    tuned = PeftModel(model, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False, bias="lora_only"))
    assert any(name.endswith("q_proj.base_layer.bias") and p.requires_grad for name, p in tuned.named_parameters())
    _compare(tuned)


def test_layers_of_another_layout_are_left_to_peft() -> None:
    model = AutoModelForCausalLM.from_config(config_of("gpt2"))
    with warnings.catch_warnings(action="ignore"):
        tuned = PeftModel(model, LoraConfig(r=4, target_modules=["c_attn", "c_proj"], init_lora_weights=False))
    _compare(tuned, fused=False)


def test_switched_off_and_merged_adapters_are_respected(base: SharedBase) -> None:
    model = _model(base)
    plain = _outcome(model)[0]
    fuse_lora(model)
    with model.disable_adapter(), torch.no_grad():
        off = model(IDS).logits
    assert (off - plain).abs().max() > 1e-3
    model.base_model.merge_adapter()
    with torch.no_grad():
        torch.testing.assert_close(model(IDS).logits, plain, atol=1e-4, rtol=1e-4)
    model.base_model.unmerge_adapter()


def test_several_adapters_at_once_are_left_to_peft(base: SharedBase) -> None:
    model = _model(base)
    model.add_adapter("second", LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    model.base_model.set_adapter(["default", "second"])
    _compare(model)
