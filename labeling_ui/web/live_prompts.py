"""Live generation: an annotator types a prompt, and judges two fresh responses of the current policy.

The two are streamed as they are written, then stored as a task of the campaign, which nobody else is given, and judged
like any other. One prompt is answered at a time; the others wait in a queue, on no thread, so that labeling is never
held up, and in fair turns, so that nobody waits for all that one person asked. Left out on purpose: the model itself.
`Generate` is handed in.
"""

import logging
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Annotated, Any, Protocol

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Depends, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from foundation.errors import UserError
from foundation.files import json_line
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Annotator, Assignment, Candidate, Message, Prompt, Task
from labeling_ui.store.campaign_rules.rules import CampaignRules
from labeling_ui.store.store import Store
from labeling_ui.web import access_control
from labeling_ui.web.card_tickets import TicketSigner
from labeling_ui.web.cards import Text, card

WAITING_SECONDS = 1.0
LONGEST_QUEUE = 20
MOST_OF_ONE = 2

_REFUSALS = {
    "people": "You are not assigned to this campaign. Whoever leads the labeling can assign you to it.",
    "deadline": "This campaign has ended. Your answers are saved.",
    "quota": "Your quota for this campaign is done. Thank you.",
    "qualification": "You have not passed the qualification of this campaign, which comes first.",
}

log = logging.getLogger(__name__)
Person = Annotated[Annotator, Depends(access_control.person)]


class Generate(Protocol):
    """Two responses to a conversation, both growing: each step yields all that is written so far.

    It is used by one thread at a time. `source` says what writes: it becomes the candidates' source.
    """

    @property
    def source(self) -> Mapping[str, Any]:
        """Model, adapter, round, temperature: as with collected candidates."""

    def __call__(self, messages: Sequence[Message], seed: int) -> Iterator[tuple[str, str]]:
        """Stream the two texts; `UserError` if that cannot be done."""


class TypedPrompt(BaseModel):
    """What an annotator asks the model."""

    model_config = ConfigDict(extra="forbid")

    prompt: Annotated[Text, Field(min_length=1, max_length=8000, pattern=r"\S")]


class TooMany(UserError):
    """A person asks for more at a time than one person may."""


class Place:
    """A place in the queue: whose it is, and how many of theirs come before it."""

    def __init__(self, person_id: str, turn: int) -> None:
        self.person_id = person_id
        self.turn = turn


class Queue:
    """Who waits for the model: one prompt at a time; everybody's first before anybody's second, then by time."""

    def __init__(self) -> None:
        self._waiting: list[Place] = []  # the first is being answered
        self._moved = anyio.Event()
        self.thread = CapacityLimiter(1)  # its own, so that a model at work takes no thread from labeling

    def enter(self, person_id: str) -> Place:
        """A place in the queue; `TooMany` if the person has enough in it, `UserError` if it is too long."""
        turn = sum(place.person_id == person_id for place in self._waiting)
        if turn >= MOST_OF_ONE:
            raise TooMany("Your other prompts are still being answered. Wait for them.")
        if len(self._waiting) >= LONGEST_QUEUE:
            raise UserError("Too many people are waiting for the model. Try again later.")
        place = Place(person_id, turn)
        before = [index for index, other in enumerate(self._waiting) if index == 0 or other.turn <= turn]
        self._waiting.insert(before[-1] + 1 if before else 0, place)
        return place

    def ahead(self, place: Place) -> int:
        """How many come before this place."""
        return self._waiting.index(place)

    async def wait(self, seconds: float) -> None:
        """Until the queue moves, or for this long."""
        with anyio.move_on_after(seconds):
            await self._moved.wait()

    def leave(self, place: Place) -> None:
        """Let the next one come."""
        self._waiting.remove(place)
        for other in self._waiting:
            if other.person_id == place.person_id and other.turn > place.turn:
                other.turn -= 1  # nobody who comes now overtakes it any more
        self._moved.set()
        self._moved = anyio.Event()


