"""Labels to a reward model: a LoRA adapter and a score head on the base model, as an ordinary PEFT folder.

TRL's `RewardTrainer` does the training (`label_trainer.py`). Adapter and head are trained in float32 on a base in its
own dtype; training resumes after a kill, stops on NaN, and ends with figures on held-out prompts, beside baselines.
Where labels come from and where the folder lies is decided by the pipeline.
"""

import contextlib
import gc
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from peft import TaskType, get_peft_model
from peft.helpers import disable_input_dtype_casting
from transformers import AutoConfig, PrinterCallback, set_seed

from backbone.adapters import SharedBase, lora_config
from backbone.cpu.attention import use_attention
from backbone.cpu.lora_layer import fuse_lora
from backbone.cpu.shared_prompt_attention import SHARED_PROMPT_ATTENTION
from backbone.loading.settings import Quantization
from backbone.lora_targets import resolve_targets
from backbone.templates.plain_text import TemplateChoice
from backbone.training.activation_checkpointing import checkpointed
from backbone.training.evaluation_mode import evaluation_mode
from backbone.training.quiet_libraries import quiet
from backbone.training.whole_checkpoints import last_whole_checkpoint
from foundation.errors import UserError
from foundation.files import content_id, sha256_of, write_json
from reward_model.bag_of_words import BagOfWords
from reward_model.chat_template import closed
from reward_model.config import RewardConfig
from reward_model.evaluation.evaluate import held_out_figures, reliabilities
from reward_model.evaluation.gate import frozen_differences, gate, of_first_prompts
from reward_model.evaluation.learning_curve import LearningCurve, half_labels
from reward_model.evaluation.score_differences import measure
from reward_model.held_out_judge import fit_held_out_judge
from reward_model.labels.encoding import LabelEncoding
from reward_model.labels.label_model import LabelModel
from reward_model.labels.records import OVERALL, Row
from reward_model.labels.selection import Selection, select
from reward_model.labels.splits import say_trained_on
from reward_model.model_card import write_card
from reward_model.reward_folder import FIGURES, WORDS
from reward_model.score_head import add_score_head, head_weight, save_adapter_and_heads
from reward_model.scorer import RewardScorer
from reward_model.sequence_classification import as_classifier, decoder_path
from reward_model.training.batch_layouts import best_layout
from reward_model.training.checkpoints import CompleteCheckpoints, SameOrder, prepare_checkpoints
from reward_model.training.collator import LabelCollator
from reward_model.training.early_stopping import KeepBest
from reward_model.training.initial import InitialReward
from reward_model.training.label_trainer import LabelTrainer, ReportSteps
from reward_model.training.length_effect import debiased_length_effect
from reward_model.training.posterior import computed_for, fit_posterior
from reward_model.training.processes import Processes
from reward_model.training.sequences import to_sequences
from reward_model.training.trl_arguments import trl_arguments

CHECKPOINTS = "checkpoints"
_MOST = 400  # held-out pairs, and others, of which the frozen base's states are computed


