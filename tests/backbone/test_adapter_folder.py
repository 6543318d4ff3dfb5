"""What no LoRA can be computed from is refused before a model is loaded; what does nothing is known to."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from backbone.adapter_folder import CONFIG, WEIGHTS, read_adapter
from backbone.adapters import SharedBase
from backbone.loading.saved_weights import changes_nothing, same_weights
from foundation.errors import UserError
from policy.export import merge
from tests.backbone.peft_adapters import plain_adapter
from tests.shared_base import add_random_adapter


@pytest.fixture
def folder(base: SharedBase, tmp_path: Path) -> Path:
    """A good adapter."""
    add_random_adapter(base, "policy")
    base.save_adapter("policy", tmp_path / "adapter")
    return tmp_path / "adapter"


def _set(folder: Path, **settings: Any) -> None:
    file = folder / CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def _refused(folder: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read_adapter(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bias": "lora_only"}, '"bias" is set to .lora_only.*Merge it into its base'),
        ({"bias": "all"}, '"bias" is set to .all'),
        ({"modules_to_save": ["score", "lm_head"]}, r"replaces whole layers \(lm_head\)"),
        ({"trainable_token_indices": [3, 4]}, '"trainable_token_indices" is set'),
        ({"layer_replication": [[0, 1], [0, 1]]}, '"layer_replication" is set'),
        ({"alora_invocation_tokens": [5]}, '"alora_invocation_tokens" is set'),
        ({"use_bdlora": {"nblocks": 2}}, '"use_bdlora" is set'),
        ({"ensure_weight_tying": True}, '"ensure_weight_tying" is set'),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa_niter_4. it needs changed base weights"),
        ({"init_lora_weights": "loftq", "loftq_config": {"loftq_bits": 4}}, "loftq"),
        ({"init_lora_weights": "mica"}, "mica"),
        ({"use_later_invention": True}, '"use_later_invention" is set, which PEFT learned'),
        ({"r": 0}, "has rank 0"),
        ({"rank_pattern": {"q_proj": -1}}, "has rank -1"),
        ({"lora_alpha": float("nan")}, '"lora_alpha" nan'),
        ({"alpha_pattern": {"q_proj": float("inf")}}, '"lora_alpha" inf'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_settings_that_no_plain_lora_has_are_refused(folder: Path, settings: dict[str, Any], message: str) -> None:
    _set(folder, **settings)
    _refused(folder, message)


@pytest.mark.parametrize(
    "settings",
    [{"init_lora_weights": "gaussian"}, {"use_later_invention": None}, {"modules_to_save": ["classifier", "score"]}],
)
def test_settings_that_change_nothing_are_allowed(base: SharedBase, folder: Path, settings: dict[str, Any]) -> None:
    _set(folder, **settings)
    base.load_adapter("another", folder)


def test_a_relative_of_lora_is_refused(folder: Path) -> None:
    AdaLoraConfig(total_step=10, target_modules=["q_proj"]).save_pretrained(folder)
    _refused(folder, "AdaLoraConfig; only LoRA")


def test_weights_that_are_no_numbers_are_refused(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    name = next(iter(weights))
    weights[name][0, 0] = torch.nan
    save_file(weights, folder / WEIGHTS)
    _refused(folder, "1 of the adapter's weights .* not finite numbers")


def test_an_adapter_with_a_larger_vocabulary_is_refused(base: SharedBase, tiny_model: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    model.resize_token_embeddings(base.base.config.vocab_size + 8, mean_resizing=False)
    tuned = get_peft_model(model, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    tuned.save_pretrained(tmp_path, save_embedding_layers=True)
    with pytest.raises(UserError, match=r"lm_head\.weight.*a larger vocabulary"):
        base.load_adapter("policy", tmp_path)
    assert base.adapters == []


def test_an_adapter_saved_with_trained_embeddings_is_refused(
    base: SharedBase, tiny_model: Path, tmp_path: Path
) -> None:
    plain_adapter(tiny_model, tmp_path / "adapter", target_modules=["q_proj", "embed_tokens"])
    base.load_adapter("unchanged", tmp_path / "adapter")
    weights = load_file(tmp_path / "adapter" / WEIGHTS)
    saved = next(name for name in weights if name.endswith("embed_tokens.base_layer.weight"))
    weights[saved] = weights[saved] + 0.01
    save_file(weights, tmp_path / "adapter" / WEIGHTS)
    with pytest.raises(UserError, match="carries weights of its base"):
        base.load_adapter("changed", tmp_path / "adapter")


def test_merging_refuses_weights_that_would_be_left_out(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({name.replace("model.model.", "model."): value for name, value in weights.items()}, folder / WEIGHTS)
    with pytest.raises(UserError, match="does not fit"):
        merge(folder, tmp_path / "merged", str(tiny_model))
    assert not (tmp_path / "merged").exists()


def test_merging_refuses_biases_that_have_no_place(tiny_model: Path, tmp_path: Path) -> None:
    plain_adapter(tiny_model, tmp_path / "adapter", target_modules=["q_proj"], lora_bias=True)
    with pytest.raises(UserError, match=r"cannot be merged: .*base layer has no bias\. Use it"):
        merge(tmp_path / "adapter", tmp_path / "merged", str(tiny_model))


def test_merging_refuses_a_sum_that_is_another_model(
    folder: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Linear.get_delta_weight
    monkeypatch.setattr(Linear, "get_delta_weight", lambda layer, name: 0.9 * whole(layer, name))
    with pytest.raises(UserError, match=r"cannot be merged: .* another model"):
        merge(folder, tmp_path / "merged", str(tiny_model))
    assert not (tmp_path / "merged").exists()


def _zeroed(folder: Path, part: str) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({name: torch.zeros_like(v) if part in name else v for name, v in weights.items()}, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("settings", "zeroed", "nothing"),
    [
        ({}, "lora_B", True),
        ({}, "lora_A", True),
        ({}, "q_proj.lora_B", False),
        ({}, "no such", False),
        ({"use_dora": True}, "lora_B", False),
        ({"lora_bias": True}, "lora_B.weight", False),
        ({"lora_bias": True}, "lora_B", True),
    ],
)
def test_an_adapter_that_changes_nothing_is_known(
    tiny_model: Path, tmp_path: Path, settings: dict[str, Any], zeroed: str, nothing: bool
) -> None:
    plain_adapter(tiny_model, tmp_path / "adapter", target_modules=["q_proj", "v_proj"], **settings)
    _zeroed(tmp_path / "adapter", zeroed)
    assert changes_nothing(tmp_path / "adapter") == nothing


def test_a_new_adapter_changes_nothing_whatever_its_score_head(tiny_model: Path, tmp_path: Path) -> None:
    classifier = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    get_peft_model(classifier, LoraConfig(task_type="SEQ_CLS", target_modules="all-linear")).save_pretrained(tmp_path)
    assert changes_nothing(tmp_path)


def test_adapters_are_the_same_if_their_numbers_are(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        plain_adapter(tiny_model, tmp_path / name)
    assert same_weights(tmp_path / "one", tmp_path / "one")
    weights = load_file(tmp_path / "one" / WEIGHTS)
    save_file(weights, tmp_path / "other" / WEIGHTS)
    assert same_weights(tmp_path / "one", tmp_path / "other")
    first = next(iter(weights))
    save_file(weights | {first: weights[first] + 1}, tmp_path / "other" / WEIGHTS)
    assert not same_weights(tmp_path / "one", tmp_path / "other")


def test_the_same_weights_give_the_same_file(base: SharedBase, folder: Path) -> None:
    # The library writes metadata in any order; a champion is known in another run by the hash of this file.
    written = set()
    for number in range(12):
        base.save_adapter("policy", folder.with_name(f"again-{number}"))
        written.add((folder.with_name(f"again-{number}") / WEIGHTS).read_bytes())
    assert len(written) == 1