def live_campaign(store: Store) -> Campaign | None:
    """The campaign whose annotators may type prompts; what they judge is a pair, so it is a pairwise one."""
    return next((one for one in store.campaigns() if one.live and one.kind == "pairwise"), None)


def check_asked(rules: CampaignRules, person: Annotator, campaign: Campaign) -> None:
    """Raise 403 with the reason if the campaign asks nothing of the person."""
    if refusal := rules.refusal(person.id, campaign):
        raise HTTPException(403, _REFUSALS[refusal])


def add_live_route(router: APIRouter, store: Store, signer: TicketSigner, generate: Generate) -> None:
    """Add `POST /api/live`: one JSON object a line, `waiting`, then `texts` as they grow, then the `card` to judge."""
    rules = CampaignRules(store.database)
    queues: list[Queue] = []  # one, made in the event loop

    @router.post("/api/live")
    async def live(typed: TypedPrompt, person: Person) -> StreamingResponse:
        campaign = await to_thread.run_sync(live_campaign, store)
        if campaign is None:
            raise HTTPException(403, "Live generation is not part of this campaign.")
        await to_thread.run_sync(check_asked, rules, person, campaign)
        if not queues:
            queues.append(Queue())
        try:
            place = queues[0].enter(person.id)
        except TooMany as error:
            raise HTTPException(429, str(error)) from error
        lines = _answer(queues[0], place, store, signer, generate, campaign, person, typed.prompt)
        return StreamingResponse(lines, media_type="application/x-ndjson")


async def _answer(
    queue: Queue, place: Place, store: Store, signer: TicketSigner, generate: Generate, campaign: Campaign,
    person: Annotator, asked: str,
) -> AsyncIterator[str]:  # fmt: skip
    try:
        while ahead := queue.ahead(place):
            yield json_line({"waiting": ahead})
            await queue.wait(WAITING_SECONDS)
        yield json_line({"waiting": 0})
        prompt = Prompt((Message(role="user", content=asked),))
        seed = secrets.randbelow(2**31)
        texts = ("", "")
        stream = generate(prompt.messages, seed)
        try:
            while (grown := await to_thread.run_sync(next, stream, None, limiter=queue.thread)) is not None:
                texts = grown
                yield json_line({"texts": texts})
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(_close, stream, limiter=queue.thread)
        shown = await to_thread.run_sync(
            _keep, store, campaign, person, prompt, texts, {**generate.source, "seed": seed}
        )
        yield json_line({"card": card(shown, signer)})
    except UserError as error:
        yield json_line({"error": str(error)})
    except Exception:
        log.exception("live generation failed")
        yield json_line({"error": "The model could not answer. Try again."})
    finally:
        queue.leave(place)


def _keep(
    store: Store, campaign: Campaign, person: Annotator, prompt: Prompt, texts: tuple[str, str],
    source: Mapping[str, Any],
) -> Assignment:  # fmt: skip
    """Store what was written as a task, shown in the order in which it was streamed."""
    shown, task = live_pair(store, campaign, person, prompt, texts, (source, source))
    store.add_prompts([prompt])
    store.add_candidates(shown)
    store.add_tasks([task], overlap=1)
    return Assignment(task, person.id, campaign, prompt, shown)


def live_pair(
    store: Store, campaign: Campaign, person: Annotator, prompt: Prompt, texts: Sequence[str],
    sources: Sequence[Mapping[str, Any]],
) -> tuple[tuple[Candidate, ...], Task]:  # fmt: skip
    """Two fresh responses and their task, which is this person's alone; `UserError` if they are the same."""
    shown = tuple(
        Candidate(prompt.id, text.strip(), {**source, "live": True})
        for text, source in zip(texts, sources, strict=True)
    )
    if shown[0].id == shown[1].id:
        raise UserError("Both responses came out the same, so there is nothing to compare. Ask again.")
    version = store.version(campaign.name)
    return shown, Task(
        prompt.id, tuple(one.id for one in shown), campaign.name, reserved_for=person.id, version=version
    )


def _close(stream: Iterator[tuple[str, str]]) -> None:
    close = getattr(stream, "close", None)
    if close is not None:
        close()
