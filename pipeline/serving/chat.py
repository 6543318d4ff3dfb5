"""Chatting with two models side by side, and voting for the better answer: the routes behind the chat page.

A vote becomes a live judgement, as those of the labeling app are (`labeling_ui/web/live_prompts.py`). In a blind
conversation only this process knows which model is on which side, until whoever began it asks: nothing that is sent
before depends on it. Conversations are kept in memory, and end with the process. Left out on purpose: who may come in
(`labeling_ui/web/access_control.py`), and drawing (`side_by_side.py`).
"""

import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from anyio import to_thread
from fastapi import APIRouter, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field

from foundation.errors import UserError
from foundation.files import json_line
from labeling_ui.campaign import Campaign
from labeling_ui.data_model import Annotator, Answer, Judgement, Message, Prompt
from labeling_ui.markdown.render import to_html
from labeling_ui.people.pace import Pace
from labeling_ui.store.campaign_rules.rules import CampaignRules
from labeling_ui.store.store import Store
from labeling_ui.web.api import Person, PlainErrorRoute
from labeling_ui.web.cards import Rationale, Text
from labeling_ui.web.live_prompts import TypedPrompt, check_asked, live_campaign, live_pair
from pipeline.serving.engine import RETRY_SECONDS, Busy, TooMany
from pipeline.serving.side_by_side import Pair, Write
from pipeline.serving.streams import ClosingStream

CAMPAIGN = "chat"
"""Where votes go if no campaign of the store lets people type prompts."""
MOST_CONVERSATIONS = 20
"""Of one person; the oldest is forgotten."""

log = logging.getLogger(__name__)
Source = Mapping[str, Any]


class Begin(BaseModel):
    """Two models to talk to; `blind` hides which is on which side, and draws it."""

    model_config = ConfigDict(extra="forbid")

    models: tuple[Text, Text]
    blind: bool


class Said(TypedPrompt):
    """The next turn of a conversation."""

    conversation: Text


class Vote(BaseModel):
    """Which answer of the last turn is better, and why; `turn` is the number that came with its answers."""

    model_config = ConfigDict(extra="forbid")

    conversation: Text
    turn: int
    verdict: Literal["left", "right", "tie", "both_bad"]
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = None
    rationale: Rationale = ""


class Ended(BaseModel):
    """A conversation that is blind no more."""

    model_config = ConfigDict(extra="forbid")

    conversation: Text


@dataclass
class Turn:
    """What was asked last and both answers, from the left; `number` counts the turns of a conversation from 1."""

    number: int
    messages: tuple[Message, ...]
    texts: tuple[str, str]
    seeds: tuple[int, int]
    goes_on: int = 0
    voted: bool = False


@dataclass
class Conversation:
    """What this process remembers: `models` are from the left."""

    person_id: str
    models: tuple[str, str]
    blind: bool
    turn: Turn | None = None
    writing: object | None = None  # the turn that is being answered
    id: str = field(default_factory=lambda: secrets.token_hex(16))

    def asked(self, text: str) -> tuple[Message, ...]:
        """The conversation with another question: it goes on with the answer that was preferred, else the left one."""
        before: tuple[Message, ...] = ()
        if self.turn:
            kept = Message(role="assistant", content=self.turn.texts[self.turn.goes_on])
            before = (*self.turn.messages, kept)
        return (*before, Message(role="user", content=text))


class Conversations:
    """Those of everybody, by id."""

    def __init__(self) -> None:
        self._known: dict[str, Conversation] = {}

    def add(self, conversation: Conversation) -> None:
        """Remember a conversation; the oldest of somebody who has many is forgotten."""
        theirs = [one.id for one in self._known.values() if one.person_id == conversation.person_id]
        for old in theirs[: len(theirs) - MOST_CONVERSATIONS + 1]:
            del self._known[old]
        self._known[conversation.id] = conversation

    def find(self, id: str, person: Annotator) -> Conversation:
        """The person's conversation; 404 if they have none of that id, whoever else has."""
        found = self._known.get(id)
        if found is None or found.person_id != person.id:
            raise HTTPException(404, "This conversation is over. Begin a new one.")
        return found


