"""A base model and its tokenizer, from a local folder, the hub, or the bundled demo model.

The base is frozen: everything that is trained is an adapter (`backbone/adapters.py`).
"""

from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from backbone.loading.demo_model import DEMO_PAD
from backbone.loading.devices import choose_device, choose_dtype
from backbone.loading.model_name import resolve_model
from foundation.errors import UserError


def load_tokenizer(model: str) -> PreTrainedTokenizerBase:
    """The tokenizer, with a chat template and a padding token that never ends a turn.

    A padding token that is also the end of a turn would make a finished response look unfinished
    wherever padding is stripped, for instance where a reward head looks for the last real token.
    """
    with _explained(model):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(resolve_model(model))
    if tokenizer.chat_template is None:
        raise UserError(
            f'the model "{model}" has no chat template, so it cannot hold a conversation. Use an instruction-tuned '
            "model, or add a chat_template.jinja to its folder."
        )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        tokenizer.pad_token = _spare_token(tokenizer)
    tokenizer.padding_side = "right"
    return tokenizer


def load_base(model: str, dtype: str = "auto", device: str = "auto") -> PreTrainedModel:
    """The causal language model, frozen and in evaluation mode.

    `dtype` is `auto`, `float32`, `bfloat16` or `float16`; `device` is `auto`, `cpu`, `cuda` or `cuda:1`.
    """
    target = choose_device(device)
    path = resolve_model(model)
    with _explained(model):
        base: PreTrainedModel = AutoModelForCausalLM.from_pretrained(path, dtype=choose_dtype(dtype, target))
    base.requires_grad_(False)
    base.to(target)  # type: ignore[arg-type]
    base.train(False)
    return base


def _spare_token(tokenizer: PreTrainedTokenizerBase) -> str:
    special = [token for token in tokenizer.all_special_tokens if token != tokenizer.eos_token]
    preferred = [token for token in special if "pad" in token.lower() or token == DEMO_PAD]
    others = [token for token in special if token != tokenizer.bos_token]
    for token in [*preferred, *others, *special]:
        return str(token)
    raise UserError(
        "the tokenizer has no special token but its end of turn, so padding cannot be told from the end of a "
        'response. Set "pad_token" in its tokenizer_config.json to a token that text never contains.'
    )


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
