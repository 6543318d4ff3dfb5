"""Adapters of every kind compute what plain transformers and PEFT compute from the same folder."""

import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from policy.export import merge
from tests.backbone.peft_adapters import IDS, logits, make_model, plain_adapter
from tests.shared_base import load

ATTENTION = ["q_proj", "v_proj"]
EVERY = [*ATTENTION, "k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "rank-stabilised": ("llama", {"target_modules": EVERY, "use_rslora": True}),
    "patterns": ("llama", {"target_modules": EVERY, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}}),
    "one layer": ("llama", {"target_modules": ATTENTION, "layers_to_transform": [1]}),
    "regular expression": ("llama", {"target_modules": r".*\.1\..*_proj", "exclude_modules": ["down_proj"]}),
    "biases of its own": ("llama", {"target_modules": EVERY, "lora_bias": True}),
    "mergeable biases": ("biased llama", {"target_modules": ATTENTION, "lora_bias": True}),
    "DoRA": ("llama", {"target_modules": EVERY, "use_dora": True}),
    "head, tied": ("llama", {"target_modules": [*ATTENTION, "lm_head"]}),
    "head, untied": ("untied llama", {"target_modules": [*ATTENTION, "lm_head"]}),
    "embeddings, tied": ("llama", {"target_modules": [*ATTENTION, "embed_tokens"]}),
    "embeddings and head": ("untied llama", {"target_modules": ["embed_tokens", "lm_head"]}),
    "Conv1D": ("gpt2", {"target_modules": ["c_attn", "c_proj"]}),
    "Conv1D, DoRA": ("gpt2", {"target_modules": ["c_attn", "c_proj"], "use_dora": True}),
    "experts": ("mixtral", {"target_modules": "all-linear"}),
    "experts named as before": ("qwen3_moe", {"target_modules": EVERY}),
    "stacked experts": ("mixtral", {"target_modules": ATTENTION, "target_parameters": ["experts.down_proj"]}),
}
UNMERGED = {kind for kind in KINDS if "experts" in kind or "DoRA" in kind or "biases" in kind or "tied" in kind} - {
    "head, untied"
} | {"embeddings and head"}


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {kind: make_model(kind, folder / kind, tiny_model) for kind in {kind for kind, _ in KINDS.values()}}


