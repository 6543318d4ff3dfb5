import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoTokenizer, GenerationConfig

from backbone.exactness import load_shared_base
from backbone.loading import models
from backbone.templates.plain_text import is_plain, saved_choice
from foundation.errors import UserError
from tests.conftest import CHAT_TEMPLATE, make_tiny_gpt2


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may damage."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_a_loaded_base_is_frozen_and_in_evaluation_mode(tiny_model: Path) -> None:
    base = models.load_base(str(tiny_model), "float32", "cpu")
    assert not base.training
    assert not any(parameter.requires_grad for parameter in base.parameters())
    assert base.dtype == torch.float32


@pytest.mark.parametrize("load", [models.load_base, models.load_tokenizer])
def test_weights_that_were_cut_short_are_refused(folder: Path, load: Callable[[str], object]) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"model\.safetensors is cut short or damaged.*download the model again"):
        load(str(folder))


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("config.json", None, "no config.json"),
        ("config.json", '{"architectures": ["Llama', "cannot load the model"),
        ("model.safetensors", None, r"no \*\.safetensors weights"),
        (
            "model.safetensors.index.json",
            '{"weight_map": {"a": "model-1.saf',
            "index.json is damaged",
        ),
        ("model.safetensors.index.json", '{"weight_map": {"a": "model-1.safetensors"}}', "model-1.safetensors is cut"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(folder: Path, file: str, text: str | None, message: str) -> None:
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    with pytest.raises(UserError, match=message):
        models.load_base(str(folder), "float32", "cpu")


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "./missing/folder", "a/b/c"])
def test_an_unknown_name_tells_what_names_are_possible(name: str) -> None:
    with pytest.raises(UserError, match="neither a folder nor a hub id"):
        models.load_base(name, "float32", "cpu")


@pytest.mark.parametrize("load", [models.load_base, models.load_tokenizer])
def test_a_hub_id_that_cannot_be_reached_says_so(load: Callable[[str], object]) -> None:
    with pytest.raises(UserError, match=r'cannot load the model "nobody/nothing"'):
        load("nobody/nothing")


def test_a_model_without_chat_template_continues_plain_text_unless_a_chat_was_asked_for(folder: Path) -> None:
    assert not is_plain(models.load_tokenizer(str(folder)))
    assert is_plain(models.load_tokenizer(str(folder), "plain"))
    (folder / "chat_template.jinja").unlink()
    assert is_plain(models.load_tokenizer(str(folder)))
    with pytest.raises(UserError, match=r"no chat template.*chat_template\.jinja"):
        models.load_tokenizer(str(folder), "chat")


def test_a_saved_tokenizer_of_plain_text_stays_one(folder: Path, tmp_path: Path) -> None:
    for choice in ("plain", "auto"):
        models.load_tokenizer(str(folder), choice).save_pretrained(tmp_path / choice)
        assert saved_choice(tmp_path / choice) == choice
    assert is_plain(AutoTokenizer.from_pretrained(tmp_path / "plain"))


@pytest.mark.parametrize("pad", ["<|im_end|>", None])
def test_padding_never_ends_a_turn(folder: Path, pad: str | None) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|endoftext|>"]})
    tokenizer.pad_token = pad
    tokenizer.save_pretrained(folder)
    loaded = models.load_tokenizer(str(folder))
    assert loaded.pad_token == "<|endoftext|>"
    assert loaded.pad_token_id != loaded.eos_token_id


def test_padding_is_none_of_the_ends_that_the_model_declares(folder: Path) -> None:
    GenerationConfig(eos_token_id=[0, 2]).save_pretrained(folder)
    loaded = models.load_tokenizer(str(folder))
    assert loaded.pad_token_id not in (0, 2)
    assert loaded.pad_token_id < len(loaded)


def test_padding_without_a_row_in_the_embedding_is_set_aside(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = len(tokenizer)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    assert tokenizer.pad_token_id == rows
    tokenizer.save_pretrained(folder)
    assert models.load_tokenizer(str(folder)).pad_token_id < rows


def test_with_one_special_token_padding_is_one_that_text_does_not_contain(tmp_path: Path) -> None:
    folder = make_tiny_gpt2(tmp_path)
    tokenizer = models.load_tokenizer(str(folder))
    assert tokenizer.all_special_tokens.count(tokenizer.pad_token) == 1
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert tokenizer.pad_token_id < AutoConfig.from_pretrained(folder).vocab_size
    tokenizer.save_pretrained(tmp_path / "again")
    again = AutoTokenizer.from_pretrained(tmp_path / "again")
    for text in ("Āda Ģēģere", "naïve café — 你好 🙂", "a\tb\n\n\x00c"):
        ids = again(text, add_special_tokens=False)["input_ids"]
        assert again.pad_token_id not in ids
        assert ids == AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    "kind", ["llama", "gpt2"]
)  # for GPT-2, transformers makes an empty tokenizer of no file at all
def test_a_folder_without_tokenizer_is_refused(folder: Path, tmp_path: Path, kind: str) -> None:
    if kind == "gpt2":
        folder = make_tiny_gpt2(tmp_path)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    with pytest.raises(UserError, match=r"no tokenizer.*tokenizer\.json") as told:
        models.load_tokenizer(str(folder))
    assert "\n" not in str(told.value)


def test_a_damaged_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model"')
    with pytest.raises(UserError, match="no tokenizer that can be loaded"):
        models.load_tokenizer(str(folder))


@pytest.mark.parametrize("rows", [200, 4000])
def test_a_tokenizer_of_another_vocabulary_is_refused(folder: Path, rows: int) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": rows}))
    with pytest.raises(UserError, match=f"{rows}.*belongs to another model"):
        models.load_tokenizer(str(folder))


def test_a_chat_whose_markers_the_model_does_not_embed_is_refused(tmp_path: Path) -> None:
    folder = make_tiny_gpt2(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match=r"<\|im_end\|>.*extended without the model"):
        models.load_tokenizer(str(folder))


def test_a_base_stops_where_its_template_ends_a_turn(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.save_pretrained(folder)
    GenerationConfig(eos_token_id=0).save_pretrained(folder)
    base = load_shared_base(str(folder), "float32", "cpu")
    assert base.renderer.eos_ids == (2, 0)
    assert base.base.generation_config.eos_token_id == [2, 0]  # where TRL looks
