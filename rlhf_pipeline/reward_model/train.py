"""Preferences to a reward model: a LoRA adapter and a score head on the base model.

TRL's `RewardTrainer` does the training. Added here: token ids from the one renderer, each prompt
computed once for its pair, adapters in float32 on a base in its own number format, resuming after a
kill, a stop on NaN, and figures on held-out prompts with controls. What is written is an ordinary
PEFT folder. Where preferences come from and where the folder lies is the pipeline's affair.
"""

import contextlib
import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self, cast

import torch
from peft import PeftModel, TaskType, get_peft_model
from peft.helpers import disable_input_dtype_casting
from pydantic import Field, model_validator
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel, PrinterCallback, set_seed
from transformers.utils import logging as transformers_logging
from trl.trainer.reward_config import RewardConfig as TrainerArguments

from rlhf_pipeline.backbone.adapters import lora_config
from rlhf_pipeline.backbone.loading import choose_device, choose_dtype, load_tokenizer, resolve_model
from rlhf_pipeline.backbone.tokens import Renderer
from rlhf_pipeline.errors import UserError
from rlhf_pipeline.files import content_id, read_json, write_json
from rlhf_pipeline.reward_model.calibration import reliability
from rlhf_pipeline.reward_model.controls import BagOfWords
from rlhf_pipeline.reward_model.data import PairSet, Row, check_disjoint, split_by_prompt, to_dataset, to_pairs
from rlhf_pipeline.reward_model.evaluate import figures, score_differences
from rlhf_pipeline.reward_model.scorer import FIGURES, WORDS, RewardScorer
from rlhf_pipeline.reward_model.shared_prompt import SharedPromptCollator, agrees
from rlhf_pipeline.reward_model.trainer import KeepWhole, PairTrainer, ReportSteps, last_checkpoint
from rlhf_pipeline.reward_model.uncertainty import Laplace
from rlhf_pipeline.settings import Settings

CHECKPOINTS = "checkpoints"


