"""How much memory each stage will take, estimated from the sizes of the model and the settings, and what there is.

The formula is in docs/scaling.md. It counts what grows with the model: weights, adapters in training, activations of a
micro-batch, logits and the cache of sampling. Python, libraries and fragmentation are left out, about 1 GiB.
"""

from typing import Any, cast

import psutil
import torch
from transformers import PreTrainedModel

from backbone.loading.devices import choose_device
from backbone.loading.quantization import base_bytes
from backbone.logprobs import CHUNK_BYTES
from pipeline.collection.candidates import CHUNK
from pipeline.config.config import Config

GIB = 2**30
_FLOAT32 = 4
_TRAINED = 4 * _FLOAT32  # master copy, gradient, and AdamW's two moments of each weight
_HIDDEN, _INTERMEDIATE = 8, 4  # states and MLP activations that one layer keeps for the backward pass, per token
_ROWS = 64  # that are sampled at a time
_LOGITS = 3  # copies of a chunk: logits, probabilities, gradient
REMEDIES = {
    "collect": "lower collect.candidates",
    "reward": "set reward.gradient_checkpointing=true, or lower reward.micro_batch or reward.max_length",
    "policy": "set policy.gradient_checkpointing=true, or lower policy.micro_batch, policy.group or "
    "policy.prompts_per_step",
    "evaluate": "lower evaluate.sampling.max_new_tokens or evaluate.prompts",
}


def available(device: str = "auto") -> tuple[int, int]:
    """Bytes that are free on the device for which the configuration asks, and all that it has."""
    chosen = choose_device(device)
    if chosen.type == "cuda":
        free, total = torch.cuda.mem_get_info(chosen)
        return free, total
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def estimate(config: Config, model: PreTrainedModel, adapters: dict[str, int], prompt_tokens: int) -> dict[str, int]:
    """Bytes by stage at its peak; `adapters` holds the number of weights of the reward and the policy adapter."""
    text, size = model.config.get_text_config(), model.dtype.itemsize
    vocabulary, hidden = (int(one) for one in cast(Any, model.get_input_embeddings()).weight.shape)
    layers = int(getattr(text, "num_hidden_layers", 0) or 1)
    heads = int(getattr(text, "num_attention_heads", 0) or 1)
    inner = int(getattr(text, "intermediate_size", 0) or 4 * hidden)
    head_size = int(getattr(text, "head_dim", 0) or hidden // heads)
    cached = 2 * int(getattr(text, "num_key_value_heads", 0) or heads) * head_size
    base = base_bytes(model, config.quantization)

    def sampling(rows: int, new_tokens: int) -> int:
        cache = rows * (prompt_tokens + new_tokens) * layers * cached * size
        return cache + 2 * rows * vocabulary * _FLOAT32

    def training(rows: int, length: int, recomputed: bool) -> int:
        layer = rows * length * (_HIDDEN * hidden + _INTERMEDIATE * inner) * size
        kept = layer + layers * rows * length * hidden * size if recomputed else layers * layer
        return kept + _LOGITS * max(CHUNK_BYTES, 16 * vocabulary * _FLOAT32)

    reward, policy, evaluation = config.reward, config.policy, config.evaluate
    learned, tuned = adapters.get("reward", 0), adapters.get("policy", 0)
    values = tuned if policy.value_network == "adapter" else 0
    answers = policy.prompts_per_step * policy.group
    found = {
        "collect": base + sampling(CHUNK * config.collect.candidates, config.collect.sampling.max_new_tokens),
        "reward": base
        + learned * (_TRAINED + size)
        + training(2 * reward.micro_batch, reward.max_length, reward.gradient_checkpointing),
        "policy": base
        + learned * size * reward.ensemble
        + (tuned + values) * (_TRAINED + size)
        + max(
            sampling(min(answers, _ROWS), policy.max_new_tokens),
            training(policy.micro_batch, prompt_tokens + policy.max_new_tokens, policy.gradient_checkpointing),
        ),
        "evaluate": base
        + (tuned + learned * reward.ensemble) * size
        + sampling(min(evaluation.prompts * evaluation.responses, _ROWS), evaluation.sampling.max_new_tokens),
    }
    if not config.learned_reward:
        del found["reward"]
    return found


def too_large(config: Config, model: PreTrainedModel) -> str | None:
    """Why the base by itself cannot fit on this machine, if so."""
    needed, (_, total) = base_bytes(model, config.quantization), available(config.device)
    if needed <= total:
        return None
    return (
        f"the weights of {config.model} take {needed / GIB:.1f} GiB, and {choose_device(config.device)} has "
        f"{total / GIB:.1f} GiB. Use a smaller model, quantization=nf4, or a machine with more memory."
    )


def tight(config: Config, needed: dict[str, int]) -> list[str]:
    """A word about each stage whose estimate is beyond what is free."""
    free, _ = available(config.device)
    return [
        f"{stage} may need {size / GIB:.1f} GiB of memory, and {free / GIB:.1f} GiB are free: {REMEDIES[stage]}."
        for stage, size in needed.items()
        if size > free
    ]
