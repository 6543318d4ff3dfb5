"""Tiny random models of the installed transformers' architectures, made in a fraction of a second each.

Only their sizes are small: what is special about an architecture (windows, caps, scales, experts, recurrent states)
is there, and strong enough to show.
"""

from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 320  # of the tests' tokenizer

# What each configuration that knows the name gets.
_SIZES: dict[str, int] = (
    dict.fromkeys(("hidden_size", "n_embd", "d_model"), 64)
    | dict.fromkeys(("intermediate_size", "ffn_dim", "decoder_ffn_dim", "d_ff"), 96)
    | dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers"), 4)
    | dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "decoder_attention_heads"), 4)
    | {"num_key_value_heads": 2, "head_dim": 16, "vocab_size": VOCABULARY}
    | dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), 512)
    | {"kv_lora_rank": 16, "q_lora_rank": 24, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16}
    | dict.fromkeys(("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"), 4)
    | dict.fromkeys(("num_experts_per_tok", "moe_topk", "moe_k"), 2)
    | {"moe_intermediate_size": 32, "shared_expert_intermediate_size": 32}
    | {"n_group": 1, "topk_group": 1, "n_shared_experts": 1}
    | {"sliding_window": 8, "attention_window": 8, "attention_window_size": 8}
    | {"mamba_d_state": 16, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_n_groups": 1, "state_size": 16}
    | {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16}
    | {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
)

# What makes an architecture what it is where its defaults leave it out, and sizes with other names.
_SPECIAL: dict[str, dict[str, Any]] = {
    "granite": {"logits_scaling": 8.0, "embedding_multiplier": 12.0, "residual_multiplier": 0.22},
    "granitemoe": {"logits_scaling": 8.0, "embedding_multiplier": 12.0},
    "cohere": {"logit_scale": 0.25},
    "gemma2": {"final_logit_softcapping": 0.5, "attn_logit_softcapping": 0.5},
    "hyperclovax": {"logits_scaling": 8.0},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1},
    "opt": {"dropout": 0.3, "word_embed_proj_dim": 64},
    "qwen3_5_text": {"layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"]},
    "qwen3_next": {"layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"]},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
}


def tiny_model(kind: str, dtype: torch.dtype = torch.float32, **changes: Any) -> PreTrainedModel:
    """A random model of this `model_type`, in evaluation mode; `changes` go into its configuration."""
    configuration = CONFIG_MAPPING[kind]
    known = configuration().to_dict()
    sizes = {name: size for name, size in _SIZES.items() if known.get(name) is not None}
    config = configuration(**sizes | _SPECIAL.get(kind, {}) | changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    model.config.name_or_path = kind
    return model.eval()
