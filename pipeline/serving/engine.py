"""Several requests answered at the same time on one copy of the base: each gets one more token in turn.

What is drawn is what `backbone.sampling.sample` draws by the same seed and settings: every request is a batch of its
own, whatever else is being answered. Requests take turns by person, so that nobody waits for all that another asked.
Left out on purpose: batches of different people's requests, and who people are.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from itertools import groupby
from typing import NamedTuple

import torch

from backbone.adapters import SharedBase
from backbone.sampling import FinishReason, Step, draw_in_steps
from backbone.sampling_config import SamplingConfig
from foundation.errors import UserError

RETRY_SECONDS = 1
"""After how long a request that was refused may be sent again: by then, something has usually ended."""

_log = logging.getLogger(__name__)


class TooMany(UserError):
    """A person asks for more at a time than one person may."""


class Busy(UserError):
    """Too many requests wait already, whoever sent them."""


class Asked(NamedTuple):
    """What to draw: `number` responses to a prompt, by the adapter of this name (None: by the base).

    `likeliest` asks for log-probabilities: of each token, and of so many of the likeliest in its place.
    """

    prompt_ids: Sequence[int]
    adapter: str | None
    sampling: SamplingConfig
    seed: int
    number: int = 1
    likeliest: int | None = None


class Token(NamedTuple):
    """The next token of the response at `place`, and why the response ends with it, if it does.

    `logprob` (nats) and `likeliest`, (token, logprob) from the likeliest on, are of the model's own distribution: of
    temperature 1, with nothing cut off.
    """

    place: int
    id: int
    logprob: float | None
    likeliest: Sequence[tuple[int, float]]
    ends: FinishReason | None


class Answer:
    """Tokens as they are drawn: an asynchronous iterator. Close it in any case: that frees its place."""

    def __init__(self, engine: "Engine", person_id: str, asked: Asked) -> None:
        self.person_id, self.asked = person_id, asked
        self.steps: Iterator[Step] | None = None
        self._engine = engine
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[list[Token] | BaseException | None] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[list[Token]]:
        """Each step's tokens; raises what went wrong."""
        while (tokens := await self._arrived.get()) is not None:
            if isinstance(tokens, BaseException):
                raise tokens
            yield tokens

    def close(self) -> None:
        """Draw no more."""
        self._engine.leave(self)

    def put(self, tokens: list[Token] | BaseException | None) -> None:
        """Hand over tokens, an error, or the end (None), from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, tokens)


class Engine:
    """A thread that alone uses `base` and its adapters.

    At most `at_once` requests are answered at a time, `waiting` more wait; of one person, `of_one` altogether.
    """

    def __init__(self, base: SharedBase, *, at_once: int, waiting: int, of_one: int) -> None:
        self.base = base
        self._at_once, self._most_waiting, self._of_one = at_once, waiting, of_one
        self._answering: list[Answer] = []
        self._waiting: list[Answer] = []
        self._work: list[Callable[[], None]] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="serving", daemon=True)
        self._thread.start()

    def ask(self, person_id: str, asked: Asked) -> Answer:
        """Begin to answer, or let it wait; `TooMany` or `Busy` if that cannot be. Called from an event loop."""
        answer = Answer(self, person_id, asked)
        with self._changed:
            theirs = sum(one.person_id == person_id for one in (*self._answering, *self._waiting))
            if theirs >= self._of_one:
                raise TooMany(f"{theirs} of your requests are being answered or wait. Send more when one has ended.")
            if len(self._answering) + len(self._waiting) >= self._at_once + self._most_waiting:
                raise Busy("Too many requests wait for the model. Try again later.")
            self._waiting.append(answer)
            self._admit()
        return answer

    def leave(self, answer: Answer) -> None:
        """Give up the place of an answer, wherever it is."""
        with self._changed:
            for places in (self._answering, self._waiting):
                if answer in places:
                    places.remove(answer)
            self._admit()

    def between(self, work: Callable[[], None]) -> None:
        """Let the thread do this between two tokens, as what changes the adapters; waits until it is done."""
        done: Future[None] = Future()

        def do() -> None:
            try:
                work()
                done.set_result(None)
            except BaseException as error:
                done.set_exception(error)

        with self._changed:
            if self._closing:
                raise UserError("the server is closing.")
            self._work.append(do)
            self._changed.notify()
        done.result()

    @property
    def places(self) -> tuple[int, int]:
        """How many requests are being answered, and how many wait."""
        with self._changed:
            return len(self._answering), len(self._waiting)

    def close(self) -> None:
        """Stop after the present token."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._answering or self._work or self._closing):
                    self._changed.wait()
                work, self._work = self._work, []
                if self._closing and not work:
                    return
                now = sorted(self._answering, key=lambda answer: answer.asked.adapter or "")
            for do in work:
                do()
            for adapter, answers in groupby(now, key=lambda answer: answer.asked.adapter):
                if adapter is not None and adapter not in self.base.adapters:
                    for answer in answers:
                        self._fail(answer, UserError("this model was unloaded while it answered."))
                    continue
                with self.base.using(adapter):
                    for answer in answers:
                        self._step(answer)

    def _admit(self) -> None:
        """Fill the free places at once: with whoever has the fewest requests answered now, then by time."""
        while self._waiting and len(self._answering) < self._at_once:
            people = [answer.person_id for answer in self._answering]
            following = min(self._waiting, key=lambda answer: people.count(answer.person_id))
            self._waiting.remove(following)
            self._answering.append(following)
        self._changed.notify()

    def _fail(self, answer: Answer, error: Exception) -> None:
        self.leave(answer)
        answer.put(error)

    def _step(self, answer: Answer) -> None:
        """One more token; the last one, and an error, free the place."""
        asked = answer.asked
        try:
            if answer.steps is None:
                answer.steps = draw_in_steps(
                    self.base, [asked.prompt_ids], asked.sampling, group=asked.number, seed=asked.seed
                )
            step = next(answer.steps)
            tokens = _tokens(step, asked)
        except Exception as error:
            if not isinstance(error, UserError):
                _log.exception("a request could not be answered")
            self._fail(answer, error)
            return
        ended = all(_ends(step, place, asked.sampling) for place in range(asked.number))
        if ended:
            self.leave(answer)  # before its reader knows: the next request finds the place free
        answer.put(tokens)
        if ended:
            answer.put(None)


def _tokens(step: Step, asked: Asked) -> list[Token]:
    """What a step drew."""
    ids = [step.responses[place].tokens[-1] for place in step.places]
    ends = [_ends(step, place, asked.sampling) for place in step.places]
    told: list[float | None] = [None] * len(ids)
    likeliest: list[list[tuple[int, float]]] = [[] for _ in ids]
    if asked.likeliest is not None:
        logprobs = torch.log_softmax(step.logits[list(step.rows)], -1)
        told = logprobs.gather(-1, torch.tensor(ids, device=logprobs.device)[:, None]).squeeze(-1).tolist()
        top = logprobs.topk(asked.likeliest, -1)
        likeliest = [
            list(zip(row, values, strict=True))
            for row, values in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]
    found = zip(step.places, ids, told, likeliest, ends, strict=True)
    return [Token(*each) for each in found]


def _ends(step: Step, place: int, sampling: SamplingConfig) -> FinishReason | None:
    """Why the response has ended, or None."""
    response = step.responses[place]
    if response.finish_reason == "stop":
        return "stop"
    return "length" if len(response.tokens) >= sampling.max_new_tokens else None
