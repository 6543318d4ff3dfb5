"""The policy stage's work: which trainer, on which base, with what to learn from.

The native loop and TRL's trainers get the same prompts, scorer and LoRA; DPO gets preference pairs instead. What is
made of it, and when it is made anew, is the stage's affair (`stages.py`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from rich.console import Console

from rlhf_pipeline.backbone.adapters import SharedBase, read_adapter
from rlhf_pipeline.backbone.loading import choose_device, choose_dtype
from rlhf_pipeline.files import Row
from rlhf_pipeline.pipeline.collect import HELD_OUT, TRAIN
from rlhf_pipeline.pipeline.config import Config
from rlhf_pipeline.pipeline.joints import accelerator_of, asked_of, base_of, policy_shown, rows_of
from rlhf_pipeline.pipeline.rewards import policy_scorer
from rlhf_pipeline.pipeline.run import Run
from rlhf_pipeline.policy.config import OFFLINE, check_config
from rlhf_pipeline.policy.train import train_policy


def tune(
    run: Run,
    config: Config,
    console: Console,
    folder: Path,
    *,
    learned: Path | None,
    initial: Path | None,
    profile: bool = False,
) -> Sequence[Row]:
    """Train the adapter into `folder`; returns the log.

    `learned` is what people's judgements come in as: the reward folder, for DPO preferences.jsonl, or neither where
    every reward is a programmatic one. `initial` is an adapter to go on from.
    """
    if initial is not None:
        read_adapter(initial)  # fails before a model is loaded
    trainer = _dpo if config.policy.algorithm in OFFLINE else _trl if config.policy.engine == "trl" else _native
    how = {"initial": initial, "seed": config.seed + run.round}
    return trainer(run, config, console, folder, learned, how, profile)


def _native(
    run: Run, config: Config, console: Console, folder: Path, reward: Path | None, how: dict[str, Any], profile: bool
) -> Sequence[Row]:
    accelerator = accelerator_of(config)
    check_config(config.policy, len(_training_prompts(run)), accelerator.num_processes)
    base = base_of(config, accelerator)
    rows = asked_of(run, config, base, console, TRAIN)
    scorer = policy_scorer(config.rewards, base, rows, reward)
    asked = [base.renderer.prompt_ids(row["prompt"]) for row in rows]
    if config.policy.tracker != "none":
        accelerator.init_trackers("rlhf-pipeline", config.policy.model_dump(mode="json"))
    with policy_shown(run, config, console, profile=profile, visible=accelerator.is_main_process) as on_step:
        log = train_policy(config.policy, base, scorer, asked, folder, accelerator=accelerator, on_step=on_step, **how)
    for tracker in accelerator.trackers:  # Accelerator.end_training would end the process group, which the stage needs
        tracker.finish()
    return log


def _trl(
    run: Run, config: Config, console: Console, folder: Path, reward: Path | None, how: dict[str, Any], profile: bool
) -> Sequence[Row]:
    from rlhf_pipeline.policy.trl_engine import check_trl, train_with_trl  # seconds, which others need not wait
    from rlhf_pipeline.policy.trl_training import processes

    state = processes(choose_device(config.device))
    check_config(config.policy, len(_training_prompts(run)), state.num_processes)
    check_trl(config.policy)
    base = _base_for_trl(config, state)
    rows = asked_of(run, config, base, console, TRAIN)
    scorer = policy_scorer(config.rewards, base, rows, reward)
    asked = [base.renderer.prompt_ids(row["prompt"]) for row in rows]
    with policy_shown(run, config, console, profile=profile, visible=state.is_main_process) as on_step:
        return train_with_trl(config.policy, base, scorer, asked, folder, on_step=on_step, **how)


def _dpo(
    run: Run, config: Config, console: Console, folder: Path, pairs: Path | None, how: dict[str, Any], profile: bool
) -> Sequence[Row]:
    from rlhf_pipeline.policy.dpo import check_dpo, train_dpo
    from rlhf_pipeline.policy.trl_training import processes

    assert pairs is not None
    state = processes(choose_device(config.device))
    held_out = {row["id"] for row in rows_of(run.folder / "prompts.jsonl") if row["split"] == HELD_OUT}
    rows = [row for row in rows_of(pairs) if row["ids"]["prompt"] not in held_out]
    check_dpo(config.policy, len(rows), state.num_processes)
    base = _base_for_trl(config, state)
    with policy_shown(run, config, console, profile=profile, visible=state.is_main_process) as on_step:
        return train_dpo(config.policy, base, rows, folder, on_step=on_step, **how)


def _training_prompts(run: Run) -> list[Row]:
    return [row for row in rows_of(run.folder / "prompts.jsonl") if row["split"] == TRAIN]


def _base_for_trl(config: Config, state: PartialState) -> SharedBase:
    """The base on this process's device; where it will be sharded, on the CPU, in the format that the device likes."""
    from rlhf_pipeline.policy.trl_training import sharded

    if not sharded():
        return base_of(config, state)
    dtype = str(choose_dtype(config.dtype, state.device)).removeprefix("torch.")
    return SharedBase.load(config.model, dtype, "cpu")
