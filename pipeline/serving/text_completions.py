"""Continuations of a text, or of token ids, in the format of OpenAI's `/v1/completions`.

Programs use it that sample for training, so it knows what vLLM has added to that format: a prompt of token ids, the ids
that were drawn (`return_token_ids`), and a log-probability of each of them, the end of a response included. Left out on
purpose: echoes, suffixes, and several prompts in a request.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from backbone.tokens import Renderer
from labeling_ui.web.cards import Text
from pipeline.serving.completions import Completion
from pipeline.serving.engine import Token
from pipeline.serving.requests import MOST_LIKELIEST, Drawing, Nothing

_Id = Annotated[int, Field(ge=0)]
_No = Literal[False]


class TextRequest(Drawing):
    """The body of `POST /v1/completions`."""

    prompt: Text | Annotated[list[_Id], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] = 16
    logprobs: Annotated[int, Field(ge=0, le=MOST_LIKELIEST)] | None = None
    return_token_ids: bool | None = None
    stop_token_ids: list[_Id] | None = None
    top_k: int | None = None
    # What clients send as a matter of course, and what says nothing as long as it is empty or neutral.
    echo: _No | None = None
    best_of: None = None
    suffix: None = None
    add_special_tokens: bool = True
    skip_special_tokens: Literal[True] | None = None
    min_p: Nothing | None = None
    repetition_penalty: Annotated[float, Field(ge=1, le=1)] | None = None
    include_stop_str_in_output: _No | None = None

    @property
    def likeliest(self) -> int | None:
        """As OpenAI's completions have it, in one field."""
        return self.logprobs

    @property
    def sampling(self) -> dict[str, Any]:
        """With `top_k`, for which vLLM writes 0 and -1 if all tokens are meant."""
        return super().sampling | {"top_k": self.top_k if self.top_k is not None and self.top_k > 0 else None}


class TextCompletion(Completion):
    """One answer to one request, whose tokens are told as they were drawn."""

    asked: TextRequest
    kinds = ("text_completion", "text_completion")

    def __init__(self, id: str, asked: TextRequest, renderer: Renderer, prompt_ids: Sequence[int]) -> None:
        super().__init__(id, asked, renderer, len(prompt_ids))
        self._prompt_ids = list(prompt_ids)
        self._offsets = [0 for _ in self.texts]

    def opening(self, index: int) -> None:
        """A stream begins with the first token."""

    def choice(self, index: int, added: str, drawn: Sequence[Token], _told: Sequence[Token], ends: str | None,
               *, piece: bool) -> dict[str, Any] | None:  # fmt: skip
        """What was added to a response by the tokens that were drawn."""
        wanted = self.asked.return_token_ids or self.asked.logprobs is not None
        if piece and not added and not ends and not (wanted and drawn):
            return None
        found: dict[str, Any] = {"index": index, "text": added, "finish_reason": ends}
        found["logprobs"] = self._logprobs(index, drawn) if self.asked.logprobs is not None else None
        if self.asked.return_token_ids:
            found |= {"token_ids": [token.id for token in drawn], "prompt_token_ids": self._prompt_ids}
        return found

    def _logprobs(self, index: int, drawn: Sequence[Token]) -> dict[str, Any]:
        words, offsets = [self.word(token.id) for token in drawn], []
        for word in words:
            offsets.append(self._offsets[index])
            self._offsets[index] += len(word)
        top = [{self.word(id): logprob for id, logprob in token.likeliest} for token in drawn]
        return {
            "tokens": words, "token_logprobs": [token.logprob for token in drawn], "text_offset": offsets,
            "top_logprobs": top if self.asked.logprobs else None,
        }  # fmt: skip
