"""The tokenizer that lies beside a reward model: it renders a conversation as the reward model was trained on it.

Chat templates may write a line break behind the end of an answer, or an empty thought in front of it. Whoever renders a
conversation with such a template, TRL for one, would read the score of tokens for which the head was never trained.
"""

import copy

from transformers import PreTrainedTokenizerBase

from backbone.tokens import Renderer


def closed(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy whose chat template writes a last answer as `Renderer` does: as it stands, behind what asks for it, and
    followed by nothing but the end of the turn. All else is rendered as before.
    """
    end = str(tokenizer.convert_ids_to_tokens(Renderer.of(tokenizer, 1).eos_ids[0]))
    template = tokenizer.get_chat_template().removesuffix("\n")  # which Jinja drops from the end of a template
    answered = (
        "not add_generation_prompt and messages|length > 1 "
        "and messages[-1]['role'] == 'assistant' and messages[-1]['content'] is string"
    )
    copied = copy.deepcopy(tokenizer)
    # transformers' Jinja drops white space beside blocks; the plus signs keep what the template has there.
    copied.chat_template = (
        f"{{% if {answered} %}}{{% set scored_answer = messages[-1]['content'] %}}"
        "{% set messages = messages[:-1] %}{% set add_generation_prompt = true %}{% endif +%}"
        f"{template}"
        f"{{%+ if scored_answer is defined %}}{{{{ scored_answer + {end!r} }}}}{{% endif %}}"
    )
    return copied
