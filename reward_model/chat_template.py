"""A chat template under which a conversation ends where scores are read: at the end of its last turn."""

from typing import cast

from transformers import PreTrainedTokenizerBase

from backbone.tokens import Renderer


def closed_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The chat template, without what follows the last end of a turn unless an answer is asked for."""
    template = cast(str, tokenizer.chat_template).removesuffix("\n")
    end = repr(tokenizer.convert_ids_to_tokens(Renderer.of(tokenizer, 1).eos_ids[0]))
    closed = f"rendered[: rendered.rfind({end})] + {end}"
    return (
        f"{{% set rendered %}}{template}{{% endset %}}"
        f"{{{{ rendered if add_generation_prompt or {end} not in rendered else {closed} }}}}"
    )
