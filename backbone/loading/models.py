"""A base model and its tokenizer, from a local folder, the hub, or the bundled demo model.

The base is frozen: everything that is trained is an adapter (`backbone/adapters.py`).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from backbone.loading.devices import choose_device, choose_dtype
from backbone.loading.model_name import resolve_model
from backbone.loading.quantization import check_quantization, loading_arguments, settle
from backbone.loading.settings import Quantization
from backbone.loading.vocabulary import check_vocabulary, choose_padding
from backbone.templates.answers import Answers
from backbone.templates.plain_text import TemplateChoice, plain_template
from backbone.tokens import Renderer
from foundation.errors import UserError


def load_tokenizer(model: str, template: TemplateChoice = "auto") -> PreTrainedTokenizerBase:
    """The tokenizer, with a template and a padding token that never ends a turn and that the model embeds.

    `template` is `chat` (the model's own), `plain` (a text and its continuation), or `auto`: plain where the model has
    none. A padding token that also ends a turn would make a finished response look unfinished wherever padding is
    stripped. `UserError` if there is no tokenizer, if it belongs to another model, or if its template cannot be used.
    """
    path = resolve_model(model)
    with _explained(model):
        config = AutoConfig.from_pretrained(path)
    with _explained_tokenizer(model):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(path)
    if template == "plain" or (template == "auto" and tokenizer.chat_template is None):
        tokenizer.chat_template = plain_template(tokenizer)
    elif tokenizer.chat_template is None:
        raise UserError(
            f'the model "{model}" has no chat template, and template=chat asks for one. Add a chat_template.jinja to '
            "its folder, or set template=plain to have it continue plain text."
        )
    end = Answers.of(tokenizer).end
    rows = int(getattr(config.get_text_config(), "vocab_size", 0) or sys.maxsize)
    check_vocabulary(tokenizer, rows, model)
    choose_padding(tokenizer, {end, tokenizer.eos_token_id, *_declared_ends(path, config)}, rows)
    tokenizer.padding_side = "right"
    return tokenizer


def load_base(
    model: str, dtype: str = "auto", device: str = "auto", quantization: Quantization | None = None
) -> PreTrainedModel:
    """The causal language model, frozen and in evaluation mode.

    `dtype` is `auto`, `float32`, `bfloat16` or `float16`; `device` is `auto`, `cpu`, `cuda` or `cuda:1`;
    `quantization` is None, `int8` or `nf4`.
    """
    target = choose_device(device)
    check_quantization(quantization, target)
    path, chosen = resolve_model(model), choose_dtype(dtype, target)
    with _explained(model):
        quantised = loading_arguments(quantization, AutoConfig.from_pretrained(path), chosen, target)
        base: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, dtype=chosen, **quantised)
    base.requires_grad_(False)
    if quantised:
        settle(base)
    else:
        base.to(target)  # type: ignore[arg-type]
    base.train(False)
    return base


def renderer_of(base: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Renderer:
    """The tokenizer's rules with what the model declares: further ends of a turn, its context and vocabulary."""
    generation = getattr(base, "generation_config", None)  # a model with a score head has none
    declared = generation.eos_token_id if generation else None
    eos = declared if isinstance(declared, list) else [declared] if declared is not None else []
    config = base.config.get_text_config()
    longest = int(getattr(config, "max_position_embeddings", 0) or 1 << 30)
    renderer = Renderer.of(tokenizer, longest, eos, int(config.vocab_size))
    if generation:  # TRL stops at these, and would know nothing of an end that only the template names
        generation.eos_token_id = list(renderer.eos_ids)
    return renderer


def undeclared_ends(model: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Where to stop the model, if its own settings lack the token that ends an answer: theirs and that; else none."""
    path = resolve_model(model)
    declared, end = _declared_ends(path, AutoConfig.from_pretrained(path)), Answers.of(tokenizer).end
    return [] if end in declared else [*declared, end]


def _declared_ends(path: str, config: PretrainedConfig) -> list[int]:
    """The tokens at which the model's own settings stop it."""
    try:
        declared = GenerationConfig.from_pretrained(path).eos_token_id
    except OSError:  # the file is optional
        declared = getattr(config.get_text_config(), "eos_token_id", None)
    return declared if isinstance(declared, list) else [] if declared is None else [declared]


class _explained:
    """Turn transformers' loading errors into one sentence."""

    def __init__(self, model: str) -> None:
        self.model = model

    def __enter__(self) -> None:
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | ValueError | KeyError):
            first = str(error).strip().splitlines()[0]
            raise UserError(
                f'cannot load the model "{self.model}": {first} Give a folder, or a hub id that this machine can reach.'
            ) from error


@contextmanager
def _explained_tokenizer(model: str) -> Iterator[None]:
    """As `_explained`: there is no tokenizer, or its files are damaged, which is told in as many ways as there are."""
    try:
        yield
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f'the model "{model}" has no tokenizer that can be loaded ({reason}). Copy the model\'s own tokenizer '
            "(tokenizer.json and tokenizer_config.json) into its folder."
        ) from error
