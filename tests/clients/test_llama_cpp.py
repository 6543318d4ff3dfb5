"""llama.cpp, through xllamacpp, writes from our GGUF files what transformers writes in float32."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, Qwen2Config, Qwen3Config

from backbone.publishing.gguf_files import write_adapter, write_model
from policy.export import merge
from tests.shared_base import add_random_adapter, load

llama = pytest.importorskip("xllamacpp", reason="`make clients` installs it")
PROMPTS = [[1, 5, 6, 7, 8], [1, 200, 30, 9], [40, 41, 42]]
NEW = 24


def test_greedy_text_of_base_adapter_and_merged_model(model: Path, adapter: Path, tmp_path: Path) -> None:
    write_model(model, tmp_path / "base.gguf", "float32", "base")
    write_adapter(adapter, str(model), tmp_path / "adapter.gguf", "adapter")
    merge(adapter, tmp_path / "merged")
    write_model(tmp_path / "merged", tmp_path / "merged.gguf", "float32", "merged")
    plain, merged = (greedy(each) for each in (model, tmp_path / "merged"))
    assert plain != merged
    assert by_llama(plain, tmp_path / "base.gguf") == plain
    assert by_llama(merged, tmp_path / "base.gguf", tmp_path / "adapter.gguf") == merged
    assert by_llama(merged, tmp_path / "merged.gguf") == merged


def test_texts_are_cut_into_the_same_tokens(tiny_model: Path, tmp_path: Path) -> None:
    write_model(tiny_model, tmp_path / "model.gguf", "bfloat16", "model")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    texts = ["the cat sat on the mat 1234", "<|im_start|>user\nthe dog's ran<|im_end|>\n", "  naïve  我爱你 \n\n x"]
    for text in texts:
        answer = asked(tmp_path / "model.gguf", [{"prompt": text, "n_predict": 1}])[0]
        assert answer["usage"]["prompt_tokens"] == len(tokenizer(text, add_special_tokens=False)["input_ids"])


@pytest.fixture(params=["llama", "untied llama", "qwen2", "qwen3"])
def model(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> Path:
    """A tiny model of each architecture, with embeddings so large that no two tokens are nearly as likely."""
    folder = tmp_path / "model"
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    config: Any = AutoConfig.from_pretrained(tiny_model)
    if request.param == "untied llama":
        config.tie_word_embeddings, config.head_dim = False, 16
    elif request.param != "llama":
        shape = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        shape += ("num_key_value_heads", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id")
        kind = {"qwen2": Qwen2Config, "qwen3": Qwen3Config}[request.param]
        wide = {"head_dim": 16} if request.param == "qwen3" else {}
        config = kind(**{name: getattr(config, name) for name in shape}, **wide)
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            weight.normal_(1.0 if "norm" in name else 0.0, 0.3)
    made.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(model: Path, tmp_path: Path) -> Path:
    base = load(model)
    add_random_adapter(base, "policy", trainable=True)
    base.save_adapter("policy", tmp_path / "adapter")
    return tmp_path / "adapter"


@torch.no_grad()
def greedy(folder: Path) -> list[str]:
    """The likeliest continuations of `PROMPTS` by plain forward passes of transformers, without a cache."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    ends = {tokenizer.eos_token_id, tokenizer.pad_token_id}  # llama.cpp takes <|endoftext|> for an end by its name
    found = []
    for prompt in PROMPTS:
        ids = list(prompt)
        while len(ids) < len(prompt) + NEW and ids[-1] not in ends:
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        found.append(tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True).rstrip("\ufffd"))
    return found


def by_llama(expected: Sequence[str], model: Path, adapter: Path | None = None) -> list[str]:
    """The same by llama.cpp, cut to the lengths that are expected: the server keeps half a letter at the end back."""
    asks = [{"prompt": prompt, "n_predict": NEW + 8, "logprobs": 1} for prompt in PROMPTS]
    written = [answer["choices"][0]["logprobs"]["content"] for answer in asked(model, asks, adapter)]
    texts = [b"".join(bytes(token["bytes"]) for token in each).decode(errors="replace") for each in written]
    return [text[: len(whole)] for text, whole in zip(texts, expected, strict=True)]


def asked(model: Path, requests: Sequence[dict[str, Any]], adapter: Path | None = None) -> list[Any]:
    parameters = llama.CommonParams()
    parameters.model.path, parameters.n_ctx, parameters.n_parallel, parameters.warmup = str(model), 256, 1, False
    parameters.cache_type_k = parameters.cache_type_v = llama.ggml_type.GGML_TYPE_F32  # half precision by default
    parameters.flash_attn_type = llama.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if adapter:
        parameters.lora_adapters = [llama.CommonAdapterLoraInfo(str(adapter), 1.0)]
    server = llama.Server(parameters)
    common = {"temperature": 0, "cache_prompt": False, "repeat_penalty": 1.0}
    return [server.handle_completions(common | request) for request in requests]
