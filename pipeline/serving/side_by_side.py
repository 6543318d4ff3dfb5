"""Two models answer the same conversation at the same time, a token each in turn, so that neither is ahead."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol

from backbone.sampling import FinishReason
from backbone.sampling_config import SamplingConfig
from pipeline.serving.engine import Answer
from pipeline.serving.served import Chat, Served
from pipeline.serving.texts import GrowingText

_SHOWN_SECONDS = 0.05  # nobody reads faster


class Pair(Protocol):
    """Two texts that grow: each step of the iteration gives both, from the left. Close it in any case."""

    @property
    def ends(self) -> Sequence[FinishReason | None]:
        """Why each has ended, if it has."""

    def __aiter__(self) -> AsyncIterator[tuple[str, str]]:
        """Both texts so far, until they are finished; raises what went wrong."""

    def close(self) -> None:
        """Write no more."""


class Write(Protocol):
    """Begin to let two models answer; `TooMany`, `Busy` or another `UserError` if that cannot be."""

    async def __call__(
        self, person_id: str, models: Sequence[str], messages: Sequence[Mapping[str, Any]], seeds: Sequence[int]
    ) -> Pair:
        """The models are named from left to right."""


def side_by_side(served: Served, sampling: SamplingConfig) -> Write:
    """Let the served models write as the run samples."""
    longest = min(sampling.max_new_tokens, served.settings.max_new_tokens)
    drawing = sampling.model_dump(exclude={"max_new_tokens"})

    async def write(
        person_id: str, models: Sequence[str], messages: Sequence[Mapping[str, Any]], seeds: Sequence[int]
    ) -> Pair:
        answers: list[Answer] = []
        try:
            for model, seed in zip(models, seeds, strict=True):
                answer, _ = await served.ask(person_id, model, Chat(messages), longest=longest, seed=seed, **drawing)
                answers.append(answer)
        except BaseException:
            for answer in answers:
                answer.close()
            raise
        return _Both(answers, [GrowingText(served.renderer) for _ in answers])

    return write


class _Both:
    def __init__(self, answers: Sequence[Answer], texts: Sequence[GrowingText]) -> None:
        self._answers, self._texts = answers, texts
        self._arrived: asyncio.Queue[Exception | None] = asyncio.Queue()
        self._following: list[asyncio.Task[None]] = []

    @property
    def ends(self) -> Sequence[FinishReason | None]:
        return [text.ends for text in self._texts]

    async def __aiter__(self) -> AsyncIterator[tuple[str, str]]:
        pairs = zip(self._answers, self._texts, strict=True)
        self._following = [asyncio.create_task(self._follow(answer, text)) for answer, text in pairs]
        shown = ("", "")
        while not all(text.ends for text in self._texts):
            if error := await self._arrived.get():
                raise error
            await asyncio.sleep(_SHOWN_SECONDS)
            while not self._arrived.empty():
                if error := self._arrived.get_nowait():
                    raise error
            one, other = (text.text for text in self._texts)
            if (one, other) != shown:
                shown = one, other
                yield shown

    async def _follow(self, answer: Answer, text: GrowingText) -> None:
        try:
            async for tokens in answer:
                for token in tokens:
                    text.add(token)
                self._arrived.put_nowait(None)
        except Exception as error:
            self._arrived.put_nowait(error)

    def close(self) -> None:
        for answer in self._answers:
            answer.close()
        for task in self._following:
            task.cancel()
