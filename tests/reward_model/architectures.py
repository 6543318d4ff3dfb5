"""Tiny random models of several architectures, with the tokenizer of the tiny Llama."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    CohereConfig,
    Gemma3TextConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    Mamba2Config,
    OPTConfig,
    RecurrentGemmaConfig,
)

_COMMON = {"vocab_size": 320, "hidden_size": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_ATTENTION = _COMMON | {
    "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}  # fmt: skip
STANDARD: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**_ATTENTION),
    "gpt2": lambda: GPT2Config(vocab_size=320, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2),
    "gemma3": lambda: Gemma3TextConfig(**_ATTENTION, head_dim=8, sliding_window=8),
    "opt": lambda: OPTConfig(
        vocab_size=320, hidden_size=32, ffn_dim=64, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=16,
        max_position_embeddings=256, do_layer_norm_before=True, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    ),
}  # fmt: skip
WITHOUT_CLASS: dict[str, Any] = {
    "granite": lambda: GraniteConfig(**_ATTENTION, logits_scaling=4.0),
    "cohere": lambda: CohereConfig(**_ATTENTION),
    "mamba2": lambda: Mamba2Config(
        **_COMMON, num_hidden_layers=2, num_heads=8, head_dim=8, state_size=8, n_groups=1, chunk_size=8
    ),
    "recurrent_gemma": lambda: RecurrentGemmaConfig(
        **_COMMON, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=1,
        lru_width=32, attention_window_size=16, head_dim=8,
    ),
}  # fmt: skip


def make(name: str, tiny_model: Path, folder: Path) -> Path:
    """Save a tiny random model of this architecture."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config((STANDARD | WITHOUT_CLASS)[name]())
    for parameter in model.parameters():  # small weights would make all states alike
        parameter.data *= 3 if parameter.ndim > 1 else 1
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder
