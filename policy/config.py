"""The settings of the policy stage, and what is refused before any model is loaded.

If a field is null, the algorithm's own choice applies; `algorithm_of` fills it in.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from foundation.errors import UserError
from foundation.settings import Settings
from policy.alarms import JUDGE, RULES, AlarmConfig
from policy.algorithms.kl import KLEstimator, KLPlace
from policy.algorithms.losses import Aggregation
from policy.algorithms.registry import ALGORITHMS, Algorithm

OFFLINE = ("dpo",)  # learns from preferences.jsonl, and samples nothing
_NAMES = (*ALGORITHMS, *OFFLINE)


class PolicyConfig(Settings):
    """The policy stage. One step samples and scores `prompts_per_step * group` responses, and updates on them."""

    engine: Literal["native", "trl"] = Field("native", description="this project's own loop, or TRL's trainers")
    algorithm: str = Field("rloo", description=f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]} (docs/maths.md)")
    baseline: Literal["none", "mean", "value"] = Field(
        "mean", description="of reinforce: nothing, the mean reward so far, or a value network"
    )
    steps: int = Field(40, ge=1, description="batches of responses to learn from")
    prompts_per_step: int = Field(8, ge=1, description="different prompts in a step, over all processes")
    group: int = Field(4, ge=1, description="responses sampled for each prompt")
    epochs: int = Field(1, ge=1, description="passes over a step's responses")
    minibatches: int = Field(1, ge=1, description="updates of the adapter in one pass")
    max_new_tokens: int = Field(96, ge=1, description="longest response, in tokens")
    temperature: float = Field(0.8, gt=0, description="of sampling, and of the trained policy")
    vllm: str | None = Field(
        None, description='of engine=trl, what samples: "colocate", or the URL of a server; null: transformers'
    )
    stop: tuple[str, ...] = Field((), description="texts that end a response, besides the model's own end of turn")
    kl_coefficient: float = Field(
        0.05, ge=0, description="beta: what a nat of KL to the base costs in reward, if it is fixed; 0: nothing, ever"
    )
    kl_in: KLPlace | None = Field(None, description="reward or loss; null: the algorithm's own")
    kl_estimator: KLEstimator | None = Field(
        None, description="k1, k2 or k3 (Schulman 2020); null: k1 in the reward, k2 in the loss"
    )
    kl_target: float | None = Field(
        3.0,
        gt=0,
        description="nats per response at which an adaptive coefficient holds the KL; null: it is fixed. "
        "The native loop also scales an adapter that ends above it; engine=trl does not, "
        "and dpo has no use for it but as a limit of promotion",
    )
    missing_eos_penalty: float = Field(1.0, ge=0, description="taken off the reward of a response that did not end")
    length_penalty: float = Field(0.0, description="taken off the reward for each token of a response")
    length_control: Literal["none", "band"] = Field(
        "band",
        description="band: towards a reward model, a price per token keeps the mean length near the base's; or none",
    )
    normalise_rewards: bool = Field(False, description="scores less their mean so far, in standard deviations")
    score_clip: float | None = Field(None, gt=0, description="scores are clipped to plus or minus this")
    discount: float = Field(1.0, ge=0, le=1, description="of later tokens' rewards (not of rloo, grpo and dr_grpo)")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="of GAE in ppo: 0 is the one-step error, 1 the return")
    whiten_advantages: bool | None = Field(
        None, description="to mean 0 and variance 1 over a step's tokens; null: the algorithm's own"
    )
    clip: float = Field(0.2, gt=0, description="a ratio of new to old probability counts down to 1 less this")
    clip_high: float | None = Field(None, gt=0, description="and up to 1 plus this; null: as clip")
    importance_cap: float | None = Field(
        None, ge=1, description="weigh tokens by training's over sampling's probability, up to this; null: do not"
    )
    entropy_bonus: float = Field(0.0, ge=0, description="what a nat of a choice's entropy is worth in the loss")
    aggregation: Aggregation | None = Field(
        None, description="sum, sequence_mean, token_mean or fixed (by max_new_tokens); null: the algorithm's own"
    )
    value_network: Literal["head", "adapter"] = Field(
        "head", description="a head on the base's states, fitted by least squares, or an adapter of its own with a head"
    )
    value_learning_rate: float = Field(
        1e-3, gt=0, description="of the head of value_network adapter; its adapter has the policy's"
    )
    value_clip: float | None = Field(
        None, gt=0, description="how far an update may move a value of value_network adapter; null: any distance"
    )
    learning_rate: float = Field(2e-4, gt=0, description="of AdamW, constant after the warm-up")
    warmup_steps: int = Field(2, ge=0, description="steps over which the learning rate rises from zero")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are scaled down to this norm")
    micro_batch: int = Field(8, ge=1, description="responses per forward and backward pass; gradients accumulate")
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, more time")
    initial: Path | None = Field(None, description="a LoRA adapter to start from, with its own rank and layers")
    lora_rank: int = Field(16, ge=1, description="rank of the adapter")
    lora_alpha: float = Field(32, gt=0, description="scale of the adapter, times its rank")
    lora_targets: str | tuple[str, ...] = Field(
        "all-linear",
        description="which layers carry the adapter; all-linear: those of the language model but its head and routers",
    )
    lora_layers: float = Field(
        1.0, gt=0, le=1, description="share of the model's blocks, the last ones, that carry the adapter"
    )
    merge_for_sampling: bool = Field(
        False, description="add the adapter into the base while sampling: faster, but rounded in a 16-bit base"
    )
    checkpoint_every: int = Field(10, ge=1, description="steps between checkpoints")
    tracker: Literal["none", "trackio", "wandb", "tensorboard"] = Field("none", description="where metrics go as well")
    alarms: AlarmConfig = AlarmConfig()
    stop_on: tuple[str, ...] = Field(
        ("kl", "length", JUDGE),
        description="alarms that end the training, which then keeps the checkpoint before them; judge: the held-out "
        "judge of the reward model (docs/metrics.md) likes the responses less than those of an earlier checkpoint. "
        "engine=trl does not ask the judge",
    )
    accept_weak_reward: bool = Field(
        False, description="tune towards a reward model even if it knows no more than length and words"
    )

    @field_validator("stop")
    @classmethod
    def _check_stop(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if "" in stop:
            raise ValueError("an empty text would end every response at once: leave it out")
        return stop

    @field_validator("stop_on")
    @classmethod
    def _check_stop_on(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := sorted(set(names) - {*RULES, JUDGE}):
            raise ValueError(f"there is no alarm {unknown[0]!r}; known are {', '.join([*RULES, JUDGE])}")
        return names

    @field_validator("algorithm")
    @classmethod
    def _check_algorithm(cls, name: str) -> str:
        if name not in _NAMES:
            raise ValueError(f"known are {', '.join(_NAMES)}")
        return name


def algorithm_of(config: PolicyConfig) -> Algorithm:
    """The chosen entry of `ALGORITHMS`, with what the configuration changes about it."""
    entry = ALGORITHMS[config.algorithm]
    kl_in = config.kl_in or entry.kl_in
    return replace(
        entry,
        # Several updates on one batch are off policy, whatever the algorithm: clipping the ratio keeps them near.
        clipped=entry.clipped or config.epochs * config.minibatches > 1,
        needs_values=entry.needs_values or (config.algorithm == "reinforce" and config.baseline == "value"),
        whiten=entry.whiten if config.whiten_advantages is None else config.whiten_advantages,
        aggregation=config.aggregation or entry.aggregation,
        kl_in=kl_in,
        kl_estimator=config.kl_estimator or ("k1" if kl_in == "reward" else "k2"),
    )


def check_config(config: PolicyConfig, prompts: int, processes: int = 1) -> None:
    """Refuse, before any model is loaded, what cannot work: all of it, a line each."""
    if wrong := list(_mistakes(config, prompts, processes)):
        raise UserError("\n".join(wrong))


def _mistakes(config: PolicyConfig, prompts: int, processes: int) -> Iterator[str]:
    if config.initial is not None and not config.initial.is_dir():
        yield f"policy.initial: there is no folder {config.initial}. Name a PEFT adapter folder."
    if config.algorithm in OFFLINE:
        return
    if config.vllm and config.engine == "native":
        yield f"policy.vllm={config.vllm} is for policy.engine=trl; the native loop samples by itself."
    algorithm, n = algorithm_of(config), config.prompts_per_step * config.group
    if algorithm.needs_group and config.group < 2:
        yield (
            f"policy.algorithm={config.algorithm} compares responses to the same prompt and needs policy.group of at "
            f"least 2; it is {config.group}. Raise it, or use policy.algorithm=reinforce."
        )
    if config.prompts_per_step % processes:
        yield (
            f"policy.prompts_per_step={config.prompts_per_step} cannot be divided among {processes} processes. "
            f"Use a multiple of {processes}."
        )
    if prompts < config.prompts_per_step:
        yield (
            f"policy.prompts_per_step={config.prompts_per_step}, but there are only {prompts} prompts to train on. "
            "Add prompts or lower it."
        )
    if n % config.minibatches:
        yield (
            f"policy.minibatches={config.minibatches} does not divide the {n} responses of a step "
            f"(policy.prompts_per_step={config.prompts_per_step} times policy.group={config.group}). "
            "Use a divisor of them."
        )
    held = {"kl_target": "null"} if config.kl_target is not None and config.kl_coefficient else {}
    held |= {"length_control": "none"} if config.length_control != "none" else {}
    for name, off in held.items() if n == 1 else ():
        yield (
            f"policy.{name}={getattr(config, name)} is held on the scale of what the rewards of a step differ by, and "
            "policy.prompts_per_step=1 and policy.group=1 make only one. Raise one of these, or set "
            f"policy.{name}={off}."
        )
    if algorithm.kl_in == "loss" and algorithm.kl_estimator == "k1" and config.kl_coefficient:
        yield (
            "policy.kl_estimator=k1 in the loss has an expected gradient of zero and does not restrain the policy. "
            "Use policy.kl_estimator=k2, or policy.kl_in=reward."
        )
    if config.value_clip is not None and config.value_network == "head":
        yield (
            "policy.value_clip limits gradient steps; policy.value_network=head takes none, it is fitted by "
            "least squares. Use policy.value_network=adapter, or leave policy.value_clip out."
        )
