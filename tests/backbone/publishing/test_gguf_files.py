"""What llama.cpp would compute, or cut into tokens, otherwise is refused before a GGUF file is written."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, LlamaConfig, MistralConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen3Config

from backbone.publishing.gguf_files import known
from backbone.publishing.gguf_vocabulary import _LLAMA3, _QWEN2, check_tokenizer, composes, vocabulary
from foundation.errors import UserError


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (Qwen3Config(attention_bias=True), "attention_bias=True, which llama.cpp's qwen3 has not"),
        (LlamaConfig(mlp_bias=True), "mlp_bias=True"),
        (MistralConfig(sliding_window=None, hidden_act="gelu"), "hidden_act=gelu"),
        (Qwen2Config(use_sliding_window=True, sliding_window=64), "attends within a window"),
        (Qwen2Config(layer_types=["sliding_attention"] * 32, sliding_window=64), "attends within a window"),
        (MistralConfig(), "attends within a window"),
        (LlamaConfig(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}), "linear positions"),
    ],
)
def test_what_the_architecture_has_not_in_llama_cpp_is_refused(config: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        known(config, Path("base"))


def test_a_field_that_is_not_known_is_refused_unless_it_is_at_its_default() -> None:
    class Later(LlamaConfig):
        logit_scale: float = 1.0

    assert known(Later(), Path("base")) == "llama"
    with pytest.raises(UserError, match=r"has logit_scale=0\.5, which"):
        known(Later(logit_scale=0.5), Path("base"))


@pytest.mark.parametrize(
    "config",
    [
        LlamaConfig(attention_bias=True, attention_dropout=0.1, tie_word_embeddings=True, head_dim=64),
        MistralConfig(sliding_window=None),
        MistralConfig(sliding_window=4096, max_position_embeddings=4096),
        Qwen2Config(max_window_layers=21, sliding_window=64, use_sliding_window=False),
        Qwen3Config(head_dim=64, rms_norm_eps=1e-5),
    ],
)
def test_what_llama_cpp_computes_is_taken(config: Any) -> None:
    assert known(config, Path("base"))


Change = Callable[[Tokenizer], object]


def _with(**settings: Any) -> Change:
    def change(tokenizer: Tokenizer) -> None:
        for name, value in settings.items():
            setattr(tokenizer.model if hasattr(tokenizer.model, name) else tokenizer, name, value)

    return change


def _cut(regex: str, **settings: Any) -> Change:
    split = pre_tokenizers.Split(Regex(regex), "isolated")
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return _with(pre_tokenizer=pre_tokenizers.Sequence([split, bytes_only]), **settings)


NFC = normalizers.NFC()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (_with(), "gpt-2"),
        (_cut(_LLAMA3, ignore_merges=True), "llama-bpe"),
        (_cut(_QWEN2), "qwen2"),
        (_cut(_QWEN2, normalizer=NFC), "qwen2"),
    ],
)
def test_a_tokenizer_gets_the_name_of_all_that_it_does(
    change: Change, name: str, tiny_model: Path, tmp_path: Path
) -> None:
    folder = _saved(tiny_model, tmp_path, change)
    assert _named(folder) == name
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert composes(folder) == (len(tokenizer("e\u0301")["input_ids"]) < len(tokenizer("e")["input_ids"]) + 2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_cut(_LLAMA3), "its `ignore_merges` is false, and llama.cpp's llama-bpe has it true"),
        (_with(ignore_merges=True), "its `ignore_merges` is true, and llama.cpp's gpt-2 has it false"),
        (_cut(_QWEN2, ignore_merges=True), "its `ignore_merges` is true, and llama.cpp's qwen2"),
        (_with(normalizer=NFC), r"it normalizes texts \(NFC\), and llama.cpp's gpt-2 does not"),
        (_cut(_QWEN2, normalizer=normalizers.NFKC()), r"it normalizes texts \(NFKC\)"),
        (_cut(_LLAMA3, ignore_merges=True, normalizer=normalizers.Lowercase()), r"it normalizes texts \(Lowercase\)"),
        (_with(byte_fallback=True), "its tokens are not those of byte-level BPE"),
        (_with(dropout=0.1), "its BPE drops merges"),
        (_with(end_of_word_suffix="</w>"), "its BPE drops merges, or marks where words begin or end"),
        (_with(pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=True)), "it puts a space before each text"),
        (
            _with(pre_tokenizer=pre_tokenizers.Split(Regex(_LLAMA3), "merged_with_next")),
            "it cuts texts in a way of its own",
        ),
        (
            lambda tokenizer: tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True)]),
            "its token <mask> takes up spaces",
        ),
        (
            _with(post_processor=processors.TemplateProcessing("$A <|im_end|>", special_tokens=[("<|im_end|>", 2)])),
            "it adds more to a text than a token at its beginning",
        ),
    ],
)
def test_a_tokenizer_that_llama_cpp_would_not_follow_is_refused(
    change: Change, told: str, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=rf"none that is written as GGUF here \({told}"):
        check_tokenizer(_saved(tiny_model, tmp_path, change))


def test_the_name_is_of_what_transformers_makes_of_the_files(tiny_model: Path, tmp_path: Path) -> None:
    folder = _saved(tiny_model, tmp_path, _with())
    (folder / "config.json").write_text('{"model_type": "qwen2"}')  # for which transformers has a class of its own
    assert AutoTokenizer.from_pretrained(folder).tokenize("12") == ["1", "2"]
    assert _named(folder) == "qwen2"


def _named(folder: Path) -> str:
    """The name that a file gets for the tokenizer in `folder`."""
    found: dict[str, Any] = {}

    class Writer:
        def __getattr__(self, key: str) -> Callable[[Any], None]:
            return lambda value: found.update({key: value})

    for add in vocabulary(folder, 8):
        add(Writer())  # type: ignore[arg-type]
    return str(found["add_tokenizer_pre"])


def _saved(model: Path, folder: Path, change: Change) -> Path:
    """The model's tokenizer, with a change, in `folder`."""
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    change(tokenizer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = AutoTokenizer.from_pretrained(model).chat_template
    fast.save_pretrained(folder)
    assert json.loads((folder / "tokenizer.json").read_text()) == json.loads(tokenizer.to_str())
    return folder
