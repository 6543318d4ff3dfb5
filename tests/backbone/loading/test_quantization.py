"""Quantised bases against transformers and PEFT, which load the same model quantised in the same way."""

import logging
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)

from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from backbone.loading import models, quantization
from backbone.loading.outline import outline
from backbone.loading.quantization import base_bytes
from backbone.logprobs import response_logprobs
from backbone.sampling import SamplingConfig, sample
from foundation.errors import UserError
from policy.export import merge
from tests.shared_base import add_random_adapter

bitsandbytes = pytest.importorskip("bitsandbytes", reason="the extra 'quantized' is not installed")

PROMPT = [1, 5, 6, 7]
KINDS = ["nf4", "int8"]
SETTINGS = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "int8": {"load_in_8bit": True, "llm_int8_threshold": 0.0},
}


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Most of its weights are in its layers; its norms are so large that a few activations are outliers."""
    folder = tmp_path_factory.mktemp("wide") / "model"
    config = AutoConfig.from_pretrained(tiny_model)
    config.hidden_size, config.intermediate_size, config.head_dim = 128, 256, 32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = LlamaForCausalLM(config)
    for name, weight in made.named_parameters():
        weight.data *= 3.0 if "norm" in name else 2.0
    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


def load(model: Path, kind: str, dtype: str = "float32") -> SharedBase:
    return load_shared_base(str(model), dtype, "cpu", quantization=kind)  # type: ignore[arg-type]


def plain(model: Path, kind: str, adapter: Path | None = None) -> PreTrainedModel | PeftModel:
    """The model as transformers and PEFT load it, without gradients first, as for sampling."""
    given = {"quantization_config": BitsAndBytesConfig(**SETTINGS[kind]), "device_map": {"": "cpu"}}
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, **given).eval()
    for module in loaded.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return PeftModel.from_pretrained(loaded, adapter, is_trainable=True).eval() if adapter else loaded


def logprobs(model: PreTrainedModel | PeftModel, response: list[int]) -> torch.Tensor:
    row = torch.tensor([[*PROMPT, *response]])
    logits = model(row).logits[0, len(PROMPT) - 1 : -1]
    return torch.log_softmax(logits, -1).gather(-1, torch.tensor(response)[:, None]).squeeze(-1)


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_training_and_reference_log_probabilities_are_those_of_the_quantised_model(
    model: Path, tmp_path: Path, kind: str
) -> None:
    base = load(model, kind)
    add_random_adapter(base, "a", trainable=True)
    base.save_adapter("a", tmp_path)
    own, reference = plain(model, kind, tmp_path), plain(model, kind)
    with base.using("a"):
        drawn = sample(base, [PROMPT], SamplingConfig(max_new_tokens=6, temperature=1.0), group=3)
    responses = [one.response_ids for one in drawn]
    with base.using(None), torch.no_grad():
        before = response_logprobs(base, [PROMPT] * 3, responses).logprobs
    with base.using("a"):
        now = response_logprobs(base, [PROMPT] * 3, responses).logprobs
        now.sum().backward()
    sum(logprobs(own, response).sum() for response in responses).backward()  # type: ignore[union-attr]
    with torch.no_grad():
        for place, one in enumerate(drawn):
            expected = logprobs(own, one.response_ids)
            torch.testing.assert_close(torch.tensor(one.logprobs), expected, atol=1e-3, rtol=0)
            torch.testing.assert_close(now[place, : len(expected)], expected, atol=1e-3, rtol=0)
            wanted = logprobs(reference, one.response_ids)
            torch.testing.assert_close(before[place, : len(wanted)], wanted, atol=1e-3, rtol=0)
            assert (expected - wanted).abs().max() > 0.1
    theirs = {name.replace(".default", ""): each.grad for name, each in own.named_parameters() if "lora_" in name}
    wanted = torch.cat([theirs[name].flatten() for name in base.parameters("a")])
    found = torch.cat([weight.grad.flatten() for weight in base.parameters("a").values()])
    assert (found - wanted).norm() <= 1e-2 * wanted.norm() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_log_probability_depends_on_neither_other_rows_nor_later_tokens(model: Path, kind: str) -> None:
    base = load(model, kind).base
    row = torch.arange(20, 44)[None]
    with torch.no_grad():
        alone = base(row[:, :12]).logits[0]
        together = base(torch.cat([row, row.flip(1) + 200])).logits[0, :12]
    torch.testing.assert_close(together, alone, atol=2e-2 * float(alone.abs().max()), rtol=0)


def scales(layer: torch.nn.Module) -> list[torch.Tensor]:
    if isinstance(layer, bitsandbytes.nn.Linear8bitLt):
        return [layer.state.SCB]
    if isinstance(layer, bitsandbytes.nn.Linear4bit):
        return [layer.weight.quant_state.absmax, layer.weight.quant_state.state2.absmax]
    return []


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_and_head_keep_the_dtype_and_the_weights_take_what_was_estimated(model: Path, kind: str) -> None:
    base = load(model, kind, "bfloat16")
    assert base.base.get_input_embeddings().weight.dtype == base.base.dtype == torch.bfloat16
    assert type(base.base.get_output_embeddings()) is torch.nn.Linear
    held = [*base.base.parameters(), *(scale for layer in base.base.modules() for scale in scales(layer))]
    estimated = base_bytes(outline(str(model), "bfloat16", "cpu"), kind)  # type: ignore[arg-type]
    assert estimated == sum(each.numel() * each.element_size() for each in held)
    whole = base_bytes(outline(str(model), "bfloat16", "cpu"))
    assert whole == sum(each.numel() * 2 for each in AutoModelForCausalLM.from_pretrained(model).parameters())
    assert estimated < {"nf4": 0.45, "int8": 0.65}[kind] * whole


def test_an_8b_base_in_nf4_takes_a_quarter_of_a_24_gb_card() -> None:
    llama = LlamaConfig(
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8,
    )  # fmt: skip
    with torch.device("meta"):
        large = AutoModelForCausalLM.from_config(llama, dtype=torch.bfloat16)
    assert base_bytes(large) == 16_060_522_496
    assert base_bytes(large, "nf4") == pytest.approx(5.7e9, rel=0.01)
    assert base_bytes(large, "int8") == pytest.approx(9.1e9, rel=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_has_the_bases_dtype_and_samples_unmerged_with_a_word(
    model: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    base = load(model, kind, "bfloat16")
    add_random_adapter(base, "a")
    assert {weight.dtype for weight in base.parameters("a").values()} == {torch.bfloat16}
    row = torch.tensor([PROMPT])
    with torch.no_grad(), base.using("a"):
        expected = base.base(row).logits
    with base.merged("a"):
        assert torch.equal(base.base(row).logits, expected)
    assert 'The adapter "a" cannot be merged exactly' in caplog.text


def test_an_adapter_says_on_which_base_it_was_trained(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = load(model, "nf4")
    add_random_adapter(base, "a")
    base.save_adapter("a", tmp_path / "adapter")
    base.load_adapter("b", tmp_path / "adapter")
    assert not caplog.records
    load_shared_base(str(model), "float32", "cpu").load_adapter("a", tmp_path / "adapter")
    assert "trained on a base with quantization=nf4; it is used on one with quantization=null" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_that_is_saved_quantised_is_used_as_it_is_and_neither_quantised_again_nor_merged(
    model: Path, tmp_path: Path, kind: str
) -> None:
    plain(model, kind).save_pretrained(tmp_path / "saved")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "saved")
    base = load_shared_base(str(tmp_path / "saved"), "float32", "cpu")
    outlined = outline(str(tmp_path / "saved"), "float32", "cpu")
    assert base_bytes(outlined) == base_bytes(outline(str(model), "float32", "cpu"), kind)  # type: ignore[arg-type]
    assert quantization.quantization_of(outlined) == "bitsandbytes"
    assert base.quantization == kind
    row = torch.tensor([PROMPT])
    with torch.no_grad():
        torch.testing.assert_close(base.base(row).logits, load(model, kind).base(row).logits, atol=1e-4, rtol=0)
    with pytest.raises(UserError, match="saved in quantised form already"):
        load(tmp_path / "saved", "nf4")
    add_random_adapter(base, "a")
    base.save_adapter("a", tmp_path / "adapter")
    with pytest.raises(UserError, match="--model"):
        merge(tmp_path / "adapter", tmp_path / "merged")
    merge(tmp_path / "adapter", tmp_path / "merged", str(model))
    assert AutoConfig.from_pretrained(tmp_path / "merged").to_dict().get("quantization_config") is None


def test_without_bitsandbytes_the_pip_line_is_said_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(quantization, "is_bitsandbytes_available", lambda: False)
    for load_any in (load_shared_base, models.load_base):
        with pytest.raises(UserError, match=r"nf4 needs bitsandbytes, which is not installed: pip install 'bitsandb"):
            load_any("no/such", "float32", "cpu", quantization="nf4")


def test_a_device_that_bitsandbytes_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitsandbytes, "supported_torch_devices", {"cuda"})
    with pytest.raises(UserError, match="does not compute on cpu"):
        load_shared_base("no/such", "float32", "cpu", quantization="int8")


def test_bitsandbytes_itself_says_nothing(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    base = load(model, "int8", "bfloat16").base
    with torch.no_grad():
        base(torch.tensor([PROMPT]))
    assert not [record for record in caplog.records if record.name.startswith("bitsandbytes")]
