"""Tiny random models of the installed transformers' architectures, made in a fraction of a second each.

Only their sizes are small: what is special about an architecture (windows, caps, scales, experts, recurrent states)
is there, and strong enough to show.
"""

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

VOCABULARY = 320
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

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

_MLA = {"num_key_value_heads": 4}  # keys and values of every head come from one latent state
_MIXED = ["linear_attention", "linear_attention", "linear_attention", "full_attention"]

# What makes an architecture what it is where its defaults leave it out, and sizes with other names.
_SPECIAL: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3], "mamba_expand": 2},
    "codegen": {"rotary_dim": 8},
    "cohere": {"logit_scale": 0.25},
    "ctrl": {"dff": 96},
    "gemma2": {"final_logit_softcapping": 0.5, "attn_logit_softcapping": 0.5},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": 8},
    "gptj": {"rotary_dim": 8},
    "granite": {"logits_scaling": 8.0, "embedding_multiplier": 12.0, "residual_multiplier": 0.22},
    "granitemoe": {"logits_scaling": 8.0, "embedding_multiplier": 12.0},
    "granitemoehybrid": {"logits_scaling": 8.0, "layer_types": ["mamba", "attention", "mamba", "attention"]},
    "hunyuan_v1_dense": {"head_dim": 16},
    "hunyuan_v1_moe": {"head_dim": 16},
    "hyperclovax": {"logits_scaling": 8.0},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "mamba_dt_rank": 4},
    "lfm2": {"layer_types": ["conv", "full_attention", "conv", "full_attention"]},
    "mamba2": {"num_heads": 8, "head_dim": 16, "n_groups": 1},
    "ministral": {"head_dim": 16},
    "opt": {"dropout": 0.3, "word_embed_proj_dim": 64},
    "qwen3_5_text": {"layer_types": _MIXED},
    "qwen3_next": {"layer_types": _MIXED},
    **dict.fromkeys(
        ("axk1", "axk2", "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm4_moe_lite", "glm_moe_dsa", "minicpm3"), _MLA
    ),
}
_MOST = 5_000_000  # weights; what stays larger is not tiny


class NotTinyError(Exception):
    """No tiny model can be made of this architecture here."""


def tiny_model(kind: str, dtype: torch.dtype = torch.float32, **changes: Any) -> PreTrainedModel:
    """A random model of this `model_type`, in evaluation mode; `changes` go into its configuration."""
    configuration = CONFIG_MAPPING[kind]
    known = configuration().to_dict()
    sizes = {name: size for name, size in _SIZES.items() if known.get(name) is not None}
    config = configuration(**sizes | _SPECIAL.get(kind, {}) | changes)
    with torch.device("meta"):
        empty: PreTrainedModel = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    if (number := sum(weight.numel() for weight in empty.parameters())) > _MOST:
        raise NotTinyError(f"{number:,} weights")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype)  # type: ignore[no-untyped-call]
    model.config.name_or_path = kind
    return model.eval()


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of `VOCABULARY` tokens with a ChatML template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat and the dog ran to the cat"] * 4, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = CHAT_TEMPLATE
    return fast