class RewardConfig(Settings):
    """The reward stage. One step is one update of the adapter and head on `batch_size` pairs."""

    epochs: float = Field(1.0, gt=0, description="passes over the training pairs")
    learning_rate: float = Field(2e-4, gt=0, description="of AdamW, falling along a cosine after the warm-up")
    warmup: float = Field(
        0.05, ge=0, lt=1, description="share of the steps over which the learning rate rises from zero"
    )
    batch_size: int = Field(8, ge=1, description="pairs in a step, a multiple of micro_batch")
    micro_batch: int = Field(2, ge=1, description="pairs in one forward and backward pass; the rest accumulates")
    max_length: int = Field(512, ge=8, description="tokens of prompt and response; the oldest of the prompt is cut")
    lora_rank: int = Field(16, ge=1, description="rank of the adapter")
    lora_alpha: float = Field(32, gt=0, description="scale of the adapter, times its rank")
    lora_targets: str | tuple[str, ...] = Field("all-linear", description="which linear layers carry the adapter")
    held_out: float = Field(0.15, gt=0, lt=1, description="share of the prompts kept for measuring accuracy")
    margin: bool = Field(True, description="ask for a larger score difference where the preference was stronger")
    center_rewards_coefficient: float | None = Field(
        0.01, ge=0, description="pulls scores towards mean zero (Eisenstein et al. 2023, eq. 2); null for none"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, more time")
    checkpoint_every: int = Field(20, ge=1, description="steps between checkpoints")
    log_every: int = Field(5, ge=1, description="steps between entries of the training log")
    tracker: Literal["none", "trackio", "wandb", "tensorboard"] = Field("none", description="where figures go as well")

    @model_validator(mode="after")
    def _batches_divide(self) -> Self:
        if self.batch_size % min(self.micro_batch, self.batch_size):
            raise ValueError(f"batch_size={self.batch_size} must be a multiple of micro_batch={self.micro_batch}")
        return self


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

    `folder` is empty, or where a killed call left its checkpoints: the same call then goes on from the last
    whole one. `held_out` rows replace the split by prompt. `on_step` is told `step`, `steps` and `loss`. `UserError`
    where there are no preferences, too few prompts, or a loss that is not a number.
    """
    if not rows:
        raise UserError(
            "there are no preferences to learn from. Collect some with `rlhf label`, or bring existing ones with "
            "`rlhf import --format FORMAT FILE`, then run the command again."
        )
    began = time.monotonic()
    train, test = (rows, held_out) if held_out is not None else split_by_prompt(rows, config.held_out, seed)
    check_disjoint(train, test)
    name = resolve_model(model)
    target = choose_device(device)
    number_format = choose_dtype(dtype, target)
    tokenizer = load_tokenizer(name)
    renderer = Renderer.of(tokenizer, _context(name))
    longest = min(config.max_length, renderer.max_length)
    data = to_dataset(train, renderer, longest, config.margin)

    basis = content_id(config.model_dump(), name, seed, str(number_format), [dict(row) for row in train])
    checkpoints = _prepare(folder / CHECKPOINTS, basis)
    with _quiet():
        log, steps = _fit(config, name, number_format, target, data, renderer, checkpoints, folder, seed, on_step)
    tokenizer.save_pretrained(folder)
    words = BagOfWords.fit(to_pairs(train))
    words.save(folder / WORDS)
    seconds = time.monotonic() - began

    scorer = replace(RewardScorer.load(folder, dtype=dtype, device=device), max_length=longest)
    _posterior(scorer, data).save(folder)
    uncertainty_seconds = time.monotonic() - began - seconds
    pairs = to_pairs(test)
    differences = score_differences(scorer, pairs)
    result = {
        **figures(pairs, differences, words),
        "training_pairs": len(train),
        "cut_pairs": data.cut,
        "margins": "margin" in data.dataset.column_names,
        "steps": steps,
        "seconds": round(seconds, 1),
        "uncertainty_seconds": round(uncertainty_seconds, 1),
    }
    write_json(
        folder / FIGURES,
        {**result, "max_length": longest, "dtype": str(number_format).removeprefix("torch."), "seed": seed,
         "reliability": reliability(differences), "log": log},
    )  # fmt: skip
    shutil.rmtree(checkpoints)
    return result


def _posterior(scorer: RewardScorer, data: PairSet) -> Laplace:
    """How sure the head is after the training pairs."""
    chosen, rejected = (scorer.features(data.dataset[side]) for side in ("chosen_ids", "rejected_ids"))
    return Laplace.fit(chosen - rejected, scorer.head)


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
    data: PairSet,
    renderer: Renderer,
    checkpoints: Path,
    folder: Path,
    seed: int,
    on_step: Callable[[Row], None],
) -> tuple[list[dict[str, float]], int]:
    """Train from the last whole checkpoint on, and write the adapter; returns the log and the number of steps."""
    set_seed(seed)
    base = load_untrained(name, dtype, renderer.pad_id)
    sample = max(data.dataset, key=lambda example: example["length"])
    head = cast(torch.nn.Linear, base.get_submodule("score"))
    shared = agrees(base.to(device).eval(), head, renderer.pad_id, sample)  # type: ignore[arg-type]
    lora = lora_config(config.lora_rank, config.lora_alpha, config.lora_targets)
    lora.task_type, lora.modules_to_save = TaskType.SEQ_CLS, ["score"]
    model = get_peft_model(base, lora)  # adapters and head in float32, whatever the base is in
    trainer = PairTrainer(
        model=model,
        args=_arguments(config, len(data.dataset), dtype, device, checkpoints, seed),
        train_dataset=data.dataset,
        processing_class=renderer.tokenizer,
        data_collator=SharedPromptCollator(renderer.pad_id) if shared else None,
        callbacks=[ReportSteps(on_step), KeepWhole(model)],
    )
    trainer.remove_callback(PrinterCallback)
    # Autocast brings inputs and float32 adapters to the base's format; PEFT's own cast would widen every input first.
    narrow = disable_input_dtype_casting(model) if dtype != torch.float32 else contextlib.nullcontext()
    with narrow:
        trainer.train(resume_from_checkpoint=last_checkpoint(checkpoints))
    _save(model, folder)
    kept = ("step", "loss", "accuracy", "margin", "learning_rate", "grad_norm")
    log = [{key: row[key] for key in kept if key in row} for row in trainer.state.log_history if "loss" in row]
    return log, trainer.state.global_step


def _arguments(
    config: RewardConfig, pairs: int, dtype: torch.dtype, device: torch.device, checkpoints: Path, seed: int
) -> TrainerArguments:
    micro = min(config.micro_batch, config.batch_size)
    return TrainerArguments(
        output_dir=str(checkpoints),
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(config.warmup * config.epochs * pairs / config.batch_size),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=max(1, config.batch_size // micro),
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


def _save(model: PeftModel, folder: Path) -> None:
    model.save_pretrained(str(folder), save_embedding_layers=False)
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
