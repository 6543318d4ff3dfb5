import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from backbone.loading import models
from foundation.errors import UserError


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


def test_a_model_without_chat_template_is_refused(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match=r"no chat template.*chat_template\.jinja"):
        models.load_tokenizer(str(folder))


@pytest.mark.parametrize("pad", ["<|im_end|>", None])
def test_padding_never_ends_a_turn(folder: Path, pad: str | None) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|endoftext|>"]})
    tokenizer.pad_token = pad
    tokenizer.save_pretrained(folder)
    loaded = models.load_tokenizer(str(folder))
    assert loaded.pad_token == "<|endoftext|>"
    assert loaded.pad_token_id != loaded.eos_token_id


def test_a_tokenizer_with_no_token_to_pad_with_is_refused(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match="pad_token"):
        models.load_tokenizer(str(folder))
