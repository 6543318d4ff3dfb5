"""The policy stage's work: which trainer, on which base, with what to learn from.

The native loop and TRL's trainers get the same prompts, scorer and LoRA; DPO gets preference pairs instead. When the
adapter is made anew is decided elsewhere (`runs/make_output.py`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator, PartialState
from rich.console import Console

from backbone.adapter_folder import read_adapter
from backbone.adapters import SharedBase
from backbone.exactness import load_shared_base
from backbone.loading.devices import choose_device, choose_dtype
from foundation.files import Row, read_rows
from pipeline.collection.held_out import preference_rows, say_left_out
from pipeline.collection.prompts import HELD_OUT, TRAIN, check_later_stages, fitting_prompts
from pipeline.config.config import Config
from pipeline.policy_scorers import policy_scorer
from pipeline.profiling import profiled
from pipeline.runs.folder import Run
from pipeline.sampling.drawing import policy_drawing
from pipeline.terminal.training_board import watch
from policy.config import check_config
from policy.finished import finished_log
from policy.native.train import train_policy
from reward_model.held_out_judge import load_held_out_judge

OnStep = Callable[[Mapping[str, Any]], None]
_WATCHED = 4


@dataclass(frozen=True)
class _Task:
    """What every trainer is given.

    learned: the reward model's folder, for DPO preferences.jsonl, or None if every reward is programmatic; initial: an
    adapter to start from; profile: record one step.
    """

    run: Run
    config: Config
    console: Console
    folder: Path
    learned: Path | None
    initial: Path | None
    profile: bool

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of every trainer."""
        return {"initial": self.initial, "seed": self.config.seed + self.run.round}

    def fitting_prompts(self, base: SharedBase) -> list[Row]:
        """The training prompts that leave room for a response; `UserError` if nothing could be evaluated later."""
        new_tokens = self.config.policy.max_new_tokens
        found = fitting_prompts(self.run, self.config, base, self.console, TRAIN, new_tokens)
        check_later_stages(self.run, self.config, base, self.console)
        return found

    def watched(self, base: SharedBase) -> list[Row]:
        """The first held-out prompts that leave room for a response: what is sampled of them is kept."""
        room = base.renderer.max_length - self.config.policy.max_new_tokens
        held_out = [row for row in read_rows(self.run.folder / "prompts.jsonl") if row["split"] == HELD_OUT]
        return [row for row in held_out if len(base.renderer.prompt_ids(row["prompt"])) <= room][:_WATCHED]

    def prompts(self) -> list[Row]:
        """The training prompts, short or long."""
        return [row for row in read_rows(self.run.folder / "prompts.jsonl") if row["split"] == TRAIN]

    @contextmanager
    def shown(self, visible: bool) -> Iterator[OnStep]:
        """Show the stage while it runs; with `profile`, record one step in the round's folder `profile`."""
        with ExitStack() as stack:
            listeners = [
                stack.enter_context(watch(self.console, self.config.policy.steps, self.config.policy.alarms, visible))
            ]
            if self.profile and visible:
                listeners.append(stack.enter_context(profiled(self.run.folder / "profile", self.run.say)))

            def on_step(row: Mapping[str, Any]) -> None:
                for listener in listeners:
                    listener(row)

            yield on_step


def tune(
    run: Run,
    config: Config,
    console: Console,
    folder: Path,
    *,
    learned: Path | None,
    initial: Path | None,
    profile: bool = False,
) -> dict[str, Any]:
    """Train the adapter into `folder`, unless a killed call came to its end; returns the figures of the last steps.

    `learned` is what carries people's judgements: the reward folder, for DPO preferences.jsonl, or None if every reward
    is programmatic. `initial` is an adapter to start from.
    """
    if (log := finished_log(folder)) is not None:
        return last_figures(log)
    if initial is not None:
        read_adapter(initial)  # fails before a model is loaded
    trainer = _dpo if config.offline else _trl if config.policy.engine == "trl" else _native
    return last_figures(trainer(_Task(run, config, console, folder, learned, initial, profile)))


