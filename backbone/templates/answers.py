"""Answers as a chat template writes them: what comes before one, its tokens, what ends it.

Found once, by rendering a question and its answer. A template under which no answer could be asked for, or be seen to
end, is refused with the reason. Whole prompts and padding are left to `tokens.py`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from jinja2 import TemplateSyntaxError
from transformers import PreTrainedTokenizerBase

from backbone.templates.plain_text import is_plain
from foundation.errors import UserError

_QUESTION, _ANSWER = "Zebra41", "Zebra42"  # words that no template contains
_NOTHING = re.compile(r"\s*(<(\w+)>\s*</\2>)?\s*")  # white space, and perhaps an empty thinking block
_REMEDY = "Mend the chat template of the model, or set template=plain to have the model continue plain text"


class RenderingError(ValueError):
    """A template that cannot render a conversation; the message is the template's own reason, in one line."""


def render(tokenizer: PreTrainedTokenizerBase, messages: Iterable[Mapping[str, Any]], *, ask: bool) -> str:
    """The conversation as text, up to where an answer begins if one is asked for."""
    conversation = [dict(message) for message in messages]
    try:
        return cast(str, tokenizer.apply_chat_template(conversation, add_generation_prompt=ask, tokenize=False))
    except Exception as error:  # a template is a program of somebody else's, which may raise anything
        where = f" (line {error.lineno} of the template)" if isinstance(error, TemplateSyntaxError) else ""
        raise RenderingError(" ".join(str(error).split()).rstrip(".") + where or type(error).__name__) from error


def encode(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """The text's tokens, and no others."""
    return cast("list[int]", tokenizer(text, add_special_tokens=False)["input_ids"])


@dataclass(frozen=True)
class Answers:
    """How a tokenizer and its template write answers.

    - `end` is the token that ends one.
    - `lead` is what the template writes between asking and the answer: a space, an empty thinking block, the name of a
      channel. It is part of a response's tokens, not of its text.
    - `before` is the text in front, after which an answer is tokenised: some tokenizers treat the first word of a text
      differently.
    - `plain` is whether an answer continues a plain text, so that its white space counts.
    """

    tokenizer: PreTrainedTokenizerBase
    end: int
    lead: str = ""
    before: str = ""
    plain: bool = False

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> "Answers":
        """What the tokenizer's template does; `UserError` if it cannot be used."""
        name = tokenizer.name_or_path or "the tokenizer"
        question = [{"role": "user", "content": _QUESTION}]
        try:
            asked, told = (render(tokenizer, question, ask=ask) for ask in (True, False))
            whole = render(tokenizer, [*question, {"role": "assistant", "content": _ANSWER}], ask=False)
        except RenderingError as error:
            raise UserError(
                f"the chat template of {name} cannot render a question and its answer: {error}. {_REMEDY}."
            ) from error
        if _QUESTION not in asked or _ANSWER not in whole:
            raise UserError(f"the chat template of {name} leaves out what a message says. {_REMEDY}.")
        front, _, tail = whole.rpartition(_ANSWER)
        lead = front[len(asked) :] if front.startswith(asked) else ""
        if asked == told and not _NOTHING.fullmatch(lead):
            raise UserError(
                f'the chat template of {name} ignores add_generation_prompt: it puts "{_one_line(lead)}" before an '
                f"answer, but not where one is asked for, so that the model would not know its turn. {_REMEDY}."
            )
        before = _before(tokenizer, asked.rpartition(_QUESTION)[2])
        return cls(tokenizer, _end(tokenizer, tail, name), lead, before, is_plain(tokenizer))

    def ids(self, text: str) -> list[int]:
        """The answer's tokens, without its end. An answer that brings its own lead (its thoughts, say) keeps it."""
        if not self.plain:
            text = text.strip()
            opening = self.lead.split()[:1]
            text = text if opening and text.startswith(opening[0]) else self.lead + text
        return self._in_place(text)

    def text(self, ids: Sequence[int]) -> str:
        """The answer as a person reads it, from its tokens without the end."""
        return self.trimmed(self.whole_text(ids))

    def whole_text(self, ids: Sequence[int]) -> str:
        """As `text`, with the white space around it."""
        if self.plain:
            before = encode(self.tokenizer, self.before)
            return self._decode([*before, *ids])[len(self._decode(before)) :]
        return self._decode(self._without_lead(list(ids)))

    def trimmed(self, text: str) -> str:
        """Without white space around it where that does not count."""
        return text if self.plain else text.strip()

    def shown(self, ids: Sequence[int]) -> list[int]:
        """The tokens of what people are shown: `ids`, which have no end, less thoughts in a channel of their own."""
        kept = self._without_lead(list(ids))
        return list(ids) if len(kept) == len(ids) else [*self._in_place(self.lead), *kept]

    def _in_place(self, text: str) -> list[int]:
        before, both = encode(self.tokenizer, self.before), encode(self.tokenizer, self.before + text)
        return both[len(before) :] if both[: len(before)] == before else encode(self.tokenizer, text)

    def _without_lead(self, ids: list[int]) -> list[int]:
        """What follows the lead, which opens the answer, or, if it is made of special tokens, its last part."""
        if not self.lead.strip():
            return ids
        lead = self._in_place(self.lead)
        marked = not set(lead).isdisjoint(special_tokens(self.tokenizer).values())
        starts = range(len(ids) - len(lead), -1, -1) if marked else [0]
        start = next((start for start in starts if ids[start : start + len(lead)] == lead), None)
        return ids if start is None else ids[start + len(lead) :]

    def _decode(self, ids: Sequence[int]) -> str:
        return cast(str, self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The tokens that are no text, by what they look like: those with a name, and those only added as special."""
    named = set(tokenizer.all_special_tokens)
    added = tokenizer.added_tokens_decoder.items()
    return {str(token): id for id, token in added if token.special or str(token) in named}


def _end(tokenizer: PreTrainedTokenizerBase, tail: str, name: str) -> int:
    """The token that opens `tail`, what the template puts after an answer; the tokenizer's EOS if it puts nothing."""
    tail = tail.lstrip()
    tokens = {str(token): id for id, token in tokenizer.added_tokens_decoder.items()}
    found = [token for token in tokens if token.strip() and tail.startswith(token)]
    if found:
        return tokens[max(found, key=len)]
    if tail:
        raise UserError(
            f'the chat template of {name} ends an answer with "{_one_line(tail)}", which is not a token of its own in '
            f"the tokenizer, so that no response would ever be seen to end. {_REMEDY}."
        )
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"the tokenizer of {name} has no token that ends a text: set eos_token in tokenizer_config.json."
        )
    return int(tokenizer.eos_token_id)


def _before(tokenizer: PreTrainedTokenizerBase, asking: str) -> str:
    """What to tokenise an answer after: `asking` itself, or where that is empty a text that no word merges with."""
    if asking:
        return asking
    words = ("a", " a", "\na")

    def apart(text: str) -> bool:
        ids = encode(tokenizer, text)
        start = len(tokenizer.decode(ids))
        wholes = [encode(tokenizer, text + word) for word in words]
        return all(
            whole[: len(ids)] == ids and tokenizer.decode(whole)[start:] == word
            for whole, word in zip(wholes, words, strict=True)
        )

    return next((text for text in ("", "\n", ".") if apart(text)), "")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:60]
