"""What the labeling page asks of the server, as JSON: the next cards, taking an answer, undo, history.

Who asks comes from the session (`access_control.person`); what is answered comes from the card's ticket
(`card_tickets.py`). Left out on purpose: who may come in (`access_control.py`), which task is next (`store/`), and
which answers are valid (`assignment/`).
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from foundation.errors import UserError
from labeling_ui.data_model import AIDS, Aid, Annotator, Assignment, Judgement, View
from labeling_ui.markdown.render import LONGEST, to_html
from labeling_ui.people.pace import Pace, TooFast
from labeling_ui.store.campaign_rules.rules import CampaignRules
from labeling_ui.store.store import Store
from labeling_ui.web import access_control, translations
from labeling_ui.web.card_tickets import OutOfDate, TicketSigner
from labeling_ui.web.cards import (
    GivenAnswer,
    Text,
    answer_on_screen,
    card,
    differences,
    feedback,
    notices,
    place_in_round,
)
from labeling_ui.web.live_prompts import Generate, add_live_route, live_campaign

PAGE = Path(__file__).with_name("static") / "page"
CARDS = 2  # the one on the screen, and the one that is there when it is answered
HISTORY = 20

log = logging.getLogger(__name__)
LongText = Annotated[Text, Field(max_length=LONGEST)]
Person = Annotated[Annotator, Depends(access_control.person)]


class Sent(BaseModel):
    """What comes with an answer.

    `seconds`: the time spent on it, pauses left out; `since`: the ticket with which its card was first shown, if the
    page was loaded again since then; `view`: how its texts were shown; `aids`: what was asked for.
    """

    model_config = ConfigDict(extra="forbid")

    ticket: Annotated[Text, Field(max_length=10_000)]
    answer: GivenAnswer
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = None
    since: Annotated[Text, Field(max_length=10_000)] | None = None
    view: View | None = None
    aids: Annotated[list[Aid], Field(max_length=len(AIDS))] | None = None


class Undo(BaseModel):
    """`key` names this press of the undo key: sent again, it takes nothing more back."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[Text, Field(min_length=1, max_length=100)]


class Compared(BaseModel):
    """Two texts that are on the page, to be marked where they differ."""

    model_config = ConfigDict(extra="forbid")

    texts: tuple[LongText, LongText]


