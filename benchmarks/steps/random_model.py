"""Llamas of published shapes with random weights, made here: what they say is noise, what they cost is not."""

from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    "1B": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "tie_word_embeddings": True},
    "8B": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "tie_word_embeddings": False},
}
_OF_ALL = {"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 8192}
TINY: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512,
}  # fmt: skip


def save_random_model(folder: Path, shape: str, tokenizer: str, dtype: str) -> Path:
    """A Llama of this shape (another name than those of `SHAPES` is tiny) with the tokenizer of the model `tokenizer`.

    The vocabulary is larger than the tokenizer's, whose end of a turn is then hardly ever sampled.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    from backbone.loading.model_name import resolve_model

    words = AutoTokenizer.from_pretrained(resolve_model(tokenizer))
    sizes = {**_OF_ALL, **SHAPES[shape]} if shape in SHAPES else {**TINY, "vocab_size": 2 * len(words)}
    ends = {"eos_token_id": words.eos_token_id, "pad_token_id": words.pad_token_id, "bos_token_id": words.bos_token_id}
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**sizes, **ends), dtype=getattr(torch, dtype))
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
