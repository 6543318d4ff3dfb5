"""What `train_rloo_grpo.py` and `train_dpo.py` share: how a TRL trainer trains the policy's adapter on the shared base.

One adapter of the base's own PEFT model is trained, the reference is the base with adapters off, token ids come from
this project's renderer, and a killed call continues from its last whole checkpoint. `accelerate launch` decides the
number of processes and whether weights are sharded.
"""

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import PartialState
from torch.distributed.tensor import DTensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.distributed import DistributedBackend

from backbone.adapters import SharedBase
from backbone.loading.saved_weights import WEIGHTS
from backbone.training.activation_checkpointing import checkpointed
from backbone.training.evaluation_mode import evaluation_mode
from backbone.training.sharded_weights import sharded
from backbone.training.whole_checkpoints import last_whole_checkpoint, mark_whole
from foundation.errors import UserError
from foundation.files import read_json, write_json, write_jsonl
from policy.alarms import Alarms
from policy.config import PolicyConfig
from policy.finished import CHECKPOINTS, finish
from policy.initial_adapter import add_initial_adapter
from policy.metrics import machine_metrics
from policy.scorer_protocol import Mixture, Scorer
from policy.training_log import LOG
from policy.trl.controls import Controls

ADAPTER = "default"  # the name under which TRL looks for the adapter of a PEFT model
Row = dict[str, Any]
ToRow = Callable[[Mapping[str, float]], Row]

_MIXTURE = "mixture.json"


