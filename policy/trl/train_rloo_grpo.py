"""Training by TRL's `RLOOTrainer` and `GRPOTrainer`: policy.engine=trl.

For what the native loop leaves out on purpose: weights sharded by FSDP or ZeRO, and sampling by vLLM. Prompts, reward,
penalties, LoRA, log and adapter folder are the same. Afterwards the base, with the reward model's adapter on it,
belongs to the trainer: sample from the adapter that was written, not from this base.
"""

import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.rloo_config import RLOOConfig
from trl.trainer.rloo_trainer import RLOOTrainer

from backbone.adapters import SharedBase
from backbone.sampling import check_room
from backbone.tokens import Ids
from backbone.training.one_gpu import on_one_gpu
from backbone.training.quiet_libraries import quiet
from foundation.errors import UserError
from policy.config import PolicyConfig, check_config
from policy.metrics import repetition, score_spread
from policy.scorer_protocol import Mixture, Scorer, checked_scores
from policy.trl.adapter_trainer import (
    AdapterTrainer,
    LogAndCheckpoint,
    Row,
    add_trained_adapter,
    finite_metrics,
    micro_batches,
    process_state,
    train_and_save,
    training_arguments,
)
from policy.trl.controls import Controls
from policy.trl.unused_settings import refuse_for_policy_gradients, stops_on_judge

ALGORITHMS = ("rloo", "grpo", "dr_grpo")
_LOSSES = {"sequence_mean": "grpo", "token_mean": "dapo", "fixed": "dr_grpo"}
_METRICS = {
    "score": "score",
    "entropy": "entropy",
    "completions/mean_length": "length",
    "finish_rate": "finish_rate",
    "loss": "loss",
    "grad_norm": "grad_norm",
    "learning_rate": "learning_rate",
    "clip_ratio/region_mean": "clip_fraction",
    "repetition": "repetition",
    "score_spread": "score_spread",
}


