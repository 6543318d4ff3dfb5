"""What the labeling page asks of the server, as JSON: the next cards, taking an answer, undo, history.

Who asks comes from the session (`access_control.person`); what is answered comes from the card's ticket
(`card_tickets.py`). Left out on purpose: who may come in (`access_control.py`), which task is next (`store/`), and
which answers are valid (`assignment/`).
"""

import logging
import time
from collections.abc import Callable
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
from labeling_ui.data_model import Annotator, Assignment, Judgement
from labeling_ui.store.store import Store
from labeling_ui.web import access_control, translations
from labeling_ui.web.card_tickets import OutOfDate, TicketSigner
from labeling_ui.web.cards import GivenAnswer, Text, answer_on_screen, card
from labeling_ui.web.live_prompts import Generate, add_live_route, live_campaign

PAGE = Path(__file__).with_name("static") / "page"
CARDS = 2  # the one on the screen, and the one that is there when it is answered
HISTORY = 20

log = logging.getLogger(__name__)
Person = Annotated[Annotator, Depends(access_control.person)]


class Sent(BaseModel):
    """What comes with an answer. `seconds`: the time spent on it, pauses left out."""

    model_config = ConfigDict(extra="forbid")

    ticket: Annotated[Text, Field(max_length=10_000)]
    answer: GivenAnswer
    seconds: Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)] | None = None


class Undo(BaseModel):
    """`key` names this press of the undo key: sent again, it takes nothing more back."""

    model_config = ConfigDict(extra="forbid")

    key: Annotated[Text, Field(min_length=1, max_length=100)]


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
            except OutOfDate as error:
                return JSONResponse({"detail": str(error)}, 409)
            except (UserError, sa.exc.SQLAlchemyError, OSError) as error:
                if isinstance(error, UserError) and not _is_failure(error):
                    return JSONResponse({"detail": str(error)}, 422)
                log.error("the label store failed: %s", error)
                return JSONResponse({"detail": "The label store could not be used; nothing was saved."}, 503)

        return plainly


def build_router(store: Store, secret: str, generate: Generate | None = None) -> APIRouter:
    """The routes over `store`; `secret` signs the tickets, `generate` answers typed prompts (`live_prompts.py`)."""
    signer = TicketSigner(secret)
    router = APIRouter(route_class=PlainErrorRoute)

    def cards(annotator: Annotator) -> list[dict[str, Any]]:
        return [card(one, signer) for one in store.assignments(annotator.id, CARDS)]

    @router.get("/api/desk")
    def desk(person: Person) -> dict[str, Any]:
        return {
            "annotator": person.name,
            "annotator_id": person.id,
            "role": person.role,
            "progress": asdict(store.progress(person.id)),
            "cards": cards(person),
            "can_undo": bool(store.history(person.id, 1)),
            "live": generate is not None and live_campaign(store) is not None,
        }

    @router.post("/api/judgements")
    def take(sent: Sent, person: Person) -> dict[str, Any]:
        ticket = signer.read(sent.ticket, person)
        dealt_for = max(0.0, time.time() - ticket.issued_at)  # by this clock: the page may say less, and no more
        judgement = Judgement(
            task_id=ticket.task_id,
            annotator_id=person.id,
            shown=ticket.shown,
            answer=sent.answer.answer(ticket.shown),
            seconds=None if sent.seconds is None else min(sent.seconds, dealt_for),
            key=ticket.key,
            action=ticket.action,
        )
        saved = store.record(judgement)
        try:
            return {"saved": saved, "progress": asdict(store.progress(person.id)), "cards": cards(person)}
        except Exception as error:  # what is saved must be said to be saved
            log.error("saved, but the next tasks could not be read: %s", error)
            return {"saved": saved, "progress": None, "cards": None}

    @router.post("/api/undo")
    def undo(sent: Undo, person: Person) -> dict[str, Any]:
        withdrawn = store.undo(person.id, sent.key)
        following = [one for one in store.assignments(person.id, CARDS) if not withdrawn or one.task != withdrawn.task]
        return {
            "undone": withdrawn is not None,
            "progress": asdict(store.progress(person.id)),
            "cards": [card(one, signer) for one in ([withdrawn] if withdrawn else []) + following],
        }

    @router.get("/api/history")
    def history(person: Person) -> list[dict[str, Any]]:
        own = store.history(person.id, HISTORY)
        return [
            {
                "ticket": signer.issue(judgement.task_id, person.id, judgement.shown, "edit"),
                "prompt": _last_words(store.assignment(judgement.task_id, person.id)),
                "answer": answer_on_screen(judgement, judgement.shown),
                "created_at": judgement.created_at,
            }
            for judgement in own
        ]

    @router.get("/api/card")
    def card_to_edit(ticket: str, person: Person) -> dict[str, Any]:
        return card(store.assignment(signer.read(ticket, person).task_id, person.id), signer, "edit")

    @router.get("/api/words")
    def words(request: Request, language: str | None = None) -> dict[str, Any]:
        cookie = language or request.cookies.get(translations.COOKIE)
        code = translations.choose(cookie, request.headers.get("accept-language"))
        return {"code": code, "languages": translations.languages(), "words": translations.words(code)}

    @router.get("/page/{name}")
    def module(name: str) -> Response:
        if name not in {path.name for path in PAGE.iterdir()}:
            raise HTTPException(404, "There is no such file.")
        return FileResponse(PAGE / name, media_type="text/javascript", headers={"cache-control": "no-cache"})

    if generate is not None:
        add_live_route(router, store, signer, generate)
    return router


def _last_words(assignment: Assignment) -> str:
    words = " ".join(assignment.prompt.messages[-1]["content"][:500].split())
    return words if len(words) <= 120 else f"{words[:119]}…"


def _is_failure(error: UserError) -> bool:
    """Whether the store failed, and not what it was given."""
    cause = error.__cause__
    return isinstance(cause, sa.exc.SQLAlchemyError | OSError) and not isinstance(cause, sa.exc.IntegrityError)


def _first(error: RequestValidationError) -> str:
    """The first thing that is wrong, and where."""
    found = error.errors()[0]
    where = ".".join(str(part) for part in found["loc"] if part != "body") or "the request"
    return f"{where}: {str(found['msg']).removeprefix('Value error, ')}."