def build_chat(store: Store, sources: Mapping[str, Source], write: Write) -> APIRouter:
    """The routes of the chat page; `sources` says of each model what wrote, for the candidates of its answers."""
    router = APIRouter(route_class=PlainErrorRoute)
    rules = CampaignRules(store.database)
    conversations, said, votes = Conversations(), Pace(30, 0.5), Pace(60, 1)

    @router.get("/api/chat")
    def desk(person: Person) -> dict[str, Any]:
        tuned = [name for name, source in sources.items() if source["adapter"]] or list(sources)
        campaign = live_campaign(store)
        return {
            "models": list(sources),
            "compared": [next(iter(sources)), tuned[0]],
            "annotator": person.name,
            "rationale": campaign.rationale if campaign else "off",
        }

    @router.post("/api/chat/begin")
    async def begin(wanted: Begin, person: Person) -> dict[str, Any]:
        if unknown := [name for name in wanted.models if name not in sources]:
            raise HTTPException(422, f'There is no model "{unknown[0][:100]}". Choose one of {", ".join(sources)}.')
        one, other = wanted.models
        models = (other, one) if wanted.blind and secrets.randbelow(2) else (one, other)
        conversation = Conversation(person.id, models, wanted.blind)
        conversations.add(conversation)
        return {"conversation": conversation.id, "models": None if wanted.blind else models}

    @router.post("/api/chat/say")
    async def say(typed: Said, person: Person) -> Response:
        said.take(person.id)
        conversation = conversations.find(typed.conversation, person)
        if conversation.writing:
            raise HTTPException(409, "The models are still answering. Wait for them, or stop them.")
        messages, seeds = conversation.asked(typed.prompt), (_seed(), _seed())
        mine = conversation.writing = object()
        pair: Pair | None = None

        def close() -> None:
            if conversation.writing is mine:
                conversation.writing = None
            if pair is not None:
                pair.close()

        try:
            pair = await write(person.id, conversation.models, messages, seeds)
        except (TooMany, Busy) as error:
            close()
            status = 429 if isinstance(error, TooMany) else 503
            raise HTTPException(status, str(error), {"retry-after": str(RETRY_SECONDS)}) from error
        except BaseException:
            close()
            raise
        lines = _grow(pair, conversation, messages, seeds, close)
        return ClosingStream(lines, close, "application/x-ndjson", {"cache-control": "no-store"})

    @router.post("/api/chat/vote")
    async def vote(given: Vote, person: Person) -> dict[str, str]:
        votes.take(person.id)
        conversation = conversations.find(given.conversation, person)
        turn = conversation.turn
        if turn is None or conversation.writing or turn.voted:
            raise HTTPException(409, "There is nothing to vote on: ask something first.")
        if given.turn != turn.number:
            raise HTTPException(409, "The conversation has gone on since then. Vote on its last answers.")
        turn.voted = True  # a second vote that comes meanwhile finds it so
        try:
            saved = await to_thread.run_sync(_record, store, rules, sources, conversation, turn, person, given)
        except BaseException:
            turn.voted = False
            raise
        turn.goes_on = 1 if given.verdict == "right" else 0
        return {"saved": saved}

    @router.post("/api/chat/reveal")
    async def reveal(ended: Ended, person: Person) -> dict[str, Any]:
        conversation = conversations.find(ended.conversation, person)
        conversation.blind = False
        return {"models": conversation.models}

    return router


async def _grow(
    pair: Pair,
    conversation: Conversation,
    messages: tuple[Message, ...],
    seeds: tuple[int, int],
    close: Callable[[], None],
) -> AsyncIterator[str]:
    """One JSON object a line: `texts` as they grow, then `answers` to vote on; or an `error`."""
    texts = ("", "")
    try:
        async for texts in pair:
            yield json_line({"texts": texts})
        kept = (texts[0].strip(), texts[1].strip())
        rendered = [await to_thread.run_sync(to_html, text) for text in kept]
        number = conversation.turn.number + 1 if conversation.turn else 1
        conversation.turn = Turn(number, messages, kept, seeds)
        cut_off = [end == "length" for end in pair.ends]
        close()  # before the reader knows, so that the next turn can begin
        equal = kept[0] == kept[1]
        answers = {"texts": kept, "rendered": rendered, "cut_off": cut_off, "equal": equal, "turn": number}
        yield json_line({"answers": answers})
    except UserError as error:
        yield json_line({"error": str(error)})
    except Exception:
        log.exception("a conversation could not be answered")
        yield json_line({"error": "The models could not answer. Try again."})


def _record(
    store: Store, rules: CampaignRules, sources: Mapping[str, Source], conversation: Conversation, turn: Turn,
    person: Annotator, given: Vote,
) -> str:  # fmt: skip
    """Store a vote with what it is about, all of it or nothing; returns what became of it.

    403 if the campaign asks nothing of the person, `UserError` if it asks for a reason that is not there.
    """
    campaign = live_campaign(store)
    if campaign is None:
        campaign = Campaign(name=CAMPAIGN, live=True)
        store.add_campaign(campaign)
    check_asked(rules, person, campaign)
    if campaign.rationale == "required" and not given.rationale.strip():
        raise UserError("This campaign asks for a reason: write why, and vote again.")
    prompt = Prompt(turn.messages)
    told = [
        {**sources[model], "served_as": model, "seed": seed, "blind": conversation.blind}
        for model, seed in zip(conversation.models, turn.seeds, strict=True)
    ]
    shown, task = live_pair(store, campaign, person, prompt, turn.texts, told)
    ids = tuple(one.id for one in shown)
    judgement = Judgement(
        task_id=task.id, annotator_id=person.id, shown=ids, answer=_answer(given, ids), seconds=given.seconds,
        key=secrets.token_hex(8), view="rendered" if all(to_html(text) is not None for text in turn.texts) else "raw",
    )  # fmt: skip
    (outcome,) = store.record_many([judgement], prompts=[prompt], candidates=shown, tasks=[task], overlap=1)
    return outcome


def _answer(given: Vote, shown: Sequence[str]) -> Answer:
    rationale = given.rationale.strip()
    if given.verdict in ("left", "right"):
        return Answer("preferred", winner=shown[given.verdict == "right"], rationale=rationale)
    return Answer("tie" if given.verdict == "tie" else "both_bad", rationale=rationale)


def _seed() -> int:
    return secrets.randbelow(2**31)
