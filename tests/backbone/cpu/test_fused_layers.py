"""Fused LoRA layers compute what PEFT's own do."""

import pytest
import torch
from peft import LoraConfig, PeftModel
from transformers import LlamaConfig
from transformers.models.gemma.modeling_gemma import GemmaMLP, GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from backbone.adapters import SharedBase
from backbone.cpu.fused_layers import FusedLinear, FusedMLP, FusedRMSNorm, fuse_lora, fuse_mlps, fuse_norms

IDS = torch.tensor([[1, 5, 6, 7, 8, 9]])


def _model(base: SharedBase, **settings: object) -> PeftModel:
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=12, target_modules="all-linear", init_lora_weights=False, **settings)
    return PeftModel(base.base, config)


def _outcome(model: PeftModel) -> tuple[torch.Tensor, list[torch.Tensor]]:
    logits = model(IDS).logits
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return logits, list(torch.autograd.grad(logits.square().mean(), weights, allow_unused=True))


def _compare(model: PeftModel, *, fused: bool = True) -> None:
    torch.manual_seed(1)
    expected, slopes = _outcome(model)
    fuse_lora(model)
    assert any(type(module) is FusedLinear for module in model.modules()) == fused
    torch.manual_seed(1)
    found, ours = _outcome(model)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for mine, theirs in zip(ours, slopes, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-4)


def test_values_and_gradients_are_those_of_peft(base: SharedBase) -> None:
    _compare(_model(base))


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"lora_dropout": 0.5}], ids=["dora", "dropout"])
def test_what_is_not_covered_is_left_to_peft(base: SharedBase, settings: dict[str, object]) -> None:
    _compare(_model(base, **settings).train())


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


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_norms_and_their_gradients_are_those_of_transformers(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    theirs = LlamaRMSNorm(12).to(dtype)
    torch.nn.init.normal_(theirs.weight)
    ours = torch.nn.ModuleList([LlamaRMSNorm(12).to(dtype)])
    ours.load_state_dict({"0.weight": theirs.weight})
    fuse_norms(ours)
    assert type(ours[0]) is FusedRMSNorm
    x = torch.randn(2, 5, 12, dtype=dtype, requires_grad=True)
    along = torch.randn(2, 5, 12, dtype=dtype)
    assert torch.equal(ours[0](x), theirs(x))
    near = {"atol": 0.05, "rtol": 0.02} if dtype == torch.bfloat16 else {"atol": 1e-5, "rtol": 1e-5}
    for found, expected in zip(
        torch.autograd.grad(ours[0](x), (x, ours[0].weight), along),
        torch.autograd.grad(theirs(x), (x, theirs.weight), along),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, **near)


def test_norms_of_another_form_stay_as_they_are() -> None:
    class ShiftedRMSNorm(LlamaRMSNorm):
        def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
            return super().forward(hidden_states) + hidden_states

    model = torch.nn.ModuleList([ShiftedRMSNorm(12), GemmaRMSNorm(12)])
    fuse_norms(model)
    assert [type(module) for module in model] == [ShiftedRMSNorm, GemmaRMSNorm]


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
