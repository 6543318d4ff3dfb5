"""Fused gated MLPs compute what those of transformers do, and keep less."""

import pytest
import torch
from peft import LoraConfig, PeftModel
from transformers import LlamaConfig
from transformers.models.gemma.modeling_gemma import GemmaMLP
from transformers.models.llama.modeling_llama import LlamaMLP

from backbone.adapters import SharedBase
from backbone.cpu.gated_mlp import FusedMLP, fuse_mlps
from backbone.cpu.lora_layer import fuse_lora

IDS = torch.tensor([[1, 5, 6, 7, 8, 9]])


def _model(base: SharedBase, **settings: object) -> PeftModel:
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=12, target_modules="all-linear", init_lora_weights=False, **settings)
    return PeftModel(base.base, config)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("targets", [["gate_proj", "up_proj", "down_proj"], ["down_proj"], ["gate_proj"]])
def test_mlps_and_their_gradients_are_those_of_transformers(dtype: torch.dtype, targets: list[str]) -> None:
    torch.manual_seed(0)
    holder = torch.nn.Sequential(LlamaMLP(LlamaConfig(hidden_size=32, intermediate_size=20)))
    lora = LoraConfig(r=4, lora_alpha=12, target_modules=targets, init_lora_weights=False)
    model = PeftModel(holder.to(dtype), lora, autocast_adapter_dtype=False)
    fuse_lora(model)
    mlp = holder[0]
    x = torch.randn(2, 5, 32, dtype=dtype, requires_grad=True)
    along = torch.randn(2, 5, 32, dtype=dtype)
    weights = [x, *(weight for weight in model.parameters() if weight.requires_grad)]
    expected = mlp(x)
    slopes = torch.autograd.grad(expected, weights, along)
    mlp.__class__ = FusedMLP
    found = mlp(x)
    assert torch.equal(found, expected)
    for mine, theirs in zip(torch.autograd.grad(found, weights, along), slopes, strict=True):
        assert torch.equal(mine, theirs)
    assert torch.equal(_without_gradients(mlp, x), expected)


def _without_gradients(mlp: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return mlp(x)


def test_a_fused_mlp_keeps_two_tensors_of_its_width(base: SharedBase) -> None:
    model = _model(base)
    fuse_lora(model)
    mlps = [module for module in model.modules() if type(module) is FusedMLP]
    width = base.base.config.intermediate_size
    kept = set()

    def seen(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.shape[-1] == width and tensor.shape[-2] == IDS.numel():
            kept.add(tensor.untyped_storage().data_ptr())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(seen, lambda tensor: tensor):
        logits = model(IDS).logits
    assert mlps
    assert len(kept) == 2 * len(mlps)
    logits.sum().backward()


def test_only_mlps_of_that_form_are_fused() -> None:
    config = LlamaConfig(hidden_size=32, intermediate_size=20)
    gelu = LlamaConfig(hidden_size=32, intermediate_size=20, hidden_act="gelu")
    model = torch.nn.ModuleList([LlamaMLP(config), LlamaMLP(gelu), GemmaMLP(gelu)])
    fuse_mlps(model)
    assert [type(module) for module in model] == [FusedMLP, LlamaMLP, GemmaMLP]
