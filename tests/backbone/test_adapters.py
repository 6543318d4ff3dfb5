import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, VeraConfig, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

from backbone.adapter_folder import CONFIG, WEIGHTS
from backbone.adapters import SharedBase, lora_config
from backbone.exactness import load_shared_base
from foundation.errors import UserError
from tests.shared_base import add_random_adapter, load, logits

IDS = [1, 5, 6, 7, 200, 9, 2]


def test_a_new_adapter_changes_nothing(base: SharedBase) -> None:
    before = logits(base, IDS)
    base.add_adapter("policy", lora_config(4, 8), trainable=True)
    with base.using("policy"):
        assert torch.equal(logits(base, IDS), before)


def test_each_name_computes_with_its_own_adapter_and_none_with_the_base(base: SharedBase) -> None:
    reference = logits(base, IDS)
    for seed, name in enumerate(["policy", "reward"]):
        add_random_adapter(base, name, seed=seed)
    assert torch.equal(logits(base, IDS), reference)
    with base.using("policy"):
        policy = logits(base, IDS)
        with base.using("reward"):
            reward = logits(base, IDS)
            with base.using(None):
                assert torch.equal(logits(base, IDS), reference)
            assert torch.equal(logits(base, IDS), reward)
        assert torch.equal(logits(base, IDS), policy)
    for one, other in [(policy, reference), (reward, reference), (policy, reward)]:
        assert (one - other).abs().max() > 0.01
    assert torch.equal(logits(base, IDS), reference)


def test_an_exception_inside_leaves_the_base(base: SharedBase) -> None:
    reference = logits(base, IDS)
    add_random_adapter(base, "policy")
    with pytest.raises(RuntimeError, match="stop"), base.using("policy"):
        raise RuntimeError("stop")
    assert torch.equal(logits(base, IDS), reference)


def test_an_adapter_that_is_not_there_leaves_the_base(base: SharedBase) -> None:
    reference = logits(base, IDS)
    add_random_adapter(base, "policy")
    with pytest.raises(ValueError, match="nope"), base.using("nope"):
        pass
    assert torch.equal(logits(base, IDS), reference)


def test_an_adapter_is_the_same_after_saving_and_loading(base: SharedBase, tiny_model: Path, tmp_path: Path) -> None:
    add_random_adapter(base, "policy")
    base.save_adapter("policy", tmp_path)
    other = load(tiny_model)
    other.load_adapter("another", tmp_path)
    with base.using("policy"), other.using("another"):
        assert torch.equal(logits(base, IDS), logits(other, IDS))


def test_an_adapter_of_any_rank_is_loaded_beside_another(base: SharedBase, tiny_model: Path, tmp_path: Path) -> None:
    add_random_adapter(base, "wide", rank=7)
    base.save_adapter("wide", tmp_path)
    other = load(tiny_model)
    add_random_adapter(other, "policy", rank=2, trainable=True)
    other.load_adapter("wide", tmp_path)
    with base.using("wide"), other.using("wide"):
        assert torch.equal(logits(base, IDS), logits(other, IDS))


def test_master_copies_are_saved_in_place_of_what_is_in_memory(base: SharedBase, tmp_path: Path) -> None:
    add_random_adapter(base, "policy")
    master = {name: value.detach() + 1 for name, value in base.parameters("policy").items()}
    base.save_adapter("policy", tmp_path, master)
    saved = load_file(tmp_path / WEIGHTS)
    assert saved.keys() == master.keys()
    assert all(torch.equal(saved[name], master[name]) for name in master)


SETTINGS: dict[str, dict[str, object]] = {
    "other layers": {"target_modules": ["no_such_layer"]},
    "some layers": {"target_modules": ["q_proj", "norm"]},  # PEFT fails at the second kind
    "no pattern": {"exclude_modules": "("},
    "no mapping": {"rank_pattern": [4]},
    "vast rank": {"r": 10**9},
    "vast scale": {"lora_alpha": 10**400},
}


def _foreign(folder: Path, what: str) -> None:
    """Turn a good adapter folder into one that does not fit."""
    weights = load_file(folder / WEIGHTS)
    name = next(iter(weights))
    if what == "missing weight":
        del weights[name]
    elif what == "unknown weight":
        weights["base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight"] = torch.ones(4, 32)
    elif what == "other size":
        weights[name] = torch.ones(4, 33)
    elif what == "head of other width":
        weights["base_model.model.score.weight"] = torch.ones(1, 48)
    save_file(weights, folder / WEIGHTS)
    if what == "cut short":
        content = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(content[:-8])
    elif what == "config cut short":
        (folder / CONFIG).write_text((folder / CONFIG).read_text()[:40])
    elif what == "no config":
        (folder / CONFIG).unlink()
    elif what == "no LoRA":
        VeraConfig(r=4, target_modules=["q_proj"]).save_pretrained(folder)
    elif what == "too deep":
        (folder / CONFIG).write_text("[" * 100_000)
    elif what in SETTINGS:
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps(config | SETTINGS[what]))
    elif what in ("scalar head", "integers"):
        weights = load_file(folder / WEIGHTS)
        head = {"base_model.model.score.weight": torch.tensor(1.0)}
        weights = weights | head if what == "scalar head" else {name: value.int() for name, value in weights.items()}
        save_file(weights, folder / WEIGHTS)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("missing weight", "does not fit .* 1 of its weights are missing"),
        ("unknown weight", "1 are unknown"),
        ("other size", "1 of its weights are missing or of another size"),
        ("head of other width", "score head .* is 48 wide, .* is 32"),
        ("cut short", "cannot be read"),
        ("config cut short", "cannot be read"),
        ("no config", "is not an adapter folder"),
        ("no LoRA", "only LoRA adapters"),
        ("other layers", "cannot put the adapter"),
        ("some layers", "cannot put the adapter .* is not supported"),
        ("no pattern", "cannot put the adapter .* unterminated subpattern"),
        ("no mapping", '"rank_pattern" that is no mapping'),
        ("vast rank", "says rank 1000000000, and none of its weights"),
        ("vast scale", "which is no finite number"),
        ("scalar head", "score head .* is 0 wide"),
        ("integers", "is no floating-point number"),
        ("too deep", "cannot be read"),
    ],
)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another"])
def test_an_adapter_that_does_not_fit_is_refused_and_leaves_no_trace(
    base: SharedBase, tiny_model: Path, tmp_path: Path, what: str, message: str, beside: bool
) -> None:
    add_random_adapter(base, "good")
    base.save_adapter("good", tmp_path / "good")
    base.save_adapter("good", tmp_path / "bad")
    _foreign(tmp_path / "bad", what)
    other = load(tiny_model)
    reference = logits(other, IDS)
    if beside:
        add_random_adapter(other, "policy", seed=9, trainable=True)
    known = other.adapters
    with pytest.raises(UserError, match=message):
        other.load_adapter("reward", tmp_path / "bad", trainable=not beside)
    assert other.adapters == known
    assert other.heads == {}
    assert not [name for name, _ in other.base.named_parameters() if ".reward." in name]
    assert beside or not [module for module in other.base.modules() if isinstance(module, BaseTunerLayer)]
    assert other.trainable == ("policy" if beside else None)
    assert torch.equal(logits(other, IDS), reference)
    other.load_adapter("reward", tmp_path / "good")
    with base.using("good"), other.using("reward"):
        assert torch.equal(logits(base, IDS), logits(other, IDS))