def train_with_trl(
    config: PolicyConfig,
    base: SharedBase,
    scorer: Scorer,
    prompts: Sequence[Ids],
    folder: Path,
    *,
    seed: int,
    initial: Path | None = None,
    on_step: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """As `native.train.train_policy`, by TRL: tune an adapter on `base`, write it to `folder`, and return the log.

    `folder` is where a killed call left its checkpoints, or empty. `UserError` names a setting that TRL cannot follow.
    """
    count = process_state(base.device).num_processes
    check_config(config, len(prompts), count)
    check_trl(config, count)
    check_room(base, prompts, config.max_new_tokens)
    add_trained_adapter(config, base, seed, initial)
    size, steps = micro_batches(config, config.prompts_per_step * config.group // count // config.minibatches)
    updates = config.epochs * config.minibatches
    common = training_arguments(config, base, folder, seed, updates=updates, micro_batch=size, accumulate=steps) | {
        "num_generations": config.group,
        "max_completion_length": config.max_new_tokens,
        "temperature": config.temperature,
        "beta": config.kl_coefficient,
        "epsilon": config.clip,
        "epsilon_high": config.clip_high,
        "num_iterations": config.epochs,
        "steps_per_generation": steps * config.minibatches,
        **sampler_arguments(config, base.renderer.eos_ids),
    }
    controls = Controls(config)
    reward = Reward(config, base, scorer, controls)
    with quiet():
        kind, specific = _chosen(config)
        watch = LogAndCheckpoint(
            config, base, folder, lambda logs: trl_metrics(config, logs, trainer.beta), on_step, scorer, controls
        )
        trainer = kind(
            model=base.peft_model,
            reward_funcs=[reward],
            args=on_one_gpu(specific(**common)),
            train_dataset=Dataset.from_dict({"prompt": [list(ids) for ids in prompts]}),
            processing_class=base.tokenizer,
            callbacks=[watch],
        )
        trainer.config, trainer.updates, controls.trainer = config, updates, trainer
        return train_and_save(trainer, base, folder, watch)


def check_trl(config: PolicyConfig, processes: int = 1) -> None:
    """Refuse, before any model is loaded, what TRL's trainers cannot do; `check_config` has refused the rest."""
    if config.algorithm not in ALGORITHMS:
        raise UserError(
            f"policy.engine=trl runs {', '.join(ALGORITHMS)}; policy.algorithm is {config.algorithm}. Choose one of "
            "these, or policy.engine=native."
        )
    if config.vllm not in (None, "colocate") and not str(config.vllm).startswith(("http://", "https://")):
        raise UserError(
            f'policy.vllm={config.vllm} is neither "colocate" nor the URL of a server, such as http://localhost:8000.'
        )
    if config.vllm and find_spec("vllm") is None:
        raise UserError("policy.vllm needs vLLM, which is not installed: pip install 'trl[vllm]'.")
    if config.group < 2:
        raise UserError(f"policy.engine=trl needs policy.group of at least 2; it is {config.group}.")
    share = config.prompts_per_step * config.group // processes
    if processes > 1 and share % config.minibatches:
        raise UserError(
            f"policy.minibatches={config.minibatches} does not divide the {share} responses of a step that each of "
            f"{processes} processes has under policy.engine=trl: set it to a divisor of {share}."
        )
    refuse_for_policy_gradients(config)
    rloo = config.algorithm == "rloo"
    wrong = {
        "kl_in": config.kl_in not in (None, "reward" if rloo else "loss"),
        "kl_estimator": config.kl_estimator not in (None, "k1" if rloo else "k3"),
        "normalise_rewards": config.normalise_rewards,
        "whiten_advantages": config.whiten_advantages and not rloo,
        "entropy_bonus": config.entropy_bonus != 0 and rloo,
        "importance_cap": config.importance_cap is not None,
        "aggregation": config.aggregation not in ((None, "sum") if rloo else (None, *_LOSSES)),
        "stop": bool(config.stop),
        "merge_for_sampling": config.merge_for_sampling,
        "stop_on": stops_on_judge(config),
    }
    cannot = [f"policy.{name}={getattr(config, name)}" for name, found in wrong.items() if found]
    if cannot:
        raise UserError(
            f"TRL's {config.algorithm} cannot follow {' and '.join(cannot)}. Leave it at its default, or use "
            "policy.engine=native."
        )


def sampler_arguments(config: PolicyConfig, eos_ids: Sequence[int]) -> dict[str, Any]:
    """TRL's arguments for the sampler: transformers, vLLM on the same GPUs, or a vLLM server (`trl vllm-serve`).

    vLLM knows the end of a text, and is told the other tokens that end a turn.
    """
    if config.vllm is None:
        return {}
    found = {"use_vllm": True, "vllm_mode": "colocate", "generation_kwargs": {"stop_token_ids": list(eos_ids)}}
    if config.vllm == "colocate":
        return found
    return found | {"vllm_mode": "server", "vllm_server_base_url": config.vllm}


class Reward:
    """The scorer as one of TRL's `reward_funcs`: on the sampled ids, with the penalties of the native loop."""

    __name__ = "reward"

    def __init__(self, config: PolicyConfig, base: SharedBase, scorer: Scorer, controls: Controls) -> None:
        self.config, self.base, self.scorer, self.controls = config, base, scorer, controls

    def __call__(
        self,
        prompts: Sequence[Ids],
        completions: Sequence[Any],
        completion_ids: Sequence[Ids],
        log_metric: Callable[[str, float], None],
        **columns: Any,
    ) -> list[float]:
        """Score, clip, penalise; the raw score and metrics of the responses go to the log."""
        config, began = self.config, time.perf_counter()
        scores = checked_scores(self.scorer, prompts, completion_ids, self.base).cpu()
        finished = torch.tensor([ids[-1] in self.base.renderer.eos_ids for ids in completion_ids])
        lengths = torch.tensor([len(ids) for ids in completion_ids], dtype=torch.float32)
        parts = self.scorer.parts if isinstance(self.scorer, Mixture) else {}
        found = {"score": scores, "finish_rate": finished.float(), "repetition": repetition(completion_ids)}
        found |= {f"score_{name}": torch.tensor(list(values)) for name, values in parts.items()}
        for name, values in found.items():
            log_metric(name, float(values.float().mean()))
        log_metric("score_spread", score_spread(scores.tolist(), config.group))
        log_metric("seconds_score", time.perf_counter() - began)
        if config.score_clip is not None:
            scores = scores.clamp(-config.score_clip, config.score_clip)
        penalised = scores - config.missing_eos_penalty * (~finished).float() - config.length_penalty * lengths
        self.controls.begin(penalised, lengths)
        rewards: list[float] = (penalised - self.controls.price * lengths).tolist()
        return rewards


def trl_metrics(config: PolicyConfig, logs: Any, beta: float) -> Row:
    """TRL's metrics of one step under the names of the native log, in the same units.

    TRL's `kl` is a mean over tokens (k1 for RLOO, k3 for GRPO); times the mean length it is in nats per response. Its
    `reward` does not include the KL penalty that RLOO subtracts.
    """
    row = finite_metrics(logs, _METRICS | {name: name for name in logs if name.startswith("score_")})
    row["tokens"] = round(row["length"] * config.prompts_per_step * config.group)
    if "kl" in logs:
        row["kl"] = float(logs["kl"]) * row["length"]
    off = beta * row.get("kl", 0.0) if config.algorithm == "rloo" else 0.0
    return {"reward": float(logs["reward"]) - off, **row}


def _chosen(config: PolicyConfig) -> tuple[type[Any], Callable[..., Any]]:
    """The trainer of this algorithm, and its arguments with those that only this algorithm has."""
    if config.algorithm == "rloo":
        return _RLOO, lambda **given: RLOOConfig(**given, normalize_advantages=bool(config.whiten_advantages))
    fixed = config.algorithm == "dr_grpo"
    loss = _LOSSES[config.aggregation or ("fixed" if fixed else "sequence_mean")]
    return _GRPO, lambda **given: GRPOConfig(
        **given, loss_type=loss, scale_rewards="none" if fixed else "group", entropy_coef=config.entropy_bonus
    )


class _FromIds(AdapterTrainer):
    """Prompts are already token ids from our renderer, so TRL's chat template is not used. Sampling is timed."""

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return prompts, None, {}

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        found = super()._generate_single_turn(*args, **kwargs)  # type: ignore[misc]
        cast(Any, self)._metrics["train"]["seconds_sample"].append(time.perf_counter() - began)
        return found


class _RLOO(_FromIds, RLOOTrainer):
    pass


class _GRPO(_FromIds, GRPOTrainer):
    pass
