"""Labels to a reward model: a LoRA adapter and a score head on the base model.

TRL's `RewardTrainer` does the training. Added here: labels of every kind, token ids from the one renderer, each prompt
computed once with all its responses, adapters in float32 on a base in its own number format, early stopping, resuming
after a kill, a stop on NaN, and figures on held-out prompts with controls. What is written is an ordinary PEFT folder.
Where labels come from and where the folder lies is the pipeline's affair.
"""

import contextlib
import gc
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel, TaskType, get_peft_model
from peft.helpers import disable_input_dtype_casting
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel, PrinterCallback, set_seed
from transformers.utils import logging as transformers_logging
from trl.trainer.reward_config import RewardConfig as TrainerArguments

from backbone.adapters import SharedBase, lora_config
from backbone.cpu.fused_layers import fuse_lora
from backbone.cpu.shared_prompts import NAME, attending
from backbone.loading import choose_device, choose_dtype, load_tokenizer, resolve_model
from backbone.tokens import Renderer
from foundation.errors import UserError
from foundation.files import content_id, read_json, write_json
from reward_model.config import RewardConfig as RewardConfig
from reward_model.evaluation.baselines import BagOfWords
from reward_model.evaluation.evaluate import held_out_figures, measure, reliabilities
from reward_model.labels.data import Pair, Row
from reward_model.labels.likelihood import LabelModel
from reward_model.labels.losses import length_effect
from reward_model.labels.records import OVERALL
from reward_model.labels.selection import Selection, select
from reward_model.model_card import write_card
from reward_model.scorer import ASPECTS, FIGURES, WORDS, RewardScorer
from reward_model.training.label_trainer import (
    KeepBest,
    KeepWhole,
    LabelTrainer,
    ReportSteps,
    SameOrder,
    last_checkpoint,
)
from reward_model.training.layouts import best_layout
from reward_model.training.sequences import LabelCollator, PackedSet, Scheme, pack
from reward_model.uncertainty import Laplace

CHECKPOINTS = "checkpoints"


def train_reward(
    config: RewardConfig,
    model: str,
    rows: Sequence[Row],
    folder: Path,
    *,
    seed: int = 0,
    dtype: str = "auto",
    device: str = "auto",
    held_out: Sequence[Row] | None = None,
    on_step: Callable[[Row], None] = lambda row: None,
) -> dict[str, Any]:
    """Train on `rows`, write the reward folder to `folder`, and return the figures on held-out prompts.

    `rows` are labels of any kind (`rows.py`). `folder` is empty, or where a killed call left its checkpoints: the same
    call then goes on from the last whole one. `held_out` rows replace the split by prompt. `on_step` is told `step`,
    `steps` and `loss`. `UserError` where there is nothing to learn or to measure on, or a loss that is not a number.
    """
    began = time.monotonic()
    labels = select(config, rows, seed, held_out)
    name = resolve_model(model)
    target = choose_device(device)
    number_format = choose_dtype(dtype, target)
    tokenizer = load_tokenizer(name)
    renderer = Renderer.of(tokenizer, _context(name))
    longest = min(config.max_length, renderer.max_length)

    basis = content_id(config.model_dump(), name, seed, str(number_format), [repr(label) for label in labels.train])
    checkpoints = _prepare(folder / CHECKPOINTS, basis)
    with _quiet():
        fitted = _fit(
            config, name, number_format, target, labels, renderer, longest, checkpoints, folder, seed, on_step
        )  # fmt: skip
    tokenizer.save_pretrained(folder)
    words = BagOfWords.fit(labels.pairs)
    words.save(folder / WORDS)
    seconds = time.monotonic() - began

    gc.collect()  # the trainer and its model refer to each other: without, two bases are in memory from here on
    scorer = replace(RewardScorer.load(folder, dtype=dtype, device=device), max_length=longest)
    posterior = _posterior(scorer, labels.pairs)
    posterior.save(folder)
    scorer = replace(scorer, posterior=posterior)
    uncertainty_seconds = time.monotonic() - began - seconds
    measured = measure(scorer, labels.test)
    result = {
        **held_out_figures(scorer, labels.test, measured, words),
        **labels.counts(),
        "cut_pairs": fitted.cut,
        "margins": any(pair.margin for pair in labels.pairs),
        "length_effect": fitted.length_effect,
        "steps": fitted.steps,
        "seconds": round(seconds, 1),
        "uncertainty_seconds": round(uncertainty_seconds, 1),
    }
    write_json(
        folder / FIGURES,
        {**result, "max_length": longest, "dtype": str(number_format).removeprefix("torch."), "seed": seed,
         "aspects": fitted.aspects, "checks": fitted.checks, "best_step": fitted.best_step,
         **reliabilities(labels.test, measured.differences), "log": fitted.log},
    )  # fmt: skip
    simulated = sum(bool(row.get("simulated")) for row in rows)
    end = str(tokenizer.convert_ids_to_tokens(renderer.eos_ids[0]))
    write_card(folder, name, end, result, config.model_dump(mode="json") | {"seed": seed}, simulated)
    shutil.rmtree(checkpoints)
    return result


