"""How much memory each stage will take, estimated from the sizes of the model and the settings, and what there is.

The formula is in docs/scaling.md. It counts what grows with the model: weights, adapters in training, activations of a
micro-batch, logits and the cache of sampling. Python, libraries and fragmentation are left out, about 1 GiB.
"""

from collections.abc import Sequence

import psutil
from transformers import PreTrainedModel

from backbone.loading import devices
from backbone.loading.quantization import base_bytes
from backbone.loading.sizes import LOGIT_COPIES, Shape, sizes_for
from backbone.sampling import copied_bytes
from foundation.sizes import MIB, Sizes
from pipeline.collection.candidates import prompts_at_once
from pipeline.config.config import Config

GIB = 2**30
_FLOAT32 = 4
_TRAINED = 4 * _FLOAT32  # master copy, gradient, and AdamW's two moments of each weight
REMEDIES = {
    "collect": "lower collect.candidates",
    "reward": "set reward.gradient_checkpointing=true, or lower reward.micro_batch or reward.max_length",
    "policy": "set policy.gradient_checkpointing=true, or lower policy.micro_batch, policy.group or "
    "policy.prompts_per_step",
    "evaluate": "lower evaluate.sampling.max_new_tokens or evaluate.prompts",
}


def available(device: str = "auto") -> tuple[int, int]:
    """Bytes that are free on the device for which the configuration asks, and all that it has."""
    if (found := devices.gpu_memory(devices.choose_device(device))) is not None:
        return found
    memory = psutil.virtual_memory()
    return memory.available, memory.total


def estimate(
    config: Config, model: PreTrainedModel, adapters: dict[str, int], prompt_tokens: int, carrying: int = 0
) -> dict[str, int]:
    """Bytes by stage at its peak; `adapters` holds the number of weights of the reward and the policy adapter.

    `carrying` is the number of weights of the base's layers that carry the policy's adapter.
    """
    shape, size, sizes = Shape.of(model), model.dtype.itemsize, sizes_here(config, model)
    base = base_bytes(model, config.quantization)
    copies = 0 if config.quantization else copied_bytes(model, devices.choose_device(config.device))

    def sampling(rows: int, new_tokens: int, group: int) -> int:
        if sizes.sample_tokens is not None:
            rows = min(rows, max(group, sizes.rows(prompt_tokens + new_tokens)))  # a group is never divided
        return copies + rows * ((prompt_tokens + new_tokens) * shape.cache_bytes + 2 * shape.vocabulary * _FLOAT32)

    def training(rows: int, length: int, recomputed: bool) -> int:
        layer = rows * length * shape.layer_bytes
        kept = layer + shape.layers * rows * length * shape.hidden * size if recomputed else shape.layers * layer
        return kept + LOGIT_COPIES * max(sizes.logit_bytes, 16 * shape.vocabulary * _FLOAT32)

    collect, reward, policy, evaluation = config.collect, config.reward, config.policy, config.evaluate
    learned, tuned = adapters.get("reward", 0), adapters.get("policy", 0)
    values = tuned if policy.value_network == "adapter" else 0
    answers = policy.prompts_per_step * policy.group
    merges = policy.merge_for_sampling and policy.engine == "native" and not config.quantization
    sums = carrying * size if merges and not config.served_policy else 0  # beside the weights, which are kept
    found = {
        "collect": base
        + sampling(
            prompts_at_once(sizes, collect.candidates) * collect.candidates,
            collect.sampling.max_new_tokens,
            collect.candidates,
        ),
        "reward": base
        + learned * (_TRAINED + size)
        + training(2 * reward.micro_batch, reward.max_length, reward.gradient_checkpointing),
        "policy": base
        + learned * size * reward.ensemble
        + (tuned + values) * (_TRAINED + size)
        + max(
            sums + sampling(min(answers, sizes.sample_rows), policy.max_new_tokens, policy.group),
            sizes.score_tokens * shape.layer_bytes,
            training(policy.micro_batch, prompt_tokens + policy.max_new_tokens, policy.gradient_checkpointing),
        ),
        "evaluate": base
        + (tuned + learned * reward.ensemble) * size
        + sampling(
            min(evaluation.prompts * evaluation.responses, sizes.sample_rows),
            evaluation.sampling.max_new_tokens,
            evaluation.responses,
        ),
    }
    if not config.learned_reward:
        del found["reward"]
    return found


def sizes_here(config: Config, model: PreTrainedModel) -> Sizes:
    """How much is computed at once on the device for which the configuration asks, as each stage will settle it."""
    return config.sizes.over(_following(config, model))


def _following(config: Config, model: PreTrainedModel) -> Sizes:
    memory = devices.gpu_memory(devices.choose_device(config.device))
    return sizes_for(Shape.of(model), memory and memory[0] - base_bytes(model, config.quantization))


def oversized(config: Config, model: PreTrainedModel, prompt_tokens: int) -> list[str]:
    """A word about each size that is set beyond what the GPU has room for, with what it has room for."""
    if devices.gpu_memory(devices.choose_device(config.device)) is None:
        return []
    fits, asked = _following(config, model), config.sizes
    new_tokens = (config.collect.sampling, config.policy, config.evaluate.sampling)
    longest = prompt_tokens + max(each.max_new_tokens for each in new_tokens)
    found = {
        "sample_rows": (asked.sample_rows, fits.rows(longest), f"responses of {longest:,} tokens with their prompts"),
        "score_tokens": (asked.score_tokens, fits.score_tokens, "tokens"),
        "logit_mib": (asked.logit_mib, fits.logit_bytes // MIB, "MiB"),
    }
    return [
        f"sizes.{name}={wanted:,} is beyond what this GPU has room for: {most:,} {what} fit. Lower it, or leave it out."
        for name, (wanted, most, what) in found.items()
        if wanted and wanted > most
    ]


def too_large(config: Config, model: PreTrainedModel) -> str | None:
    """Why the base by itself cannot fit on this machine, if so."""
    needed, (_, total) = base_bytes(model, config.quantization), available(config.device)
    if needed <= total:
        return None
    return (
        f"the weights of {config.model} take {needed / GIB:.1f} GiB, and {devices.choose_device(config.device)} has "
        f"{total / GIB:.1f} GiB. Use a smaller model, quantization=nf4, or a machine with more memory."
    )


def tight(config: Config, needed: dict[str, int], oversized: Sequence[str] = ()) -> list[str]:
    """A word about each stage whose estimate is beyond what is free, and then about the sizes that are too large."""
    free, _ = available(config.device)
    words = [
        f"{stage} may need {size / GIB:.1f} GiB of memory, and {free / GIB:.1f} GiB are free: {REMEDIES[stage]}."
        for stage, size in needed.items()
        if size > free
    ]
    return [*words, *oversized] if words else []
