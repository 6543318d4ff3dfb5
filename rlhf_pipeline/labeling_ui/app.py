"""The labeling page: a conversation, two responses side by side, one key press a judgement.

The page holds nothing that matters. Who answers comes from the signed session, through
`request.username`. What is answered comes from a signed ticket that the server issues with each pair, so
that an answer always goes to the pair that was on the screen, also when a key is pressed twice, and an
answer sent again is never counted twice. An answer is committed before the next pair is shown.

Model text reaches the browser only through autoescaping templates. Left out on purpose: sign-in, cookies
and the HTTP server (`server.py`), and which pair comes next in which order (the store).
"""

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from itsdangerous import BadSignature, URLSafeSerializer
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import escape

from rlhf_pipeline.errors import UserError
from rlhf_pipeline.labeling_ui.records import Annotator, Assignment, Judgement, Verdict
from rlhf_pipeline.labeling_ui.store import Store

STATIC = Path(__file__).with_name("static")
TITLE = "Which response is better?"
NOT_SAVED = "Not saved. Press the key again: an answer is never counted twice."
NOT_SHOWN = "Saved, but the next pair could not be loaded. Press the key again, or reload the page."
OUT_OF_DATE = "Not saved: this page is out of date. Reload it and go on."

log = logging.getLogger(__name__)
templates = Environment(
    loader=FileSystemLoader(STATIC), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer, the key that gives it, and the words on its button."""

    key: str
    verdict: Verdict
    label: str
    strength: int | None = None


# The digits run from left to right like the responses: the further out, the stronger.
CHOICES = (
    Choice("1", "left", "Much better", 3),
    Choice("2", "left", "Clearly better", 2),
    Choice("3", "left", "Slightly better", 1),
    Choice("t", "tie", "Equally good"),
    Choice("b", "both_bad", "Both bad"),
    Choice("s", "skip", "Skip"),
    Choice("4", "right", "Slightly better", 1),
    Choice("5", "right", "Clearly better", 2),
    Choice("6", "right", "Much better", 3),
)
_BY_KEY = {choice.key: choice for choice in CHOICES}


@dataclass(frozen=True, slots=True)
class Ticket:
    """What was on the screen: signed by the server, and handed back with the answer.

    `shown_at` is in seconds since the epoch; `key` is the idempotency key of this showing.
    """

    task_id: str
    annotator_id: str
    left: str
    right: str
    shown_at: float
    key: str

    @classmethod
    def issue(cls, assignment: Assignment) -> "Ticket":
        """A fresh ticket for a pair that is about to be shown."""
        left, right = assignment.left.id, assignment.right.id
        return cls(assignment.task.id, assignment.annotator_id, left, right, time.time(), secrets.token_hex(8))

    def judgement(self, choice: Choice) -> Judgement:
        """The answer `choice`, given now."""
        winner = {"left": self.left, "right": self.right}.get(choice.verdict)
        return Judgement(
            task_id=self.task_id,
            annotator_id=self.annotator_id,
            verdict=choice.verdict,
            left=self.left,
            winner=winner,
            strength=choice.strength,
            seconds=round(max(0.0, time.time() - self.shown_at), 3),
            key=self.key,
        )


class Desk:
    """What the page asks of the server: show the annotator's pair, and take an answer to it."""

    def __init__(self, store: Store, secret: str) -> None:
        self.store = store
        self.seal = URLSafeSerializer(secret, salt="ticket")

    def show(self, name: str) -> str:
        """The page body for the annotator `name`: their current pair, or that there is nothing left."""
        return self._body(self.store.annotator(name))

    def answer(self, name: str, sealed: str, key: str) -> tuple[str | None, str]:
        """Commit an answer, then return the next page body and a notice.

        The body is None where the shown pair must stay; the notice is empty where all went well.
        `sealed` and `key` come from the browser and are not trusted.
        """
        if key not in _BY_KEY:
            return None, OUT_OF_DATE
        saved = False
        try:
            annotator = self.store.annotator(name)
            self.store.record(self._open(sealed, annotator).judgement(_BY_KEY[key]))
            saved = True
            return self._body(annotator), ""
        except BadSignature:
            return None, OUT_OF_DATE
        except Exception as error:  # whatever went wrong, the annotator must hear of it
            log.error("an answer failed: %s", error, exc_info=not isinstance(error, UserError))
            return None, NOT_SHOWN if saved else NOT_SAVED

    def _open(self, sealed: str, annotator: Annotator) -> Ticket:
        ticket = Ticket(**self.seal.loads(sealed))
        if ticket.annotator_id != annotator.id:
            raise BadSignature("the ticket was issued to someone else")
        return ticket

    def _body(self, annotator: Annotator) -> str:
        assignment = self.store.next_assignment(annotator.id)
        progress = self.store.progress(annotator.id)
        if assignment is None:
            return templates.get_template("done.html").render(name=annotator.name, progress=progress)
        return templates.get_template("pair.html").render(
            name=annotator.name,
            progress=progress,
            assignment=assignment,
            ticket=self.seal.dumps(asdict(Ticket.issue(assignment))),
            choices={side: [c for c in CHOICES if c.verdict in verdicts] for side, verdicts in _GROUPS.items()},
        )


_GROUPS = {"left": ("left",), "neither": ("tie", "both_bad", "skip"), "right": ("right",)}


def build_blocks(store: Store, secret: str) -> gr.Blocks:
    """The Gradio page over `store`; `secret` signs the tickets."""
    desk = Desk(store, secret)

    def show(request: gr.Request) -> Any:
        try:
            return gr.update(value=desk.show(_signed_in(request)), notice="")
        except UserError as error:
            return gr.update(notice=str(escape(str(error))))

    def answer(event: gr.EventData, request: gr.Request) -> Any:
        given = event._data or {}
        body, notice = desk.answer(_signed_in(request), str(given.get("ticket")), str(given.get("key")))
        # `reply` differs every time, so that the page knows that an answer came even if nothing else changed.
        update: dict[str, Any] = {"notice": notice, "reply": secrets.token_hex(4)}
        return gr.update(**update) if body is None else gr.update(value=body, **update)

    blocks = gr.Blocks(title=TITLE, analytics_enabled=False, fill_width=True)
    with blocks:
        # ${...} inserts a value as it is and never evaluates it. Handlebars' {{...}} would: Gradio puts its
        # result into a JavaScript template literal, where a "${" in a model's text would run.
        page = gr.HTML(
            "",
            html_template='<p class="notice" role="alert">${notice}</p>${value}',
            js_on_load=(STATIC / "label.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            elem_id="labeling",
            notice="",
            reply="",
        )
        _listen(blocks.load, show, page)
        _listen(page.submit, answer, page)
    return blocks


def _listen(event: Callable[..., Any], handler: Callable[..., Any], page: gr.HTML) -> None:
    event(
        handler,
        outputs=page,
        queue=True,
        concurrency_limit=16,
        concurrency_id="labeling",
        show_progress="hidden",
        api_visibility="private",
    )


def _signed_in(request: gr.Request) -> str:
    """The annotator's name from the signed session; Gradio itself does not keep private handlers private."""
    if not request.username:
        raise gr.Error("You are signed out. Reload the page to sign in.")
    return str(request.username)