@dataclass(frozen=True)
class _Fitted:
    """What training says of itself; `best_step` is the step whose weights were kept."""

    log: list[dict[str, float]]
    steps: int
    best_step: int
    checks: list[tuple[int, float]]
    aspects: list[str]
    length_effect: float
    cut: int


def _posterior(scorer: RewardScorer, pairs: Sequence[Pair]) -> Laplace:
    """How sure the head is after the training pairs, whose weights count relative to their mean."""
    renderer = replace(scorer.base.renderer, max_length=sys.maxsize)  # the scorer cuts
    prompts = {pair.prompt_key: renderer.prompt_ids(pair.prompt) for pair in pairs}
    keys = sorted({(pair.prompt_key, text) for pair in pairs for text in pair.responses})
    place = {key: number for number, key in enumerate(keys)}
    found = scorer.features_of([prompts[key] for key, _ in keys], [renderer.response_ids(text) for _, text in keys])
    features = found[[place[pair.prompt_key, text] for pair in pairs for text in pair.responses]]
    weights = torch.tensor([pair.weight for pair in pairs])
    return Laplace.fit(features[::2] - features[1::2], scorer.head, weights / weights.mean())


def _length_effect(config: RewardConfig, labels: Selection, renderer: Renderer) -> float:
    """What a unit of log length adds to the log-odds of a preference, or the share of it that the settings ask for."""
    if not config.length_debias:
        return 0.0
    longer = torch.tensor([[float(len(renderer.response_ids(t))) for t in p.responses] for p in labels.pairs]).log()
    shares = torch.tensor([pair.p_chosen for pair in labels.pairs])
    weights = torch.tensor([pair.weight for pair in labels.pairs])
    return config.length_debias * length_effect(longer[:, 0] - longer[:, 1], shares, weights / weights.mean())


def load_untrained(name: str, dtype: torch.dtype, pad_id: int) -> PreTrainedModel:
    """The base as a sequence-classification model whose new score head is zero: every score begins at zero."""
    with _quiet():
        model, info = AutoModelForSequenceClassification.from_pretrained(
            name, num_labels=1, pad_token_id=pad_id, dtype=dtype, output_loading_info=True
        )
    missing = sorted(set(info["missing_keys"]) - {"score.weight"})
    if missing or not isinstance(getattr(model, "score", None), torch.nn.Linear):
        raise UserError(
            f"{name} cannot carry a score head ({f'its {missing[0]} is missing' if missing else 'no linear score'}). "
            "Use a decoder model that transformers can load for sequence classification, such as Llama, Qwen or SmolLM."
        )
    torch.nn.init.zeros_(model.score.weight)
    return cast(PreTrainedModel, model)


