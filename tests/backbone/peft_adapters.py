"""Tiny models of several kinds, and adapters made on them by PEFT alone."""

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3Config,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    PreTrainedConfig,
    Qwen2MoeConfig,
    Qwen3MoeConfig,
)

IDS = torch.tensor([[1, 5, 6, 7, 200, 9, 2]])

_SIZES: dict[str, Any] = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_EXPERTS: dict[str, Any] = {"moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2}


def config_of(kind: str) -> PreTrainedConfig:
    """A configuration of a few thousand parameters."""
    if kind == "gpt2":
        sizes = {"vocab_size": 320, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
        return GPT2Config(**sizes, pad_token_id=0, bos_token_id=1, eos_token_id=2)
    if kind == "gemma3":
        vision = {
            "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 28, "patch_size": 14,
        }  # fmt: skip
        return Gemma3Config(text_config=_SIZES, vision_config=vision, mm_tokens_per_image=4)
    if kind == "mixtral":
        return MixtralConfig(**_SIZES, num_local_experts=4)
    if kind == "qwen2_moe":
        return Qwen2MoeConfig(**_SIZES, **_EXPERTS, shared_expert_intermediate_size=24)
    if kind == "qwen3_moe":
        return Qwen3MoeConfig(**_SIZES, **_EXPERTS)
    return LlamaConfig(**_SIZES, tie_word_embeddings=kind != "untied llama", attention_bias=kind == "biased llama")


def make_model(kind: str, folder: Path, tokenizer: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A random model of this kind, with the tokenizer of another folder."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(kind)).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)  # far enough from uniform for an adapter to be seen
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(folder)
    return folder


def plain_adapter(model: Path, folder: Path, **settings: Any) -> PeftModel:
    """Save a random adapter of these settings to `folder`; returns transformers' model with it, as PEFT has it."""
    torch.manual_seed(1)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with warnings.catch_warnings(action="ignore"):  # about what these settings would mean for training
        tuned = get_peft_model(base, LoraConfig(**{"r": 4, "lora_alpha": 12, "task_type": "CAUSAL_LM"} | settings))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_magnitude" in name:
                parameter.mul_(1 + 0.3 * torch.rand_like(parameter))
            elif "lora_" in name:
                parameter.normal_(std=0.2)
    with warnings.catch_warnings(action="ignore"):
        tuned.save_pretrained(folder)
    return tuned.eval()


def logits(model: Any) -> torch.Tensor:
    """What plain transformers computes for `IDS`: (length, vocabulary)."""
    found: torch.Tensor = model(IDS).logits[0]
    return found
