"""Plain text as a chat template: for models without one, which continue a text and hold no conversation.

The prompt is one message of the user's, the response is what follows it, white space included, and the tokenizer's EOS
ends it. As an ordinary template it travels with the tokenizer, so that TRL and saved folders need no rule of their own.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TemplateChoice = Literal["auto", "chat", "plain"]

_MARK = "{#- Plain text: the prompt, and what continues it. -#}"
_BODY = """
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}
{{- raise_exception("it has a system turn, and plain text has none: put it into the prompt's own text") -}}
{%- endif -%}
{%- if message['role'] != ('user' if loop.first else 'assistant') or loop.index > 2 -%}
{{- raise_exception("it has several turns, and plain text is one message of the user's that the model continues") -}}
{%- endif -%}
{%- endfor -%}
"""
_TEXT = """{{- messages[0]['content'] -}}
{%- if messages | length > 1 -%}{{- messages[1]['content'] + eos_token -}}{%- endif -%}"""


def plain_template(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The template, with a BOS token in front if the tokenizer itself puts one before a text."""
    bos = tokenizer.bos_token_id
    begins = bos is not None and tokenizer("a")["input_ids"][:1] == [bos]
    return _MARK + _BODY + ("{{- bos_token -}}" if begins else "") + _TEXT


def is_plain(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether this tokenizer renders plain text."""
    return _MARK in str(tokenizer.chat_template)


def saved_choice(folder: Path) -> TemplateChoice:
    """How to load the base of an adapter in this folder: as plain text if the tokenizer beside it says so."""
    file = folder / "chat_template.jinja"
    return "plain" if file.is_file() and _MARK in file.read_text(encoding="utf-8") else "auto"