def _native(task: _Task) -> Sequence[Row]:
    config = task.config
    tracker = None if config.policy.tracker == "none" else config.policy.tracker
    accelerator = Accelerator(cpu=config.device == "cpu", log_with=tracker)
    check_config(config.tuning, len(task.prompts()), accelerator.num_processes)
    config.check_sampler()
    base = _base(config, accelerator)
    rows = task.fitting_prompts(base)
    scorer = policy_scorer(config.rewards, base, rows, task.learned)
    judge = load_held_out_judge(task.learned, base) if task.learned else None
    asked = [base.renderer.prompt_ids(row["prompt"]) for row in rows]
    if tracker:
        accelerator.init_trackers("rlhf-pipeline", config.policy.model_dump(mode="json"))
    with task.shown(accelerator.is_main_process) as on_step:
        log = train_policy(
            config.tuning, base, scorer, asked, task.folder, accelerator=accelerator, watched=task.watched(base),
            judge=judge, draw=policy_drawing(config.sampler, task.run.folder), on_step=on_step, **task.arguments,
        )  # fmt: skip
    for one in accelerator.trackers:  # Accelerator.end_training would end the process group, which the stage needs
        one.finish()
    return log


def _trl(task: _Task) -> Sequence[Row]:
    from policy.trl.adapter_trainer import process_state
    from policy.trl.train_rloo_grpo import check_trl, train_with_trl  # seconds, which others need not wait

    config = task.config
    state = process_state(choose_device(config.device))
    check_config(config.tuning, len(task.prompts()), state.num_processes)
    check_trl(config.policy, state.num_processes)
    config.check_vllm()
    base = _base_for_trl(config, state)
    rows = task.fitting_prompts(base)
    scorer = policy_scorer(config.rewards, base, rows, task.learned)
    asked = [base.renderer.prompt_ids(row["prompt"]) for row in rows]
    with task.shown(state.is_main_process) as on_step:
        return train_with_trl(config.tuning, base, scorer, asked, task.folder, on_step=on_step, **task.arguments)


def _dpo(task: _Task) -> Sequence[Row]:
    from policy.trl.adapter_trainer import process_state
    from policy.trl.train_dpo import check_dpo, train_dpo
    from policy.trl.unused_settings import unused_by_dpo

    assert task.learned is not None
    config = task.config
    state = process_state(choose_device(config.device))
    every, (rows, _) = read_rows(task.learned), preference_rows(task.run)
    say_left_out(task.run, "policy", every, rows)
    check_dpo(config.policy, len(rows), state.num_processes)
    if (unused := unused_by_dpo(config.policy)) and state.is_main_process:
        task.run.say(f"policy: dpo has no use for {', '.join(unused)}.")
    base = _base_for_trl(config, state)
    with task.shown(state.is_main_process) as on_step:
        return train_dpo(config.policy, base, rows, task.folder, on_step=on_step, **task.arguments)


def _base(config: Config, process: Accelerator | PartialState) -> SharedBase:
    """The base on this process's device, or on the configured one."""
    device = str(process.device) if config.device == "auto" else config.device
    return load_shared_base(config.model, config.dtype, device, config.template, config.quantization)


def _base_for_trl(config: Config, state: PartialState) -> SharedBase:
    """The base on this process's device; if it will be sharded, on the CPU, in the dtype that the device prefers."""
    from backbone.training.sharded_weights import check_not_quantized, sharded

    if not sharded():
        return _base(config, state)
    check_not_quantized(config.quantization)
    dtype = str(choose_dtype(config.dtype, state.device)).removeprefix("torch.")
    return load_shared_base(config.model, dtype, "cpu", config.template)


def last_figures(log: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The columns of a training log, averaged over the last tenth of its steps, and the `alarms` that were on there.

    If an earlier checkpoint was kept, they are of the steps up to it, with `kept_step` and `ended_step`, and `stopped`
    (by what) if that ended the training. `judge_gain` and its interval are those of the weights that were kept, which
    `adapter_scale` brought to `kl_kept` if they were above the target of the KL; without a judge there are none.
    """
    end, told = log[-1], {}
    if "kept_step" in end:
        told = {"kept_step": end["kept_step"], "ended_step": end["step"]}
        told |= {"stopped": end["stopped"]} if "stopped" in end else {}
        log = log[: max(1, end["kept_step"])]
    moved = {name: end[name] for name in ("adapter_scale", "kl_kept") if name in end}
    judged = [end] if moved else [row for row in log if "judge_gain" in row][-1:]
    judgement = ("judge_gain", "judge_low", "judge_high")
    told |= moved | {name: row[name] for row in judged for name in judgement if name in row}
    last = log[-max(1, len(log) // 10) :]
    numbers = [{name: value for name, value in row.items() if isinstance(value, int | float)} for row in last]
    shared = [name for name in numbers[0] if name != "step" and all(name in row for row in numbers)]
    figures: dict[str, Any] = {name: sum(row[name] for row in numbers) / len(numbers) for name in shared}
    return figures | {"alarms": sorted({name for row in last for name in row.get("alarms", ())})} | told
