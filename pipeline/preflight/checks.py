"""Whether every later stage will be able to run: asked at the first, and told in one message with every reason.

Most of it needs the model's configuration and its tokenizer alone (`check`). Whether the model computes exactly what
it should, and whether an adapter to begin with fits, shows when the weights are there (`load_checked`), which are
handed on to the stage that samples. What depends on answers (labels, scores, training itself) is left to the stages.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from torch import Tensor

from backbone.adapter_folder import read_adapter
from backbone.adapters import SharedBase, lora_config
from backbone.exactness import load_shared_base
from backbone.loading.devices import choose_device
from backbone.loading.models import load_tokenizer
from backbone.loading.outline import outline
from backbone.loading.quantization import check_quantization
from backbone.training.activation_checkpointing import layers_to_recompute
from foundation.errors import UserError
from foundation.files import Row, read_rows
from foundation.sizes import Sizes
from pipeline.champion.history import current
from pipeline.collection.prompts import (
    HELD_OUT,
    TRAIN,
    asked_prompts,
    check_prompts,
    fitting_prompts,
    short_enough,
    source_name,
    usable,
)
from pipeline.config.config import Config
from pipeline.preflight import memory
from pipeline.runs.folder import Run
from policy.config import PolicyConfig, check_config
from policy.native.training_state import ADAPTER
from reward_model.config import RewardConfig
from reward_model.rewards.kinds.classifier import Classifier
from reward_model.rewards.mixture import Composite
from reward_model.rewards.registry import LEARNED, BuiltReward, build
from reward_model.training.initial import InitialReward

_NOWHERE = Console(quiet=True)


@dataclass
class Findings:
    """Why later stages would refuse to run, and what is known of the model and of memory.

    `model` lies without its weights; `layers` and `adapters` say on how many layers the adapters of the reward model
    and the policy lie, and how many weights they have, `carrying` how many the layers under the policy's adapter have;
    `needed` is the estimate of each stage's memory, in bytes.
    `sizes` say how much is computed at once, `oversized` which are set too large for the GPU.
    """

    reasons: list[str] = field(default_factory=list)
    model: SharedBase | None = None
    layers: dict[str, int] = field(default_factory=dict)
    adapters: dict[str, int] = field(default_factory=dict)
    carrying: int = 0
    needed: dict[str, int] = field(default_factory=dict)
    sizes: Sizes | None = None
    oversized: list[str] = field(default_factory=list)

    @contextmanager
    def gathering(self, stage: str = "") -> Iterator[None]:
        """Keep a refusal as a reason, each once, and go on after it."""
        try:
            yield
        except UserError as error:
            self.add(f"{stage}: {error}" if stage else str(error))

    def add(self, reason: str | None) -> None:
        """Keep a reason."""
        if reason and reason not in self.reasons:
            self.reasons.append(reason)

    def refuse(self) -> None:
        """Raise a `UserError` with every reason, if there is any."""
        if len(self.reasons) == 1:
            raise UserError(self.reasons[0])
        if self.reasons:
            told = "\n".join(f"- {reason}".replace("\n", "\n  ") for reason in self.reasons)
            raise UserError(f"later stages would stop, for {len(self.reasons)} reasons:\n{told}")


def check(config: Config, rows: Sequence[Row], run: Run | None = None, *, found: Findings | None = None) -> Findings:
    """All that can be known without the weights; `rows` are the prompts, of which `run` asks a round.

    Goes on from what was `found` before.
    """
    found = found or Findings()
    if run is not None:
        with found.gathering():
            current(run, config)  # a champion on another base would be refused when people have judged already
    with found.gathering():
        check_quantization(config.quantization, choose_device(config.device))
    with found.gathering("policy"):
        config.check_vllm()
    with found.gathering("policy"):
        config.check_sampler()
    with found.gathering():
        tokenizer = load_tokenizer(config.model, config.template)
        model = outline(config.model, config.dtype, config.device)
        found.model = SharedBase(model, tokenizer, config.model)
    if config.policy.initial is not None and config.policy.initial.is_dir():
        with found.gathering("policy.initial"):
            _, weights = read_adapter(config.policy.initial)
            _count(found, "policy", weights)
    train = [row for row in rows if row["split"] == TRAIN]
    if found.model is not None:
        train = _check_prompts(config, rows, found.model, found, run)
        _check_layers(config, found.model, found)
        found.add(memory.too_large(config, found.model.base))
        longest = min(config.collect.max_prompt_tokens, found.model.renderer.max_length)
        found.needed = memory.estimate(config, found.model.base, found.adapters, longest, found.carrying)
        found.sizes = memory.sizes_here(config, found.model.base)
        found.oversized = memory.oversized(config, found.model.base, longest)
    if rows:
        _check_policy(config, len(train), found)
    _check_rewards(config, rows, found)
    return found


def load_checked(run: Run, config: Config, console: Console, adapter: Path | None = None) -> SharedBase:
    """The base, with `adapter` on it, if every later stage can run on it; else a `UserError` with every reason."""
    rows = read_rows(run.folder / "prompts.jsonl")
    found, base = check(config, rows, run), None
    if found.model is not None and not memory.too_large(config, found.model.base):
        with found.gathering():
            base = loaded(config)
            if adapter:
                base.load_adapter(ADAPTER, adapter)
            elif config.policy.initial and config.policy.initial.is_dir():
                base.load_adapter("initial", config.policy.initial)
    if not config.offline:
        for spec in config.rewards:
            if isinstance(spec.kind, Classifier):
                with found.gathering():
                    build(spec)
    found.refuse()
    assert base is not None
    evaluated = config.evaluate.sampling.max_new_tokens
    fitting_prompts(run, config, base, console, HELD_OUT, evaluated)  # says how many are left out
    for word in memory.tight(config, found.needed, found.oversized):
        console.print(f"collect: {word}", markup=False, highlight=False, soft_wrap=True)
    return base


def loaded(config: Config) -> SharedBase:
    """The base with its weights, as every stage loads it."""
    return load_shared_base(config.model, config.dtype, config.device, config.template, config.quantization)


def _check_prompts(
    config: Config, rows: Sequence[Row], base: SharedBase, found: Findings, run: Run | None
) -> list[Row]:
    """Template and context, prompt by prompt, and whether each stage has enough; returns those that can be tuned on."""
    imported = run is not None and source_name(run, config) == "labels"
    with found.gathering():
        check_prompts(rows, base, imported)
    every = usable(rows, base, imported)
    train, held_out = ([row for row in rows if row["split"] == split] for split in (TRAIN, HELD_OUT))
    if run is not None and train and (run.round or not imported):
        with found.gathering("collect"):
            asked_prompts(run, config, base, _NOWHERE, every)
    if run is not None and held_out:
        with found.gathering("evaluate"):
            fitting_prompts(run, config, base, _NOWHERE, HELD_OUT, config.evaluate.sampling.max_new_tokens, every)
    able = [row for row in every if row["split"] == TRAIN]
    return short_enough(able, base, config.collect, config.policy.max_new_tokens, imported)


def _check_policy(config: Config, prompts: int, found: Findings) -> None:
    """What the policy stage refuses of its settings, with so many prompts that it can tune on."""
    with found.gathering():
        check_config(config.tuning, prompts)
    # TRL takes seconds to import, which others need not wait.
    if config.offline:
        from policy.trl.train_dpo import check_dpo

        with found.gathering():
            check_dpo(config.policy, pairs=1)
    elif config.policy.engine == "trl":
        from policy.trl.train_rloo_grpo import check_trl

        with found.gathering():
            check_trl(config.policy)


def _check_layers(config: Config, base: SharedBase, found: Findings) -> None:
    """Whether adapters find their layers, and layers can be recomputed; notes how many weights adapters have."""
    stages: dict[str, PolicyConfig | RewardConfig] = {"policy": config.policy}
    if config.learned_reward and not config.offline:
        stages["reward"] = config.reward
    for stage, settings in stages.items():
        if settings.gradient_checkpointing:
            with found.gathering(stage):
                layers_to_recompute(base.base)
        if stage == "policy" and config.policy.initial:
            continue
        if stage == "reward" and config.reward.initial:
            with found.gathering("reward.initial"):
                _count(found, "reward", InitialReward.read(config.reward.initial).weights)
            continue
        with found.gathering(stage):
            lora = lora_config(settings.lora_rank, settings.lora_alpha, settings.lora_targets)
            base.add_adapter(stage, lora, share=settings.lora_layers)
            _count(found, stage, base.parameters(stage))
            base.remove_adapter(stage)


def _count(found: Findings, stage: str, weights: Mapping[str, Tensor]) -> None:
    found.adapters[stage] = sum(weight.numel() for weight in weights.values())
    halves = [(name, re.sub(r"(\.lora_(?:embedding_)?)A\b", r"\1B", name)) for name in weights]
    sizes = [weights[a].shape[1] * weights[b].shape[0] for a, b in halves if a != b and b in weights]
    found.layers[stage] = len(sizes)
    if stage == "policy":
        found.carrying = sum(sizes)


def _check_rewards(config: Config, rows: Sequence[Row], found: Findings) -> None:
    """Whether prompts have what rewards need, and the rewards can be made, but for those that load models."""
    if config.offline:
        return
    with found.gathering():
        Composite([BuiltReward(spec, list) for spec in config.rewards])  # two of one name
    for spec in config.rewards:
        for column in spec.kind.columns():
            lacking = [row for row in rows if not row.get(column)]
            if lacking:
                found.add(
                    f'the reward "{spec.title}" needs "{column}" with every prompt, and {len(lacking)} of {len(rows)} '
                    f"have none ({', '.join(row['id'] for row in lacking[:3])}{', ...' if lacking[3:] else ''}). "
                    f'Add the field "{column}" to these lines of the prompts file, or choose another reward.'
                )
        if spec.name != LEARNED and not isinstance(spec.kind, Classifier) and found.model is not None:
            with found.gathering():
                build(spec, base=found.model)