def _fit(
    config: RewardConfig,
    name: str,
    dtype: torch.dtype,
    device: torch.device,
    labels: Selection,
    renderer: Renderer,
    longest: int,
    checkpoints: Path,
    folder: Path,
    seed: int,
    on_step: Callable[[Row], None],
) -> _Fitted:
    """Train from the last whole checkpoint on, and write the adapter."""
    scheme = Scheme.of([*labels.train, *labels.validation])
    data = pack(labels.train, scheme, renderer, longest)
    effect = _length_effect(config, labels, renderer)
    set_seed(seed)
    base = load_untrained(name, dtype, renderer.pad_id)
    sample = max(data.dataset, key=lambda example: example["length"])
    head = cast(torch.nn.Linear, base.get_submodule("score"))
    layout = best_layout(
        SharedBase(base.to(device).eval(), renderer.tokenizer, name),  # type: ignore[arg-type]
        head, sample, longest,
    )  # fmt: skip
    lora = lora_config(config.lora_rank, config.lora_alpha, config.lora_targets)
    lora.task_type, lora.modules_to_save = TaskType.SEQ_CLS, ["score"]
    model = get_peft_model(base, lora)  # adapters and head in float32, whatever the base is in
    fuse_lora(model)
    label_model = LabelModel(scheme, labels.train, head.in_features, effect).to(device)
    model.label_model = label_model
    arguments = _arguments(config, data, dtype, device, checkpoints, seed)
    best = None
    if config.patience is not None:
        per_epoch = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
        every = max(1, round(len(data.dataset) / per_epoch / config.checks_per_epoch))
        best = KeepBest(model, every, config.patience)
    keep = KeepWhole(model, best)
    trainer = LabelTrainer(
        model=model,
        args=arguments,
        train_dataset=data.dataset,
        eval_dataset=pack(labels.validation, scheme, renderer, longest).dataset if best else None,
        processing_class=renderer.tokenizer,
        data_collator=LabelCollator(renderer.pad_id, layout),
        callbacks=[ReportSteps(on_step), SameOrder(), *([best] if best else []), keep],
    )
    trainer.remove_callback(PrinterCallback)
    # Autocast brings inputs and float32 adapters to the base's format; PEFT's own cast would widen every input first.
    narrow = disable_input_dtype_casting(model) if dtype != torch.float32 else contextlib.nullcontext()
    before = last_checkpoint(checkpoints)
    if before:
        keep.restore(Path(before))
    # For as long as training lasts: where activations are recomputed, attention runs in the backward pass as well.
    with narrow, attending(base.config.get_text_config(), NAME if layout == "stream" else None):
        trainer.train(resume_from_checkpoint=before)
    if best:
        best.put_back()
    heads = label_model.heads(_score_weight(model))
    _save(model, folder, heads)
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
    )


def _arguments(
    config: RewardConfig, data: PackedSet, dtype: torch.dtype, device: torch.device, checkpoints: Path, seed: int
) -> TrainerArguments:
    sequences = config.batch_size * len(data.dataset) / data.labels  # that hold a batch of labels
    micro = min(config.micro_batch, max(1, round(sequences)))
    passes = max(1, round(sequences / micro))
    return TrainerArguments(
        output_dir=str(checkpoints),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(config.warmup * config.epochs * len(data.dataset) / (micro * passes)),
        per_device_train_batch_size=micro,
        per_device_eval_batch_size=micro,
        gradient_accumulation_steps=passes,
        prediction_loss_only=True,
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        max_length=None,
        remove_unused_columns=False,
        center_rewards_coefficient=config.center_rewards_coefficient,
        gradient_checkpointing=config.gradient_checkpointing,
        bf16=dtype == torch.bfloat16,
        fp16=dtype == torch.float16,
        use_cpu=device.type == "cpu",
        save_strategy="steps",
        save_steps=config.checkpoint_every,
        save_total_limit=2,
        logging_steps=config.log_every,
        report_to=config.tracker,
        disable_tqdm=True,
        dataloader_pin_memory=device.type != "cpu",
        seed=seed,
    )


def _prepare(checkpoints: Path, basis: str) -> Path:
    """Keep checkpoints of the same training; remove those of another (other settings, labels or model)."""
    mark = checkpoints / "basis.json"
    if not mark.is_file() or read_json(mark) != basis:
        shutil.rmtree(checkpoints, ignore_errors=True)
        write_json(mark, basis)
    return checkpoints


def _score_weight(model: PeftModel) -> torch.Tensor:
    """The trained head's weights, (hidden,), float32 on the CPU."""
    score = cast(Any, model.base_model.model).score.modules_to_save["default"]
    return cast(torch.Tensor, score.weight.detach().float().cpu().squeeze(0).clone())


def _save(model: PeftModel, folder: Path, heads: dict[str, torch.Tensor]) -> None:
    """Adapter and overall head as PEFT has them; the heads of aspects, where there are any, in a file beside them."""
    cast(Any, model.base_model.model).score.modules_to_save["default"].weight.data.copy_(heads[OVERALL])
    model.save_pretrained(str(folder), save_embedding_layers=False)
    aspects = {name: head.contiguous() for name, head in heads.items() if name != OVERALL}
    if aspects:
        save_file(aspects, folder / ASPECTS)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's card is an empty form


def _context(name: str) -> int:
    return int(getattr(AutoConfig.from_pretrained(name).get_text_config(), "max_position_embeddings", 0) or 1 << 30)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence notices of what is intended here (a new head, a changed padding token); errors are still shown."""
    level = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            # TRL and PEFT still use names that transformers has deprecated; nothing here can change that.
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        transformers_logging.set_verbosity(level)