def _gradients(output: torch.Tensor, parameters: dict[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    return dict(zip(parameters, torch.autograd.grad(output.square().sum(), list(parameters.values())), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_adapter_reference_gradients_and_merges_are_those_of_peft(
    models: dict[str, Path], tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, settings = models[KINDS[kind][0]], KINDS[kind][1]
    tuned = plain_adapter(model, tmp_path / "adapter", **settings)
    base = load(model)
    base.load_adapter("policy", tmp_path / "adapter", trainable=True)
    expected = logits(tuned)
    with tuned.disable_adapter(), torch.no_grad():
        reference = logits(tuned)
    assert (expected - reference).abs().max() > 0.05

    torch.testing.assert_close(_ours(base), reference, atol=1e-5, rtol=1e-5)
    with base.using("policy"):
        found = _ours(base)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    base.check_trainable("policy")
    theirs = {
        name.replace(".default", "").replace("magnitude_vector.weight", "magnitude_vector"): parameter
        for name, parameter in tuned.named_parameters()
        if parameter.requires_grad
    }
    slopes, ours = _gradients(expected, theirs), _gradients(found, base.parameters("policy"))
    assert ours.keys() == slopes.keys()
    for name, slope in slopes.items():
        assert (ours[name] - slope).norm() <= 1e-4 * slope.norm(), name

    with base.merged("policy"):
        torch.testing.assert_close(_ours(base), expected.detach(), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(_ours(base), reference, atol=1e-5, rtol=1e-5)
    assert ("cannot be merged exactly" in caplog.text) == (kind in UNMERGED)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "biases of its own"])
def test_a_merged_folder_computes_what_the_adapter_does(models: dict[str, Path], tmp_path: Path, kind: str) -> None:
    model, settings = models[KINDS[kind][0]], KINDS[kind][1]
    expected = logits(plain_adapter(model, tmp_path / "adapter", **settings))
    merge(tmp_path / "adapter", tmp_path / "merged", str(model))
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    torch.testing.assert_close(logits(merged), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "mixtral"])
def test_a_16_bit_base_is_merged_as_well(tiny_model: Path, tmp_path: Path, kind: str) -> None:
    model = make_model(kind, tmp_path / "model", tiny_model, torch.bfloat16)
    plain_adapter(model, tmp_path / "adapter", target_modules=["c_attn", "c_proj"] if kind == "gpt2" else ATTENTION)
    base = load_shared_base(str(model), "bfloat16", "cpu")
    base.load_adapter("policy", tmp_path / "adapter")
    reference = _ours(base).float()
    with base.using("policy"), torch.no_grad():
        expected = _ours(base).float()
    with base.merged("policy"):
        merged = _ours(base).float()
    merge(tmp_path / "adapter", tmp_path / "merged", str(model))
    written = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert written.dtype == torch.bfloat16
    for found in (merged, logits(written).float()):
        assert (found - expected).norm() < 0.05 * (reference - expected).norm()


@pytest.mark.parametrize("kind", ["DoRA", "mergeable biases", "embeddings, tied", "experts named as before"])
def test_an_adapter_saved_here_is_read_by_peft(models: dict[str, Path], tmp_path: Path, kind: str) -> None:
    name, settings = KINDS[kind]
    plain_adapter(models[name], tmp_path / "one", **settings)
    base = load(models[name])
    base.load_adapter("policy", tmp_path / "one", trainable=True)
    masters = {key: value.detach() * 1.1 for key, value in base.parameters("policy").items()}
    base.save_adapter("policy", tmp_path / "two", masters)
    with torch.no_grad():
        for key, value in base.parameters("policy").items():
            value.copy_(masters[key])
    model = AutoModelForCausalLM.from_pretrained(models[name], dtype=torch.float32)
    with warnings.catch_warnings(action="ignore"):
        again = PeftModel.from_pretrained(model, tmp_path / "two")
    with base.using("policy"), torch.no_grad():
        torch.testing.assert_close(logits(again), _ours(base), atol=1e-5, rtol=1e-5)


def test_a_layer_that_the_model_goes_past_is_not_merged(models: dict[str, Path], tmp_path: Path) -> None:
    plain_adapter(models["llama"], tmp_path / "adapter", target_modules=ATTENTION)
    base = load(models["llama"])
    base.load_adapter("policy", tmp_path / "adapter")
    layer = base.base.model.layers[0].self_attn.q_proj
    layer.register_forward_pre_hook(lambda *_: None)
    base.base.model.layers[0].self_attn.q_proj = _Past(layer)
    with base.using("policy"):
        expected = _ours(base)
    with base.merged("policy"):
        torch.testing.assert_close(_ours(base), expected)


class _Past(torch.nn.Module):
    """A layer that reads another's weight, as kernels of state-space models do."""

    def __init__(self, layer: torch.nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.layer.weight.T


def test_an_adapter_of_another_base_is_used_with_a_word(
    models: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plain_adapter(models["llama"], tmp_path / "adapter", target_modules=ATTENTION)
    base = load(models["untied llama"])
    with caplog.at_level(logging.WARNING):
        base.load_adapter("policy", tmp_path / "adapter")
    assert "was made for" in caplog.text
    caplog.clear()
    load(models["llama"]).load_adapter("policy", tmp_path / "adapter")
    assert not caplog.text


def _ours(base: SharedBase) -> torch.Tensor:
    """The logits of `IDS` under the active adapter, with a gradient."""
    return base.lm_head(base.hidden_states(IDS, torch.ones_like(IDS)))[0]