def train_reward(
    config: RewardConfig,
    model: str,
    rows: Sequence[Row],
    folder: Path,
    *,
    seed: int = 0,
    dtype: str = "auto",
    device: str = "auto",
    template: TemplateChoice = "auto",
    quantization: Quantization | None = None,
    held_out: Sequence[Row] | None = None,
    on_step: Callable[[Row], None] = lambda row: None,
) -> dict[str, Any]:
    """Train on `rows`, write the reward folder to `folder`, and return the figures on held-out prompts.

    `rows` are labels of any kind (`labels/reading.py`). `folder` is empty, or holds the checkpoints of a killed call:
    the same call then resumes from the last whole one. `held_out` rows replace the split by prompt. `on_step` is told
    `step`, `steps` and `loss`. `UserError` if there is nothing to learn from or to measure on, or if the loss is not a
    number.

    Several processes of one launcher train together (`processes.py`); what follows is the main one's, and the others
    return no figures.
    """
    processes = Processes.launched()
    if processes.device is not None and device == "auto":
        device = str(processes.device)
    began = time.monotonic()
    labels = select(config, rows, seed, held_out)
    initial = InitialReward.read(config.initial) if config.initial else None
    base = processes.load_base(model, dtype, device, template, quantization)
    longest = min(config.max_length, base.renderer.max_length)
    computed = (str(base.base.dtype), quantization)
    basis = content_id(
        config.model_dump(mode="json"), initial and sha256_of(initial.folder), base.name, template, seed, computed,
        [repr(label) for label in labels.train],
    )  # fmt: skip
    if processes.is_main:
        prepare_checkpoints(folder / CHECKPOINTS, basis)
    with quiet(), processes.each_alone():
        fitted = _fit(config, base, longest, labels, folder, seed, on_step, processes, initial)
    with processes.to_measure_in(folder, CHECKPOINTS) as measured_in:
        if measured_in is None:
            return {}
        folder = measured_in
        closed(base.tokenizer).save_pretrained(folder)
        name, trained_in = base.name, str(base.base.dtype).removeprefix("torch.")
        del base
        words = BagOfWords.fit(labels.pairs)
        words.save(folder / WORDS)
        seconds = time.monotonic() - began

        gc.collect()  # the trainer and its model refer to each other: without, two bases are in memory from here on
        again = processes.load_base(name, dtype, device, template, quantization) if processes.sharded else None
        scorer = RewardScorer.load(folder, again, dtype=dtype, device=device, quantization=quantization)
        scorer = replace(scorer, max_length=longest)
        asked = {(pair.prompt_key, text) for pair in computed_for(labels.pairs) for text in pair.responses}
        scorer = replace(scorer, on_batch=_measuring(on_step, len(asked) + 2 * len(labels.test)))
        posterior = fit_posterior(scorer, labels.pairs)
        posterior.save(folder)
        scorer = replace(scorer, posterior=posterior)
        uncertainty_seconds = time.monotonic() - began - seconds
        measured = measure(scorer, labels.test)
        judging, learned = (of_first_prompts(pairs, _MOST) for pairs in (labels.test, labels.pairs))
        frozen = frozen_differences(scorer.base, [*judging, *learned], longest)
        halves = half_labels(frozen, [pair.prompt_key for pair in (*judging, *learned)])
        result = {
            **held_out_figures(scorer, labels.test, measured, words),
            **gate(labels.test, measured.differences, words, [*judging, *learned], frozen),
            **fit_held_out_judge(judging, learned, frozen, folder),
            **labels.counts(),
            "cut_pairs": fitted.cut,
            "margins": any(pair.margin for pair in labels.pairs),
            "length_effect": fitted.length_effect,
            "steps": fitted.steps,
            "seconds": round(seconds, 1),
            "uncertainty_seconds": round(uncertainty_seconds, 1),
        }
        if halves:
            halves["pairs"] = len(labels.pairs)
            curve = LearningCurve.of_model(halves["half"], result, halves["pairs"])
            result["doubled"] = [round(each, 4) for each in curve.accuracy(2 * halves["pairs"])]
        write_json(
            folder / FIGURES,
            {**result, "max_length": longest, "dtype": trained_in, "quantization": quantization, "seed": seed,
             "aspects": fitted.aspects, "checks": fitted.checks, "best_step": fitted.best_step,
             "learning_curve": halves,
             **reliabilities(labels.test, measured.differences), "log": fitted.log},
        )  # fmt: skip
        simulated = sum(bool(row.get("simulated")) for row in rows)
        settings = config.model_dump(mode="json") | {"seed": seed}
        say_trained_on(folder, (*labels.train, *labels.validation), config.initial)
        write_card(folder, name, fitted.decoder, result, settings, simulated, quantization)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=not processes.is_main)
    return result if processes.is_main else {}


def _measuring(on_step: Callable[[Row], None], responses: int) -> Callable[[int], None]:
    """Tell how many of the responses have been scored by the trained model: minutes, with many labels."""
    done = 0

    def on_batch(count: int) -> None:
        nonlocal done
        done = min(done + count, responses)
        on_step({"phase": "measure", "step": done, "steps": responses})

    return on_batch


@dataclass(frozen=True)
class _Fitted:
    """What training says of itself; `best_step` is the step whose weights were kept, `decoder` where it
    is in the model if transformers' own sequence classification does not give the scores.
    """

    log: list[dict[str, float]]
    steps: int
    best_step: int
    checks: list[tuple[int, float]]
    aspects: list[str]
    length_effect: float
    cut: int
    decoder: str | None


def _fit(
    config: RewardConfig,
    base: SharedBase,
    longest: int,
    labels: Selection,
    folder: Path,
    seed: int,
    on_step: Callable[[Row], None],
    processes: Processes,
    initial: InitialReward | None,
) -> _Fitted:
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
    standard = as_classifier(base, AutoConfig.from_pretrained(base.name)) is not None
    decoder = None if standard else decoder_path(base)
    set_seed(seed)
    add_score_head(base)
    plain = base.base
    plain.set_output_embeddings(None)  # type: ignore[no-untyped-call]  # unused here, and gigabytes in a large model
    lora = initial.lora if initial else lora_config(config.lora_rank, config.lora_alpha, config.lora_targets)
    lora.task_type, lora.modules_to_save = TaskType.SEQ_CLS, ["score"]
    try:
        if not initial:
            resolve_targets(plain, lora, config.lora_layers)
        model = get_peft_model(plain, lora)  # adapters and head in float32, whatever the base is in
    except ValueError as error:
        raise UserError(f"cannot put the reward adapter on {base.name}: {str(error).splitlines()[0]}") from error
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
        save_adapter_and_heads(model, folder, heads, TaskType.SEQ_CLS if standard else TaskType.CAUSAL_LM, base.name)
    kept = ("step", "loss", "accuracy", "margin", "learning_rate", "grad_norm")
    steps = trainer.state.global_step
    return _Fitted(
        log=[{key: row[key] for key in kept if key in row} for row in trainer.state.log_history if "loss" in row],
        steps=steps,
        best_step=best.best_step if best else steps,
        checks=best.checks if best else [],
        aspects=[aspect for aspect in heads if aspect != OVERALL],
        length_effect=effect,
        cut=data.cut,
        decoder=decoder,
    )


def _telling(example: dict[str, Any]) -> tuple[bool, int]:
    """How well this sequence tells layouts apart: with several responses, and beyond a window if the model has one."""
    responses = example["response_ids"]
    return len(responses) > 1, len(example["prompt_ids"]) + max(map(len, responses))