class PlainErrorRoute(APIRoute):
    """A route whose refusals are one sentence: `{"detail": ...}` with 422 for bad input, 503 for a store that fails."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """The handler, with errors put plainly."""
        handle = super().get_route_handler()

        async def plainly(request: Request) -> Response:
            try:
                response: Response = await handle(request)
                response.headers.setdefault("cache-control", "no-store")
                return response
            except RequestValidationError as error:
                return JSONResponse({"detail": _first(error)}, 422)
            except TooFast as error:
                return JSONResponse({"detail": str(error)}, 429, {"retry-after": str(error.seconds)})
            except OutOfDate as error:
                return JSONResponse({"detail": str(error)}, 409)
            except (UserError, sa.exc.SQLAlchemyError, OSError) as error:
                if isinstance(error, UserError) and not is_failure(error):
                    return JSONResponse({"detail": str(error)}, 422)
                log.error("the label store failed: %s", error)
                return JSONResponse({"detail": "The label store could not be used; nothing was saved."}, 503)

        return plainly


def build_router(store: Store, secret: str, generate: Generate | None = None) -> APIRouter:
    """The routes over `store`; `secret` signs the tickets, `generate` answers typed prompts (`live_prompts.py`)."""
    signer = TicketSigner(secret)
    answers, undone, compared_texts = Pace(300, 5), Pace(60, 1), Pace(60, 2)
    router = APIRouter(route_class=PlainErrorRoute)
    rules = CampaignRules(store.database)

    def cards(annotator: Annotator, given: Sequence[Assignment]) -> dict[str, Any]:
        """The next cards, and where there are none, why some campaigns ask nothing."""
        shown = [{**card(one, signer), "round": place_in_round(one, rules)} for one in given]
        return {"cards": shown, "notices": [] if shown else notices(annotator.id, store, rules)}

    @router.get("/api/desk")
    def desk(person: Person) -> dict[str, Any]:
        return {
            "annotator": person.name,
            "annotator_id": person.id,
            "role": person.role,
            "progress": asdict(store.progress(person.id)),
            **cards(person, store.assignments(person.id, CARDS)),
            "can_undo": bool(store.history(person.id, 1)),
            "live": generate is not None and live_campaign(store) is not None,
        }

    @router.post("/api/judgements")
    def take(sent: Sent, person: Person) -> dict[str, Any]:
        answers.take(person.id)
        ticket = signer.read(sent.ticket, person)
        issued_at = signer.first_issue(ticket, sent.since)
        dealt_for = max(0.0, time.time() - issued_at)  # by this clock: the page may say less, and no more
        judgement = Judgement(
            task_id=ticket.task_id,
            annotator_id=person.id,
            shown=ticket.shown,
            answer=sent.answer.answer(ticket.shown),
            seconds=None if sent.seconds is None else min(sent.seconds, dealt_for),
            key=ticket.key,
            action=ticket.action,
            view=sent.view,
            aids=None if sent.aids is None else tuple(sorted(set(sent.aids))),
        )
        taken, unread = store.take(judgement, CARDS), {"progress": None, "cards": None}
        if taken.following is None:
            return {"saved": taken.saved, **unread}
        try:
            shown = cards(person, taken.following.assignments)
            told = feedback(judgement, taken.following.feedback)
            return {"saved": taken.saved, "progress": asdict(taken.following.progress), **shown, "feedback": told}
        except Exception as error:  # what is saved must be said to be saved
            log.error("saved, but the next tasks could not be shown: %s", error)
            return {"saved": taken.saved, **unread}

    @router.post("/api/undo")
    def undo(sent: Undo, person: Person) -> dict[str, Any]:
        undone.take(person.id)
        back = store.take_back(person.id, sent.key, CARDS)
        first = [back.withdrawn] if back.withdrawn else []
        following = [one for one in back.assignments if not first or one.task != first[0].task]
        return {
            "undone": back.withdrawn is not None,
            "progress": asdict(back.progress),
            "cards": [card(one, signer) for one in first + following],
        }

    @router.get("/api/history")
    def history(person: Person) -> list[dict[str, Any]]:
        own = store.history(person.id, HISTORY)
        return [
            {
                "ticket": signer.issue(judgement.task_id, person.id, judgement.shown, "edit"),
                **_asked(store.assignment(judgement.task_id, person.id)),
                "answer": answer_on_screen(judgement, judgement.shown),
                "created_at": judgement.created_at,
            }
            for judgement in own
        ]

    @router.get("/api/card")
    def card_to_edit(ticket: str, person: Person) -> dict[str, Any]:
        return card(store.assignment(signer.read(ticket, person).task_id, person.id), signer, "edit")

    @router.post("/api/differences")
    def marked_differences(compared: Compared, person: Person) -> dict[str, Any]:
        compared_texts.take(person.id)
        return differences(*compared.texts)

    add_page_files(router, PAGE)
    if generate is not None:
        add_live_route(router, store, signer, generate)
    return router


def add_page_files(router: APIRouter, *folders: Path) -> None:
    """Add what a page is made of: its words in the visitor's language, and the modules in these folders."""
    modules = {path.name: path for folder in folders for path in folder.glob("*.js")}

    @router.get("/api/words")
    def words(request: Request, language: str | None = None) -> dict[str, Any]:
        cookie = language or request.cookies.get(translations.COOKIE)
        code = translations.choose(cookie, request.headers.get("accept-language"))
        return {"code": code, "languages": translations.languages(), "words": translations.words(code)}

    @router.get("/page/{name}")
    def module(name: str) -> Response:
        if name not in modules:
            raise HTTPException(404, "There is no such file.")
        return FileResponse(modules[name], media_type="text/javascript", headers={"cache-control": "no-cache"})


def _asked(assignment: Assignment) -> dict[str, str | None]:
    """The beginning of what was asked, as it was written and rendered."""
    words = assignment.prompt.messages[-1]["content"].strip()
    words = words if len(words) <= 120 else f"{words[:119]}…"
    return {"prompt": words, "rendered": to_html(words)}


def is_failure(error: UserError) -> bool:
    """Whether the store failed, and not what it was given."""
    cause = error.__cause__
    return isinstance(cause, sa.exc.SQLAlchemyError | OSError) and not isinstance(cause, sa.exc.IntegrityError)


def _first(error: RequestValidationError) -> str:
    """The first thing that is wrong, and where."""
    found = error.errors()[0]
    where = ".".join(str(part) for part in found["loc"] if part != "body") or "the request"
    return f"{where}: {str(found['msg']).removeprefix('Value error, ')}."
