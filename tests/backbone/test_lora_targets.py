"""`all-linear` reaches the linear layers of the language model, and nothing else."""

import math
import re
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel

from backbone.adapters import SharedBase, lora_config
from backbone.lora_targets import linear_layers, resolve_targets
from benchmarks.architectures import tiny_models
from foundation.errors import UserError
from tests.backbone.peft_adapters import config_of

ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
MLP = {"gate_proj", "up_proj", "down_proj"}


def _resolved(model: PreTrainedModel) -> set[str]:
    config = lora_config(4, 8)
    resolve_targets(model, config)
    assert not isinstance(config.target_modules, str)
    return set(config.target_modules or ())


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("llama", ATTENTION | MLP),
        ("gpt2", {"c_attn", "c_proj", "c_fc"}),
        ("mixtral", ATTENTION),
        ("qwen3_moe", ATTENTION),
        ("qwen2_moe", ATTENTION | MLP),
    ],
)
def test_heads_routers_and_stacked_experts_are_left_alone(base: SharedBase, kind: str, names: set[str]) -> None:
    model = AutoModelForCausalLM.from_config(config_of(kind))
    assert _resolved(model) == names
    shared = SharedBase(model, base.tokenizer, kind)
    for adapter in ("policy", "reward"):
        shared.add_adapter(adapter, lora_config(4, 8))
        keys = shared.parameters(adapter)
        assert {key.split(".lora_")[0].rpartition(".")[2] for key in keys} == names
    assert linear_layers(shared.base) == linear_layers(AutoModelForCausalLM.from_config(config_of(kind)))


def test_the_score_head_is_left_alone(tiny_model: Path) -> None:
    assert _resolved(AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)) == ATTENTION | MLP


def test_of_a_multimodal_model_only_the_language_model_is_reached(base: SharedBase) -> None:
    model = AutoModelForCausalLM.from_config(config_of("gemma3"))
    assert type(model).__name__ == "Gemma3ForConditionalGeneration"
    shared = SharedBase(model, base.tokenizer, "gemma3")
    shared.add_adapter("policy", lora_config(4, 8), trainable=True)
    names = list(shared.parameters("policy"))
    assert all(name.startswith("base_model.model.model.language_model.layers.") for name in names)
    assert len(names) == 2 * 2 * len(ATTENTION | MLP)


@pytest.mark.parametrize("kind", ["llama4_text", "phimoe", "jetmoe"])
def test_routers_that_are_linear_layers_are_left_alone(kind: str) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, num_hidden_layers=2))
    assert any("router" in name for name, _ in model.named_modules())
    names = linear_layers(model)
    assert names
    assert not any("router" in name for name in names)


@pytest.mark.parametrize(
    ("kind", "targets", "message"),
    [
        ("llama", ["q_proj", "query"], r'no layer named "query"\. Name some of down_proj, .*"all-linear"'),
        ("gpt2", ["q_proj"], r'no layer named "q_proj"\. Name some of c_attn'),
        ("mixtral", ["q_proj", "w1"], "w1 without also targeting w3"),
    ],
)
def test_names_of_no_layer_are_refused_even_beside_others(kind: str, targets: list[str], message: str) -> None:
    model = AutoModelForCausalLM.from_config(config_of(kind))
    with pytest.raises(UserError, match=message):
        resolve_targets(model, lora_config(4, 8, targets))


def test_experts_are_reached_by_the_names_that_they_had(base: SharedBase) -> None:
    shared = SharedBase(AutoModelForCausalLM.from_config(config_of("mixtral")), base.tokenizer, "mixtral")
    shared.add_adapter("policy", lora_config(4, 8, ["q_proj", "w1", "w2", "w3"]))
    assert any(".mlp.experts." in name for name in shared.parameters("policy"))


def test_a_layer_whose_adapter_peft_would_lose_carries_none_and_naming_it_is_refused(tmp_path: Path) -> None:
    model = tiny_models.tiny_model("laguna")  # its shared experts had another name in older checkpoints
    model.requires_grad_(False)
    base = SharedBase(model, tiny_models.tiny_tokenizer(), "laguna")
    with pytest.raises(UserError, match=r'PEFT would not find the adapter of "model\.layers\.1\.mlp\.shared_experts'):
        base.add_adapter("named", lora_config(2, 4, ("up_proj",)))
    base.add_adapter("all", lora_config(2, 4))
    with torch.no_grad():
        for weight in base.parameters("all").values():
            weight.normal_()
    base.save_adapter("all", tmp_path)
    loaded = PeftModel.from_pretrained(tiny_models.tiny_model("laguna"), tmp_path).state_dict()
    found = {name.replace(".default", ""): weight for name, weight in loaded.items() if "lora_" in name}
    assert found.keys() == base.parameters("all").keys()
    assert all(torch.equal(found[name], weight) for name, weight in base.parameters("all").items())


@pytest.mark.parametrize("kind", ["llama", "gpt2", "phi3", "falcon", "opt", "qwen2_moe", "lfm2"])
def test_only_the_last_blocks_carry_the_adapter(base: SharedBase, tmp_path: Path, kind: str) -> None:
    model = tiny_models.tiny_model(kind)
    blocks = {int(found[1]) for path in linear_layers(model) if (found := re.search(r"\.(\d+)\.", path))}
    config = lora_config(4, 8)
    resolve_targets(model, config, 0.5)
    shared = SharedBase(model, base.tokenizer, kind)
    shared.add_adapter("policy", config)
    reached = {int(found[1]) for name in shared.parameters("policy") if (found := re.search(r"\.(\d+)\.", name))}
    assert reached == set(sorted(blocks)[-math.ceil(len(blocks) / 2) :])
    shared.peft_model.save_pretrained(str(tmp_path), selected_adapters=["policy"], save_embedding_layers=False)
    loaded = PeftModel.from_pretrained(tiny_models.tiny_model(kind), tmp_path / "policy")
    again = [name for name, _ in loaded.named_parameters() if ".lora_A." in name]
    assert len(again) == sum(".lora_A." in name for name in shared.parameters("policy"))


def test_a_pattern_says_itself_which_layers_it_means(tiny_model: Path) -> None:
    config = lora_config(4, 8, r".*layers\.0\..*q_proj")
    resolve_targets(AutoModelForCausalLM.from_pretrained(tiny_model), config, 0.5)
    assert config.layers_to_transform is None
