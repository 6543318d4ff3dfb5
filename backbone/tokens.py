"""The one place where conversations become token ids.

Reward training, scoring, sampling and policy training all render through here, so that they see
the same ids: a response is its own tokens followed by the model's end of turn. Models are not
needed here; what templates write is found out in `templates/`.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from backbone.templates.answers import Answers, RenderingError, encode, render
from foundation.errors import UserError

Ids = Sequence[int]
Conversation = Sequence[Mapping[str, Any]]


class Refusal(NamedTuple):
    """What is wrong with a prompt ("is ..."), and how to mend it."""

    reason: str
    remedy: str


@dataclass(frozen=True)
class Renderer:
    """A tokenizer with its rules: chat template, end of turn, longest sequence.

    `eos_ids` are all tokens that end a turn; the first is the one that is appended to text.
    `max_length` is the longest prompt plus response, in tokens. `rows` are those of the model's embedding.
    """

    tokenizer: PreTrainedTokenizerBase
    answers: Answers
    eos_ids: tuple[int, ...]
    pad_id: int
    max_length: int
    rows: int = sys.maxsize

    @classmethod
    def of(
        cls, tokenizer: PreTrainedTokenizerBase, max_length: int, eos_ids: Iterable[int] = (), rows: int = sys.maxsize
    ) -> "Renderer":
        """The rules of `tokenizer`, with further end-of-turn ids that the model declares."""
        answers = Answers.of(tokenizer)
        eos = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        ends = tuple(dict.fromkeys([answers.end, *eos, *eos_ids]))
        return cls(tokenizer, answers, ends, int(tokenizer.pad_token_id), max_length, rows)

    @property
    def plain(self) -> bool:
        """Whether a response continues a plain text, for want of a chat template or because that was asked for."""
        return self.answers.plain

    @property
    def unbounded(self) -> "Renderer":
        """The same rules for sequences of any length, for what is cut later, by `fit`."""
        return replace(self, max_length=sys.maxsize)

    def prompt_ids(self, messages: Conversation, reserve: int = 0) -> list[int]:
        """Ids of a conversation up to where the assistant's answer begins.

        `reserve` tokens must remain free for the answer; `UserError` if they do not, or if the template cannot render
        the conversation.
        """
        found = self._ids_or_refusal(messages, reserve)
        if isinstance(found, Refusal):
            raise UserError(f'a prompt {found.reason}: "{opening(messages)}". {found.remedy}.')
        return found

    def refusals(self, prompts: Sequence[Conversation], reserve: int = 0) -> dict[int, Refusal]:
        """Why `prompt_ids` would refuse prompts, by their places; empty if it refuses none."""
        found = ((place, self._ids_or_refusal(messages, reserve)) for place, messages in enumerate(prompts))
        return {place: refusal for place, refusal in found if isinstance(refusal, Refusal)}

    def _ids_or_refusal(self, messages: Conversation, reserve: int) -> list[int] | Refusal:
        try:
            ids = encode(self.tokenizer, render(self.tokenizer, messages, ask=True))
        except RenderingError as error:
            return Refusal(f"is refused by the chat template ({error})", "Rewrite or remove it")
        if max(ids, default=0) >= self.rows:
            return self._without_row(ids)
        if len(ids) + reserve > self.max_length:
            return Refusal(
                f"is {len(ids)} tokens long, and with {reserve} for the response it exceeds the context of "
                f"{self.max_length}",
                "Shorten it, or lower max_new_tokens",
            )
        return ids

    def _without_row(self, ids: Ids) -> Refusal:
        token = self.tokenizer.convert_ids_to_tokens(max(ids))
        return Refusal(f'contains "{token}", a token that the model does not embed', "Rewrite or remove it")

    def response_ids(self, text: str) -> list[int]:
        """Ids of a finished response: its text and the end of the turn."""
        ids = self.answers.ids(text)
        if max(ids, default=0) >= self.rows:
            found = self._without_row(ids)
            raise UserError(f'a response {found.reason}: "{_start(text)}". {found.remedy}.')
        return [*ids, self.eos_ids[0]]

    def completed(self, response_ids: Ids) -> list[int]:
        """What people are shown of the response, with its turn ended: as reward models are trained on and score it.

        Annotators judge a cut-off response as it stands; so does the reward model. That a response
        did not end by itself is the policy's concern (its missing-EOS penalty).
        """
        ids = list(response_ids)
        if ids and ids[-1] in self.eos_ids:
            ids.pop()
        return [*self.answers.shown(ids), self.eos_ids[0]]

    def text(self, response_ids: Ids) -> str:
        """The response as a person reads it, without its end of turn; of plain text, with its white space."""
        ids = list(response_ids)
        if ids and ids[-1] in self.eos_ids:
            ids.pop()
        return self.answers.text(ids)

    def fit(self, prompt_ids: Ids, response_ids: Ids, max_length: int) -> tuple[list[int], list[int], bool]:
        """Cut to `max_length` tokens, oldest prompt tokens first; says whether anything was cut.

        At least a quarter of `max_length` stays with the prompt; only then is the response's end cut, and its
        last token kept so that the turn still ends.
        """
        prompt, response = list(prompt_ids), list(response_ids)
        if len(prompt) + len(response) <= max_length:
            return prompt, response, False
        room = max_length - min(len(prompt), max_length // 4)
        if len(response) > room:
            response = [*response[: room - 1], response[-1]]
        return prompt[len(prompt) + len(response) - max_length :], response, True

    def fit_all(
        self, prompt_ids: Ids, responses: Sequence[Ids], max_length: int
    ) -> tuple[list[int], list[list[int]], bool]:
        """As `fit` for several responses to one prompt, which is cut alike for all of them: as the longest needs it."""
        prompt, _, was_cut = self.fit(prompt_ids, max(responses, key=len), max_length)
        return prompt, [self.fit(prompt, response, max_length)[1] for response in responses], was_cut


def opening(messages: Conversation) -> str:
    """The first words of what is asked last, to name a prompt by."""
    return _start(str(messages[-1].get("content", ""))) if messages else ""


def _start(text: str) -> str:
    line = next(iter(text.strip().splitlines()), "")
    return line[:60] + ("..." if len(line) > 60 else "")


def pad_right(sequences: Sequence[Ids], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Stack sequences of different length: `(input_ids, attention_mask)`, both (batch, longest), int64."""
    return _pad(sequences, pad_id, left=False)


def pad_left(sequences: Sequence[Ids], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """As `pad_right`, with the padding in front, so that every row ends at the same position."""
    return _pad(sequences, pad_id, left=True)


def _pad(sequences: Sequence[Ids], pad_id: int, *, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        where = slice(longest - len(sequence), longest) if left else slice(0, len(sequence))
        ids[row, where] = torch.as_tensor(sequence, dtype=torch.long)
        mask[row, where] = 1
    return ids, mask
