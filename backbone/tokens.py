"""The one place where conversations become token ids.

Reward training, scoring, sampling and policy training all render through here, so that they see
the same ids: a response is its own tokens followed by the model's end of turn. Models are not
needed here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import PreTrainedTokenizerBase

from foundation.errors import UserError

Ids = Sequence[int]
_PROBE = "response"


@dataclass(frozen=True)
class Renderer:
    """A tokenizer with its rules: chat template, end of turn, longest sequence.

    `eos_ids` are all tokens that end a turn; the first is the one that is appended to text.
    `max_length` is the longest prompt plus response, in tokens.
    """

    tokenizer: PreTrainedTokenizerBase
    eos_ids: tuple[int, ...]
    pad_id: int
    max_length: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, max_length: int, eos_ids: Iterable[int] = ()) -> "Renderer":
        """The rules of `tokenizer`, with further end-of-turn ids that the model declares."""
        end = _end_of_turn(tokenizer)
        known = dict.fromkeys(
            [end, *([tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else []), *eos_ids]
        )
        return cls(tokenizer, tuple(known), int(tokenizer.pad_token_id), max_length)

    def prompt_ids(self, messages: Sequence[Mapping[str, Any]], reserve: int = 0) -> list[int]:
        """Ids of a conversation up to where the assistant's answer begins.

        `reserve` tokens must remain free for the answer; `UserError` if they do not.
        """
        ids = self.tokenizer.apply_chat_template(
            [dict(message) for message in messages], add_generation_prompt=True, tokenize=True, return_dict=False
        )
        ids = cast("list[int]", ids)
        if len(ids) + reserve > self.max_length:
            start = str(messages[-1]["content"])[:60]
            raise UserError(
                f"a prompt is {len(ids)} tokens long, and with {reserve} for the response it exceeds the "
                f'context of {self.max_length}: "{start}...". Shorten it, or lower max_new_tokens.'
            )
        return ids

    def response_ids(self, text: str) -> list[int]:
        """Ids of a finished response: its text and the end of the turn."""
        encoded = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return [*cast("list[int]", encoded), self.eos_ids[0]]

    def completed(self, response_ids: Ids) -> list[int]:
        """The response with its turn ended, as reward models are trained on and score it.

        Annotators judge a cut-off response as it stands; so does the reward model. That a response
        did not end by itself is the policy's concern (its missing-EOS penalty).
        """
        ids = list(response_ids)
        if ids and ids[-1] in self.eos_ids:
            return [*ids[:-1], self.eos_ids[0]]
        return [*ids, self.eos_ids[0]]

    def text(self, response_ids: Ids) -> str:
        """The response as a person reads it, without its end of turn."""
        ids = list(response_ids)
        if ids and ids[-1] in self.eos_ids:
            ids.pop()
        return cast(str, self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

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


def _end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The token that the chat template itself puts after an assistant's answer, else the tokenizer's EOS."""
    turn = [{"role": "user", "content": "prompt"}, {"role": "assistant", "content": _PROBE}]
    rendered = cast(str, tokenizer.apply_chat_template(turn, tokenize=False))
    tail = rendered.rsplit(_PROBE, 1)[-1]
    after = cast("list[int]", tokenizer(tail, add_special_tokens=False)["input_ids"])
    special = set(tokenizer.all_special_ids)
    for token in after:
        if token in special:
            return token
    if tokenizer.eos_token_id is None:
        raise UserError("the tokenizer has no end-of-turn token: set eos_token in its tokenizer_config.json.")
    return int(tokenizer.eos_token_id)
