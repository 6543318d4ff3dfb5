"""Texts as rewards are given them, strings or conversations; their words and scripts."""

from collections.abc import Sequence
from typing import Any

import regex

from foundation.scripts import UNSPACED

Text = str | Sequence[Any]

_WORD = regex.compile(rf"[{UNSPACED}]\p{{M}}*|[^\W{UNSPACED}]+(?:['’][^\W{UNSPACED}]+)*", regex.V1)
_LETTER = regex.compile(r"\p{L}")
_MARKED = 1 / 3


def text_of(text: Text) -> str:
    """The text of a completion or prompt: itself, or what its messages say, a line break between them."""
    if isinstance(text, str):
        return text
    messages: list[Any] = list(text)
    parts = [message["content"] for message in messages]
    return "\n".join(part if isinstance(part, str) else "".join(p.get("text", "") for p in part) for part in parts)


def messages_of(prompt: Text) -> list[Any]:
    """The prompt as a conversation; a string is one message of the user's."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)


def words(text: str) -> list[str]:
    """The words of a text; in scripts without spaces each character is one."""
    found: list[str] = _WORD.findall(text)
    return found


def mostly(script: str, text: str) -> bool:
    """Whether at least a third of the letters of `text` match the character class `script`."""
    letters = _LETTER.findall(text)
    return bool(letters) and len(regex.findall(script, "".join(letters), regex.V1)) >= _MARKED * len(letters)
