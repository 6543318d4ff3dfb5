"""Vocabularies: the words of a plain list, or the tokens of a Hugging Face tokenizer.

Both convert text to ids and back, and have at most one id that ends a text.
"""

from collections.abc import Sequence
from typing import Protocol, TypeGuard, cast

from transformers import PreTrainedTokenizerBase

from backbone.tokens import Renderer
from foundation.errors import UserError

Messages = Sequence[dict[str, str]]
Prompt = str | Messages


class SpecificationError(UserError, ValueError):
    """What was asked for cannot be: a `ValueError` to Gymnasium's users, a message on the command line."""


class Vocabulary(Protocol):
    """Token ids from 0 to `size` - 1; `eos` ends a text, `special` are the ids that are no text."""

    size: int
    eos: int | None
    special: tuple[int, ...]

    def encode(self, text: Prompt) -> tuple[int, ...]:
        """The ids of a text or a conversation; `SpecificationError` if they are not in the vocabulary."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a response, without the token that ended it."""

    def piece(self, token: int) -> str:
        """One token as a string."""


def vocabulary_of(
    source: Sequence[str] | PreTrainedTokenizerBase, separator: str = " ", eos: str | int | None = None
) -> Vocabulary:
    """A list of words, written with `separator` between them, or a tokenizer (which ends at its own EOS by default)."""
    if isinstance(source, PreTrainedTokenizerBase):
        return TokenizerVocabulary(source, eos)
    return Words(source, separator, eos)


class Words:
    """A plain list of words; ids are places in the list. An empty separator suits Chinese, and code."""

    special: tuple[int, ...] = ()

    def __init__(self, words: Sequence[str], separator: str = " ", eos: str | int | None = None) -> None:
        if isinstance(words, str):
            raise SpecificationError(f"the vocabulary is one string, {words!r}. Give a list of words.")
        self.words = tuple(words)
        self.size = len(self.words)
        self.separator = separator
        if not self.words:
            raise SpecificationError("the vocabulary is empty. Give at least one word.")
        for word in self.words:
            if not isinstance(word, str) or not word or (separator and separator in word):
                raise SpecificationError(
                    f"{word!r} cannot be a word of the vocabulary: it must be text, and free of the separator "
                    f"{separator!r}."
                )
        self._ids = {word: token for token, word in enumerate(self.words)}
        if len(self._ids) < self.size:
            twice = sorted({word for word in self.words if self.words.count(word) > 1})
            raise SpecificationError(f"the vocabulary has words twice: {', '.join(twice)}. Name each word once.")
        self.eos = None if eos is None else self._id(eos)

    def encode(self, text: Prompt) -> tuple[int, ...]:
        """Words to ids. Without a separator, the split into words that uses the fewest."""
        if not isinstance(text, str):
            raise SpecificationError("a conversation needs a tokenizer with a chat template; give prompts as text.")
        if not text:
            return ()
        words = text.split(self.separator) if self.separator else self._split(text)
        return tuple(map(self._id, words))

    def decode(self, ids: Sequence[int]) -> str:
        """Words joined by the separator, without the end."""
        return self.separator.join(self.words[token] for token in ids if token != self.eos)

    def piece(self, token: int) -> str:
        """The word."""
        return self.words[token]

    def _id(self, word: str | int) -> int:
        if isinstance(word, int) and 0 <= word < self.size:
            return word
        if word not in self._ids:
            known = ", ".join(self.words[:10]) + (", ..." if self.size > 10 else "")
            raise SpecificationError(f"{word!r} is not in the vocabulary ({known}). Add it, or choose other words.")
        return self._ids[word]

    def _split(self, text: str) -> list[str]:
        best: list[list[str] | None] = [[], *[None] * len(text)]
        for end in range(1, len(text) + 1):
            for word in self.words:
                before = best[end - len(word)] if len(word) <= end and text.endswith(word, 0, end) else None
                known = best[end]
                if before is not None and (known is None or len(before) + 1 < len(known)):
                    best[end] = [*before, word]
        if (found := best[-1]) is None:
            raise SpecificationError(
                f"{text!r} cannot be written with the words of the vocabulary ({', '.join(self.words[:10])}). "
                "Add the words that it lacks."
            )
        return found


class TokenizerVocabulary:
    """The tokens of a Hugging Face tokenizer. Its EOS ends a text, unless another token is named."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, eos: str | int | None = None) -> None:
        self.tokenizer = tokenizer
        self.size = len(tokenizer)
        if not self.size:
            raise SpecificationError("the tokenizer's vocabulary is empty.")
        self.eos = self._id(tokenizer.eos_token_id if eos is None else eos)
        self.special = tuple(token for token in tokenizer.all_special_ids if token != self.eos)

    def encode(self, text: Prompt) -> tuple[int, ...]:
        """A text as it stands; a conversation through the chat template, up to where the answer begins."""
        if isinstance(text, str):
            return tuple(cast("list[int]", self.tokenizer(text, add_special_tokens=False)["input_ids"]))
        return tuple(Renderer.of(self.tokenizer, self.tokenizer.model_max_length).prompt_ids(text))

    def decode(self, ids: Sequence[int]) -> str:
        """As TRL decodes what it hands to reward functions: special tokens left out, nothing stripped."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def piece(self, token: int) -> str:
        """The token as the tokenizer writes it (byte-level tokenizers mark a space before a word)."""
        return str(self.tokenizer.convert_ids_to_tokens(int(token)))

    def _id(self, token: str | int | None) -> int | None:
        found = self.tokenizer.get_vocab().get(token) if isinstance(token, str) else token
        if token is not None and (found is None or not 0 <= found < self.size):
            raise SpecificationError(f"the token {token!r} is not in the tokenizer's vocabulary of {self.size}.")
        return found


def is_conversation(prompt: Prompt) -> TypeGuard[Messages]:
    """Whether a prompt is a list of messages."""
    return not isinstance(prompt, str)
