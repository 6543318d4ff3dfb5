"""Answers in OpenAI's format: whole, or in pieces as server-sent events."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, ClassVar

from starlette.responses import StreamingResponse

from backbone.tokens import Renderer
from foundation.files import json_line
from pipeline.serving.engine import Answer, Token
from pipeline.serving.requests import Drawing
from pipeline.serving.streams import ClosingStream
from pipeline.serving.texts import GrowingText


class Completion:
    """One answer to one request for a chat; `texts` are its responses."""

    kinds: ClassVar[tuple[str, str]] = ("chat.completion", "chat.completion.chunk")
    """What the whole answer is called, and what a piece of it."""

    def __init__(self, id: str, asked: Drawing, renderer: Renderer, prompt_tokens: int) -> None:
        self.asked, self.prompt_tokens = asked, prompt_tokens
        self.texts = [GrowingText(renderer, asked.stops) for _ in range(asked.n or 1)]
        self._renderer = renderer
        self._head = {"id": id, "created": int(time.time()), "model": asked.model, "system_fingerprint": None}

    def body(self, choices: Sequence[Mapping[str, Any]], *, chunk: bool, **more: Any) -> dict[str, Any]:
        """An object of OpenAI's, of the whole answer or a piece of it."""
        return {**self._head, "object": self.kinds[chunk], "choices": list(choices), **more}

    def opening(self, index: int) -> dict[str, Any] | None:
        """What a stream begins a response with, if with anything."""
        delta = {"role": "assistant", "content": ""}
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}

    def choice(self, index: int, added: str, _drawn: Sequence[Token], told: Sequence[Token], ends: str | None,
               *, piece: bool) -> dict[str, Any] | None:  # fmt: skip
        """What was added to a response: a text, the tokens that were drawn, and those of them that are in it.

        With `piece`, of a stream; None if there is nothing to say.
        """
        if piece and not (added or told or ends):
            return None
        said = {"delta": {"content": added} if added or told else {}} if piece else {
            "message": {"role": "assistant", "content": added, "refusal": None}
        }  # fmt: skip
        logprobs = self.logprobs(told) if told or not piece else None
        return {"index": index, **said, "logprobs": logprobs, "finish_reason": ends}

    @property
    def usage(self) -> dict[str, int]:
        """The numbers of tokens, those that end a response included."""
        drawn = sum(text.number for text in self.texts)
        return {
            "prompt_tokens": self.prompt_tokens, "completion_tokens": drawn, "total_tokens": self.prompt_tokens + drawn,
        }  # fmt: skip

    def logprobs(self, tokens: Sequence[Token]) -> dict[str, Any] | None:
        """What the model itself says of these tokens; None if nobody asked."""
        if self.asked.likeliest is None:
            return None
        content = [
            {
                **self._told(token.id, token.logprob),
                "top_logprobs": [self._told(id, logprob) for id, logprob in token.likeliest],
            }
            for token in tokens
        ]
        return {"content": content, "refusal": None}

    def word(self, id: int) -> str:
        """A token as a text of its own."""
        return str(self._renderer.tokenizer.decode([id], clean_up_tokenization_spaces=False))

    def _told(self, id: int, logprob: float | None) -> dict[str, Any]:
        """A token; of a piece of a letter, the bytes are not known."""
        text = self.word(id)
        return {"token": text, "logprob": logprob, "bytes": None if "\ufffd" in text else list(text.encode())}


async def whole(completion: Completion, answer: Answer) -> dict[str, Any]:
    """The answer in one piece."""
    drawn: list[list[Token]] = [[] for _ in completion.texts]
    told: list[list[Token]] = [[] for _ in completion.texts]
    async for tokens in answer:
        for token in tokens:
            drawn[token.place].append(token)
            told[token.place] += completion.texts[token.place].add(token)[1]
    choices = [
        completion.choice(index, text.text, drawn[index], told[index], text.ends, piece=False)
        for index, text in enumerate(completion.texts)
    ]
    return completion.body([each for each in choices if each], chunk=False, usage=completion.usage)


def stream(
    completion: Completion, answer: Answer, error_of: Callable[[Exception], dict[str, Any]], headers: Mapping[str, str]
) -> StreamingResponse:
    """The answer as it is written, one event a token or so; `error_of` puts what goes wrong in between."""
    return ClosingStream(_events(completion, answer, error_of), answer.close, "text/event-stream", headers)


async def _events(
    completion: Completion, answer: Answer, error_of: Callable[[Exception], dict[str, Any]]
) -> AsyncIterator[str]:
    options = completion.asked.stream_options
    usage = {"usage": None} if options and options.include_usage else {}

    def event(choice: Mapping[str, Any]) -> str:
        return _event(completion.body([choice], chunk=True, **usage))

    for index in range(len(completion.texts)):
        if opening := completion.opening(index):
            yield event(opening)
    try:
        async for tokens in answer:
            for token in tokens:
                added, told = completion.texts[token.place].add(token)
                if choice := completion.choice(token.place, added, [token], told, None, piece=True):
                    yield event(choice)
                if token.ends and (last := completion.choice(token.place, "", [], [], token.ends, piece=True)):
                    yield event(last)
    except Exception as error:
        yield _event({"error": error_of(error)})
        return
    if usage:
        yield _event(completion.body([], chunk=True, usage=completion.usage))
    yield "data: [DONE]\n\n"


def _event(body: Mapping[str, Any]) -> str:
    return f"data: {json_line(body)}\n"
