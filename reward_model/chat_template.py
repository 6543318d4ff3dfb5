"""The tokenizer that lies beside a reward model: it renders a conversation as the reward model was trained on it.

Chat templates may write a line break behind the end of an answer, or an empty thought in front of it. Whoever renders a
conversation with such a template, TRL for one, would read the score of tokens for which the head was never trained.
"""

import copy

from transformers import PreTrainedTokenizerBase

from backbone.templates.answers import Answers


def closed(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A copy whose chat template writes a last answer as `Renderer` does: behind what asks for it, and followed by
    nothing but the end of the turn. All else is rendered as before.
    """
    answers = Answers.of(tokenizer)
    end, lead = str(tokenizer.convert_ids_to_tokens(answers.end)), answers.lead
    text = "scored_answer" if answers.plain else "scored_answer | trim"
    if opening := lead.split()[:1]:
        text = f"({text}) if scored_answer.lstrip().startswith({opening[0]!r}) else {lead!r} + ({text})"
    elif lead:
        text = f"{lead!r} + ({text})"
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
        f"{{%+ if scored_answer is defined %}}{{{{ ({text}) + {end!r} }}}}{{% endif %}}"
    )
    return copied
