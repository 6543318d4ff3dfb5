"""From advantages to weights: epochs of minibatches, each a sum over micro-batches and over processes.

All processes agree on the rows of a minibatch, and each works on those of its own. Advantages and rollouts come from
`train.py`.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from backbone.adapters import SharedBase
from backbone.logprobs import TokenLogprobs, response_logprobs
from backbone.tokens import Ids
from backbone.training.activation_checkpointing import checkpointed
from foundation.errors import UserError
from policy.algorithms.kl import kl_loss
from policy.algorithms.losses import aggregate, clipped_surrogate, surrogate, truncated_importance_weights
from policy.algorithms.registry import Algorithm
from policy.config import PolicyConfig, algorithm_of
from policy.metrics import timed
from policy.native.minibatches import micro_batches, minibatches
from policy.native.rollout import Rollout
from policy.native.training_state import ADAPTER, TrainState
from policy.native.value_network import warmup_factor

Row = dict[str, Any]


def update(
    config: PolicyConfig,
    base: SharedBase,
    rollout: Rollout,
    advantages: torch.Tensor,
    state: TrainState,
    accelerator: Accelerator,
    seed: int = 0,
) -> Row:
    """Update the policy on its rollout, `epochs * minibatches` times; advantages: (n, T), constants.

    Returns figures of all processes, and of this one's tokens before the first update `entropy` and `mismatch`, each
    (n, T).
    """
    algorithm, beta = algorithm_of(config), state.kl_coefficient(config)
    rate = warmup_factor(config, state.step)
    old, entropy = torch.zeros_like(advantages), torch.zeros_like(advantages)
    seen = {"loss": 0.0, "tokens": 0.0, "clipped": 0.0, "ratio": 0.0, "ratio_max": 0.0}
    norms = []
    checkpointing = checkpointed(base.base, config.gradient_checkpointing)
    with timed(rollout.seconds, "update"), checkpointing, base.using(ADAPTER):
        if config.minibatches > 1:
            old, entropy = _before_first_update(config, base, rollout)
        state.policy.zero_grad()
        for epoch, mine, n in minibatches(config, rollout, state.step, seed, accelerator.num_processes):
            tokens = sum(gather_object([float(rollout.mask[mine].sum())]))
            for rows in micro_batches(rollout, mine, config.micro_batch):
                now = _forward(config, base, rollout, rows)
                width = now.mask.shape[1]
                if epoch == 0 and config.minibatches == 1:  # nothing has been updated yet
                    old[rows, :width], entropy[rows, :width] = now.logprobs.detach(), now.entropy.detach()
                part = (advantages[rows, :width], old[rows, :width])
                terms = _token_losses(config, algorithm, now, *part, rollout=rollout, rows=rows, beta=beta)
                how, longest = algorithm.aggregation, config.max_new_tokens
                loss = aggregate(terms, now.mask, n, how, max_tokens=longest, tokens=tokens)
                if not bool(loss.isfinite()):
                    raise _not_finite("loss", state.step + 1, rollout, rows, base)
                state.policy.backward(loss)
                seen["loss"] += float(loss.detach())
                if algorithm.clipped:
                    _add_ratio_metrics(config, now, *part, seen)
            norms.append(state.policy.step(accelerator, config.max_grad_norm, rate))
            if not math.isfinite(norms[-1]):
                raise _not_finite("gradient", state.step + 1, rollout, range(len(rollout.rows)), base)
    everyone = gather_object([seen])
    found: Row = {
        "loss": sum(one["loss"] for one in everyone) / len(norms),
        "grad_norm": sum(norms) / len(norms),
        "learning_rate": config.learning_rate * rate,
        "entropy": entropy,
        "mismatch": (old - rollout.logprobs).abs() * rollout.mask,
    }
    if algorithm.clipped:
        counted = sum(one["tokens"] for one in everyone)
        found |= {
            "clip_fraction": sum(one["clipped"] for one in everyone) / counted,
            "ratio_mean": sum(one["ratio"] for one in everyone) / counted,
            "ratio_max": max(one["ratio_max"] for one in everyone),
        }
    return found


def _forward(config: PolicyConfig, base: SharedBase, rollout: Rollout, rows: Sequence[int]) -> TokenLogprobs:
    return response_logprobs(
        base,
        [rollout.prompt_ids[row] for row in rows],
        [rollout.response_ids[row] for row in rows],
        config.temperature,
        differentiable_entropy=config.entropy_bonus > 0,
    )


@torch.no_grad()
def _before_first_update(config: PolicyConfig, base: SharedBase, rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies before the first update, as training computes them: both (n, T)."""
    logprobs, entropy = torch.zeros_like(rollout.mask), torch.zeros_like(rollout.mask)
    with base.using(ADAPTER):
        for rows in micro_batches(rollout, range(len(rollout.rows)), config.micro_batch):
            part = _forward(config, base, rollout, rows)
            width = part.mask.shape[1]
            logprobs[rows, :width], entropy[rows, :width] = part.logprobs, part.entropy
    return logprobs, entropy


def _token_losses(
    config: PolicyConfig,
    algorithm: Algorithm,
    now: TokenLogprobs,
    advantages: torch.Tensor,
    old: torch.Tensor,
    *,
    rollout: Rollout,
    rows: Sequence[int],
    beta: float,
) -> torch.Tensor:
    """The loss of each token: (rows, T)."""
    width = now.mask.shape[1]
    if algorithm.clipped:
        terms = clipped_surrogate(now.logprobs, old, advantages, config.clip, config.clip_high)
    else:
        terms = surrogate(now.logprobs, advantages)
    if config.importance_cap is not None:
        terms = terms * truncated_importance_weights(old, rollout.logprobs[rows, :width], config.importance_cap)
    if algorithm.kl_in == "loss" and beta:
        reference = rollout.ref_logprobs[rows, :width]
        terms = terms + beta * kl_loss(now.logprobs, reference, now.mask, algorithm.kl_estimator)
    if config.entropy_bonus:
        terms = terms - config.entropy_bonus * now.entropy
    return terms


@torch.no_grad()
def _add_ratio_metrics(
    config: PolicyConfig, now: TokenLogprobs, advantages: torch.Tensor, old: torch.Tensor, seen: dict[str, float]
) -> None:
    """Add these tokens to the metrics of the ratio."""
    ratio = torch.exp(now.logprobs - old)
    high = config.clip if config.clip_high is None else config.clip_high
    beyond = ((ratio < 1 - config.clip) & (advantages < 0)) | ((ratio > 1 + high) & (advantages > 0))
    seen["tokens"] += float(now.mask.sum())
    seen["clipped"] += float((beyond * now.mask).sum())
    seen["ratio"] += float((ratio * now.mask).sum())
    seen["ratio_max"] = max(seen["ratio_max"], float((ratio * now.mask).max()))


def _not_finite(what: str, step: int, rollout: Rollout, rows: Sequence[int], base: SharedBase) -> UserError:
    texts: list[Ids] = [rollout.response_ids[row] for row in rows[:3]]
    shown = "; ".join(f'"{base.renderer.text(ids)[:80]}"' for ids in texts)
    return UserError(
        f"the {what} of step {step} is not finite, on responses such as {shown}. This step is not kept; the last "
        "checkpoint is. Lower policy.learning_rate or set policy.score_clip, and run the command again."
    )
