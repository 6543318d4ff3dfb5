"""`rlhf export --to`: every format from a run's export, whole or not at all."""

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from foundation.errors import UserError
from pipeline.exporting import formats
from tests.pipeline import tiny
from tests.pipeline.bad_input.refusing import refused


@pytest.fixture(scope="module")
def exported(finished: Path) -> Path:
    return finished / "round-000" / "export"


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("peft", {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"}),
        ("merged", {"model.safetensors", "config.json", "tokenizer.json"}),
        ("gguf", {"mine.gguf", "mine-adapter.gguf"}),
        ("ollama", {"mine.gguf", "Modelfile"}),
    ],
)
def test_every_format_carries_card_and_lineage(to: Any, expected: set[str], exported: Path, tmp_path: Path) -> None:
    files = formats.write(to, exported, tmp_path / "out", "mine")
    assert {path.name for path in files} >= expected | {"README.md", "lineage.json"}
    assert len({stat.S_IMODE(path.stat().st_mode) for path in files}) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert "simulated annotators" in card.text
    assert card.data.library_name == {"peft": "peft", "merged": "transformers"}.get(to, "gguf")
    with pytest.raises(UserError, match="exists already"):
        formats.write(to, exported, tmp_path / "out", "mine")


def test_a_gguf_file_says_what_the_model_is(exported: Path, tiny_model: Path, tmp_path: Path) -> None:
    formats.write("gguf", exported, tmp_path / "out", "mine", "bfloat16")
    read = gguf.GGUFReader(tmp_path / "out" / "mine.gguf")
    config, tokenizer = AutoConfig.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    assert read.fields["general.architecture"].contents() == "llama"
    assert read.fields["llama.block_count"].contents() == config.num_hidden_layers
    assert read.fields["tokenizer.ggml.eos_token_id"].contents() == tokenizer.eos_token_id
    assert read.fields["tokenizer.ggml.tokens"].contents() == tokenizer.convert_ids_to_tokens(range(config.vocab_size))
    assert read.fields["tokenizer.chat_template"].contents() == tokenizer.chat_template
    kinds = {tensor.name: tensor.tensor_type.name for tensor in read.tensors}
    assert kinds["blk.1.attn_q.weight"] == "BF16"
    assert kinds["output_norm.weight"] == "F32"
    adapter = gguf.GGUFReader(tmp_path / "out" / "mine-adapter.gguf")
    assert adapter.fields["adapter.type"].contents() == "lora"
    assert len(adapter.tensors) == 2 * 7 * config.num_hidden_layers


@pytest.mark.parametrize("to", ["gguf", "ollama"])
def test_an_unknown_architecture_is_refused_before_anything_is_merged(
    to: Any, exported: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = shutil.copytree(tiny_model, tmp_path / "base")
    settings = json.loads((base / "config.json").read_text())
    rope = settings["rope_parameters"] | {"rope_type": "yarn", "factor": 4.0}
    (base / "config.json").write_text(json.dumps(settings | {"rope_parameters": rope}))
    adapter = shutil.copytree(exported, tmp_path / "adapter")
    named = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(named | {"base_model_name_or_path": str(base)}))
    monkeypatch.setattr("policy.export.merge", lambda *_, **__: pytest.fail("merged"))
    with pytest.raises(UserError, match=r"llama with yarn positions.*convert_hf_to_gguf"):
        formats.write(to, adapter, tmp_path / "out", "mine")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", ["merged", "gguf", "ollama"])
def test_a_base_that_was_changed_since_training_is_refused(
    to: Any, exported: Path, tiny_model: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_model, tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    model.lm_head.weight.data.mul_(2)
    model.save_pretrained(base)
    adapter = shutil.copytree(exported, tmp_path / "adapter")
    named = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(named | {"base_model_name_or_path": str(base)}))
    with pytest.raises(UserError, match=r"changed since training: its base had weights with sha256 \w{64}, those of"):
        formats.write(to, adapter, tmp_path / "out", "mine")
    assert {path.name for path in tmp_path.iterdir()} == {"base", "adapter"}


def test_a_failure_leaves_nothing_behind(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("backbone.publishing.gguf_files.write_model", full)
    with pytest.raises(UserError, match="No space left on device"):
        formats.write("gguf", exported, tmp_path / "out", "mine")
    assert list(tmp_path.iterdir()) == []


def test_merged_weights_are_in_the_dtype_that_is_asked_for(exported: Path, tmp_path: Path) -> None:
    formats.write("merged", exported, tmp_path / "out", "mine", "bfloat16")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16


def test_a_dry_run_shows_every_file_and_keeps_none(finished: Path, tiny_settings: list[str], tmp_path: Path) -> None:
    run, config, console = tiny.opened(shutil.copytree(finished, tmp_path / "run"), tiny_settings)
    before = sorted(run.path.rglob("*"))
    formats.export_as(run, config, console, "ollama", None, None)
    said = tiny.printed(console)
    for name in ("Modelfile", "run-round-000.gguf", "README.md", "lineage.json"):
        assert f"  {name}  " in said
    assert "4 files, none of them is kept" in said
    assert sorted(run.path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--to", "gguf"), "--out FOLDER"),
        (("--to", "hub"), "--repo OWNER/NAME"),
        (("--public",), "go with --to hub"),
        (("--to", "hub", "--repo", "a/b", "--out", "x"), "leave it out with --to hub"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments: tuple[str, ...], told: str, finished: Path) -> None:
    assert told in refused("export", "--run", finished, *arguments)


def test_a_gguf_file_names_an_end_of_turn_that_is_not_the_end_of_a_text(
    exported: Path, tiny_model: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(tiny_model, tmp_path / "base")
    AutoTokenizer.from_pretrained(base, eos_token="<|endoftext|>").save_pretrained(base)
    formats.write("gguf", exported, tmp_path / "out", "mine", model=str(base))
    fields = gguf.GGUFReader(tmp_path / "out" / "mine.gguf").fields
    pieces = fields["tokenizer.ggml.tokens"].contents()
    named = [pieces[fields[f"tokenizer.ggml.{end}_token_id"].contents()] for end in ("eos", "eot")]
    assert named == ["<|endoftext|>", "<|im_end|>"]


def test_the_card_says_that_llama_cpp_does_not_compose_letters(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backbone.publishing.gguf_vocabulary.composes", lambda folder: folder == exported)
    formats.write("ollama", exported, tmp_path / "out", "mine")
    assert "the tokenizer composes them by itself, llama.cpp does not." in (tmp_path / "out" / "README.md").read_text()