def test_an_adapter_of_a_model_with_another_hidden_size_is_refused(
    base: SharedBase, tiny_model: Path, tmp_path: Path
) -> None:
    config = LlamaConfig.from_pretrained(tiny_model, hidden_size=48, intermediate_size=80)
    foreign = SharedBase(LlamaForCausalLM(config), base.tokenizer, "wide-model")
    add_random_adapter(foreign, "policy")
    foreign.save_adapter("policy", tmp_path)
    with pytest.raises(UserError, match=r"does not fit .*It was made for wide-model"):
        base.load_adapter("policy", tmp_path)


def test_merged_computes_what_the_adapter_does_and_gives_the_base_back(base: SharedBase) -> None:
    add_random_adapter(base, "policy", trainable=True)
    before = {name: value.clone() for name, value in base.base.state_dict().items()}
    with base.using("policy"):
        side = logits(base, IDS)
    with base.merged("policy"):
        merged = logits(base, IDS)
    with pytest.raises(RuntimeError, match="stop"), base.merged("policy"):
        raise RuntimeError("stop")
    torch.testing.assert_close(merged, side, atol=1e-5, rtol=0)
    after = base.base.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_bfloat16_base_comes_back_bit_for_bit(tiny_model: Path) -> None:
    base = load_shared_base(str(tiny_model), "bfloat16", "cpu")
    add_random_adapter(base, "policy")
    assert {parameter.dtype for parameter in base.parameters("policy").values()} == {torch.bfloat16}
    before = {name: value.clone() for name, value in base.base.state_dict().items()}
    with base.using("policy"), torch.no_grad():
        side = logits(base, IDS)
    plain = logits(base, IDS)
    with base.merged("policy"):
        merged = logits(base, IDS)
    assert (merged - side).norm() < 0.05 * (side - plain).norm()
    assert torch.equal(logits(base, IDS), plain)
    assert all(torch.equal(value, before[name]) for name, value in base.base.state_dict().items())


def test_only_the_trainable_adapter_ever_requires_gradients(base: SharedBase, tmp_path: Path) -> None:
    add_random_adapter(base, "policy", trainable=True)
    add_random_adapter(base, "reward", rank=2)
    base.save_adapter("reward", tmp_path)
    base.load_adapter("value", tmp_path)
    base.check_trainable("policy")
    for name in ["reward", None, "policy", "value", "reward", "policy", None]:
        with base.using(name):
            base.check_trainable("policy")
            with base.using("reward"), base.merged("policy"):
                base.check_trainable("policy")
        base.check_trainable("policy")
    with pytest.raises(AssertionError, match="not those of reward"):
        base.check_trainable("reward")


def test_gradients_reach_the_trainable_adapter_whatever_was_used_before(base: SharedBase) -> None:
    add_random_adapter(base, "policy", trainable=True)
    add_random_adapter(base, "reward")
    with base.using("reward"), torch.no_grad():
        logits(base, IDS)
    with base.using("policy"):
        row = torch.tensor([IDS])
        base.hidden_states(row, torch.ones_like(row)).sum().backward()
    assert all(parameter.grad is not None for parameter in base.parameters("policy").values())
    assert all(parameter.grad is None for parameter in base.parameters("reward").values())


def test_the_score_head_of_a_sequence_classifier_is_loaded(base: SharedBase, tiny_model: Path, tmp_path: Path) -> None:
    torch.manual_seed(3)
    classifier = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1, dtype=torch.float32)
    tuned = get_peft_model(classifier, LoraConfig(r=2, task_type="SEQ_CLS", target_modules="all-linear"))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    tuned.eval().save_pretrained(tmp_path)
    base.load_adapter("reward", tmp_path)
    row = torch.tensor([IDS])
    with torch.no_grad(), base.using("reward"):
        ours = base.heads["reward"](base.hidden_states(row, torch.ones_like(row))[:, -1])
    with torch.no_grad():
        theirs = tuned(input_ids=row).logits
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert not base.heads["reward"].weight.requires_grad
