"""Train the adapter and its head with TRL's trainer, from the last whole checkpoint on; or write one without effect."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.helpers import disable_input_dtype_casting
from transformers import AutoConfig, PrinterCallback, set_seed

from backbone.adapters import SharedBase, lora_config
from backbone.cpu.attention import use_attention
from backbone.cpu.lora_layer import fuse_lora
from backbone.cpu.shared_prompt_attention import SHARED_PROMPT_ATTENTION
from backbone.lora_targets import resolve_targets
from backbone.training.activation_checkpointing import checkpointed
from backbone.training.evaluation_mode import evaluation_mode
from backbone.training.whole_checkpoints import last_whole_checkpoint
from foundation.errors import UserError
from reward_model.config import RewardConfig
from reward_model.labels.encoding import LabelEncoding
from reward_model.labels.label_model import LabelModel
from reward_model.labels.records import OVERALL, Row
from reward_model.labels.selection import Selection
from reward_model.score_head import add_score_head, head_weight, save_adapter_and_heads
from reward_model.sequence_classification import as_classifier, decoder_path
from reward_model.training.batch_layouts import best_layout
from reward_model.training.checkpoints import CompleteCheckpoints, SameOrder
from reward_model.training.collator import LabelCollator
from reward_model.training.early_stopping import KeepBest
from reward_model.training.initial import InitialReward
from reward_model.training.label_trainer import LabelTrainer, ReportSteps
from reward_model.training.length_effect import debiased_length_effect
from reward_model.training.processes import Processes
from reward_model.training.sequences import to_sequences
from reward_model.training.trl_arguments import trl_arguments

CHECKPOINTS = "checkpoints"
_LAST_BLOCK = 1e-9  # a share of the blocks


@dataclass(frozen=True)
class Fitted:
    """What training says of itself; `best_step` is the step whose weights were kept, `decoder` where it
    is in the model if transformers' own sequence classification does not give the scores.
    """

    decoder: str | None
    cut: int = 0
    length_effect: float = 0.0
    steps: int = 0
    best_step: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    checks: list[tuple[int, float]] = field(default_factory=list)
    aspects: list[str] = field(default_factory=list)


def fit_adapter(
    config: RewardConfig,
    base: SharedBase,
    longest: int,
    labels: Selection,
    folder: Path,
    seed: int,
    on_step: Callable[[Row], None],
    processes: Processes,
    initial: InitialReward | None,
) -> Fitted:
    """Train from the last whole checkpoint on, and write the adapter."""
    if processes.is_main:
        last_whole_checkpoint(folder / CHECKPOINTS)  # removes what is not whole
    processes.wait()
    before = last_whole_checkpoint(folder / CHECKPOINTS, remove_partial=False)
    renderer = base.renderer
    encoding = LabelEncoding.of([*labels.train, *labels.validation])
    data = to_sequences(labels.train, encoding, renderer, longest)
    effect = debiased_length_effect(config, labels, renderer)
    layout = best_layout(base, max(data.dataset, key=_telling), longest)
    decoder = _decoder(base)
    set_seed(seed)
    plain = base.base
    plain.set_output_embeddings(None)  # type: ignore[no-untyped-call]  # unused here, and gigabytes in a large model
    lora = initial.lora if initial else lora_config(config.lora_rank, config.lora_alpha, config.lora_targets)
    model = _with_adapter(base, lora, None if initial else config.lora_layers)
    fuse_lora(model)
    label_model = LabelModel(encoding, labels.train, base.hidden_size, effect).to(base.device)
    model.label_model = label_model
    if initial:
        initial.put_on(model, base)
        initial.put_aspects(label_model, base.hidden_size)
    arguments = trl_arguments(config, data, plain.dtype, base.device, folder / CHECKPOINTS, seed, processes)
    best = None
    if config.patience is not None:
        per_epoch = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
        every = max(1, round(len(data.dataset) / per_epoch / config.checks_per_epoch))
        best = KeepBest(model, every, config.patience)
    keep = CompleteCheckpoints(model, best)
    trainer = LabelTrainer(
        base,
        processes,
        model=model,
        args=arguments,
        train_dataset=data.dataset,
        eval_dataset=to_sequences(labels.validation, encoding, renderer, longest).dataset if best else None,
        processing_class=renderer.tokenizer,
        data_collator=LabelCollator(renderer.pad_id, layout, processes),
        callbacks=[ReportSteps(on_step), SameOrder(), *([best] if best else []), keep],
    )
    trainer.remove_callback(PrinterCallback)
    # Autocast brings inputs and float32 adapters to the base's dtype; PEFT's own cast would widen every input first.
    narrow = disable_input_dtype_casting(model) if plain.dtype != torch.float32 else contextlib.nullcontext()
    if before:
        keep.restore(before)
    # For as long as training lasts: where activations are recomputed, attention runs in the backward pass as well.
    attention = use_attention(plain.config.get_text_config(), SHARED_PROMPT_ATTENTION if layout == "stream" else None)
    with narrow, attention, evaluation_mode(plain), checkpointed(plain, config.gradient_checkpointing):
        trainer.train(resume_from_checkpoint=str(before) if before else None)
    if best:
        best.put_back()
    heads = label_model.heads(head_weight(model))
    if processes.is_main:
        save_adapter_and_heads(model, folder, heads, _task(decoder), base.name)
    kept = ("step", "loss", "accuracy", "margin", "learning_rate", "grad_norm")
    steps = trainer.state.global_step
    return Fitted(
        log=[{key: row[key] for key in kept if key in row} for row in trainer.state.log_history if "loss" in row],
        steps=steps,
        best_step=best.best_step if best else steps,
        checks=best.checks if best else [],
        aspects=[aspect for aspect in heads if aspect != OVERALL],
        length_effect=effect,
        cut=data.cut,
        decoder=decoder,
    )


def write_head_alone(base: SharedBase, folder: Path, head: torch.Tensor) -> Fitted:
    """Write a reward folder whose adapter changes nothing, with this `head` (d,) on the base's last state."""
    decoder = _decoder(base)
    model = _with_adapter(base, lora_config(1, 1), _LAST_BLOCK)
    save_adapter_and_heads(model, folder, {OVERALL: head}, _task(decoder), base.name)
    return Fitted(decoder)


def _with_adapter(base: SharedBase, lora: LoraConfig, share: float | None) -> PeftModel:
    """Adapter and score head in float32, whatever the base is in; on this share of the blocks, if it is chosen here."""
    add_score_head(base)
    lora.task_type, lora.modules_to_save = TaskType.SEQ_CLS, ["score"]
    try:
        if share is not None:
            resolve_targets(base.base, lora, share)
        return cast(PeftModel, get_peft_model(base.base, lora))
    except ValueError as error:
        raise UserError(f"cannot put the reward adapter on {base.name}: {str(error).splitlines()[0]}") from error


def _decoder(base: SharedBase) -> str | None:
    """Where the decoder is in the model, if transformers' own sequence classification does not give the scores."""
    standard = as_classifier(base, AutoConfig.from_pretrained(base.name)) is not None
    return None if standard else decoder_path(base)


def _task(decoder: str | None) -> TaskType:
    return TaskType.SEQ_CLS if decoder is None else TaskType.CAUSAL_LM


def _telling(example: dict[str, Any]) -> tuple[bool, int]:
    """How well this sequence tells layouts apart: with several responses, and beyond a window if the model has one."""
    responses = example["response_ids"]
    return len(responses) > 1, len(example["prompt_ids"]) + max(map(len, responses))