class AdapterTrainer:
    """A mixin placed before a TRL trainer: the adapter alone is saved, and the learning rate follows `config`."""

    config: PolicyConfig
    updates: int
    """Updates of the adapter per step, that is per batch of responses."""

    def __init__(self, *, model: Any, **kwargs: Any) -> None:
        trained = [(each, each.data) for each in model.parameters() if each.requires_grad]
        super().__init__(model=model, **kwargs)  # type: ignore[call-arg]
        for each, data in trained:  # on a quantised base, TRL has rounded them to bf16
            each.data = data

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> LambdaLR:
        """As in the native loop: rising over `warmup_steps` steps, then constant."""
        trainer = cast(Any, self)
        warmup = self.config.warmup_steps
        trainer.lr_scheduler = LambdaLR(
            optimizer or trainer.optimizer, lambda update: min(1.0, (update // self.updates + 1) / (warmup + 1))
        )
        return cast(LambdaLR, trainer.lr_scheduler)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The export writes the card."""

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        # The trainer's own method would write every adapter of the base, the reward model's too, and the tokenizer.
        trainer = cast(Any, self)
        if trainer.args.should_save:
            trainer.accelerator.unwrap_model(trainer.model).save_pretrained(
                output_dir or trainer.args.output_dir,
                state_dict=state_dict,
                selected_adapters=[ADAPTER],
                save_embedding_layers=False,
            )


class LogAndCheckpoint(TrainerCallback):
    """Logs one row per step, refuses gradients that are not finite, and completes and marks checkpoints.

    `to_row` makes a row of the metrics that TRL logs.
    """

    def __init__(
        self,
        config: PolicyConfig,
        base: SharedBase,
        folder: Path,
        to_row: ToRow,
        on_step: Callable[[Row], None],
        scorer: Scorer | None = None,
        controls: Controls | None = None,
    ) -> None:
        self.base, self.to_row, self.on_step = base, to_row, on_step
        self.controls, self.stop_on = controls, config.stop_on
        self.path = folder / LOG
        self.mixture = scorer if isinstance(scorer, Mixture) else None
        self.alarms = Alarms(config.alarms)
        self.rows: list[Row] = []
        self.began: float | None = None

    def begin(self, checkpoint: Path | None, main: bool) -> None:
        """Restore the rows and the scorer's state from the checkpoint that training continues from."""
        steps = int(read_json(checkpoint / "step.json")) if checkpoint else 0
        if checkpoint and self.mixture:
            self.mixture.restore(read_json(checkpoint / _MIXTURE))
        if checkpoint and self.controls:
            self.controls.restore(checkpoint)
        if steps:
            lines = self.path.read_text(encoding="utf-8").splitlines()[:steps]
            self.rows = [json.loads(line) for line in lines]
        if main:
            write_jsonl(self.path, self.rows)
        for row in self.rows:
            self.alarms.after(row)
            self.on_step(row)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The first update of a step starts its clock."""
        self.began = self.began or time.perf_counter()

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl,
        logs: dict[str, float] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Log one row; the summary at the end of training is not a row."""
        if not logs or "loss" not in logs:
            return
        row = {"step": len(self.rows) + 1, **self.to_row(logs)}
        row |= self._of_machine(logs, row.get("tokens"))
        if self.controls:
            row = self.controls.follow(row)
        if fired := [alarm.name for alarm in self.alarms.after(row)]:
            row["alarms"] = fired
        if stopped := [name for name in fired if name in self.stop_on]:
            row |= {"stopped": stopped, "kept_step": _step_of(_kept(Path(str(args.output_dir))))}
            control.should_training_stop, control.should_save = True, False
        self.rows.append(row)
        if state.is_world_process_zero:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        self.on_step(row)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop before a gradient that is not finite reaches the adapter."""
        for parameter in self.base.parameters(ADAPTER).values():
            if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
                raise UserError(
                    f"the gradient of step {len(self.rows) + 1} is not finite. The adapter was not updated; the last "
                    "checkpoint is kept. Lower policy.learning_rate or set policy.score_clip, and run it again."
                )

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write what TRL does not save, then mark the checkpoint as whole."""
        PartialState().wait_for_everyone()  # each process writes its part
        if not state.is_world_process_zero:
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        write_json(folder / "step.json", len(self.rows))
        if self.mixture:
            write_json(folder / _MIXTURE, self.mixture.state())
        if self.controls:
            self.controls.save(folder)
        mark_whole(folder)

    def _of_machine(self, logs: Mapping[str, float], tokens: int | None) -> Row:
        """The phases that the trainer timed, and the rest of the step as `update`."""
        spent = {name.removeprefix("seconds_"): logs[name] for name in logs if name.startswith("seconds_")}
        spent["update"] = time.perf_counter() - (self.began or 0.0) - sum(spent.values())
        self.began = None
        found: Row = machine_metrics(spent, tokens or 0, PartialState().device)
        return {name: value for name, value in found.items() if tokens or name != "tokens_per_second"}


def add_trained_adapter(config: PolicyConfig, base: SharedBase, seed: int, initial: Path | None) -> None:
    """Add the adapter that TRL trains, new or read from `initial`, in fp32 whatever the dtype of the base.

    Under ZeRO-3 it takes the base's dtype: DeepSpeed gathers weights of one dtype only (trl#6089).
    """
    add_initial_adapter(base, ADAPTER, config, seed, initial)
    dtype = torch.float32
    if os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE") == "3":
        base.use_peft_layers()
        dtype = base.base.dtype
    for parameter in base.parameters(ADAPTER).values():
        parameter.data = parameter.data.to(dtype)
    base.check_trainable(ADAPTER)


def train_and_save(trainer: Any, base: SharedBase, folder: Path, watch: LogAndCheckpoint) -> list[Row]:
    """Train to the end from the last whole checkpoint, write the adapter to `folder`; returns the log."""
    main = bool(trainer.accelerator.is_main_process)
    trainer.remove_callback(PrinterCallback)
    # TRL copies the adapter that it is given and uses the copy as the reference; here the base is the reference.
    if "ref" in base.adapters:
        base.peft_model.delete_adapter("ref")
    checkpoint = last_whole_checkpoint(folder / CHECKPOINTS, remove_partial=main)
    trainer.accelerator.wait_for_everyone()
    watch.begin(checkpoint, main)
    start = {name: parameter.detach().cpu().clone() for name, parameter in base.parameters(ADAPTER).items()}
    recomputing = checkpointed(base.base, trainer.config.gradient_checkpointing)
    with base.using(ADAPTER), evaluation_mode(base.base), recomputing:
        base.check_trainable(ADAPTER)
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    parameters = base.parameters(ADAPTER)
    shards: Any = DistributedBackend(trainer.accelerator)  # type: ignore[no-untyped-call]
    with shards.gather_params(list(parameters.values())):
        whole = {name: _whole(parameter) for name, parameter in parameters.items()}
        if main:
            kept = _kept(folder / CHECKPOINTS) if "stopped" in watch.rows[-1] else None
            base.save_adapter(ADAPTER, folder, start if "stopped" in watch.rows[-1] else whole)
            if kept:
                shutil.copyfile(kept / WEIGHTS, folder / WEIGHTS)
            finish(folder)
    trainer.accelerator.wait_for_everyone()
    return watch.rows


def training_arguments(
    config: PolicyConfig, base: SharedBase, folder: Path, seed: int, *, updates: int, micro_batch: int, accumulate: int
) -> dict[str, Any]:
    """The arguments common to all trainers. `updates` is the number of updates of the adapter per step."""
    return {
        "output_dir": str(folder / CHECKPOINTS),
        "max_steps": config.steps * updates,
        "learning_rate": config.learning_rate,
        "weight_decay": 0.0,
        "max_grad_norm": config.max_grad_norm,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": accumulate,
        "gradient_checkpointing": False,  # `train_and_save` does it, without dropout
        "bf16": base.base.dtype == torch.bfloat16,
        "fp16": base.base.dtype == torch.float16,
        "use_cpu": base.device.type == "cpu" and not sharded(),
        "save_strategy": "steps",
        "save_steps": config.checkpoint_every * updates,
        "save_total_limit": 2,
        "logging_steps": updates,
        "report_to": config.tracker,
        "project": "rlhf-pipeline",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": base.device.type != "cpu",
        "ddp_find_unused_parameters": False,
        "seed": seed,
    }


def process_state(device: torch.device) -> PartialState:
    """The state of the processes that work together, on devices such as this one."""
    return PartialState(cpu=device.type == "cpu" and not sharded())


def micro_batches(config: PolicyConfig, rows: int) -> tuple[int, int]:
    """The largest micro-batch up to the configured one that divides `rows`, and how many of them there are."""
    size = next(size for size in range(min(config.micro_batch, rows), 0, -1) if rows % size == 0)
    return size, rows // size


def finite_metrics(logs: Mapping[str, float], names: Mapping[str, str]) -> Row:
    """The metrics of `logs` under this project's names, those that are present and finite."""
    found = {ours: logs[theirs] for theirs, ours in names.items() if logs.get(theirs) is not None}
    return {name: float(value) for name, value in found.items() if math.isfinite(float(value))}


def _kept(checkpoints: Path) -> Path | None:
    """The last whole checkpoint, if it has the adapter as a file of its own."""
    last = last_whole_checkpoint(checkpoints, remove_partial=False)
    return last if last and (last / WEIGHTS).is_file() else None


def _step_of(checkpoint: Path | None) -> int:
    return int(read_json(checkpoint / "step.json")) if checkpoint else 0


def _whole(parameter: torch.Tensor) -> torch.Tensor:
    """The full tensor of a shard (FSDP2); every process must call this."""
    return parameter.full_tensor() if isinstance(parameter, DTensor) else parameter.detach().clone()
